-- name: overview_received
-- Events that came from outside, per range of ids. $1 tenant, $2 first ids, $3 ends of ids.
SELECT w.first_id, (SELECT count(*) FROM event e
                    WHERE e.tenant_id = $1 AND e.event_id >= w.first_id AND e.event_id < w.end_id AND e.source <> 'result') AS number
FROM unnest($2::uuid[], $3::uuid[]) AS w (first_id, end_id) ORDER BY w.first_id

-- name: overview_sent
-- Attempts to write, per range of ids. $1 tenant, $2 first ids, $3 ends of ids.
SELECT w.first_id, (SELECT count(*) FROM attempt a
                    WHERE a.tenant_id = $1 AND a.attempt_id >= w.first_id AND a.attempt_id < w.end_id) AS number
FROM unnest($2::uuid[], $3::uuid[]) AS w (first_id, end_id) ORDER BY w.first_id

-- name: overview_applied
-- When recent events from outside were applied for the first time. $1 tenant, $2 ids from, $3 at most.
SELECT e.event_id, o.at
FROM (SELECT tenant_id, event_id FROM event
      WHERE tenant_id = $1 AND event_id >= $2 AND source <> 'result' ORDER BY event_id DESC LIMIT $3) e
JOIN event_outcome o ON o.tenant_id = e.tenant_id AND o.event_id = e.event_id AND o.run = 0

-- name: overview_calls
-- Recent first attempts: their commands, when they left, how long the answer took. $1 tenant, $2 ids from, $3 at most.
SELECT k.members, a.started_at, r.duration_ms
FROM (SELECT attempt_id, call_id, started_at FROM attempt
      WHERE tenant_id = $1 AND attempt_id >= $2 AND purpose = 'send' AND attempt_number = 1
      ORDER BY attempt_id DESC LIMIT $3) a
JOIN call k ON k.tenant_id = $1 AND k.call_id = a.call_id
LEFT JOIN attempt_answer r ON r.tenant_id = $1 AND r.attempt_id = a.attempt_id AND NOT r.late

-- name: overview_waiting
-- What waits at each stage, nothing left out: how much, and the id or the moment of the oldest. $1 tenant.
SELECT 'queued' AS stage, count(*) AS number, (array_agg(event_id ORDER BY event_id))[1] AS oldest_id,
       NULL::timestamptz AS oldest_at
FROM event_queue WHERE tenant_id = $1 AND run = 0
UNION ALL
SELECT 'replaying', count(*), (array_agg(event_id ORDER BY event_id))[1], NULL
FROM event_queue WHERE tenant_id = $1 AND run > 0
UNION ALL
SELECT kind, count(*), (array_agg(event_id ORDER BY event_id))[1], NULL
FROM event_parked WHERE tenant_id = $1 GROUP BY kind
UNION ALL
SELECT state, sum(number)::bigint, (array_agg(oldest_id ORDER BY oldest_id))[1], NULL FROM (
    SELECT state, count(*) AS number, (array_agg(command_id ORDER BY command_id))[1] AS oldest_id
    FROM command WHERE tenant_id = $1 AND state IN ('pending', 'sending', 'in_doubt') GROUP BY state
    UNION ALL
    SELECT state, count(*), (array_agg(command_id ORDER BY command_id))[1]
    FROM command WHERE tenant_id = $1 AND state = 'failed' GROUP BY state
    UNION ALL
    SELECT state, count(*), (array_agg(command_id ORDER BY command_id))[1]
    FROM command WHERE tenant_id = $1 AND state = 'proposed' GROUP BY state
) c GROUP BY state
UNION ALL
SELECT 'stock', count(*), NULL, min(dirty_at) FROM channel_stock WHERE tenant_id = $1 AND dirty AND sendable
UNION ALL
SELECT 'proposed_stock', count(*), NULL, min(dirty_at) FROM channel_stock
WHERE tenant_id = $1 AND dirty AND NOT sendable AND mode = 'propose'
UNION ALL
SELECT 'fetch', count(*), NULL, min(not_before) FROM fetch_request WHERE tenant_id = $1

-- name: overview_money_in_commands
-- Value of orders whose command is not done, by kind and state; an order counts once per row. $1 tenant.
WITH standing AS (
    SELECT kind, state, entity_id FROM command
    WHERE tenant_id = $1 AND state IN ('pending', 'sending', 'in_doubt') AND kind <> 'inventory.set'
    UNION ALL
    SELECT kind, state, entity_id FROM command WHERE tenant_id = $1 AND state = 'failed' AND kind <> 'inventory.set'
    UNION ALL
    SELECT kind, state, entity_id FROM command WHERE tenant_id = $1 AND state = 'proposed' AND kind <> 'inventory.set'
), named AS (
    SELECT DISTINCT s.kind, s.state, CASE WHEN s.kind = 'fulfillment.create' THEN f.order_id ELSE s.entity_id END AS order_id
    FROM standing s
    LEFT JOIN fulfillment f ON s.kind = 'fulfillment.create' AND f.tenant_id = $1 AND f.fulfillment_id = s.entity_id
)
SELECT n.kind, n.state, o.currency, count(*) AS orders, sum(o.total_minor)::bigint AS total_minor
FROM named n JOIN "order" o ON o.tenant_id = $1 AND o.order_id = n.order_id
GROUP BY n.kind, n.state, o.currency ORDER BY n.kind, n.state, o.currency

-- name: overview_money_unplanned
-- Paid orders that no command was ever planned for and the ERP does not know. $1 tenant, $2 ERP by name, $3 order ids from,
-- $4 placed since, $5 payment states that release an order.
SELECT o.currency, count(*) AS orders, sum(o.total_minor)::bigint AS total_minor
FROM "order" o
WHERE o.tenant_id = $1 AND o.order_id >= $3 AND o.placed_at >= $4
  AND o.payment_state = ANY($5::text[]) AND o.order_state NOT IN ('draft', 'cancelled')
  AND NOT EXISTS (SELECT FROM command_key k JOIN connection c USING (tenant_id, connection_id)
                  WHERE k.tenant_id = $1 AND c.name = $2 AND k.kind = 'order.create' AND k.entity_id = o.order_id)
  AND NOT EXISTS (SELECT FROM connection c JOIN binding b USING (tenant_id, connection_id)
                  WHERE c.tenant_id = $1 AND c.name = $2 AND b.kind = 'order' AND b.internal_id = o.order_id)
GROUP BY o.currency ORDER BY o.currency
