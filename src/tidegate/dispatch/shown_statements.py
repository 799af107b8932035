"""SQL of reading what systems show, and of comparing it. $1 is the tenant, $2 the connection where there is one."""

from __future__ import annotations

WINDOW_READS = """
SELECT run_id, state, cursor, version, tries, not_before AS due_at FROM sync_read
WHERE tenant_id = $1 AND connection_id = $2 AND state IN ('waiting', 'reading', 'comparing')
  AND not_before <= statement_timestamp()
ORDER BY run_id LIMIT 1
"""

# --- reading ---------------------------------------------------------------------------------------------------------
# $3 run, $4 version. The time is taken before the request: what is shown is at least as old.
BEGIN_PAGE = """
UPDATE sync_read SET state = 'reading', started_at = coalesce(started_at, clock_timestamp())
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4 AND state IN ('waiting', 'reading')
RETURNING clock_timestamp()
"""
# $5 cursor, $6 articles of the page, $7 has more, $8 seconds until the next page is there.
END_PAGE = """
UPDATE sync_read
SET state = CASE WHEN $7 THEN 'reading' ELSE 'comparing' END, cursor = CASE WHEN $7 THEN $5 ELSE '' END,
    version = version + 1, pages = pages + 1, articles = articles + $6, tries = 0, error = NULL,
    not_before = clock_timestamp() + make_interval(secs => $8::float8), read_at = CASE WHEN $7 THEN NULL ELSE clock_timestamp() END
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4 AND state = 'reading'
RETURNING true
"""
# $3 run, $4 observed at, then one row per number.
KEEP_SHOWN = """
INSERT INTO shown (tenant_id, connection_id, external_id, field, place, sku, title, value, currency, observed_at, run_id)
SELECT $1, $2, n.external_id, n.field, n.place, n.sku, n.title, n.value, n.currency, $4, $3
FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::numeric[], $11::text[])
  AS n(external_id, field, place, sku, title, value, currency)
ORDER BY n.external_id, n.field, n.place
ON CONFLICT (tenant_id, connection_id, external_id, field, place) DO UPDATE
SET sku = excluded.sku, title = excluded.title, value = excluded.value, currency = excluded.currency,
    observed_at = excluded.observed_at, run_id = excluded.run_id
"""
# $5 seconds, $6 error, $7 counts as a failure.
PARK_READ = """
UPDATE sync_read SET tries = least(tries + CASE WHEN $7 THEN 1 ELSE 0 END, 1000), error = $6,
       not_before = clock_timestamp() + make_interval(secs => $5::float8)
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4
"""
# The row of the run is locked first, so that of several reads that end together the last one sees the others.
LOCK_RUN = "SELECT FROM sync_run WHERE tenant_id = $1 AND run_id = $2 FOR NO KEY UPDATE"
END_READ = """
UPDATE sync_read SET state = $5, error = $6, version = version + 1, finished_at = clock_timestamp()
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4
  AND state IN ('waiting', 'reading', 'comparing')
RETURNING true
"""
END_RUN = """
UPDATE sync_run r SET finished_at = clock_timestamp()
WHERE r.tenant_id = $1 AND r.run_id = $2 AND r.finished_at IS NULL
  AND NOT EXISTS (SELECT FROM sync_read s WHERE s.tenant_id = $1 AND s.run_id = $2
                    AND s.state IN ('waiting', 'reading', 'comparing'))
"""

# --- what a comparison needs -------------------------------------------------------------------------------------------
COMPARED_READ = "SELECT read_at FROM sync_read WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3"
STATES_OF_RUN = """
SELECT c.name, c.connection_id, CASE WHEN c.state = 'active' THEN s.state ELSE 'failed' END AS state,
       s.read_at IS NOT NULL AS is_read
FROM sync_read s JOIN connection c USING (tenant_id, connection_id) WHERE s.tenant_id = $1 AND s.run_id = $2
"""
# Whether movements that happened before the page was read may still be on their way into the ledger.
FEEDS_READ = """
SELECT coalesce(bool_and(last_ok_at > $3), true) FROM poll_cursor WHERE tenant_id = $1 AND connection_id = $2
"""
QUEUED = """
SELECT EXISTS (SELECT FROM (SELECT event_id FROM event_queue WHERE tenant_id = $1 LIMIT 10000) q
               JOIN event e ON e.tenant_id = $1 AND e.event_id = q.event_id AND e.connection_id = $2)
"""
# $3 the last article compared, $4 how many. Articles that are shown, and those that are bound.
ARTICLES = """
WITH keys AS (
  SELECT external_id FROM (
    (SELECT DISTINCT external_id FROM shown
     WHERE tenant_id = $1 AND connection_id = $2 AND external_id > $3 ORDER BY external_id LIMIT $4)
    UNION
    (SELECT external_id FROM binding
     WHERE tenant_id = $1 AND connection_id = $2 AND kind = 'variant' AND external_id > $3 ORDER BY external_id LIMIT $4)
  ) k ORDER BY external_id LIMIT $4
)
SELECT k.external_id, v.variant_id, v.sku, bill.item_id, bill.required_qty AS units
FROM keys k
LEFT JOIN binding b ON b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant' AND b.external_id = k.external_id
LEFT JOIN variant v ON v.tenant_id = $1 AND v.variant_id = b.internal_id
LEFT JOIN LATERAL (
  SELECT i.item_id, i.required_qty FROM variant_item i WHERE i.tenant_id = $1 AND i.variant_id = v.variant_id
    AND NOT EXISTS (SELECT FROM variant_item o WHERE o.tenant_id = $1 AND o.variant_id = v.variant_id AND o.item_id <> i.item_id)
) bill ON true
ORDER BY k.external_id
"""
SHOWN_OF = """
SELECT external_id, field, place, sku, value, currency, observed_at FROM shown
WHERE tenant_id = $1 AND connection_id = $2 AND external_id = ANY($3::text[]) AND run_id = $4
"""
MARKS_OF = """
SELECT item_id, dirty, blocked_by IS NOT NULL AS is_blocked, tries > 0 AS is_failing, push_version, acked_quantity, acked_at
FROM channel_stock WHERE tenant_id = $1 AND connection_id = $2 AND item_id = ANY($3::uuid[])
"""
# Levels that have an entry; the newest entry is the balance. $2 items.
BALANCES_OF = """
SELECT l.item_id, l.location_id, e.on_hand_after AS on_hand, e.at
FROM stock_level l
CROSS JOIN LATERAL (
  SELECT n.on_hand_after, n.at FROM stock_entry n
  WHERE n.tenant_id = $1 AND n.item_id = l.item_id AND n.location_id = l.location_id ORDER BY n.version DESC LIMIT 1
) e
WHERE l.tenant_id = $1 AND l.item_id = ANY($2::uuid[])
"""
# Items whose newest number here ended as a dead letter. $3 items.
DEAD_NUMBERS = """
SELECT w.item_id FROM unnest($3::uuid[]) AS w(item_id)
CROSS JOIN LATERAL (
  SELECT c.state FROM command c
  WHERE c.tenant_id = $1 AND c.entity_id = w.item_id AND c.connection_id = $2 AND c.kind = 'inventory.set'
  ORDER BY c.command_id DESC LIMIT 1
) newest WHERE newest.state = 'failed'
"""
LOCATIONS_OF = """
SELECT external_id, internal_id FROM binding WHERE tenant_id = $1 AND connection_id = $2 AND kind = 'location'
"""
# What one unit of a variant costs: there itself if it says so, else anywhere; with tax where that is shown. $3 variants.
PRICES_OF = """
SELECT DISTINCT ON (b.internal_id) b.internal_id AS variant_id, s.value, s.currency
FROM connection c
JOIN binding b ON b.tenant_id = $1 AND b.connection_id = c.connection_id AND b.kind = 'variant'
              AND b.internal_id = ANY($3::uuid[])
JOIN shown s ON s.tenant_id = $1 AND s.connection_id = c.connection_id AND s.external_id = b.external_id
            AND s.field IN ('price', 'price_with_tax')
WHERE c.tenant_id = $1
ORDER BY b.internal_id, c.connection_id <> $2, s.field DESC
"""
# Prices that the owner shows in this run. $2 owner, $3 variants, $4 run.
OWNED_PRICES = """
SELECT b.internal_id AS variant_id, s.field, s.value, s.currency, s.observed_at
FROM binding b
JOIN shown s ON s.tenant_id = $1 AND s.connection_id = $2 AND s.external_id = b.external_id
            AND s.field IN ('price', 'price_with_tax') AND s.run_id = $4
WHERE b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant' AND b.internal_id = ANY($3::uuid[])
"""

# --- what a comparison leaves --------------------------------------------------------------------------------------------
# $3 run, $4 version, $5 last article compared, $6 how many.
END_CHUNK = """
UPDATE sync_read SET cursor = $5, version = version + 1, compared = compared + $6, tries = 0,
       not_before = clock_timestamp()
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4 AND state = 'comparing' RETURNING true
"""
# Differences that are gone. $3 articles, $4 fields that could not be compared; then the keys of what differs.
CLOSE_DRIFT = """
DELETE FROM drift d
WHERE d.tenant_id = $1 AND d.connection_id = $2 AND d.external_id = ANY($3::text[]) AND d.field <> ALL($4::text[])
  AND NOT EXISTS (SELECT FROM unnest($5::text[], $6::text[], $7::text[]) AS n(external_id, field, place)
                  WHERE n.external_id = d.external_id AND n.field = d.field AND n.place = d.place)
"""
# `since` stays. What is in flight and was no drift before does not become one.
OPEN_DRIFT = """
INSERT INTO drift (tenant_id, connection_id, run_id, external_id, field, place, sku, variant_id, owner, other, owner_value,
                   other_value, currency, risk, risk_currency, cause, in_flight)
SELECT $1, $2, $3, n.*
FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::text[], $10::text[], $11::numeric[],
            $12::numeric[], $13::text[], $14::numeric[], $15::text[], $16::text[], $17::bool[])
  AS n(external_id, field, place, sku, variant_id, owner, other, owner_value, other_value, currency, risk, risk_currency,
       cause, in_flight)
WHERE NOT n.in_flight OR EXISTS (SELECT FROM drift d WHERE d.tenant_id = $1 AND d.connection_id = $2
                                   AND d.external_id = n.external_id AND d.field = n.field AND d.place = n.place)
ORDER BY n.external_id, n.field, n.place
ON CONFLICT (tenant_id, connection_id, external_id, field, place) DO UPDATE
SET run_id = excluded.run_id, sku = excluded.sku, variant_id = excluded.variant_id, owner = excluded.owner,
    other = excluded.other, owner_value = excluded.owner_value, other_value = excluded.other_value,
    currency = excluded.currency, risk = excluded.risk, risk_currency = excluded.risk_currency, cause = excluded.cause,
    in_flight = excluded.in_flight, seen_at = clock_timestamp()
"""
FORGET_DRIFT = (
    "DELETE FROM drift WHERE tenant_id = $1 AND connection_id = $2 AND run_id <> $3 AND field <> ALL($4::text[])"
)
FORGET_SHOWN = "DELETE FROM shown WHERE tenant_id = $1 AND connection_id = $2 AND run_id <> $3"

# --- asking for a run --------------------------------------------------------------------------------------------------
LOCK_REQUESTS = "SELECT pg_advisory_xact_lock(7482, hashtext($1::uuid::text))"
"""Whoever asks for a run waits for whoever asks at the same time, so that one run answers both."""
OPEN_RUN = """
SELECT run_id FROM sync_run WHERE tenant_id = $1 AND finished_at IS NULL ORDER BY run_id DESC LIMIT 1
"""
ADD_RUN = "INSERT INTO sync_run (tenant_id, run_id, kind, requested_by) VALUES ($1, $2, 'drift', $3)"
# A connection without a lane ends no read by itself: the run would stay open, and nobody would be read again.
END_STOPPED = """
UPDATE sync_read s SET state = 'failed', error = 'the connection is ' || c.state, version = s.version + 1,
       finished_at = clock_timestamp()
FROM connection c
WHERE s.tenant_id = $1 AND s.run_id = $2 AND s.state IN ('waiting', 'reading', 'comparing')
  AND c.tenant_id = s.tenant_id AND c.connection_id = s.connection_id AND c.state <> 'active'
"""
ADD_READS = """
INSERT INTO sync_read (tenant_id, run_id, connection_id)
SELECT $1, $2, c.connection_id FROM connection c WHERE c.tenant_id = $1 AND c.name = ANY($3::text[]) AND c.state = 'active'
ON CONFLICT DO NOTHING
"""
# $2: how many are kept.
FORGET_RUNS = """
DELETE FROM sync_run WHERE tenant_id = $1 AND finished_at IS NOT NULL
  AND run_id <= (SELECT run_id FROM sync_run WHERE tenant_id = $1 ORDER BY run_id DESC OFFSET $2 LIMIT 1)
"""
STOPPED = "SELECT name, state, state_reason FROM connection WHERE tenant_id = $1 AND name = ANY($2::text[]) AND state <> 'active'"
"""Connections that have no lane: they cannot be read."""
