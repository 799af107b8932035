-- name: events_list
-- Newest events first. $1 tenant, $2 connection or null, $3 state or null, $4 topic or null, $5 ids from, $6 ids below, $7 at most,
-- $8 events or null, $9 code or null.
SELECT e.event_id, c.name AS connection, e.source, e.topic, e.external_id, e.occurred_at, e.conflict,
       s.state, s.code, s.reason, s.run
FROM event e
JOIN connection c USING (tenant_id, connection_id)
CROSS JOIN LATERAL (
    SELECT coalesce(p.kind, CASE WHEN q.event_id IS NOT NULL THEN 'waiting' END, o.outcome, 'waiting') AS state,
           coalesce(p.code, o.code) AS code, coalesce(p.reason, o.reason) AS reason, coalesce(o.run, 0) AS run
    FROM (SELECT 1) one
    LEFT JOIN event_parked p ON p.tenant_id = e.tenant_id AND p.event_id = e.event_id
    LEFT JOIN LATERAL (SELECT event_id FROM event_queue w
                       WHERE w.slot = e.slot AND w.tenant_id = e.tenant_id AND w.event_id = e.event_id LIMIT 1) q ON true
    LEFT JOIN LATERAL (SELECT outcome, code, reason, run FROM event_outcome x
                       WHERE x.tenant_id = e.tenant_id AND x.event_id = e.event_id ORDER BY run DESC LIMIT 1) o ON true
) s
WHERE e.tenant_id = $1 AND ($2::uuid IS NULL OR e.connection_id = $2) AND ($3::text IS NULL OR s.state = $3)
  AND ($4::text IS NULL OR e.topic = $4) AND e.event_id >= $5 AND e.event_id < $6
  AND ($8::uuid[] IS NULL OR e.event_id = ANY($8)) AND ($9::text IS NULL OR s.code = $9)
ORDER BY e.event_id DESC LIMIT $7

-- name: events_parked_newest
-- The newest events that are parked or in quarantine. $1 tenant, $2 kind, $3 connection or null, $4 ids from, $5 ids below, $6 at most.
SELECT event_id FROM event_parked
WHERE tenant_id = $1 AND kind = $2 AND ($3::uuid IS NULL OR connection_id = $3) AND event_id >= $4 AND event_id < $5
ORDER BY event_id DESC LIMIT $6

-- name: events_queued_newest
-- The newest events that wait for T2. $1 tenant, $2 ids from, $3 ids below, $4 at most.
SELECT event_id FROM event_queue WHERE tenant_id = $1 AND event_id >= $2 AND event_id < $3 ORDER BY event_id DESC LIMIT $4

-- name: events_one
-- One event without its body. $1 tenant, $2 event.
SELECT e.event_id, c.name AS connection, e.source, e.topic, e.ordering_key, e.slot, e.external_id, e.occurred_at,
       e.conflict, e.undecodable, e.headers, e.envelope, encode(e.body_digest, 'hex') AS body_sha256
FROM event e JOIN connection c USING (tenant_id, connection_id)
WHERE e.tenant_id = $1 AND e.event_id = $2

-- name: events_body
-- The sealed body of an event. $1 tenant, $2 event.
SELECT data_key_id, body FROM event WHERE tenant_id = $1 AND event_id = $2

-- name: events_outcomes
-- What became of an event in each run. $1 tenant, $2 event.
SELECT run, outcome, code, reason, entity_kind, entity_id, connector_version, mapping_version, code_version,
       config_version, at
FROM event_outcome WHERE tenant_id = $1 AND event_id = $2 ORDER BY run

-- name: events_quarantined
-- Events that wait for a person, oldest first. $1 tenant, $2 connection or null, $3 ids from, $4 ids below.
SELECT event_id FROM event_parked
WHERE tenant_id = $1 AND kind = 'quarantined' AND ($2::uuid IS NULL OR connection_id = $2)
  AND event_id >= $3 AND event_id < $4
ORDER BY event_id

-- name: events_replayable
-- How many events a replay of a range would take. $1 tenant, $2 connection or null, $3 ids from, $4 ids below.
SELECT count(*) FROM event
WHERE tenant_id = $1 AND ($2::uuid IS NULL OR connection_id = $2) AND source <> 'result'
  AND event_id >= $3 AND event_id < $4

-- name: connection_named
-- The id of a connection. $1 tenant, $2 name.
SELECT connection_id FROM connection WHERE tenant_id = $1 AND name = $2
