-- name: stock_item
-- An item by its SKU. $1 tenant, $2 SKU.
SELECT item_id, sku FROM inventory_item WHERE tenant_id = $1 AND sku = $2

-- name: stock_similar
-- SKUs that begin alike. $1 tenant, $2 beginning.
SELECT sku FROM inventory_item WHERE tenant_id = $1 AND starts_with(lower(sku), lower($2)) ORDER BY sku LIMIT 5

-- name: stock_levels
-- Counters of an item at each location. $1 tenant, $2 item.
SELECT p.name AS location, s.on_hand, s.unavailable, s.committed, s.reserved, s.incoming, s.safety_stock, s.available,
       s.version
FROM stock_balance s JOIN location p USING (tenant_id, location_id)
WHERE s.tenant_id = $1 AND s.item_id = $2 ORDER BY p.name

-- name: stock_entries
-- The last entries of each level of an item, newest first. $1 tenant, $2 item, $3 at most per location.
SELECT p.name AS location, e.version, e.kind, e.on_hand_delta, e.committed_delta, e.on_hand_after, e.committed_after,
       e.cause_key, e.event_id, e.actor, e.at
FROM stock_level s JOIN location p USING (tenant_id, location_id)
CROSS JOIN LATERAL (
    SELECT * FROM stock_entry x
    WHERE x.tenant_id = s.tenant_id AND x.item_id = s.item_id AND x.location_id = s.location_id
    ORDER BY x.version DESC LIMIT $3
) e
WHERE s.tenant_id = $1 AND s.item_id = $2
ORDER BY e.at DESC, p.name, e.version DESC

-- name: stock_channels
-- What each channel was told of an item; `held`: units that its last number left out, because others may sell them before it
-- hears of it. $1 tenant, $2 item.
SELECT m.connection_id, c.name AS connection, c.connector, m.dirty, m.dirty_at, m.acked_quantity, m.acked_at,
       m.blocked_by, m.not_before, m.tries, m.push_version, m.unseen, m.unseen_back, m.unseen_at, m.priority,
       m.told_available, m.quiet_from, m.quiet_to,
       a.aim IS NOT NULL AS is_shared, a.cap IS NOT NULL AS is_draining, coalesce(k.held, 0) AS held
FROM channel_stock m JOIN connection c USING (tenant_id, connection_id)
LEFT JOIN channel_allocation a USING (tenant_id, connection_id, item_id)
LEFT JOIN LATERAL (
    SELECT (k.ledger ->> 'buffer')::int AS held FROM command k
    WHERE k.tenant_id = m.tenant_id AND k.connection_id = m.connection_id AND k.kind = 'inventory.set'
      AND k.entity_id = m.item_id AND k.version = m.push_version
    ORDER BY k.command_id DESC LIMIT 1
) k ON true
WHERE m.tenant_id = $1 AND m.item_id = $2 ORDER BY c.name

-- name: stock_list
-- Items by SKU, each with the sums of its levels. $1 tenant, $2 SKUs behind, $3 SKUs that begin so, or null, $4 at most.
SELECT i.item_id, i.sku, coalesce(b.on_hand, 0) AS on_hand, coalesce(b.unavailable, 0) AS unavailable,
       coalesce(b.committed, 0) AS committed, coalesce(b.reserved, 0) AS reserved, coalesce(b.incoming, 0) AS incoming,
       coalesce(b.safety_stock, 0) AS safety_stock, coalesce(b.available, 0) AS available
FROM (
    SELECT item_id, sku FROM inventory_item
    WHERE tenant_id = $1 AND sku > $2 AND ($3::text IS NULL OR starts_with(sku, $3))
    ORDER BY sku LIMIT $4
) i
LEFT JOIN LATERAL (
    SELECT sum(s.on_hand)::bigint AS on_hand, sum(s.unavailable)::bigint AS unavailable,
           sum(s.committed)::bigint AS committed, sum(s.reserved)::bigint AS reserved,
           sum(s.incoming)::bigint AS incoming, sum(s.safety_stock)::bigint AS safety_stock,
           sum(s.available)::bigint AS available
    FROM stock_balance s WHERE s.tenant_id = $1 AND s.item_id = i.item_id
) b ON true
ORDER BY i.sku

-- name: stock_told
-- What channels were told of several items. $1 tenant, $2 items.
SELECT m.item_id, c.name AS connection, m.acked_quantity, m.acked_at, m.dirty
FROM channel_stock m JOIN connection c USING (tenant_id, connection_id)
WHERE m.tenant_id = $1 AND m.item_id = ANY($2::uuid[]) ORDER BY m.item_id, c.name
