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
