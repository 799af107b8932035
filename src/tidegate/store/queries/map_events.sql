-- name: map_orders
-- The newest orders of channels, with the connection that they go to. $1 tenant, $2 name of the target, $3 channels, $4 limit, $5 number or null.
SELECT o.order_id AS entity_id, o.number AS name, t.connection_id, t.name AS connection, t.connector, t.external_account,
       t.settings
FROM "order" o
JOIN connection c ON c.tenant_id = $1 AND c.connection_id = o.connection_id AND c.name = ANY($3::text[])
JOIN connection t ON t.tenant_id = $1 AND t.name = $2
WHERE o.tenant_id = $1 AND ($5::text IS NULL OR o.number = $5)
ORDER BY o.order_id DESC LIMIT $4

-- name: map_shipments
-- The newest shipments to channels. $1 tenant, $2 '', $3 channels, $4 limit, $5 number of an order or null.
SELECT f.fulfillment_id AS entity_id, o.number AS name, c.connection_id, c.name AS connection, c.connector,
       c.external_account, c.settings
FROM fulfillment f
JOIN "order" o ON o.tenant_id = $1 AND o.order_id = f.order_id
JOIN connection c ON c.tenant_id = $1 AND c.connection_id = o.connection_id AND c.name = ANY($3::text[])
WHERE f.tenant_id = $1 AND ($5::text IS NULL OR o.number = $5) AND $2::text IS NOT NULL
ORDER BY f.fulfillment_id DESC LIMIT $4

-- name: map_calls
-- The newest frozen call of each entity. $1 tenant, $2 kind, $3 connections, $4 entities.
SELECT DISTINCT ON (m.entity_id) m.entity_id, k.call_id, k.data_key_id, k.payload, k.config_version, k.map_digest
FROM unnest($3::uuid[], $4::uuid[]) AS want (connection_id, entity_id)
JOIN command m ON m.tenant_id = $1 AND m.entity_id = want.entity_id AND m.connection_id = want.connection_id
              AND m.kind = $2 AND m.call_id IS NOT NULL
JOIN call k ON k.tenant_id = $1 AND k.call_id = m.call_id
ORDER BY m.entity_id, k.call_id DESC
