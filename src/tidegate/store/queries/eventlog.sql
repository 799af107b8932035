-- name: poll_cursor_move
-- Move a feed's cursor by compare-and-set; returns the new version. $1 tenant, $2 connection, $3 feed, $4 cursor, $5 version that was read,
-- $6 when the read of a page began that reached the end, null for one that did not.
INSERT INTO poll_cursor AS c (tenant_id, connection_id, feed, cursor, version, last_ok_at, even_at)
VALUES ($1, $2, $3, $4, 1, clock_timestamp(), $6)
ON CONFLICT (tenant_id, connection_id, feed) DO UPDATE
SET cursor = EXCLUDED.cursor, version = c.version + 1, last_ok_at = EXCLUDED.last_ok_at, last_error = NULL,
    even_at = coalesce(EXCLUDED.even_at, c.even_at)
WHERE c.version = $5
RETURNING version

-- name: poll_observe
-- Remember bodies of entities; returns the ones that differ from what was remembered. Arrays: tenant, connection, topic, external id, digest.
INSERT INTO poll_observation AS o (tenant_id, connection_id, topic, external_id, body_digest)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bytea[])
ON CONFLICT (tenant_id, connection_id, topic, external_id) DO UPDATE
SET body_digest = EXCLUDED.body_digest
WHERE o.body_digest <> EXCLUDED.body_digest
RETURNING connection_id, topic, external_id

-- name: event_replay_ids
-- Queue events for another run. A transaction id is taken before a number of the queue, see lower_bounds. $1 tenant, $2 event ids.
WITH started AS MATERIALIZED (
    SELECT pg_current_xact_id() AS xid
), chosen AS MATERIALIZED (
    SELECT e.slot, e.tenant_id, e.event_id, 1 + coalesce(
        (SELECT max(o.run) FROM event_outcome o WHERE o.tenant_id = e.tenant_id AND o.event_id = e.event_id), 0) AS run
    FROM started, event e
    WHERE started.xid IS NOT NULL AND e.tenant_id = $1 AND e.event_id = ANY($2::uuid[])
      AND NOT EXISTS (SELECT FROM event_queue q WHERE q.slot = e.slot AND q.tenant_id = e.tenant_id AND q.event_id = e.event_id)
      AND NOT EXISTS (SELECT FROM event_parked p
                      WHERE p.tenant_id = e.tenant_id AND p.event_id = e.event_id AND p.kind = 'parked')
), notified AS MATERIALIZED (
    SELECT pg_notify('tidegate_event', $1::text)
)
INSERT INTO event_queue (slot, tenant_id, event_id, run)
SELECT c.slot, c.tenant_id, c.event_id, c.run FROM chosen c CROSS JOIN notified ORDER BY c.event_id
RETURNING event_id

-- name: event_replay_range
-- As event_replay_ids, for a range of time. $1 tenant, $2 first id, $3 end of ids, $4 connection or null, $5 at most.
WITH started AS MATERIALIZED (
    SELECT pg_current_xact_id() AS xid
), chosen AS MATERIALIZED (
    SELECT e.slot, e.tenant_id, e.event_id, 1 + coalesce(
        (SELECT max(o.run) FROM event_outcome o WHERE o.tenant_id = e.tenant_id AND o.event_id = e.event_id), 0) AS run
    FROM started, event e
    WHERE started.xid IS NOT NULL AND e.tenant_id = $1 AND e.event_id >= $2 AND e.event_id < $3
      AND ($4::uuid IS NULL OR e.connection_id = $4) AND e.source <> 'result'
      AND NOT EXISTS (SELECT FROM event_queue q WHERE q.slot = e.slot AND q.tenant_id = e.tenant_id AND q.event_id = e.event_id)
      AND NOT EXISTS (SELECT FROM event_parked p
                      WHERE p.tenant_id = e.tenant_id AND p.event_id = e.event_id AND p.kind = 'parked')
    ORDER BY e.event_id
    LIMIT $5
), notified AS MATERIALIZED (
    SELECT pg_notify('tidegate_event', $1::text)
)
INSERT INTO event_queue (slot, tenant_id, event_id, run)
SELECT c.slot, c.tenant_id, c.event_id, c.run FROM chosen c CROSS JOIN notified ORDER BY c.event_id
RETURNING event_id

-- name: partition_ends
-- Where the last partition of tables ends: the first id after it. Without those that have only a default one. $1 tables.
SELECT p.relname, max(b.ends) AS ends
FROM unnest($1::text[]) AS t(name)
JOIN pg_class p ON p.oid = t.name::regclass
JOIN pg_inherits i ON i.inhparent = p.oid
JOIN pg_class c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([0-9a-f-]{36})''\)') AS ends) b
WHERE b.ends IS NOT NULL
GROUP BY p.relname
