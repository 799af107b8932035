-- name: search_items
-- Items by SKU, those that are called exactly so first. $1 tenant, $2 text, $3 at most.
SELECT item_id, sku FROM inventory_item
WHERE tenant_id = $1 AND starts_with(lower(sku), lower($2)) ORDER BY sku <> $2, sku LIMIT $3

-- name: search_fulfillments
-- Fulfillments of these orders. $1 tenant, $2 orders.
SELECT fulfillment_id FROM fulfillment WHERE tenant_id = $1 AND order_id = ANY($2::uuid[])

-- name: search_connections
-- Connections by name, with what people may know of them. $1 tenant.
SELECT connection_id, name, connector, state, state_reason, created_at FROM connection WHERE tenant_id = $1 ORDER BY name

-- name: search_event_keys
-- What an event's page needs beside its outcomes: whether it is parked. $1 tenant, $2 event.
SELECT kind, code, reason, until FROM event_parked WHERE tenant_id = $1 AND event_id = $2
