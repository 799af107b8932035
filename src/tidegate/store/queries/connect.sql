-- name: connect_find
-- The connection of a name and the one of an account; usually the same. $1 tenant, $2 name, $3 connector, $4 account.
SELECT connection_id, name, connector, external_account, state, path_hash, settings
FROM connection
WHERE tenant_id = $1 AND (name = $2 OR (connector = $3 AND external_account = $4))
ORDER BY name = $2 DESC

-- name: connect_renamed
-- Connections of a connector at an address whose name nobody uses any more, where the new name is not known yet. $1 tenant,
-- $2 new name, $3 connector, $4 address, $5 names of the configuration.
SELECT name FROM connection
WHERE tenant_id = $1 AND connector = $3 AND settings->>'base_url' = $4 AND name <> ALL($5::text[])
  AND external_account <> name  -- a system without an account of its own is known by its name only
  AND NOT EXISTS (SELECT FROM connection known WHERE known.tenant_id = $1 AND known.name = $2)

-- name: connect_settings
-- What a connection was told that is no secret. $1 tenant, $2 name.
SELECT settings FROM connection WHERE tenant_id = $1 AND name = $2

-- name: connect_leader
-- The connection that came first: its articles make the catalogue. $1 tenant.
SELECT connection_id FROM connection WHERE tenant_id = $1 ORDER BY created_at, connection_id LIMIT 1

-- name: connect_add
-- Make a connection. $1 tenant, $2 id, $3 name, $4 connector, $5 account, $6 settings.
INSERT INTO connection (tenant_id, connection_id, name, connector, external_account, settings) VALUES ($1, $2, $3, $4, $5, $6)

-- name: connect_revive
-- Bring a connection back to work under its name, settings and account. $1 tenant, $2 id, $3 name, $4 settings, $5 account.
UPDATE connection SET name = $3, settings = $4, external_account = $5, state = 'active', state_reason = NULL
WHERE tenant_id = $1 AND connection_id = $2

-- name: connect_set_path
-- Store the digest of the secret path. $1 tenant, $2 id, $3 SHA-256 of the path.
UPDATE connection SET path_hash = $3 WHERE tenant_id = $1 AND connection_id = $2 AND path_hash IS DISTINCT FROM $3

-- name: connect_set_webhook_state
-- Remember what became of the webhook's registration. $1 tenant, $2 id, $3 state.
UPDATE connection SET settings = settings || jsonb_build_object('webhook_state', $3::text)
WHERE tenant_id = $1 AND connection_id = $2

-- name: connect_announce
-- Tell doors and lanes that a connection changed. $1 id.
SELECT pg_notify('tidegate_connection', $1)

-- name: variants_add
-- Make variants whose SKU nobody has; returns the made ones. $1 tenant, $2 ids, $3 SKUs, $4 titles.
INSERT INTO variant (tenant_id, variant_id, sku, title)
SELECT $1, n.* FROM unnest($2::uuid[], $3::text[], $4::text[]) AS n (variant_id, sku, title) ORDER BY n.sku
ON CONFLICT (tenant_id, sku) DO NOTHING
RETURNING variant_id

-- name: variants_unbound_here
-- Variants with a SKU that are not bound in a connection. $1 tenant, $2 connection.
SELECT v.sku, v.variant_id FROM variant v
WHERE v.tenant_id = $1 AND v.sku NOT LIKE 'no-sku:%'
  AND NOT EXISTS (SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant'
                                          AND (b.internal_id = v.variant_id OR b.external_id = v.sku))
ORDER BY v.sku

-- name: inventory_items_add
-- Make inventory items whose SKU nobody has. $1 tenant, $2 ids, $3 SKUs.
INSERT INTO inventory_item (tenant_id, item_id, sku)
SELECT $1, n.* FROM unnest($2::uuid[], $3::text[]) AS n (item_id, sku) ORDER BY n.sku
ON CONFLICT (tenant_id, sku) DO NOTHING

-- name: variant_items_add
-- Give variants a bill of one: the item of the same SKU. $1 tenant, $2 variants.
INSERT INTO variant_item (tenant_id, variant_id, item_id, required_qty)
SELECT v.tenant_id, v.variant_id, i.item_id, 1
FROM variant v JOIN inventory_item i USING (tenant_id, sku)
WHERE v.tenant_id = $1 AND v.variant_id = ANY($2::uuid[])
ON CONFLICT DO NOTHING

-- name: variants_of_skus
-- Variants by SKU. $1 tenant, $2 SKUs.
SELECT sku, variant_id FROM variant WHERE tenant_id = $1 AND sku = ANY($2::text[])

-- name: bindings_of
-- What of a kind is bound in a connection. $1 tenant, $2 connection, $3 kind.
SELECT external_id, internal_id FROM binding WHERE tenant_id = $1 AND connection_id = $2 AND kind = $3

-- name: bindings_buried
-- What articles stood for that were deleted over there. $1 tenant, $2 connection.
SELECT external_id, variant_id FROM tombstone WHERE tenant_id = $1 AND connection_id = $2

-- name: bindings_parents
-- Keep which product each bound article is part of. $1 tenant, $2 connection, $3 articles, $4 products.
UPDATE binding b SET parent_id = n.parent_id FROM unnest($3::text[], $4::text[]) AS n (external_id, parent_id)
WHERE b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant' AND b.external_id = n.external_id
  AND b.parent_id <> n.parent_id

-- name: bindings_add
-- Bind; pairs of which one side is bound already are left out. What was deleted and is bound again is there again.
-- $1 tenant, $2 connection, $3 kind, $4 external ids, $5 ours.
WITH raised AS (
    DELETE FROM tombstone WHERE tenant_id = $1 AND connection_id = $2 AND $3 = 'variant' AND external_id = ANY($4::text[])
)
INSERT INTO binding (tenant_id, connection_id, kind, external_id, internal_id)
SELECT $1, $2, $3, n.* FROM unnest($4::text[], $5::uuid[]) AS n (external_id, internal_id) ORDER BY n.external_id
ON CONFLICT DO NOTHING

-- name: bindings_keep
-- Unbind what is not among the given pairs. $1 tenant, $2 connection, $3 kind, $4 external ids, $5 ours.
DELETE FROM binding b
WHERE b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = $3
  AND NOT EXISTS (SELECT FROM unnest($4::text[], $5::uuid[]) AS n (external_id, internal_id)
                  WHERE n.external_id = b.external_id AND n.internal_id = b.internal_id)

-- name: locations_of
-- Locations: name and id. $1 tenant.
SELECT name, location_id FROM location WHERE tenant_id = $1

-- name: location_add
-- Make a location unless its name exists. $1 tenant, $2 id, $3 name.
INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, name) DO NOTHING

-- name: counted_articles_keep
-- Remember what a platform calls the thing that it counts of each article. $1 tenant, $2 connection, $3 articles, $4 counted.
INSERT INTO counted_article AS c (tenant_id, connection_id, external_id, counted_external_id)
SELECT $1, $2, n.* FROM unnest($3::text[], $4::text[]) AS n (external_id, counted_external_id) ORDER BY n.external_id
ON CONFLICT (tenant_id, connection_id, external_id) DO UPDATE SET counted_external_id = excluded.counted_external_id
WHERE c.counted_external_id <> excluded.counted_external_id

-- name: channel_stock_add
-- Keep book of what a channel is told of each item that its bound variants consume. $1 tenant, $2 connection.
INSERT INTO channel_stock (tenant_id, connection_id, item_id)
SELECT DISTINCT b.tenant_id, b.connection_id, i.item_id
FROM binding b JOIN variant_item i ON i.tenant_id = b.tenant_id AND i.variant_id = b.internal_id
WHERE b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant'
ORDER BY i.item_id
ON CONFLICT DO NOTHING

-- name: audit_add
-- Record who did what. $1 tenant, $2 id, $3 actor, $4 action, $5 subject, $6 detail.
INSERT INTO audit_log (tenant_id, audit_id, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5, $6)

-- name: marks_for_telling
-- Mark items that are counted, so that these channels are told their numbers. $1 tenant, $2 channels by name, $3 only never told ones.
WITH chosen AS (
    SELECT m.tenant_id, m.connection_id, m.item_id
    FROM channel_stock m JOIN connection c USING (tenant_id, connection_id)
    WHERE m.tenant_id = $1 AND c.name = ANY($2::text[]) AND m.mode <> 'observe' AND NOT m.dirty
      AND (NOT $3 OR (m.acked_quantity IS NULL AND (m.mode = 'live' OR m.push_version = 0)))
      AND EXISTS (SELECT FROM stock_counted s WHERE s.tenant_id = m.tenant_id AND s.item_id = m.item_id)
    ORDER BY m.connection_id, m.item_id
    FOR NO KEY UPDATE OF m
), marked AS (
    UPDATE channel_stock m SET dirty = true, dirty_at = clock_timestamp()
    FROM chosen WHERE m.tenant_id = chosen.tenant_id AND m.connection_id = chosen.connection_id AND m.item_id = chosen.item_id
    RETURNING m.item_id
)
SELECT count(*), (SELECT pg_notify('tidegate_command', '')) FROM marked

-- name: connection_for_keys
-- A connection by its name. $1 tenant, $2 name.
SELECT connection_id, connector, settings FROM connection WHERE tenant_id = $1 AND name = $2
