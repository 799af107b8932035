-- name: oversold
-- Articles of which orders hold more than all active locations have, where a sale since $2 took the last ones; the most units
-- first, at most $3. $1 tenant.
SELECT i.item_id, i.sku, b.missing, e.since
FROM (
    SELECT item_id, min(at) AS since FROM stock_entry
    WHERE tenant_id = $1 AND at > $2 AND committed_delta > 0
      AND on_hand_after - unavailable_after - committed_after - reserved_after < 0
    GROUP BY item_id
) e
CROSS JOIN LATERAL (
    SELECT -sum(s.available)::bigint AS missing
    FROM stock_balance s JOIN location p ON p.tenant_id = s.tenant_id AND p.location_id = s.location_id AND p.active
    WHERE s.tenant_id = $1 AND s.item_id = e.item_id
) b
JOIN inventory_item i ON i.tenant_id = $1 AND i.item_id = e.item_id
WHERE b.missing > 0
ORDER BY b.missing DESC, i.sku LIMIT $3

-- name: oversold_orders
-- Orders that hold units of an article and were not shipped, newest first. $1 tenant, $2 article, $3 at most.
SELECT o.order_id, o.number, c.name AS channel, o.placed_at, ((l.current - l.shipped) * vi.required_qty * sold.units)::int AS units
FROM (SELECT $2::uuid AS item_id, 1 AS units
      UNION ALL SELECT item_id, units FROM kit_part WHERE tenant_id = $1 AND part_id = $2) sold
JOIN variant_item vi ON vi.tenant_id = $1 AND vi.item_id = sold.item_id
JOIN order_line l ON l.tenant_id = vi.tenant_id AND l.variant_id = vi.variant_id AND l.fulfilled < l.current
JOIN "order" o ON o.tenant_id = l.tenant_id AND o.order_id = l.order_id AND o.order_state NOT IN ('cancelled', 'draft')
JOIN connection c ON c.tenant_id = o.tenant_id AND c.connection_id = o.connection_id
WHERE l.shipped < l.current
ORDER BY o.placed_at DESC, o.order_id DESC LIMIT $3

-- name: backorder_receipts
-- What is on its way of an item to places that are active. $1 tenant, $2 item.
SELECT i.expected_on, i.units FROM stock_incoming i
JOIN location p ON p.tenant_id = i.tenant_id AND p.location_id = i.location_id AND p.active
WHERE i.tenant_id = $1 AND i.item_id = $2

-- name: backorder_add
-- Let orders wait for units of an item; what they were promised stands until they wait for more. $1 tenant, $2 item, $3 orders,
-- $4 units, $5 days, $6 who decided.
INSERT INTO backorder AS b (tenant_id, order_id, item_id, units, promised_on, decided_by)
SELECT $1, n.order_id, $2, n.units, n.promised_on, $6 FROM unnest($3::uuid[], $4::int[], $5::date[]) AS n(order_id, units, promised_on)
ORDER BY n.order_id
ON CONFLICT (tenant_id, order_id, item_id) DO UPDATE
SET units = excluded.units, promised_on = excluded.promised_on, decided_by = excluded.decided_by, decided_at = clock_timestamp()
WHERE b.units < excluded.units
RETURNING b.order_id

-- name: backorder_drop
-- Let orders wait for units of an item no longer. $1 tenant, $2 item, $3 orders or null for all.
DELETE FROM backorder WHERE tenant_id = $1 AND item_id = $2 AND ($3::uuid[] IS NULL OR order_id = ANY($3)) RETURNING order_id

-- name: backorder_of
-- What orders wait for of an item. $1 tenant, $2 item.
SELECT order_id, units, promised_on, decided_by, decided_at FROM backorder WHERE tenant_id = $1 AND item_id = $2

-- name: backorder_missing
-- Units of an item by its SKU that orders hold and no active location has. $1 tenant, $2 SKU.
SELECT i.item_id, i.sku, greatest(0, -coalesce(sum(s.available), 0))::bigint AS missing
FROM inventory_item i
LEFT JOIN stock_balance s ON s.tenant_id = $1 AND s.item_id = i.item_id
     AND EXISTS (SELECT FROM location p WHERE p.tenant_id = $1 AND p.location_id = s.location_id AND p.active)
WHERE i.tenant_id = $1 AND i.sku = $2 GROUP BY i.item_id, i.sku
