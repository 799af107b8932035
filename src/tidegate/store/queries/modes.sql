-- name: flow_modes_save
-- Change modes. $1 tenant, $2 connections, $3 flows, $4 modes, $5 rules, $6 from when on orders are created, or null for now.
-- A flow that stops observing creates nothing that was placed before; a connection that is new leaves that to `since`.
INSERT INTO flow_mode AS f (tenant_id, connection_id, flow, mode, rules, live_from, revision)
SELECT $1, n.connection_id, n.flow, n.mode, n.rules, $6::timestamptz,
       (SELECT coalesce(max(revision), 0) + 1 FROM flow_mode WHERE tenant_id = $1)
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) AS n (connection_id, flow, mode, rules)
ORDER BY n.connection_id, n.flow
ON CONFLICT (tenant_id, connection_id, flow) DO UPDATE
SET mode = excluded.mode, rules = excluded.rules, revision = excluded.revision, changed_at = clock_timestamp(),
    live_from = CASE WHEN f.mode = 'observe' AND excluded.mode <> 'observe' THEN coalesce($6, clock_timestamp())
                     ELSE f.live_from END

-- name: marks_settle
-- Give items the mode that they have in each channel, and return how many changed. $1 tenant, $2 connections, $3 whether each
-- is told stock numbers, $4 the flow's mode, $5 items with another mode, $6 their modes.
WITH exception AS MATERIALIZED (
    SELECT * FROM unnest($5::uuid[], $6::text[]) AS e (item_id, mode)
), chosen AS MATERIALIZED (
    SELECT m.connection_id, m.item_id, CASE WHEN c.is_target THEN coalesce(e.mode, $4::text) ELSE 'observe' END AS mode
    FROM unnest($2::uuid[], $3::bool[]) AS c (connection_id, is_target)
    JOIN channel_stock m ON m.tenant_id = $1 AND m.connection_id = c.connection_id
    LEFT JOIN exception e ON e.item_id = m.item_id
    WHERE m.mode <> CASE WHEN c.is_target THEN coalesce(e.mode, $4::text) ELSE 'observe' END
    ORDER BY m.connection_id, m.item_id
    FOR NO KEY UPDATE OF m
), settled AS (
    UPDATE channel_stock m
    SET mode = chosen.mode, approved_by = NULL, approved_at = NULL,
        dirty = CASE WHEN chosen.mode = 'observe' THEN false
                     WHEN m.mode = 'observe' THEN
                       EXISTS (SELECT FROM stock_level s WHERE s.tenant_id = m.tenant_id AND s.item_id = m.item_id)
                     ELSE m.dirty END,
        dirty_at = CASE WHEN chosen.mode = 'observe' THEN NULL WHEN m.mode = 'observe' THEN clock_timestamp()
                        ELSE m.dirty_at END,
        not_before = CASE WHEN chosen.mode = 'observe' OR m.mode = 'observe' THEN NULL ELSE m.not_before END,
        tries = CASE WHEN chosen.mode = 'observe' OR m.mode = 'observe' THEN 0 ELSE m.tries END
    FROM chosen
    WHERE m.tenant_id = $1 AND m.connection_id = chosen.connection_id AND m.item_id = chosen.item_id
    RETURNING m.dirty
)
SELECT count(*), (SELECT pg_notify('tidegate_command', '')) FROM settled
