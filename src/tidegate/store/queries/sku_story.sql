-- name: sku_entries
-- Ledger entries of an item with the order whose event posted each, newest first. $1 tenant, $2 item, $3 at most per location.
SELECT p.name AS location, e.version, e.kind, e.on_hand_delta, e.unavailable_delta, e.committed_delta, e.reserved_delta,
       e.on_hand_after, e.unavailable_after, e.committed_after, e.reserved_after, e.cause_key, e.event_id, e.order_line_id,
       e.actor, e.at, o.number AS order_number, o.order_id, e.reservation_id
FROM stock_level s JOIN location p USING (tenant_id, location_id)
CROSS JOIN LATERAL (
    SELECT * FROM stock_entry x
    WHERE x.tenant_id = s.tenant_id AND x.item_id = s.item_id AND x.location_id = s.location_id
    ORDER BY x.version DESC LIMIT $3
) e
LEFT JOIN LATERAL (
    SELECT x.entity_id FROM event_outcome x
    WHERE x.tenant_id = s.tenant_id AND x.event_id = e.event_id AND x.entity_kind = 'order' ORDER BY x.run LIMIT 1
) x ON e.order_line_id IS NOT NULL
LEFT JOIN "order" o ON o.tenant_id = s.tenant_id AND o.order_id = x.entity_id
WHERE s.tenant_id = $1 AND s.item_id = $2
ORDER BY e.at DESC, p.name, e.version DESC

-- name: sku_orders
-- Orders that hold units of an item, by itself or in a kit: placed and not fulfilled, oldest first. $1 tenant, $2 item, $3 at most.
SELECT o.order_id, o.number, c.name AS channel, o.order_state, o.payment_state, o.placed_at, l.current, l.shipped,
       l.fulfilled, vi.required_qty * sold.units AS required_qty, (l.current - l.fulfilled) * vi.required_qty * sold.units AS units
FROM (SELECT $2::uuid AS item_id, 1 AS units
      UNION ALL SELECT item_id, units FROM kit_part WHERE tenant_id = $1 AND part_id = $2) sold
JOIN variant_item vi ON vi.tenant_id = $1 AND vi.item_id = sold.item_id
JOIN order_line l ON l.tenant_id = vi.tenant_id AND l.variant_id = vi.variant_id AND l.fulfilled < l.current
JOIN "order" o ON o.tenant_id = l.tenant_id AND o.order_id = l.order_id AND o.order_state NOT IN ('cancelled', 'draft')
JOIN connection c ON c.tenant_id = o.tenant_id AND c.connection_id = o.connection_id
ORDER BY o.placed_at, o.order_id LIMIT $3

-- name: sku_told
-- Numbers of an item that channels were told, newest first. $1 tenant, $2 item, $3 at most per channel.
SELECT t.command_id, c.connection_id, c.name AS connection, t.kind, t.target_key, t.version, t.state, t.code, t.reason,
       t.not_before, t.settles_at, t.attempt_number, t.call_id, t.quantity, t.ledger, t.finished_at, t.entity_id
FROM connection c
CROSS JOIN LATERAL (
    SELECT * FROM command m
    WHERE m.tenant_id = c.tenant_id AND m.entity_id = $2 AND m.connection_id = c.connection_id AND m.kind = 'inventory.set'
    ORDER BY m.command_id DESC LIMIT $3
) t
WHERE c.tenant_id = $1
ORDER BY t.command_id DESC

-- name: sku_bindings
-- What the connections call the variants of an item, and what they called them that was deleted there. $1 tenant, $2 item.
SELECT c.name AS connection, b.external_id, v.sku, vi.required_qty, b.gone_at
FROM variant_item vi
JOIN variant v ON v.tenant_id = vi.tenant_id AND v.variant_id = vi.variant_id
CROSS JOIN connection c
CROSS JOIN LATERAL (
    SELECT n.external_id, NULL::timestamptz AS gone_at FROM binding n
    WHERE n.tenant_id = vi.tenant_id AND n.connection_id = c.connection_id AND n.kind = 'variant'
      AND n.internal_id = vi.variant_id
    UNION ALL
    SELECT t.external_id, t.gone_at FROM tombstone t
    WHERE t.tenant_id = vi.tenant_id AND t.connection_id = c.connection_id AND t.variant_id = vi.variant_id
) b
WHERE vi.tenant_id = $1 AND vi.item_id = $2 AND c.tenant_id = $1
ORDER BY c.name, b.gone_at NULLS FIRST, b.external_id
