-- name: status_queue
-- What waits for T2: number, oldest first run; parked and quarantined events. $1 tenant or null for all.
SELECT
    (SELECT count(*) FROM event_queue q WHERE $1::uuid IS NULL OR q.tenant_id = $1) AS waiting,
    (SELECT q.event_id FROM event_queue q
     WHERE q.run = 0 AND ($1::uuid IS NULL OR q.tenant_id = $1) ORDER BY q.event_id LIMIT 1) AS oldest,
    (SELECT count(*) FROM event_parked p WHERE p.kind = 'parked' AND ($1::uuid IS NULL OR p.tenant_id = $1)) AS parked,
    (SELECT count(*) FROM event_parked p WHERE p.kind = 'quarantined' AND ($1::uuid IS NULL OR p.tenant_id = $1)) AS quarantined

-- name: status_commands
-- Unfinished and failed commands by connection, kind and state, with the oldest of each; two parts, each with an index of
-- its own. $1 tenant or null for all.
WITH standing AS (
    SELECT tenant_id, connection_id, kind, state, command_id FROM command
    WHERE state IN ('proposed', 'pending', 'sending', 'in_doubt') AND ($1::uuid IS NULL OR tenant_id = $1)
    UNION ALL
    SELECT tenant_id, connection_id, kind, state, command_id FROM command
    WHERE state = 'failed' AND ($1::uuid IS NULL OR tenant_id = $1)
)
SELECT c.name AS connection, m.kind, m.state, count(*) AS commands,
       (array_agg(m.command_id ORDER BY m.command_id))[1] AS oldest
FROM standing m JOIN connection c USING (tenant_id, connection_id)
GROUP BY c.name, m.kind, m.state ORDER BY c.name, m.kind, m.state

-- name: status_lanes
-- Each connection with its lane: budget, snooze, marks, and the numbers that differ and that nobody is telling anew. $1 tenant or null for all.
SELECT c.tenant_id, c.connection_id, c.name, c.connector, c.state, c.state_reason,
       l.tokens, l.tokens_at, l.budget::text AS budget, l.snoozed_until, l.snooze_reason, l.breaker_opened_at AS open_since,
       (SELECT count(*) FROM channel_stock s
        WHERE s.tenant_id = c.tenant_id AND s.connection_id = c.connection_id AND s.dirty) AS dirty,
       (SELECT min(s.dirty_at) FROM channel_stock s
        WHERE s.tenant_id = c.tenant_id AND s.connection_id = c.connection_id AND s.dirty) AS dirty_since,
       (SELECT min(m.not_before) FROM command m
        WHERE m.tenant_id = c.tenant_id AND m.connection_id = c.connection_id AND m.state = 'pending') AS parked_until,
       d.differs, d.differs_since
FROM connection c LEFT JOIN lane_state l USING (tenant_id, connection_id)
CROSS JOIN LATERAL (
  SELECT count(*) AS differs, min(t.since) AS differs_since
  FROM (SELECT since FROM drift WHERE tenant_id = c.tenant_id AND connection_id = c.connection_id AND field = 'stock'
          AND NOT in_flight AND variant_id IS NOT NULL AND heal IN ('', 'waits', 'stuck')
          AND cause NOT IN ('observed', 'proposed', 'never_counted') LIMIT 10000) t
) d
WHERE $1::uuid IS NULL OR c.tenant_id = $1
ORDER BY c.name

-- name: status_feeds
-- Each feed that was read, with its last success and error. $1 tenant or null for all.
SELECT c.name AS connection, p.feed, p.last_ok_at, p.last_error
FROM poll_cursor p JOIN connection c USING (tenant_id, connection_id)
WHERE $1::uuid IS NULL OR p.tenant_id = $1
ORDER BY c.name, p.feed

-- name: status_nodes
-- Worker loops and how many slots each holds.
SELECT n.role, n.host, n.pid, n.started_at, n.heartbeat_at,
       (SELECT count(*) FROM slot s WHERE s.role = n.role AND s.node_id = n.node_id) AS slots
FROM node n ORDER BY n.role, n.started_at, n.node_id

-- name: status_switches
-- The switches.
SELECT name, is_on, reason, changed_by, changed_at FROM switch ORDER BY name

-- name: conservation_balances
-- The equation per connection and hour of receipt, what is still waiting included. $1 tenant or null for all, $2 first hour.
WITH counted AS (
    SELECT tenant_id, connection_id, hour, sum(received)::bigint AS received, sum(duplicate)::bigint AS duplicate,
           sum(applied)::bigint AS applied, sum(superseded)::bigint AS superseded, sum(ignored)::bigint AS ignored,
           sum(quarantined)::bigint AS quarantined
    FROM conservation
    WHERE hour >= $2 AND ($1::uuid IS NULL OR tenant_id = $1)
    GROUP BY tenant_id, connection_id, hour
), waiting AS (
    SELECT tenant_id, event_id FROM event_queue WHERE $1::uuid IS NULL OR tenant_id = $1
    UNION
    SELECT tenant_id, event_id FROM event_parked WHERE kind = 'parked' AND ($1::uuid IS NULL OR tenant_id = $1)
), pending AS (
    SELECT e.tenant_id, e.connection_id, date_trunc('hour', to_timestamp(
               ('x' || '0000' || left(replace(e.event_id::text, '-', ''), 12))::bit(64)::bigint / 1000.0)) AS hour,
           count(*) AS pending
    FROM waiting JOIN event e USING (tenant_id, event_id)
    WHERE NOT EXISTS (SELECT FROM event_outcome o
                      WHERE o.tenant_id = e.tenant_id AND o.event_id = e.event_id AND o.run = 0)
    GROUP BY 1, 2, 3
)
SELECT n.name AS connection, hour, coalesce(c.received, 0) AS received, coalesce(c.duplicate, 0) AS duplicate,
       coalesce(c.applied, 0) AS applied, coalesce(c.superseded, 0) AS superseded, coalesce(c.ignored, 0) AS ignored,
       coalesce(c.quarantined, 0) AS quarantined, coalesce(p.pending, 0) AS pending
FROM counted c FULL JOIN pending p USING (tenant_id, connection_id, hour)
JOIN connection n USING (tenant_id, connection_id)
WHERE hour >= $2
ORDER BY n.name, hour
