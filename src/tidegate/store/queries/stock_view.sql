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
-- Items by SKU, each with the sums of its levels; of kits, how many the parts that are available make. $1 tenant, $2 SKUs behind, $3 SKUs that begin so, or null, $4 at most.
SELECT i.item_id, i.sku, coalesce(b.on_hand, 0) AS on_hand, coalesce(b.unavailable, 0) AS unavailable,
       coalesce(b.committed, 0) AS committed, coalesce(b.reserved, 0) AS reserved, coalesce(b.incoming, 0) AS incoming,
       coalesce(b.safety_stock, 0) AS safety_stock, coalesce(k.available, b.available, 0) AS available
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
LEFT JOIN LATERAL (
    SELECT min(floor(p.available::numeric / k.units))::bigint AS available
    FROM kit_part k
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(s.available), 0) AS available FROM stock_balance s
        WHERE s.tenant_id = $1 AND s.item_id = k.part_id OFFSET 0) p
    WHERE k.tenant_id = $1 AND k.item_id = i.item_id
) k ON true
ORDER BY i.sku

-- name: stock_told
-- What channels were told of several items. $1 tenant, $2 items.
SELECT m.item_id, c.name AS connection, m.acked_quantity, m.acked_at, m.dirty
FROM channel_stock m JOIN connection c USING (tenant_id, connection_id)
WHERE m.tenant_id = $1 AND m.item_id = ANY($2::uuid[]) ORDER BY m.item_id, c.name

-- name: stock_history
-- Entries of an item, newest first. $1 tenant, $2 item, $3 location or null, $4 from this moment on, $5 up to this one, $6 kinds or
-- null, $7 $8 $9 behind this time, location and number, or null, $10 at most.
SELECT e.*, o.order_id, o.order_number, v.event_topic, v.connection
FROM (
    SELECT p.name AS location, x.*
    FROM stock_level s JOIN location p USING (tenant_id, location_id)
    CROSS JOIN LATERAL (
        SELECT x.location_id, x.version, x.at, x.kind, x.reason, x.note, x.actor, x.cause_key, x.event_id, x.order_line_id,
               x.reservation_id, x.on_hand_delta, x.unavailable_delta, x.committed_delta, x.reserved_delta, x.on_hand_after,
               x.unavailable_after, x.committed_after, x.reserved_after
        FROM stock_entry x
        WHERE x.tenant_id = s.tenant_id AND x.item_id = s.item_id AND x.location_id = s.location_id
          AND ($4::timestamptz IS NULL OR x.at >= $4) AND ($5::timestamptz IS NULL OR x.at < $5)
          AND ($6::text[] IS NULL OR x.kind = ANY($6))
          AND ($7::timestamptz IS NULL OR (x.at, x.location_id, x.version) < ($7, $8::uuid, $9::bigint))
        ORDER BY x.version DESC LIMIT $10
    ) x
    WHERE s.tenant_id = $1 AND s.item_id = $2 AND ($3::uuid IS NULL OR s.location_id = $3)
    ORDER BY x.at DESC, x.location_id DESC, x.version DESC LIMIT $10
) e
LEFT JOIN LATERAL (
    SELECT t.entity_id FROM event_outcome t
    WHERE t.tenant_id = $1 AND t.event_id = e.event_id AND t.entity_kind = 'order' ORDER BY t.run DESC LIMIT 1
) t ON true
LEFT JOIN LATERAL (
    SELECT d.order_id, d.number AS order_number FROM "order" d WHERE d.tenant_id = $1 AND d.order_id = t.entity_id OFFSET 0
) o ON true
LEFT JOIN LATERAL (
    SELECT w.topic AS event_topic, c.name AS connection FROM event w JOIN connection c USING (tenant_id, connection_id)
    WHERE w.tenant_id = $1 AND w.event_id = e.event_id OFFSET 0
) v ON true
ORDER BY e.at DESC, e.location_id DESC, e.version DESC

-- name: stock_location
-- A location by its name. $1 tenant, $2 name.
SELECT location_id FROM location WHERE tenant_id = $1 AND name = $2

-- name: stock_imbalance
-- Levels whose counters are not the sum of their entries, or whose entries are not numbered without gaps; levels behind $2 $3 in the
-- order of their keys, $4 of them at most. $1 tenant.
SELECT l.item_id, l.location_id, i.sku, p.name AS location, b.on_hand, b.unavailable, b.committed, b.reserved, b.version, e.*,
       (b.on_hand, b.unavailable, b.committed, b.reserved, b.version)
         IS DISTINCT FROM (e.on_hand_sum, e.unavailable_sum, e.committed_sum, e.reserved_sum, e.entries) AS is_wrong
FROM (SELECT item_id, location_id FROM stock_level
      WHERE tenant_id = $1 AND (item_id, location_id) > ($2::uuid, $3::uuid) ORDER BY item_id, location_id LIMIT $4) l
JOIN stock_balance b ON b.tenant_id = $1 AND b.item_id = l.item_id AND b.location_id = l.location_id
JOIN inventory_item i ON i.tenant_id = $1 AND i.item_id = l.item_id
JOIN location p ON p.tenant_id = $1 AND p.location_id = l.location_id
CROSS JOIN LATERAL (
    SELECT count(*) AS entries, coalesce(sum(x.on_hand_delta), 0)::bigint AS on_hand_sum,
           coalesce(sum(x.unavailable_delta), 0)::bigint AS unavailable_sum,
           coalesce(sum(x.committed_delta), 0)::bigint AS committed_sum, coalesce(sum(x.reserved_delta), 0)::bigint AS reserved_sum
    FROM stock_entry x WHERE x.tenant_id = $1 AND x.item_id = l.item_id AND x.location_id = l.location_id
) e
ORDER BY l.item_id, l.location_id

-- name: stock_audit_page
-- Levels behind $2 $3 in the order of their keys, $4 of them at most. $1 tenant.
SELECT item_id, location_id FROM stock_level
WHERE tenant_id = $1 AND (item_id, location_id) > ($2::uuid, $3::uuid) ORDER BY item_id, location_id LIMIT $4

-- name: stock_audit
-- Stretches of levels' entries: whether the counters after the last entry are those before the first one and what the entries between
-- them add up to, and their numbers have no gap. $1 tenant, $2 items, $3 locations, $4 numbers of the entries before, $5 entries at most.
SELECT want.item_id, want.location_id, want.start, i.sku, p.name AS location, t.upto, b.version,
       (n.entries, n.on_hand, n.unavailable, n.committed, n.reserved)
         IS DISTINCT FROM (t.upto - want.start,
                           t.on_hand_after - coalesce(f.on_hand_after, 0), t.unavailable_after - coalesce(f.unavailable_after, 0),
                           t.committed_after - coalesce(f.committed_after, 0), t.reserved_after - coalesce(f.reserved_after, 0)) AS is_wrong
FROM unnest($2::uuid[], $3::uuid[], $4::bigint[]) AS want(item_id, location_id, start)
CROSS JOIN LATERAL (
    SELECT version FROM stock_entry e
    WHERE e.tenant_id = $1 AND e.item_id = want.item_id AND e.location_id = want.location_id ORDER BY e.version DESC LIMIT 1) b
CROSS JOIN LATERAL (
    SELECT e.version AS upto, e.on_hand_after, e.unavailable_after, e.committed_after, e.reserved_after FROM stock_entry e
    WHERE e.tenant_id = $1 AND e.item_id = want.item_id AND e.location_id = want.location_id AND e.version <= want.start + $5
    ORDER BY e.version DESC LIMIT 1) t
LEFT JOIN LATERAL (
    SELECT e.on_hand_after, e.unavailable_after, e.committed_after, e.reserved_after FROM stock_entry e
    WHERE e.tenant_id = $1 AND e.item_id = want.item_id AND e.location_id = want.location_id AND e.version = want.start) f ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS entries, sum(e.on_hand_delta)::bigint AS on_hand, sum(e.unavailable_delta)::bigint AS unavailable,
           sum(e.committed_delta)::bigint AS committed, sum(e.reserved_delta)::bigint AS reserved
    FROM stock_entry e
    WHERE e.tenant_id = $1 AND e.item_id = want.item_id AND e.location_id = want.location_id
      AND e.version > want.start AND e.version <= t.upto) n
JOIN inventory_item i ON i.tenant_id = $1 AND i.item_id = want.item_id
JOIN location p ON p.tenant_id = $1 AND p.location_id = want.location_id
WHERE t.upto > want.start

-- name: stock_export
-- Levels by SKU and location, without those that an item had before it became a kit. $1 tenant, $2 SKUs behind, $3 location or
-- null, $4 SKUs that begin so or null, $5 items at most.
SELECT i.sku, p.name AS location, '' AS kit_of, b.on_hand, b.unavailable, b.committed, b.reserved, b.available, b.incoming, b.safety_stock,
       b.version, coalesce(a.damaged, 0) AS damaged, coalesce(a.quality_hold, 0) AS quality_hold,
       coalesce(a.reserved_other, 0) AS reserved_other, coalesce(a.other, 0) AS other
FROM (
    SELECT item_id, sku FROM inventory_item
    WHERE tenant_id = $1 AND sku > $2 AND ($4::text IS NULL OR starts_with(sku, $4)) ORDER BY sku LIMIT $5
) i
CROSS JOIN LATERAL (SELECT * FROM stock_balance b WHERE b.tenant_id = $1 AND b.item_id = i.item_id OFFSET 0) b
JOIN location p ON p.tenant_id = $1 AND p.location_id = b.location_id AND ($3::text IS NULL OR p.name = $3)
LEFT JOIN LATERAL (
    SELECT sum(e.unavailable_delta) FILTER (WHERE e.reason = 'damaged')::int AS damaged,
           sum(e.unavailable_delta) FILTER (WHERE e.reason = 'quality_hold')::int AS quality_hold,
           sum(e.unavailable_delta) FILTER (WHERE e.reason = 'reserved_other')::int AS reserved_other,
           sum(e.unavailable_delta) FILTER (WHERE coalesce(e.reason, 'other') NOT IN ('damaged', 'quality_hold', 'reserved_other'))::int
             AS other
    FROM stock_entry e
    WHERE e.tenant_id = $1 AND e.item_id = b.item_id AND e.location_id = b.location_id AND e.unavailable_delta <> 0
) a ON b.unavailable > 0
WHERE NOT EXISTS (SELECT FROM kit_part k WHERE k.tenant_id = $1 AND k.item_id = i.item_id)
ORDER BY i.sku, p.name

-- name: stock_export_kits
-- Kits by SKU: what they are made of, and how many the parts that are available make. $1 tenant, $2 SKUs behind, $3 SKUs that begin so
-- or null, $4 the last SKU.
SELECT i.sku, k.kit_of, k.available
FROM inventory_item i
CROSS JOIN LATERAL (
    SELECT string_agg(k.units || ' x ' || o.sku, ', ' ORDER BY o.sku) AS kit_of,
           min(floor(p.available::numeric / k.units))::bigint AS available
    FROM kit_part k
    JOIN inventory_item o ON o.tenant_id = $1 AND o.item_id = k.part_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(s.available), 0) AS available FROM stock_balance s
        WHERE s.tenant_id = $1 AND s.item_id = k.part_id OFFSET 0) p
    WHERE k.tenant_id = $1 AND k.item_id = i.item_id
) k
WHERE i.tenant_id = $1 AND i.sku > $2 AND i.sku <= $4 AND ($3::text IS NULL OR starts_with(i.sku, $3)) AND k.kit_of IS NOT NULL
ORDER BY i.sku

-- name: stock_export_next
-- The last of the items of a part of an export. $1 tenant, $2 SKUs behind, $3 SKUs that begin so or null, $4 items at most.
SELECT max(sku) FROM (
    SELECT sku FROM inventory_item WHERE tenant_id = $1 AND sku > $2 AND ($3::text IS NULL OR starts_with(sku, $3))
    ORDER BY sku LIMIT $4) i
