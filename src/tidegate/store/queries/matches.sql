-- name: matches_open
-- Articles that are bound to nothing. $1 tenant, $2 connection by name or null.
SELECT c.name AS connection, m.external_id, m.sku, m.title, m.barcode, m.reason, m.candidates
FROM match_open m JOIN connection c USING (tenant_id, connection_id)
WHERE m.tenant_id = $1 AND ($2::text IS NULL OR c.name = $2)

-- name: matches_deleted
-- Articles that were deleted over there, and what is bound in their place, newest first. $1 tenant, $2 connection by name or
-- null, $3 at most, $4 $5 $6 behind this moment, connection and article, or null.
SELECT c.name AS connection, t.external_id, v.sku, v.title, t.gone_at, t.event_id, b.external_id AS replaced_by,
       array(SELECT m.external_id FROM match_open m WHERE m.tenant_id = $1 AND m.connection_id = t.connection_id
               AND m.reason = 'recreated' AND v.sku = ANY(m.candidates) ORDER BY m.external_id) AS waiting
FROM tombstone t
JOIN connection c ON c.tenant_id = $1 AND c.connection_id = t.connection_id
JOIN variant v ON v.tenant_id = $1 AND v.variant_id = t.variant_id
LEFT JOIN binding b ON b.tenant_id = $1 AND b.connection_id = t.connection_id AND b.kind = 'variant'
                   AND b.internal_id = t.variant_id
WHERE t.tenant_id = $1 AND ($2::text IS NULL OR c.name = $2)
  AND ($4::timestamptz IS NULL OR (t.gone_at, c.name, t.external_id) < ($4, $5::text, $6::text))
ORDER BY t.gone_at DESC, c.name DESC, t.external_id DESC LIMIT $3

-- name: tombstone_find
-- A deleted article, what has its place, and what waits for it. $1 tenant, $2 connection by name, $3 article.
SELECT t.connection_id, t.variant_id, v.sku, b.external_id AS replaced_by,
       array(SELECT m.external_id FROM match_open m WHERE m.tenant_id = $1 AND m.connection_id = t.connection_id
               AND m.reason = 'recreated' AND v.sku = ANY(m.candidates) ORDER BY m.external_id LIMIT 20) AS waiting
FROM connection c
JOIN tombstone t ON t.tenant_id = $1 AND t.connection_id = c.connection_id AND t.external_id = $3
JOIN variant v ON v.tenant_id = $1 AND v.variant_id = t.variant_id
LEFT JOIN binding b ON b.tenant_id = $1 AND b.connection_id = t.connection_id AND b.kind = 'variant'
                   AND b.internal_id = t.variant_id
WHERE c.tenant_id = $1 AND c.name = $2

-- name: tombstone_bound
-- What of ours an article stands for. $1 tenant, $2 connection, $3 article.
SELECT v.sku FROM binding b JOIN variant v ON v.tenant_id = $1 AND v.variant_id = b.internal_id
WHERE b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant' AND b.external_id = $3

-- name: tombstone_successor
-- The SKU of an open article. $1 tenant, $2 connection, $3 article.
SELECT sku FROM match_open WHERE tenant_id = $1 AND connection_id = $2 AND external_id = $3

-- name: tombstone_lines
-- Lines of open orders that stand for a variant under another SKU. $1 tenant, $2 connection, $3 variant, $4 its SKU.
SELECT count(*) FROM order_line l
JOIN "order" o ON o.tenant_id = $1 AND o.order_id = l.order_id AND o.connection_id = $2 AND o.order_state = 'open'
WHERE l.tenant_id = $1 AND l.variant_id = $3 AND l.fulfilled < l.current AND l.sku <> $4

-- name: tombstone_drop
-- A deleted article stands for nothing any more. $1 tenant, $2 connection, $3 article.
DELETE FROM tombstone WHERE tenant_id = $1 AND connection_id = $2 AND external_id = $3

-- name: matches_replace
-- What is open in a connection now. $1 tenant, $2 connection, $3 ids, $4 SKUs, $5 titles, $6 barcodes, $7 reasons, $8 candidates as JSON.
WITH gone AS (
    DELETE FROM match_open WHERE tenant_id = $1 AND connection_id = $2 AND external_id <> ALL($3::text[])
)
INSERT INTO match_open (tenant_id, connection_id, external_id, sku, title, barcode, reason, candidates)
SELECT $1, $2, n.external_id, n.sku, n.title, n.barcode, n.reason,
       array(SELECT jsonb_array_elements_text(n.candidates))
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[])
  AS n (external_id, sku, title, barcode, reason, candidates)
ORDER BY n.external_id
ON CONFLICT (tenant_id, connection_id, external_id) DO UPDATE
SET sku = excluded.sku, title = excluded.title, barcode = excluded.barcode, reason = excluded.reason,
    candidates = excluded.candidates

-- name: matches_close
-- These articles are open no more. $1 tenant, $2 connection, $3 ids.
DELETE FROM match_open WHERE tenant_id = $1 AND connection_id = $2 AND external_id = ANY($3::text[])

-- name: matches_skus
-- What bound articles are called there, as far as a run has seen them. $1 tenant, $2 connections by name, $3 ids.
SELECT DISTINCT ON (c.name, s.external_id) c.name AS connection, s.external_id, s.sku, s.title
FROM shown s JOIN connection c USING (tenant_id, connection_id)
WHERE s.tenant_id = $1 AND c.name = ANY($2::text[]) AND s.external_id = ANY($3::text[])
ORDER BY c.name, s.external_id

-- name: matches_reopen
-- An article is open again. $1 tenant, $2 connection, $3 id, $4 SKU, $5 title.
INSERT INTO match_open (tenant_id, connection_id, external_id, sku, title, reason)
VALUES ($1, $2, $3, $4, $5, CASE WHEN $4 = '' THEN 'without_sku' ELSE 'missing' END)
ON CONFLICT DO NOTHING

-- name: matches_decisions
-- What people decided. $1 tenant, $2 connection or null.
SELECT c.name AS connection, d.external_id, d.decision, d.variant_id, v.sku, d.decided_by, d.decided_at
FROM match_decision d JOIN connection c USING (tenant_id, connection_id)
LEFT JOIN variant v ON v.tenant_id = d.tenant_id AND v.variant_id = d.variant_id
WHERE d.tenant_id = $1 AND ($2::uuid IS NULL OR d.connection_id = $2)

-- name: matches_decide
-- Keep decisions. $1 tenant, $2 connection, $3 ids, $4 decisions, $5 variants, $6 who.
INSERT INTO match_decision (tenant_id, connection_id, external_id, decision, variant_id, decided_by)
SELECT $1, $2, n.external_id, n.decision, n.variant_id, $6
FROM unnest($3::text[], $4::text[], $5::uuid[]) AS n (external_id, decision, variant_id) ORDER BY n.external_id
ON CONFLICT (tenant_id, connection_id, external_id) DO UPDATE
SET decision = excluded.decision, variant_id = excluded.variant_id, decided_by = excluded.decided_by,
    decided_at = clock_timestamp()

-- name: matches_forget
-- Forget decisions about articles. $1 tenant, $2 connection, $3 ids.
DELETE FROM match_decision WHERE tenant_id = $1 AND connection_id = $2 AND external_id = ANY($3::text[])

-- name: matches_connections
-- Connections by name. $1 tenant.
SELECT name, connection_id, connector FROM connection WHERE tenant_id = $1

-- name: variants_known
-- Variants that are bound somewhere, or that a person made by a decision. $1 tenant.
SELECT v.variant_id, v.sku, v.barcode FROM variant v
WHERE v.tenant_id = $1
  AND EXISTS (SELECT FROM connection c JOIN binding b
                ON b.tenant_id = $1 AND b.connection_id = c.connection_id AND b.kind = 'variant' AND b.internal_id = v.variant_id
              WHERE c.tenant_id = $1)
ORDER BY v.variant_id

-- name: variants_set_barcodes
-- Keep the first barcode that a system tells of a variant. $1 tenant, $2 variants, $3 barcodes.
UPDATE variant v SET barcode = n.barcode
FROM unnest($2::uuid[], $3::text[]) AS n (variant_id, barcode)
WHERE v.tenant_id = $1 AND v.variant_id = n.variant_id AND v.barcode = ''

-- name: catalogue_changed
-- Bindings of articles changed: who applies events looks them up anew. $1 tenant.
UPDATE tenant SET catalogue_version = catalogue_version + 1 WHERE tenant_id = $1

-- name: rebind_unbound_variants
-- Variants by SKU that no connection has bound: made from the SKU of an event. $1 tenant, $2 SKUs.
SELECT v.sku, v.variant_id FROM variant v
WHERE v.tenant_id = $1 AND v.sku = ANY($2::text[])
  AND NOT EXISTS (SELECT FROM connection c JOIN binding b
                    ON b.tenant_id = $1 AND b.connection_id = c.connection_id AND b.kind = 'variant'
                   AND b.internal_id = v.variant_id
                  WHERE c.tenant_id = $1)

-- name: rebind_lines
-- Lines of a channel's orders that stand for one of these variants. $1 tenant, $2 connection, $3 variants.
SELECT l.order_id, l.line_id, n.place FROM unnest($3::uuid[]) WITH ORDINALITY AS n (variant_id, place)
JOIN order_line l ON l.tenant_id = $1 AND l.variant_id = n.variant_id
JOIN "order" o ON o.tenant_id = $1 AND o.order_id = l.order_id AND o.connection_id = $2
ORDER BY l.order_id, l.line_id

-- name: rebind_lock_marks
-- Lock the marks of items. $1 tenant, $2 items.
SELECT connection_id, item_id, blocked_by FROM channel_stock WHERE tenant_id = $1 AND item_id = ANY($2::uuid[])
ORDER BY connection_id, item_id FOR NO KEY UPDATE

-- name: rebind_lock_orders
-- Lock orders. $1 tenant, $2 orders.
SELECT order_id, order_state FROM "order" WHERE tenant_id = $1 AND order_id = ANY($2::uuid[]) ORDER BY order_id FOR NO KEY UPDATE

-- name: rebind_read_lines
-- Lines whose orders are locked. $1 tenant, $2 orders, $3 lines.
SELECT l.order_id, l.line_id, l.variant_id, l.current, l.shipped, l.location_id FROM order_line l
WHERE l.tenant_id = $1 AND l.order_id = ANY($2::uuid[]) AND l.line_id = ANY($3::uuid[])

-- name: rebind_move_lines
-- Put lines under another variant. $1 tenant, $2 orders, $3 lines, $4 variants.
UPDATE order_line l SET variant_id = n.variant_id
FROM unnest($2::uuid[], $3::uuid[], $4::uuid[]) AS n (order_id, line_id, variant_id)
WHERE l.tenant_id = $1 AND l.order_id = n.order_id AND l.line_id = n.line_id

-- name: rebind_counted
-- Where an item was ever counted. $1 tenant, $2 items.
SELECT item_id, location_id FROM stock_level WHERE tenant_id = $1 AND item_id = ANY($2::uuid[])

-- name: rebind_unbind
-- Unbind articles. $1 tenant, $2 connection, $3 ids.
DELETE FROM binding WHERE tenant_id = $1 AND connection_id = $2 AND kind = 'variant' AND external_id = ANY($3::text[])

-- name: rebind_drop_marks
-- Forget marks of items that a channel does not sell any more. $1 tenant, $2 connection, $3 items.
DELETE FROM channel_stock m
WHERE m.tenant_id = $1 AND m.connection_id = $2 AND m.item_id = ANY($3::uuid[]) AND m.blocked_by IS NULL
  AND NOT EXISTS (SELECT FROM variant_item i JOIN binding b
                    ON b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant' AND b.internal_id = i.variant_id
                  WHERE i.tenant_id = $1 AND i.item_id = m.item_id)

-- name: rebind_forget_lots
-- What the connection shows of these items is not known any more, and so nothing bounds what it sells. The marks are locked. $1 tenant,
-- $2 connection, $3 items.
DELETE FROM channel_allocation WHERE tenant_id = $1 AND connection_id = $2 AND item_id = ANY($3::uuid[])

-- name: rebind_mark
-- Tell every channel the numbers of these items anew, where they were ever counted; what the connection itself shows of them is
-- not known. $1 tenant, $2 items, $3 connection.
WITH wanted AS (
    SELECT n.item_id, EXISTS (SELECT FROM stock_counted s WHERE s.tenant_id = $1 AND s.item_id = n.item_id) AS is_counted
    FROM unnest($2::uuid[]) AS n (item_id)
)
UPDATE channel_stock m
SET dirty = m.dirty OR (w.is_counted AND m.mode <> 'observe'),
    dirty_at = CASE WHEN w.is_counted AND m.mode <> 'observe' THEN coalesce(m.dirty_at, clock_timestamp()) ELSE m.dirty_at END,
    acked_quantity = CASE WHEN m.connection_id = $3 THEN NULL ELSE m.acked_quantity END, not_before = NULL, tries = 0
FROM wanted w WHERE m.tenant_id = $1 AND m.item_id = w.item_id

-- name: rebind_retry
-- What waited for a binding is built anew and goes out, unless its flow observes: then T2s would only end it. $1 tenant, $2 connection, $3 orders.
UPDATE command
SET state = 'pending', code = 'retried_by_operator', reason = NULL, not_before = NULL, settles_at = NULL, negatives = 0,
    attempt_number = 0, finished_at = NULL, call_id = NULL, deadline_at = clock_timestamp() + interval '3 days'
WHERE tenant_id = $1 AND state = 'failed' AND code = 'sku_unbound' AND kind <> 'inventory.set'
  AND (connection_id = $2 OR entity_id = ANY($3::uuid[]))
  AND NOT EXISTS (SELECT FROM flow_mode f
                  WHERE f.tenant_id = $1 AND f.connection_id = command.connection_id AND f.mode = 'observe'
                    AND f.flow = CASE WHEN kind = 'fulfillment.create' THEN 'shipments' ELSE 'orders' END)
RETURNING connection_id

-- name: rebind_supersede
-- Dead letters of numbers that can be told now. $1 tenant, $2 connection, $3 items.
UPDATE command SET state = 'superseded', code = 'retried_by_operator', finished_at = clock_timestamp()
WHERE tenant_id = $1 AND connection_id = $2 AND entity_id = ANY($3::uuid[]) AND kind = 'inventory.set'
  AND state = 'failed' AND code = 'sku_unbound'

-- name: variants_sold
-- Variants by SKU, for decisions. $1 tenant, $2 SKUs.
SELECT sku, variant_id FROM variant WHERE tenant_id = $1 AND sku = ANY($2::text[])

-- name: variants_like
-- SKUs that begin alike. $1 tenant, $2 beginning.
SELECT sku FROM variant WHERE tenant_id = $1 AND starts_with(lower(sku), lower($2)) ORDER BY sku LIMIT 3
