-- name: reservations_list
-- Reservations, newest first. $1 tenant, $2 state or null, $3 item whose units they hold or null, $4 name or null, $5 ids below, $6 at most.
SELECT r.reservation_id, r.state, r.reference, r.asked, r.due_at, r.awaits_order, r.order_id, r.order_reference, r.actor,
       r.ended_at, r.ended_by, p.name AS location, c.name AS channel
FROM reservation r
LEFT JOIN location p ON p.tenant_id = r.tenant_id AND p.location_id = r.location_id
LEFT JOIN connection c ON c.tenant_id = r.tenant_id AND c.connection_id = r.connection_id
WHERE r.tenant_id = $1 AND r.reservation_id < $5 AND ($2::text IS NULL OR r.state = $2) AND ($4::text IS NULL OR r.reference = $4)
  AND ($3::uuid IS NULL OR r.reservation_id IN (
    SELECT h.reservation_id FROM reservation_hold h WHERE h.tenant_id = $1 AND h.item_id = $3))
ORDER BY r.reservation_id DESC LIMIT $6

-- name: reservations_one
-- One reservation. $1 tenant, $2 id.
SELECT r.reservation_id, r.state, r.reference, r.asked, r.due_at, r.awaits_order, r.order_id, r.order_reference, r.actor,
       r.ended_at, r.ended_by, p.name AS location, c.name AS channel
FROM reservation r
LEFT JOIN location p ON p.tenant_id = r.tenant_id AND p.location_id = r.location_id
LEFT JOIN connection c ON c.tenant_id = r.tenant_id AND c.connection_id = r.connection_id
WHERE r.tenant_id = $1 AND r.reservation_id = $2

-- name: reservations_holds
-- What reservations hold now. $1 tenant, $2 ids.
SELECT h.reservation_id, i.sku, p.name AS location, h.units
FROM reservation_hold h
JOIN inventory_item i ON i.tenant_id = h.tenant_id AND i.item_id = h.item_id
JOIN location p ON p.tenant_id = h.tenant_id AND p.location_id = h.location_id
WHERE h.tenant_id = $1 AND h.reservation_id = ANY($2::uuid[])
ORDER BY h.reservation_id, i.sku, p.name

-- name: reservations_of_item
-- What holds units of an item, due first. $1 tenant, $2 item, $3 at most.
SELECT h.reservation_id, r.state, r.reference, r.awaits_order, p.name AS location, h.units, h.due_at
FROM reservation_hold h
JOIN reservation r ON r.tenant_id = h.tenant_id AND r.reservation_id = h.reservation_id
JOIN location p ON p.tenant_id = h.tenant_id AND p.location_id = h.location_id
WHERE h.tenant_id = $1 AND h.item_id = $2 ORDER BY h.due_at, h.reservation_id LIMIT $3

-- name: reservations_purge
-- Forget reservations that ended long ago; at most so many. $1 kept for, $2 at most.
DELETE FROM reservation WHERE (tenant_id, reservation_id) IN (
    SELECT tenant_id, reservation_id FROM reservation
    WHERE ended_at < clock_timestamp() - $1::interval AND NOT awaits_order ORDER BY ended_at LIMIT $2)
