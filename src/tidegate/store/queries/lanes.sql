-- name: lanes_list
-- Each connection with its lane, what is in flight and what is parked. $1 tenant.
SELECT c.connection_id, c.name, c.connector, c.state, c.state_reason, l.budget::text AS budget, l.tokens_at, l.snoozed_until, l.snooze_reason,
       coalesce(l.hold_rule, '') AS hold_rule, l.hold_since, l.hold_until, l.breaker_opened_at,
       coalesce(l.hints_bundled, 0) AS reads_saved,
       (SELECT s.is_on FROM switch s WHERE s.name = 'stop_all_writes') AS writes_stopped,
       (SELECT count(DISTINCT m.call_id) FROM command m
        WHERE m.tenant_id = $1 AND m.connection_id = c.connection_id AND m.state = 'sending') AS in_flight,
       (SELECT count(*) FROM command m
        WHERE m.tenant_id = $1 AND m.connection_id = c.connection_id AND m.state = 'in_doubt') AS in_doubt,
       (SELECT count(*) FROM command m
        WHERE m.tenant_id = $1 AND m.connection_id = c.connection_id AND m.state = 'pending'
          AND m.not_before > statement_timestamp()) AS parked,
       (SELECT min(m.not_before) FROM command m
        WHERE m.tenant_id = $1 AND m.connection_id = c.connection_id AND m.state IN ('pending', 'in_doubt')
          AND m.not_before > statement_timestamp()) AS parked_until,
       (SELECT coalesce(sum(cardinality(k.members) - 1), 0) FROM call k
        WHERE k.tenant_id = $1 AND k.connection_id = c.connection_id AND k.call_id >= $2) AS calls_saved
FROM connection c LEFT JOIN lane_state l USING (tenant_id, connection_id)
WHERE c.tenant_id = $1 ORDER BY c.name

-- name: lanes_waiting
-- What waits in each lane by class, with the oldest: commands by id, marks and reads by time. $1 tenant.
SELECT m.connection_id, m.priority, count(*) AS waiting, min(m.command_id::text) AS oldest_id, NULL::timestamptz AS oldest_at
FROM command m WHERE m.tenant_id = $1 AND m.state = 'pending' GROUP BY m.connection_id, m.priority
UNION ALL
SELECT s.connection_id, s.priority, count(*), NULL, min(s.dirty_at)
FROM channel_stock s WHERE s.tenant_id = $1 AND s.dirty AND s.sendable GROUP BY s.connection_id, s.priority
UNION ALL
SELECT f.connection_id, 0, count(*), NULL, min(f.not_before)
FROM fetch_request f WHERE f.tenant_id = $1 GROUP BY f.connection_id
