-- name: oversold
-- Articles of which orders hold more than all active locations have, or than the one has where they stand, where a sale since $2 took
-- the last ones; the most units first, at most $3. $1 tenant, $4 of one SKU, or null.
SELECT i.item_id, i.sku, greatest(b.missing, 0) AS missing, e.since, b.place_ids, b.places, b.lacking
FROM (
    SELECT item_id, min(at) AS since FROM stock_entry
    WHERE tenant_id = $1 AND at > $2 AND committed_delta > 0
      AND on_hand_after - unavailable_after - committed_after - reserved_after < 0
    GROUP BY item_id
) e
CROSS JOIN LATERAL (
    SELECT -sum(s.available)::bigint AS missing, array_agg(p.location_id ORDER BY s.available, p.name) FILTER (WHERE s.available < 0) AS place_ids,
           array_agg(p.name ORDER BY s.available, p.name) FILTER (WHERE s.available < 0) AS places,
           array_agg(-s.available ORDER BY s.available, p.name) FILTER (WHERE s.available < 0) AS lacking
    FROM stock_balance s JOIN location p ON p.tenant_id = s.tenant_id AND p.location_id = s.location_id AND p.active
    WHERE s.tenant_id = $1 AND s.item_id = e.item_id
) b
JOIN inventory_item i ON i.tenant_id = $1 AND i.item_id = e.item_id
WHERE (b.missing > 0 OR b.places IS NOT NULL) AND ($4::text IS NULL OR i.sku = $4)
ORDER BY greatest(b.missing, 0) DESC, i.sku LIMIT $3

-- name: oversold_orders
-- Orders that hold units of an article and were not shipped, newest first, before them those that are called off: their units come
-- back. $1 tenant, $2 article, $3 at most.
SELECT o.order_id, o.number, c.name AS channel, o.placed_at, o.called_off_at, l.location_id,
       ((l.current - l.shipped) * vi.required_qty * sold.units)::int AS units
FROM (SELECT $2::uuid AS item_id, 1 AS units
      UNION ALL SELECT item_id, units FROM kit_part WHERE tenant_id = $1 AND part_id = $2) sold
JOIN variant_item vi ON vi.tenant_id = $1 AND vi.item_id = sold.item_id
JOIN order_line l ON l.tenant_id = vi.tenant_id AND l.variant_id = vi.variant_id AND l.fulfilled < l.current
JOIN "order" o ON o.tenant_id = l.tenant_id AND o.order_id = l.order_id AND o.order_state NOT IN ('cancelled', 'draft')
JOIN connection c ON c.tenant_id = o.tenant_id AND c.connection_id = o.connection_id
WHERE l.shipped < l.current
ORDER BY (o.called_off_at IS NULL), o.placed_at DESC, o.order_id DESC LIMIT $3

-- name: oversold_cancellable
-- Orders that hold units of an item, newest first, with whether they may be called off: they are of $4 channels, nothing was shipped, $5,
-- the ERP, was not told of them, they were placed since $6, or null, and nobody decided otherwise. $1 tenant, $2 item, $3 at most.
SELECT o.order_id, o.called_off_at IS NOT NULL AS is_called_off, sum((l.current - l.shipped) * vi.required_qty * sold.units)::int AS units,
       (array_agg(l.location_id ORDER BY l.position))[1] AS location_id,
       o.connection_id = ANY($4::uuid[]) AND ($6::timestamptz IS NULL OR o.placed_at >= $6)
       AND NOT EXISTS (SELECT FROM order_line x WHERE x.tenant_id = $1 AND x.order_id = o.order_id AND x.shipped + x.fulfilled > 0)
       AND NOT EXISTS (SELECT FROM fulfillment f WHERE f.tenant_id = $1 AND f.order_id = o.order_id AND f.state <> 'cancelled')
       AND NOT EXISTS (SELECT FROM command c WHERE c.tenant_id = $1 AND c.entity_id = o.order_id AND c.kind = 'order.create'
                         AND c.call_id IS NOT NULL)
       AND NOT EXISTS (SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = $5 AND b.kind = 'order'
                         AND b.internal_id = o.order_id)
       AND NOT EXISTS (SELECT FROM backorder w WHERE w.tenant_id = $1 AND w.order_id = o.order_id AND w.item_id = $2)
       AND NOT EXISTS (SELECT FROM oversold_order d WHERE d.tenant_id = $1 AND d.order_id = o.order_id AND d.outcome = 'let_stand')
       AS may_be_called_off
FROM (SELECT $2::uuid AS item_id, 1 AS units
      UNION ALL SELECT item_id, units FROM kit_part WHERE tenant_id = $1 AND part_id = $2) sold
JOIN variant_item vi ON vi.tenant_id = $1 AND vi.item_id = sold.item_id
JOIN order_line l ON l.tenant_id = vi.tenant_id AND l.variant_id = vi.variant_id AND l.fulfilled < l.current AND l.shipped < l.current
JOIN "order" o ON o.tenant_id = l.tenant_id AND o.order_id = l.order_id AND o.order_state NOT IN ('cancelled', 'draft')
GROUP BY o.tenant_id, o.order_id
ORDER BY o.placed_at DESC, o.order_id DESC LIMIT $3

-- name: oversold_by_hand
-- Orders that hold units of an item, newest first, with what speaks against cancelling them: goods have left or were announced, they
-- were placed before $5, or null; whether somebody decided otherwise about them; and whether $4, the ERP, knows them. $1 tenant,
-- $2 item, $3 at most.
SELECT o.order_id, o.number, o.connection_id, c.name AS channel, o.called_off_at, h.units,
       $5::timestamptz IS NOT NULL AND o.placed_at < $5 AS is_early,
       EXISTS (SELECT FROM order_line x WHERE x.tenant_id = $1 AND x.order_id = o.order_id AND x.shipped + x.fulfilled > 0)
       OR EXISTS (SELECT FROM fulfillment f WHERE f.tenant_id = $1 AND f.order_id = o.order_id AND f.state <> 'cancelled') AS is_shipped,
       EXISTS (SELECT FROM backorder w WHERE w.tenant_id = $1 AND w.order_id = o.order_id AND w.item_id = $2)
       OR EXISTS (SELECT FROM oversold_order d WHERE d.tenant_id = $1 AND d.order_id = o.order_id AND d.outcome = 'let_stand') AS is_decided,
       EXISTS (SELECT FROM command k WHERE k.tenant_id = $1 AND k.entity_id = o.order_id AND k.kind = 'order.create'
                 AND k.call_id IS NOT NULL)
       OR EXISTS (SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = $4 AND b.kind = 'order'
                    AND b.internal_id = o.order_id) AS is_known_to_erp
FROM (
  SELECT l.order_id, sum((l.current - l.shipped) * vi.required_qty * sold.units)::int AS units
  FROM (SELECT $2::uuid AS item_id, 1 AS units
        UNION ALL SELECT item_id, units FROM kit_part WHERE tenant_id = $1 AND part_id = $2) sold
  JOIN variant_item vi ON vi.tenant_id = $1 AND vi.item_id = sold.item_id
  JOIN order_line l ON l.tenant_id = vi.tenant_id AND l.variant_id = vi.variant_id AND l.fulfilled < l.current AND l.shipped < l.current
  GROUP BY l.order_id
) h
JOIN "order" o ON o.tenant_id = $1 AND o.order_id = h.order_id AND o.order_state NOT IN ('cancelled', 'draft')
JOIN connection c ON c.tenant_id = $1 AND c.connection_id = o.connection_id
ORDER BY o.placed_at DESC, o.order_id DESC LIMIT $3

-- name: oversold_lock_orders
-- Lock orders, with whether they are called off already and where they stand. $1 tenant, $2 orders.
SELECT o.order_id, o.connection_id, o.called_off_at,
       (SELECT l.location_id FROM order_line l WHERE l.tenant_id = $1 AND l.order_id = o.order_id ORDER BY l.position LIMIT 1) AS location_id
FROM "order" o WHERE o.tenant_id = $1 AND o.order_id = ANY($2::uuid[]) ORDER BY o.order_id FOR NO KEY UPDATE OF o

-- name: oversold_call_off
-- Orders that their channels are to cancel. $1 tenant, $2 orders, $3 by how much their version grows.
UPDATE "order" SET called_off_at = clock_timestamp(), version = version + $3::int
WHERE tenant_id = $1 AND order_id = ANY($2::uuid[]) RETURNING order_id, version

-- name: oversold_lock
-- Lock the called-off orders that hold units of an item. $1 tenant, $2 item, $3 orders or null for all.
SELECT o.order_id FROM "order" o
WHERE o.tenant_id = $1 AND o.called_off_at IS NOT NULL AND o.order_state <> 'cancelled' AND ($3::uuid[] IS NULL OR o.order_id = ANY($3))
  AND EXISTS (SELECT FROM oversold_order d WHERE d.tenant_id = $1 AND d.order_id = o.order_id AND d.item_id = $2
                AND d.outcome = 'called_off')
ORDER BY o.order_id FOR NO KEY UPDATE OF o

-- name: oversold_let_stand
-- Let called-off orders stand of which the channel was not asked yet, or refused; their creates go out again. $1 tenant, $2 orders,
-- which are locked, $3 item, $4 who decided.
WITH asked AS MATERIALIZED (
  SELECT c.tenant_id, c.command_id, c.entity_id, c.state, c.call_id FROM command c
  JOIN "order" o ON o.tenant_id = c.tenant_id AND o.order_id = c.entity_id AND o.connection_id = c.connection_id
  WHERE c.tenant_id = $1 AND c.entity_id = ANY($2::uuid[]) AND c.kind = 'order.cancel'
  ORDER BY c.command_id FOR NO KEY UPDATE OF c
), free AS (
  SELECT id AS order_id FROM unnest($2::uuid[]) AS wanted(id)
  WHERE NOT EXISTS (SELECT FROM asked a WHERE a.entity_id = wanted.id AND a.state NOT IN ('failed', 'cancelled')
                      AND NOT (a.state IN ('proposed', 'pending') AND a.call_id IS NULL))
), stopped AS (
  UPDATE command c SET state = 'cancelled', code = 'let_stand', reason = 'somebody decided that the order stands',
         finished_at = clock_timestamp()
  FROM asked a JOIN free f ON f.order_id = a.entity_id
  WHERE c.tenant_id = a.tenant_id AND c.command_id = a.command_id AND c.state IN ('proposed', 'pending', 'failed')
), created AS (
  UPDATE command c SET state = CASE m.mode WHEN 'live' THEN 'pending' ELSE 'proposed' END, code = NULL, reason = NULL, finished_at = NULL
  FROM free f, flow_mode m
  WHERE c.tenant_id = $1 AND c.entity_id = f.order_id AND c.kind = 'order.create' AND c.state = 'cancelled' AND c.call_id IS NULL
    AND c.code IN ('annihilated', 'not_released') AND m.tenant_id = $1 AND m.connection_id = c.connection_id AND m.flow = 'orders'
    AND m.mode <> 'observe'
), standing AS (
  UPDATE "order" o SET called_off_at = NULL, version = o.version + 1 FROM free f
  WHERE o.tenant_id = $1 AND o.order_id = f.order_id RETURNING o.order_id, o.version
)
INSERT INTO oversold_order (tenant_id, order_id, version, item_id, outcome, units, location_id, decided_by)
SELECT $1, s.order_id, s.version, $3, 'let_stand', d.units, d.location_id, $4 FROM standing s
CROSS JOIN LATERAL (SELECT units, location_id FROM oversold_order d WHERE d.tenant_id = $1 AND d.order_id = s.order_id AND d.item_id = $3
                    ORDER BY d.version DESC LIMIT 1) d
RETURNING order_id

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

-- name: oversold_short_levels
-- Levels of items at active locations that are promised more than they have. $1 tenant, $2 items.
SELECT s.item_id, s.location_id, -s.available AS missing
FROM stock_balance s JOIN location p ON p.tenant_id = s.tenant_id AND p.location_id = s.location_id AND p.active
WHERE s.tenant_id = $1 AND s.item_id = ANY($2::uuid[]) AND s.available < 0

-- name: oversold_movable
-- Orders of which all may still leave from anywhere: nothing was shipped, and $6, the ERP, was not told of them; per level that is
-- short ($2 items, $3 locations) those that stand there, do not wait for goods and are not called off, newest first, at most $5. $1 tenant,
-- $4 channels, $7 placed since, or null, $8 items of which there is enough in all: nobody waits for these any more.
SELECT DISTINCT found.order_id, found.placed_at
FROM unnest($2::uuid[], $3::uuid[]) AS short(item_id, location_id)
CROSS JOIN LATERAL (
  SELECT o.order_id, o.placed_at
  FROM (SELECT short.item_id AS item_id
        UNION ALL SELECT item_id FROM kit_part WHERE tenant_id = $1 AND part_id = short.item_id) sold
  JOIN variant_item vi ON vi.tenant_id = $1 AND vi.item_id = sold.item_id
  JOIN order_line l ON l.tenant_id = vi.tenant_id AND l.variant_id = vi.variant_id AND l.fulfilled < l.current
                   AND l.location_id = short.location_id
  JOIN "order" o ON o.tenant_id = l.tenant_id AND o.order_id = l.order_id AND o.order_state NOT IN ('cancelled', 'draft')
                AND o.connection_id = ANY($4::uuid[]) AND o.called_off_at IS NULL
                AND ($7::timestamptz IS NULL OR o.placed_at >= $7)
  WHERE NOT EXISTS (SELECT FROM order_line x WHERE x.tenant_id = $1 AND x.order_id = o.order_id AND x.shipped + x.fulfilled > 0)
    AND NOT EXISTS (SELECT FROM fulfillment f WHERE f.tenant_id = $1 AND f.order_id = o.order_id AND f.state <> 'cancelled')
    AND NOT EXISTS (SELECT FROM command c WHERE c.tenant_id = $1 AND c.entity_id = o.order_id AND c.kind = 'order.create'
                      AND c.call_id IS NOT NULL)
    AND NOT EXISTS (SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = $6 AND b.kind = 'order'
                      AND b.internal_id = o.order_id)
    AND NOT EXISTS (SELECT FROM backorder w WHERE w.tenant_id = $1 AND w.order_id = o.order_id AND w.item_id = short.item_id
                      AND w.item_id <> ALL($8::uuid[]))
  ORDER BY o.placed_at DESC, o.order_id DESC LIMIT $5) found
ORDER BY found.placed_at DESC, found.order_id DESC LIMIT $5

-- name: oversold_places
-- Where units of items are that nobody was promised: active locations that $3, the ERP, knows. $1 tenant, $2 items. Levels that are being
-- changed ($4 items, $5 locations) are among them whatever they had.
SELECT s.item_id, s.location_id, s.safety_stock
FROM stock_balance s
JOIN location p ON p.tenant_id = s.tenant_id AND p.location_id = s.location_id AND p.active
JOIN binding b ON b.tenant_id = s.tenant_id AND b.connection_id = $3 AND b.kind = 'location' AND b.internal_id = s.location_id
WHERE s.tenant_id = $1 AND s.item_id = ANY($2::uuid[])
  AND (s.available > s.safety_stock
       OR (s.item_id, s.location_id) IN (SELECT * FROM unnest($4::uuid[], $5::uuid[])))

-- name: oversold_move
-- Let orders leave from another location. $1 tenant, $2 lines, $3 their orders, $4 where they stand now; $5 orders, $6 versions.
WITH moved AS (
  UPDATE order_line l SET location_id = n.location_id
  FROM (SELECT $1::uuid AS tenant_id, * FROM unnest($2::uuid[], $3::uuid[], $4::uuid[]) AS n(line_id, order_id, location_id)
        OFFSET 0) n
  WHERE l.tenant_id = n.tenant_id AND l.order_id = n.order_id AND l.line_id = n.line_id)
UPDATE "order" o SET version = n.version
FROM (SELECT $1::uuid AS tenant_id, * FROM unnest($5::uuid[], $6::int[]) AS n(order_id, version) OFFSET 0) n
WHERE o.tenant_id = n.tenant_id AND o.order_id = n.order_id

-- name: oversold_note
-- Write down what was done with orders. $1 tenant, $2 orders, $3 versions, $4 items, $5 outcomes, $6 units, $7 where they lacked,
-- $8 where they leave from instead, $9 who decided.
INSERT INTO oversold_order (tenant_id, order_id, version, item_id, outcome, units, location_id, to_id, decided_by)
SELECT $1, n.*, $9 FROM unnest($2::uuid[], $3::int[], $4::uuid[], $5::text[], $6::int[], $7::uuid[], $8::uuid[])
  AS n(order_id, version, item_id, outcome, units, location_id, to_id)

-- name: oversold_done
-- What was done with an order that held units which were not there. $1 tenant, $2 order.
SELECT i.sku, d.outcome, d.units, f.name AS location, t.name AS goal, d.decided_by, d.decided_at
FROM oversold_order d
JOIN inventory_item i ON i.tenant_id = d.tenant_id AND i.item_id = d.item_id
JOIN location f ON f.tenant_id = d.tenant_id AND f.location_id = d.location_id
LEFT JOIN location t ON t.tenant_id = d.tenant_id AND t.location_id = d.to_id
WHERE d.tenant_id = $1 AND d.order_id = $2 ORDER BY d.decided_at, i.sku
