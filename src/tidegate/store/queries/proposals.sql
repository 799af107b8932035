-- name: proposals_chosen_commands
-- Proposed commands, oldest first. $1 tenant, $2 commands or null for all, $3 kinds, $4 connection or null.
SELECT command_id FROM command
WHERE tenant_id = $1 AND state = 'proposed' AND ($2::uuid[] IS NULL OR command_id = ANY($2)) AND kind = ANY($3::text[])
  AND ($4::uuid IS NULL OR connection_id = $4)
ORDER BY command_id

-- name: proposals_chosen_marks
-- Stock numbers that wait for a person. $1 tenant, $2 connection or null.
SELECT m.connection_id, m.item_id, i.sku
FROM channel_stock m JOIN inventory_item i USING (tenant_id, item_id)
WHERE m.tenant_id = $1 AND m.dirty AND NOT m.sendable AND m.mode = 'propose' AND ($2::uuid IS NULL OR m.connection_id = $2)
ORDER BY m.connection_id, m.item_id

-- name: proposals_marks_named
-- The stock number of a SKU that waits for a person in a channel. $1 tenant, $2 connection by name, $3 SKU.
SELECT m.connection_id, m.item_id
FROM channel_stock m JOIN connection c USING (tenant_id, connection_id) JOIN inventory_item i USING (tenant_id, item_id)
WHERE m.tenant_id = $1 AND c.name = $2 AND i.sku = $3 AND m.dirty AND NOT m.sendable AND m.mode = 'propose'

-- name: proposals_of_order
-- Proposed commands about an order. $1 tenant, $2 its number.
SELECT m.command_id FROM command m
LEFT JOIN fulfillment f ON m.kind = 'fulfillment.create' AND f.tenant_id = m.tenant_id AND f.fulfillment_id = m.entity_id
JOIN "order" o ON o.tenant_id = m.tenant_id
              AND o.order_id = CASE WHEN m.kind = 'fulfillment.create' THEN f.order_id ELSE m.entity_id END
WHERE m.tenant_id = $1 AND m.state = 'proposed' AND o.number = $2
ORDER BY m.command_id
