-- name: owners_of_order
-- The newest event of each connection that was applied to an order or to its fulfillments. $1 tenant, $2 order.
SELECT DISTINCT ON (o.entity_kind, e.connection_id) o.entity_kind, c.name AS connection,
       e.connection_id = d.connection_id AS is_origin, e.event_id, o.at
FROM "order" d
CROSS JOIN LATERAL (
    SELECT d.order_id AS entity_id
    UNION ALL
    SELECT f.fulfillment_id FROM fulfillment f WHERE f.tenant_id = d.tenant_id AND f.order_id = d.order_id
) x
JOIN event_outcome o ON o.tenant_id = $1 AND o.entity_id = x.entity_id AND o.outcome = 'applied'
JOIN event e ON e.tenant_id = $1 AND e.event_id = o.event_id
JOIN connection c ON c.tenant_id = $1 AND c.connection_id = e.connection_id
WHERE d.tenant_id = $1 AND d.order_id = $2
ORDER BY o.entity_kind, e.connection_id, o.at DESC, e.event_id DESC

-- name: owners_of_on_hand
-- The newest entry of each level that moved on_hand, and who told of it. $1 tenant, $2 item.
SELECT p.name AS location, x.on_hand_after, x.kind, x.event_id, x.actor, x.at, c.name AS connection
FROM stock_level s JOIN location p USING (tenant_id, location_id)
CROSS JOIN LATERAL (
    SELECT * FROM stock_entry n
    WHERE n.tenant_id = s.tenant_id AND n.item_id = s.item_id AND n.location_id = s.location_id AND n.on_hand_delta <> 0
    ORDER BY n.version DESC LIMIT 1
) x
LEFT JOIN event e ON e.tenant_id = s.tenant_id AND e.event_id = x.event_id
LEFT JOIN connection c ON c.tenant_id = s.tenant_id AND c.connection_id = e.connection_id
WHERE s.tenant_id = $1 AND s.item_id = $2
ORDER BY p.name

-- name: owners_of_numbers
-- What each channel was told of an item, and by which command. $1 tenant, $2 item.
SELECT c.name AS connection, m.acked_quantity, m.acked_at,
       (SELECT k.command_id FROM command k
        WHERE k.tenant_id = $1 AND k.entity_id = $2 AND k.connection_id = m.connection_id AND k.kind = 'inventory.set'
          AND k.state = 'succeeded' ORDER BY k.command_id DESC LIMIT 1) AS command_id
FROM channel_stock m JOIN connection c USING (tenant_id, connection_id)
WHERE m.tenant_id = $1 AND m.item_id = $2 AND m.push_version > 0
ORDER BY c.name

-- name: owners_of_prices
-- The price that each connection showed last of the variants of an item. $1 tenant, $2 item.
SELECT c.name AS connection, w.value::text AS value, w.currency, w.observed_at
FROM variant_item v
JOIN binding b ON b.tenant_id = v.tenant_id AND b.kind = 'variant' AND b.internal_id = v.variant_id
JOIN connection c ON c.tenant_id = b.tenant_id AND c.connection_id = b.connection_id
JOIN shown w ON w.tenant_id = b.tenant_id AND w.connection_id = b.connection_id AND w.external_id = b.external_id
            AND w.field = 'price'
WHERE v.tenant_id = $1 AND v.item_id = $2
ORDER BY c.name, w.external_id
