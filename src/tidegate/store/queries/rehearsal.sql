-- name: rehearsal_open
-- What is not finished, over all connections.
SELECT (SELECT count(*) FROM event_queue) AS events_waiting,
       (SELECT count(*) FROM event_parked WHERE kind = 'parked') AS events_parked,
       (SELECT count(*) FROM event_parked WHERE kind = 'quarantined') AS events_quarantined,
       (SELECT count(*) FROM command WHERE state IN ('proposed', 'pending', 'sending')) AS commands_waiting,
       (SELECT count(*) FROM command WHERE state = 'in_doubt') AS commands_in_doubt,
       (SELECT count(*) FROM command WHERE state = 'failed') AS commands_failed,
       (SELECT count(*) FROM channel_stock m
        WHERE m.dirty AND NOT EXISTS (
            SELECT FROM channel_allocation a  -- units that nobody buys may be worth a try elsewhere later: nothing waits for it
            WHERE a.tenant_id = m.tenant_id AND a.connection_id = m.connection_id AND a.item_id = m.item_id
              AND a.cap IS NULL AND m.tries = 0 AND m.late_until IS NULL AND m.unseen + m.unseen_back = 0
              AND m.not_before > clock_timestamp())
          AND NOT (  -- units that are held back fade when nobody buys: nothing waits for it either
            m.tries = 0 AND m.blocked_by IS NULL AND m.late_until IS NULL AND m.unseen + m.unseen_back = 0
            AND m.not_before > clock_timestamp()
            AND EXISTS (SELECT FROM command k
                        WHERE k.tenant_id = m.tenant_id AND k.entity_id = m.item_id AND k.connection_id = m.connection_id
                          AND k.kind = 'inventory.set' AND k.version = m.push_version AND k.state = 'succeeded'
                          AND (k.ledger ->> 'buffer_fades')::int >= 60))) AS marks_dirty,
       (SELECT count(*) FROM fetch_request) AS fetches_waiting

-- name: rehearsal_shared
-- Items whose units are shared out, and how often units of each were withdrawn.
SELECT i.sku, sum(a.withdrawals)::bigint AS withdrawals
FROM channel_allocation a JOIN inventory_item i USING (tenant_id, item_id) GROUP BY i.sku

-- name: rehearsal_waiting
-- What of each connection waits for longer than $1 seconds, numbers also for longer than they wait for company ($2: seconds by
-- connection), and what its lane does meanwhile: `waiting` could be sent by now, `parked` waits after a failed attempt,
-- `in_doubt` until it is known whether it happened.
SELECT c.name AS connection,
       (SELECT count(*) FROM command m
        WHERE m.tenant_id = c.tenant_id AND m.connection_id = c.connection_id AND m.state = 'pending'
          AND (m.not_before IS NULL OR m.not_before <= clock_timestamp())
          AND ('x' || '0000' || left(replace(m.command_id::text, '-', ''), 12))::bit(64)::bigint / 1000.0
              < extract(epoch FROM clock_timestamp()) - $1::double precision)
       + (SELECT count(*) FROM channel_stock s
          WHERE s.tenant_id = c.tenant_id AND s.connection_id = c.connection_id AND s.dirty AND s.sendable
            AND s.blocked_by IS NULL AND (s.not_before IS NULL OR s.not_before <= clock_timestamp())
            AND s.dirty_at < clock_timestamp() - make_interval(
                  secs => $1::double precision + coalesce(($2::jsonb ->> c.name)::double precision, 0))) AS waiting,
       (SELECT count(*) FROM command m
        WHERE m.tenant_id = c.tenant_id AND m.connection_id = c.connection_id AND m.state = 'pending'
          AND m.not_before > clock_timestamp()) AS parked,
       (SELECT count(*) FROM command m
        WHERE m.tenant_id = c.tenant_id AND m.connection_id = c.connection_id AND m.state = 'in_doubt') AS in_doubt,
       (SELECT count(DISTINCT m.call_id) FROM command m
        WHERE m.tenant_id = c.tenant_id AND m.connection_id = c.connection_id AND m.state = 'sending') AS in_flight,
       CASE WHEN l.snoozed_until > clock_timestamp() THEN 'snoozed'
            WHEN l.hold_until IS NULL OR l.hold_until > clock_timestamp() THEN coalesce(l.hold_rule, '')
            ELSE '' END AS held_by
FROM connection c LEFT JOIN lane_state l USING (tenant_id, connection_id)

-- name: rehearsal_orders
-- Every order with its id where it was placed.
SELECT o.order_id, c.name AS connection, o.external_id FROM "order" o JOIN connection c USING (tenant_id, connection_id)

-- name: rehearsal_steps
-- For every order: the event that told of it first, when that was applied, and its `order.create`.
SELECT c.name AS connection, o.external_id, e.event_id, e.applied_at, s.sent_at, s.answered_at
FROM "order" o JOIN connection c USING (tenant_id, connection_id)
LEFT JOIN LATERAL (
    SELECT t.event_id, t.at AS applied_at FROM event_outcome t
    WHERE t.tenant_id = o.tenant_id AND t.entity_id = o.order_id AND t.outcome = 'applied'
    ORDER BY t.event_id LIMIT 1
) e ON true
LEFT JOIN LATERAL (
    SELECT min(a.started_at) AS sent_at, min(w.at) FILTER (WHERE w.outcome = 'success') AS answered_at
    FROM command m JOIN attempt a ON a.tenant_id = m.tenant_id AND a.call_id = m.call_id
    LEFT JOIN attempt_answer w ON w.tenant_id = a.tenant_id AND w.attempt_id = a.attempt_id
    WHERE m.tenant_id = o.tenant_id AND m.entity_id = o.order_id AND m.kind = 'order.create'
) s ON true

-- name: rehearsal_newest
-- The newest order that the ERP has, one with more than one attempt first.
SELECT o.number FROM "order" o
JOIN command m ON m.tenant_id = o.tenant_id AND m.entity_id = o.order_id AND m.kind = 'order.create' AND m.state = 'succeeded'
ORDER BY m.attempt_number > 1 DESC, m.command_id DESC LIMIT 1

-- name: rehearsal_wrong_entries
-- Facts posted twice, more shipped than ordered, and levels that are not the sum of their entries.
SELECT (SELECT count(*) - count(DISTINCT (tenant_id, cause_key)) FROM stock_entry)
     + (SELECT count(*) FROM (
            SELECT 1 FROM stock_entry WHERE kind = 'ship' GROUP BY tenant_id, order_line_id
            HAVING -sum(on_hand_delta) > (SELECT max(l.current) FROM order_line l WHERE l.line_id = order_line_id)) twice)
     + (SELECT count(*) FROM stock_balance s LEFT JOIN (
            SELECT tenant_id, item_id, location_id, sum(on_hand_delta) AS on_hand, sum(committed_delta) AS committed,
                   count(*) AS entries
            FROM stock_entry GROUP BY 1, 2, 3) e USING (tenant_id, item_id, location_id)
        WHERE (s.on_hand, s.committed, s.version)
              IS DISTINCT FROM (coalesce(e.on_hand, 0), coalesce(e.committed, 0), coalesce(e.entries, 0)))
