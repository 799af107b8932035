-- name: plan_connections
-- Connections by name. $1 tenant.
SELECT connection_id, name, connector, state FROM connection WHERE tenant_id = $1

-- name: plan_waiting
-- Unfinished commands by connection, kind and state. $1 tenant.
SELECT connection_id, kind, state, count(*) AS commands FROM command
WHERE tenant_id = $1 AND state IN ('pending', 'proposed', 'sending', 'in_doubt') GROUP BY 1, 2, 3

-- name: plan_dirty
-- Numbers that wait to be told, by connection. $1 tenant.
SELECT connection_id, count(*) AS items FROM channel_stock WHERE tenant_id = $1 AND dirty GROUP BY 1

-- name: plan_items
-- Items of a channel in order, with what it is believed to show. $1 tenant, $2 connection, $3 after this item, $4 at most.
SELECT m.item_id, m.acked_quantity,
       EXISTS (SELECT FROM stock_counted s WHERE s.tenant_id = $1 AND s.item_id = m.item_id) AS is_counted
FROM channel_stock m
WHERE m.tenant_id = $1 AND m.connection_id = $2 AND ($3::uuid IS NULL OR m.item_id > $3)
ORDER BY m.item_id LIMIT $4

-- name: plan_shown
-- What a channel showed at the last look. $1 tenant, $2 connection, $3 articles, $4 its location.
SELECT external_id, value, observed_at FROM shown
WHERE tenant_id = $1 AND connection_id = $2 AND external_id = ANY($3::text[]) AND field = 'stock' AND place = $4

-- name: plan_location
-- Where a channel is told its numbers. $1 tenant, $2 connection.
SELECT coalesce(settings ->> 'location_external_id', '') FROM connection WHERE tenant_id = $1 AND connection_id = $2

-- name: plan_articles
-- How many articles are bound, and how many are open. $1 tenant, $2 connection.
SELECT (SELECT count(*) FROM binding WHERE tenant_id = $1 AND connection_id = $2 AND kind = 'variant') AS bound,
       (SELECT count(*) FROM match_open WHERE tenant_id = $1 AND connection_id = $2) AS open
