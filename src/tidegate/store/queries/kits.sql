-- name: kits_known
-- Articles and items by SKU, with what is in the way of making or using them as kits; `part_of`: a kit that has it as a part.
-- `shared`: units of it are shared out among channels. `holds`: units that a level of it still has. $1 tenant, $2 SKUs.
SELECT want.sku, v.variant_id, b.item_id AS own_id, i.item_id, k.is_kit, u.part_of,
       EXISTS (SELECT FROM channel_allocation a WHERE a.tenant_id = $1 AND a.item_id = coalesce(b.item_id, i.item_id)) AS shared,
       h.on_hand, h.unavailable, h.reserved
FROM unnest($2::text[]) AS want(sku)
LEFT JOIN LATERAL (SELECT variant_id FROM variant WHERE tenant_id = $1 AND sku = want.sku OFFSET 0) v ON true
LEFT JOIN LATERAL (SELECT item_id FROM variant_item WHERE tenant_id = $1 AND variant_id = v.variant_id OFFSET 0) b ON true
LEFT JOIN LATERAL (SELECT item_id FROM inventory_item WHERE tenant_id = $1 AND sku = want.sku OFFSET 0) i ON true
LEFT JOIN LATERAL (
    SELECT EXISTS (SELECT FROM kit_part WHERE tenant_id = $1 AND item_id = i.item_id) AS is_kit) k ON true
LEFT JOIN LATERAL (
    SELECT o.sku AS part_of FROM kit_part p JOIN inventory_item o ON o.tenant_id = $1 AND o.item_id = p.item_id
    WHERE p.tenant_id = $1 AND p.part_id = i.item_id ORDER BY o.sku LIMIT 1) u ON true
LEFT JOIN LATERAL (
    SELECT sum(s.on_hand)::int AS on_hand, sum(s.unavailable)::int AS unavailable, sum(s.reserved)::int AS reserved
    FROM stock_balance s WHERE s.tenant_id = $1 AND s.item_id = i.item_id) h ON true

-- name: kits_parts
-- What kits are made of, by SKU. $1 tenant, $2 SKUs of kits.
SELECT i.sku, p.sku AS part, k.part_id, k.units
FROM unnest($2::text[]) AS want(sku)
CROSS JOIN LATERAL (SELECT item_id, sku FROM inventory_item WHERE tenant_id = $1 AND sku = want.sku OFFSET 0) i
JOIN kit_part k ON k.tenant_id = $1 AND k.item_id = i.item_id
JOIN inventory_item p ON p.tenant_id = $1 AND p.item_id = k.part_id
ORDER BY i.sku, p.sku

-- name: kits_skus
-- Kits by SKU. $1 tenant, $2 SKUs behind, $3 those that have this part, or null, $4 at most, $5 SKUs that begin so, or null.
SELECT i.sku FROM inventory_item i
WHERE i.tenant_id = $1 AND i.sku > $2 AND ($5::text IS NULL OR starts_with(i.sku, $5))
  AND EXISTS (SELECT FROM kit_part k WHERE k.tenant_id = $1 AND k.item_id = i.item_id
                AND ($3::text IS NULL OR k.part_id = (SELECT item_id FROM inventory_item WHERE tenant_id = $1 AND sku = $3)))
ORDER BY i.sku LIMIT $4

-- name: kits_lines
-- Lines of orders that stand for one of these articles and hold units. $1 tenant, $2 variants.
SELECT l.order_id, l.line_id, l.variant_id, l.location_id, l.current - l.shipped AS units
FROM order_line l JOIN "order" o ON o.tenant_id = $1 AND o.order_id = l.order_id
WHERE l.tenant_id = $1 AND l.variant_id = ANY($2::uuid[]) AND l.fulfilled < l.current AND l.current > l.shipped
  AND o.order_state NOT IN ('cancelled', 'draft')
ORDER BY l.order_id, l.line_id

-- name: kits_lock_orders
-- Lock the orders of such lines. $1 tenant, $2 variants.
SELECT order_id FROM "order" WHERE tenant_id = $1 AND order_id IN (
    SELECT order_id FROM order_line WHERE tenant_id = $1 AND variant_id = ANY($2::uuid[]) AND fulfilled < current)
ORDER BY order_id FOR NO KEY UPDATE

-- name: kits_drop_parts
-- Forget what kits are made of. $1 tenant, $2 items.
DELETE FROM kit_part WHERE tenant_id = $1 AND item_id = ANY($2::uuid[])

-- name: kits_add_parts
-- Say what kits are made of. $1 tenant, $2 items, $3 parts, $4 units.
INSERT INTO kit_part (tenant_id, item_id, part_id, units)
SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::int[])

-- name: kits_mark
-- Tell every channel the numbers of these items anew, where there is one. Their marks are locked. $1 tenant, $2 items.
UPDATE channel_stock m SET dirty = true, dirty_at = coalesce(m.dirty_at, clock_timestamp()), not_before = NULL
WHERE m.tenant_id = $1 AND m.item_id = ANY($2::uuid[]) AND m.mode <> 'observe'
  AND EXISTS (SELECT FROM stock_counted s WHERE s.tenant_id = $1 AND s.item_id = m.item_id)
