"""The hot statements of the log. Set-based: one statement per batch, arrays in, one row per stored event out."""

from __future__ import annotations

EVENT_QUEUED = "tidegate_event"
"""Channel of the wake-up; the payload names tenants, comma separated, '' means all."""

INCOMING = """
incoming AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::smallint[], $8::bytea[],
        $9::bytea[], $10::uuid[], $11::bytea[], $12::text[], $13::text[], $14::timestamptz[], $15::jsonb[],
        $16::jsonb[], $17::int[]
    ) AS i (tenant_id, event_id, connection_id, source, topic, ordering_key, slot, dedupe_key,
            body_digest, data_key_id, body, undecodable, external_id, occurred_at, headers,
            envelope, hour)
)"""
"""Rows come sorted by dedupe key, so that two appends never wait for each other in a circle.
`hour` counts hours since 1970 and is the hour of receipt."""

DEDUPED = """
deduped AS (
    INSERT INTO event_dedupe (tenant_id, connection_id, dedupe_key, event_id, body_digest)
    SELECT tenant_id, connection_id, dedupe_key, event_id, body_digest FROM incoming
    ON CONFLICT DO NOTHING
    RETURNING event_id
)"""

STORED = """
stored AS (
    INSERT INTO event (tenant_id, event_id, connection_id, source, topic, ordering_key, slot, dedupe_key, body_digest,
                       conflict, undecodable, external_id, occurred_at, headers, envelope, data_key_id, body)
    SELECT i.tenant_id, i.event_id, i.connection_id, i.source, i.topic, i.ordering_key, i.slot, i.dedupe_key,
           i.body_digest, $19, i.undecodable, i.external_id, i.occurred_at, i.headers, i.envelope, i.data_key_id, i.body
    FROM deduped JOIN incoming i USING (event_id)
)"""

# The order of ids is the order of receipt, and `seq` is given in that order.
QUEUED = """
queued AS (
    INSERT INTO event_queue (slot, tenant_id, event_id)
    SELECT i.slot, i.tenant_id, i.event_id FROM deduped JOIN incoming i USING (event_id) ORDER BY i.event_id
)"""

NOTIFIED = """
notified AS MATERIALIZED (
    SELECT pg_notify('tidegate_event', $20) WHERE $20::text IS NOT NULL AND EXISTS (SELECT FROM deduped)
)"""
"""$20 null: whoever appends says it afterwards, see `store.notify`."""

_COUNTED = """
counted AS (
    INSERT INTO conservation (tenant_id, connection_id, hour, writer, received, duplicate)
    SELECT i.tenant_id, i.connection_id, to_timestamp(i.hour * 3600.0), $18, count(*), count(*) - count(d.event_id)
    FROM incoming i LEFT JOIN deduped d USING (event_id)
    GROUP BY i.tenant_id, i.connection_id, i.hour
    ORDER BY i.tenant_id, i.connection_id, i.hour
    ON CONFLICT (tenant_id, connection_id, hour, writer) DO UPDATE
    SET received = conservation.received + EXCLUDED.received,
        duplicate = conservation.duplicate + EXCLUDED.duplicate
)"""

# A delivery that turned out to be a conflict was counted as a duplicate a moment ago, by the same writer.
_RECLASSIFIED = """
reclassified AS (
    UPDATE conservation c SET duplicate = c.duplicate - n.fresh
    FROM (SELECT i.tenant_id, i.connection_id, to_timestamp(i.hour * 3600.0) AS hour, count(*) AS fresh
          FROM deduped JOIN incoming i USING (event_id)
          GROUP BY i.tenant_id, i.connection_id, i.hour) n
    WHERE c.tenant_id = n.tenant_id AND c.connection_id = n.connection_id AND c.hour = n.hour AND c.writer = $18
)"""

_FRESH = "SELECT d.event_id FROM deduped d LEFT JOIN notified ON true"

APPEND = "WITH " + ",".join((INCOMING, DEDUPED, STORED, QUEUED, _COUNTED, NOTIFIED)) + _FRESH
"""T1. Parameters: see INCOMING, then $18 writer, $19 whether these are conflicts, $20 payload of the wake-up."""

APPEND_CONFLICTS = "WITH " + ",".join((INCOMING, DEDUPED, STORED, QUEUED, _RECLASSIFIED, NOTIFIED)) + _FRESH
"""As APPEND, for deliveries that APPEND has just counted as duplicates."""

_RESULT_STORED = STORED.replace("$19", "false")

_RESULT_OUTCOMES = """
outcomes AS (
    INSERT INTO event_outcome (tenant_id, event_id, run, outcome, code, reason, entity_kind, entity_id,
                               connector_version, mapping_version, code_version)
    SELECT i.tenant_id, i.event_id, 0, 'applied', r.code, r.reason, r.entity_kind, r.entity_id,
           r.connector_version, r.mapping_version, r.code_version
    FROM deduped JOIN incoming i USING (event_id)
    JOIN unnest($2::uuid[], $19::text[], $20::text[], $21::text[], $22::uuid[], $23::text[], $24::text[], $25::text[])
         AS r (event_id, code, reason, entity_kind, entity_id, connector_version, mapping_version, code_version)
         USING (event_id)
)"""

_RESULT_COUNTED = """
counted AS (
    INSERT INTO conservation (tenant_id, connection_id, hour, writer, received, applied)
    SELECT i.tenant_id, i.connection_id, to_timestamp(i.hour * 3600.0), $18, count(*), count(*)
    FROM deduped JOIN incoming i USING (event_id)
    GROUP BY i.tenant_id, i.connection_id, i.hour
    ORDER BY i.tenant_id, i.connection_id, i.hour
    ON CONFLICT (tenant_id, connection_id, hour, writer) DO UPDATE
    SET received = conservation.received + EXCLUDED.received, applied = conservation.applied + EXCLUDED.applied
)"""

_NEW_RESULTS = "SELECT event_id FROM deduped"

APPEND_RESULTS = (
    "WITH " + ",".join((INCOMING, DEDUPED, _RESULT_STORED, _RESULT_OUTCOMES, _RESULT_COUNTED)) + _NEW_RESULTS
)
"""Parameters: see INCOMING, then $18 writer and the columns of the outcomes, $19 to $25. No queue, no wake-up."""

FIND_CONFLICTS = """
SELECT i.event_id
FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[], $5::uuid[])
     AS i (tenant_id, connection_id, dedupe_key, body_digest, event_id)
CROSS JOIN LATERAL (
    SELECT body_digest FROM event_dedupe d
    WHERE d.tenant_id = i.tenant_id AND d.connection_id = i.connection_id AND d.dedupe_key = i.dedupe_key OFFSET 0
) d
WHERE d.body_digest <> i.body_digest
"""
"""Which duplicates have another body than the event that is stored under their key."""
