-- name: orders_list
-- Newest orders first, by when we first saw them. $1 tenant, $2 channel or null, $3 order state or null, $4 payment state or null, $5 fulfillment state or null, $6 number or null, $7 ids from, $8 ids below, $9 at most.
SELECT o.order_id, c.name AS channel, o.external_id, o.number, o.version, o.order_state, o.payment_state,
       o.fulfillment_state, o.return_state, o.currency, o.total_minor, o.placed_at
FROM "order" o JOIN connection c USING (tenant_id, connection_id)
WHERE o.tenant_id = $1 AND ($2::uuid IS NULL OR o.connection_id = $2) AND ($3::text IS NULL OR o.order_state = $3)
  AND ($4::text IS NULL OR o.payment_state = $4) AND ($5::text IS NULL OR o.fulfillment_state = $5)
  AND ($6::text IS NULL OR o.number = $6) AND o.order_id >= $7 AND o.order_id < $8
ORDER BY o.order_id DESC LIMIT $9

-- name: orders_one
-- One order, without whose it is. $1 tenant, $2 order.
SELECT o.order_id, c.name AS channel, o.external_id, o.number, o.version, o.order_state, o.payment_state,
       o.fulfillment_state, o.return_state, o.currency, o.total_minor, o.shipping_minor, o.discount_minor, o.tax_minor,
       o.totals_mismatch, o.shipping_method, o.placed_at
FROM "order" o JOIN connection c USING (tenant_id, connection_id)
WHERE o.tenant_id = $1 AND o.order_id = $2

-- name: orders_lines
-- Lines of an order, in its order. $1 tenant, $2 order.
SELECT l.line_id, l.external_id, l.sku, l.title, l.ordered, l.current, l.shipped, l.fulfilled, l.unit_price,
       l.total_minor, p.name AS location
FROM order_line l LEFT JOIN location p USING (tenant_id, location_id)
WHERE l.tenant_id = $1 AND l.order_id = $2 ORDER BY l.position, l.line_id

-- name: orders_payments
-- Payments of an order. $1 tenant, $2 order.
SELECT external_id, kind, state, amount_minor, currency, method FROM payment
WHERE tenant_id = $1 AND order_id = $2 ORDER BY external_id
