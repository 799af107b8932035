-- name: incoming_list
-- What is on its way, soonest first, what nobody knows a day of last. $1 tenant, $2 item or null, $3 at most.
SELECT i.reference, c.name AS source, n.sku, p.name AS location, i.units, i.expected_on, i.actor, i.changed_at
FROM stock_incoming i
JOIN inventory_item n USING (tenant_id, item_id)
JOIN location p USING (tenant_id, location_id)
LEFT JOIN connection c ON c.tenant_id = i.tenant_id AND c.connection_id = i.source_id
WHERE i.tenant_id = $1 AND ($2::uuid IS NULL OR i.item_id = $2)
ORDER BY i.expected_on NULLS LAST, i.reference, n.sku, p.name LIMIT $3

-- name: incoming_of_people
-- What people said is on its way, locked: of these references, or of all. $1 tenant, $2 references or null.
SELECT i.reference, n.sku, p.name AS location, i.units, i.expected_on
FROM stock_incoming i
JOIN inventory_item n USING (tenant_id, item_id)
JOIN location p USING (tenant_id, location_id)
WHERE i.tenant_id = $1 AND i.source_id = '00000000-0000-0000-0000-000000000000' AND ($2::text[] IS NULL OR i.reference = ANY($2))
ORDER BY i.reference, i.item_id FOR UPDATE OF i

-- name: incoming_drop
-- Forget what people said is on its way: of these references, or of all. $1 tenant, $2 references or null.
DELETE FROM stock_incoming
WHERE tenant_id = $1 AND source_id = '00000000-0000-0000-0000-000000000000' AND ($2::text[] IS NULL OR reference = ANY($2))

-- name: incoming_add
-- Keep what people say is on its way. $1 tenant, $2 references, $3 items, $4 locations, $5 units, $6 days, $7 actor.
INSERT INTO stock_incoming (tenant_id, reference, item_id, location_id, units, expected_on, actor)
SELECT $1, n.*, $7 FROM unnest($2::text[], $3::uuid[], $4::uuid[], $5::int[], $6::date[]) AS n(reference, item_id, location_id, units, expected_on)
ORDER BY n.reference, n.item_id
