-- name: explain_find_orders
-- Orders by our id, by the number that people use, or by the channel's id. $1 tenant, $2 id or null, $3 number or channel's id.
SELECT o.order_id, c.name AS channel, o.external_id, o.number, o.version, o.order_state, o.payment_state,
       o.fulfillment_state, o.currency, o.total_minor, o.totals_mismatch, o.placed_at
FROM "order" o JOIN connection c USING (tenant_id, connection_id)
WHERE o.tenant_id = $1 AND (o.order_id = $2 OR o.number = $3 OR o.external_id = $3)
ORDER BY o.placed_at DESC, o.order_id LIMIT 20

-- name: explain_lines
-- Lines of an order. $1 tenant, $2 order.
SELECT line_id, external_id, sku, title, ordered, current, shipped, fulfilled
FROM order_line WHERE tenant_id = $1 AND order_id = $2 ORDER BY position, line_id

-- name: explain_fulfillments
-- Fulfillments of an order, each with its units by SKU. $1 tenant, $2 order.
SELECT f.fulfillment_id, c.name AS source, f.source_ref, f.tracking, f.carrier, f.state, f.shipped_at,
       (SELECT json_object_agg(x.sku, x.units) FROM (
            SELECT l.sku, sum(fl.quantity) AS units
            FROM fulfillment_line fl JOIN order_line l ON l.tenant_id = $1 AND l.order_id = $2 AND l.line_id = fl.line_id
            WHERE fl.tenant_id = $1 AND fl.fulfillment_id = f.fulfillment_id GROUP BY l.sku) x) AS units
FROM fulfillment f JOIN connection c ON c.tenant_id = f.tenant_id AND c.connection_id = f.source_id
WHERE f.tenant_id = $1 AND f.order_id = $2 ORDER BY f.fulfillment_id

-- name: explain_payments
-- Payments of an order at their provider. $1 tenant, $2 order.
SELECT p.payment_id, c.name AS connection, p.external_id, p.state, p.currency, p.amount_minor, p.captured_minor,
       p.refunded_minor, p.claimed_minor, p.expires_at
FROM psp_payment p JOIN connection c USING (tenant_id, connection_id)
WHERE p.tenant_id = $1 AND p.order_id = $2 ORDER BY p.number

-- name: explain_refunds
-- Refunds of an order, on both sides. $1 tenant, $2 order.
SELECT refund_id, origin, kind, amount_minor, currency, state, carry, code, channel_ref, psp_ref, reason
FROM refund WHERE tenant_id = $1 AND order_id = $2 ORDER BY number

-- name: explain_event_ids
-- Events that ended at one of these entities. $1 tenant, $2 entities.
SELECT DISTINCT event_id FROM event_outcome WHERE tenant_id = $1 AND entity_id = ANY($2::uuid[])

-- name: explain_entries
-- Ledger entries of an order's lines. $1 tenant, $2 order, $3 lines.
SELECT s.item_id, i.sku, p.name AS location, s.version, s.kind, s.on_hand_delta, s.committed_delta, s.on_hand_after,
       s.committed_after, s.event_id, s.at
FROM (SELECT DISTINCT unnest(v.item_id || array(SELECT k.part_id FROM kit_part k WHERE k.tenant_id = $1 AND k.item_id = v.item_id)) AS item_id
      FROM order_line l JOIN variant_item v ON v.tenant_id = $1 AND v.variant_id = l.variant_id
      WHERE l.tenant_id = $1 AND l.order_id = $2) mine
JOIN stock_entry s ON s.tenant_id = $1 AND s.item_id = mine.item_id AND s.order_line_id = ANY($3::uuid[])
JOIN inventory_item i ON i.tenant_id = $1 AND i.item_id = s.item_id
JOIN location p ON p.tenant_id = $1 AND p.location_id = s.location_id
ORDER BY s.at, s.item_id, s.version

-- name: explain_backorders
-- What an order waits for, by what was decided. $1 tenant, $2 order.
SELECT i.sku, b.units, b.promised_on, b.decided_by, b.decided_at
FROM backorder b JOIN inventory_item i USING (tenant_id, item_id)
WHERE b.tenant_id = $1 AND b.order_id = $2 ORDER BY b.decided_at, i.sku

-- name: explain_events
-- Events with the outcome of each run, parked ones with their reason. $1 tenant, $2 events.
SELECT e.event_id, c.name AS connection, e.source, e.topic, e.external_id, e.occurred_at, e.conflict,
       o.run, o.outcome, o.code, o.reason, o.connector_version, o.mapping_version, o.code_version, o.config_version, o.at,
       p.kind AS parked_kind, p.code AS parked_code, p.reason AS parked_reason, p.until AS parked_until
FROM event e
JOIN connection c USING (tenant_id, connection_id)
LEFT JOIN event_outcome o USING (tenant_id, event_id)
LEFT JOIN event_parked p USING (tenant_id, event_id)
WHERE e.tenant_id = $1 AND e.event_id = ANY($2::uuid[])
ORDER BY e.event_id, o.run

-- name: explain_commands
-- Commands about these entities. $1 tenant, $2 entities.
SELECT m.command_id, m.connection_id, c.name AS connection, m.kind, m.target_key, m.version, m.state, m.code, m.reason,
       m.not_before, m.settles_at, m.deadline_at, m.attempt_number, m.call_id, m.cause_event_id, m.quantity,
       m.entity_id, m.finished_at
FROM command m JOIN connection c USING (tenant_id, connection_id)
WHERE m.tenant_id = $1 AND m.entity_id = ANY($2::uuid[])
ORDER BY m.command_id

-- name: explain_pushes
-- Commands that told numbers of these items in a range of ids. $1 tenant, $2 items, $3 first id, $4 end of ids.
SELECT m.command_id, m.connection_id, c.name AS connection, m.kind, m.target_key, m.version, m.state, m.code, m.reason,
       m.not_before, m.settles_at, m.deadline_at, m.attempt_number, m.call_id, m.cause_event_id, m.quantity,
       m.entity_id, m.finished_at
FROM command m JOIN connection c USING (tenant_id, connection_id)
WHERE m.tenant_id = $1 AND m.entity_id = ANY($2::uuid[]) AND m.kind = 'inventory.set'
  AND m.command_id >= $3 AND m.command_id < $4
ORDER BY m.command_id LIMIT 5000

-- name: explain_attempts
-- Attempts at calls with their answers. $1 tenant, $2 calls.
SELECT k.call_id, k.idempotency_key, k.config_version, encode(k.map_digest, 'hex') AS map_digest,
       cardinality(k.members) AS members, k.created_at, a.attempt_id, a.purpose,
       a.attempt_number, a.started_at, r.outcome, r.code, r.http_status, r.duration_ms, r.late, r.at AS answered_at
FROM call k
LEFT JOIN attempt a ON a.tenant_id = k.tenant_id AND a.call_id = k.call_id
LEFT JOIN attempt_answer r ON r.tenant_id = a.tenant_id AND r.attempt_id = a.attempt_id
WHERE k.tenant_id = $1 AND k.call_id = ANY($2::uuid[])
ORDER BY k.call_id, a.attempt_id, r.at

-- name: explain_bindings
-- What the connections call these entities. $1 tenant, $2 entities.
SELECT c.name AS connection, b.kind, b.external_id, b.internal_id
FROM connection c
CROSS JOIN unnest(ARRAY['order', 'order_line', 'fulfillment']) AS k (kind)
JOIN binding b ON b.tenant_id = c.tenant_id AND b.connection_id = c.connection_id AND b.kind = k.kind
              AND b.internal_id = ANY($2::uuid[])
WHERE c.tenant_id = $1
ORDER BY c.name, b.kind, b.external_id

-- name: explain_lanes
-- What may hold commands back: connections, lanes, the switch. $1 tenant.
SELECT c.connection_id, c.state, c.state_reason, l.snoozed_until, l.snooze_reason, coalesce(l.hold_rule, '') AS hold_rule,
       l.hold_until,
       (SELECT s.is_on FROM switch s WHERE s.name = 'stop_all_writes') AS writes_stopped
FROM connection c LEFT JOIN lane_state l USING (tenant_id, connection_id)
WHERE c.tenant_id = $1

-- name: explain_older
-- The oldest open command of each of these targets. $1 tenant, $2 connections, $3 targets.
SELECT n.connection_id, n.target_key, m.command_id, m.state
FROM unnest($2::uuid[], $3::text[]) AS n (connection_id, target_key)
JOIN LATERAL (
    SELECT command_id, state FROM command
    WHERE tenant_id = $1 AND connection_id = n.connection_id AND target_key = n.target_key
      AND state IN ('proposed', 'pending', 'sending', 'in_doubt')
    ORDER BY command_id LIMIT 1
) m ON true
