-- name: doctor_connections
-- Connections with the fields of their active secrets. $1 tenant.
SELECT c.tenant_id, c.connection_id, c.name, c.connector, c.state, c.state_reason, c.path_hash, c.settings,
       ARRAY(SELECT DISTINCT s.field FROM credential s
             WHERE s.tenant_id = c.tenant_id AND s.connection_id = c.connection_id AND s.active) AS fields
FROM connection c WHERE c.tenant_id = $1 ORDER BY c.name

-- name: doctor_delivered_versions
-- API versions that a connection's newest deliveries say, newest first. $1 tenant, $2 connection, $3 header, $4 topic of self-tests.
SELECT version, count(*) AS deliveries FROM (
    SELECT headers ->> $3 AS version, row_number() OVER (ORDER BY event_id DESC) AS place FROM event
    WHERE tenant_id = $1 AND connection_id = $2 AND source = 'webhook' AND topic <> $4
    ORDER BY event_id DESC LIMIT 200
) newest
WHERE version IS NOT NULL GROUP BY version ORDER BY min(place)

-- name: doctor_key_classes
-- Key classes of a tenant that are in use. $1 tenant.
SELECT DISTINCT key_class FROM tenant_key WHERE tenant_id = $1 ORDER BY key_class

-- name: doctor_server
-- The server's version and clock.
SELECT current_setting('server_version') AS version, clock_timestamp() AS now

-- name: self_test_outcome
-- What became of a delivery to ourselves; no row: it is not here. $1 tenant, $2 connection, $3 dedupe key.
SELECT d.event_id, o.outcome, o.code
FROM event_dedupe d LEFT JOIN event_outcome o ON o.tenant_id = d.tenant_id AND o.event_id = d.event_id
WHERE d.tenant_id = $1 AND d.connection_id = $2 AND d.dedupe_key = $3

-- name: doctor_sessions
-- How crowded the server is, and the oldest transaction that holds old rows back.
SELECT current_setting('max_connections')::int AS allowed, count(*)::int AS used,
       coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 AS oldest_seconds,
       (array_agg(coalesce(application_name, '') ORDER BY xact_start NULLS LAST))[1] AS oldest_name,
       (array_agg(pid ORDER BY xact_start NULLS LAST))[1] AS oldest_pid
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()

-- name: doctor_durability
-- Whether what is committed survives a power cut.
SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit, current_setting('archive_mode') AS archive_mode

-- name: doctor_last_events
-- Last hour in which each connection received anything. $1 tenant.
SELECT c.name, max(s.hour) AS last_hour
FROM connection c LEFT JOIN conservation s ON s.tenant_id = c.tenant_id AND s.connection_id = c.connection_id AND s.received > 0
WHERE c.tenant_id = $1 GROUP BY c.name

-- name: doctor_unbound_open
-- SKUs of open orders that have no counterpart in the ERP. $1 tenant, $2 name of the ERP, $3 orders since.
SELECT l.sku, count(DISTINCT l.order_id)::int AS orders
FROM "order" o JOIN order_line l ON l.tenant_id = o.tenant_id AND l.order_id = o.order_id
JOIN connection e ON e.tenant_id = o.tenant_id AND e.name = $2
WHERE o.tenant_id = $1 AND o.order_state IN ('open', 'on_hold', 'pending') AND o.fulfillment_state <> 'fulfilled'
  AND o.placed_at >= $3 AND l.current > 0
  AND NOT EXISTS (SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = e.connection_id
                                         AND b.kind = 'variant' AND b.internal_id = l.variant_id)
GROUP BY l.sku ORDER BY orders DESC, l.sku LIMIT 200

-- name: doctor_unbound_sold
-- Articles sold since a moment that have no counterpart in the ERP, open or not. $1 tenant, $2 name of the ERP, $3 since.
SELECT DISTINCT l.sku
FROM "order" o JOIN order_line l ON l.tenant_id = o.tenant_id AND l.order_id = o.order_id
JOIN connection e ON e.tenant_id = o.tenant_id AND e.name = $2
WHERE o.tenant_id = $1 AND o.placed_at >= $3
  AND NOT EXISTS (SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = e.connection_id
                                         AND b.kind = 'variant' AND b.internal_id = l.variant_id)
ORDER BY l.sku LIMIT 200

-- name: doctor_unbound_places
-- Places that hold stock and that the connection does not know. $1 tenant, $2 name of the owner of on_hand.
SELECT p.name FROM location p JOIN connection c ON c.tenant_id = p.tenant_id AND c.name = $2
WHERE p.tenant_id = $1 AND p.active
  AND EXISTS (SELECT FROM stock_level s WHERE s.tenant_id = $1 AND s.location_id = p.location_id)
  AND NOT EXISTS (SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = c.connection_id
                                         AND b.kind = 'location' AND b.internal_id = p.location_id)
ORDER BY p.name LIMIT 50

-- name: doctor_negative
-- Articles that are promised more often than they are there. $1 tenant.
SELECT i.sku, sum(b.available)::int AS available
FROM stock_balance b JOIN inventory_item i ON i.tenant_id = b.tenant_id AND i.item_id = b.item_id
WHERE b.tenant_id = $1 GROUP BY i.sku HAVING sum(b.available) < 0 ORDER BY sum(b.available), i.sku LIMIT 200

-- name: doctor_untold
-- How many numbers of a channel nobody knows and nobody will tell. $1 tenant.
SELECT c.name, count(*)::int AS items
FROM channel_stock m JOIN connection c ON c.tenant_id = m.tenant_id AND c.connection_id = m.connection_id
WHERE m.tenant_id = $1 AND NOT m.dirty AND m.blocked_by IS NULL AND m.acked_quantity IS NULL AND m.push_version > 0
  AND m.mode = 'live'
  AND EXISTS (SELECT FROM variant_item v JOIN binding b ON b.tenant_id = $1 AND b.connection_id = m.connection_id
                AND b.kind = 'variant' AND b.internal_id = v.variant_id
              WHERE v.tenant_id = $1 AND v.item_id = m.item_id)
GROUP BY c.name ORDER BY c.name

-- name: doctor_mark_untold
-- Mark the items of doctor_untold, in the one order. $1 tenant.
WITH untold AS MATERIALIZED (
    SELECT m.connection_id, m.item_id FROM channel_stock m
    WHERE m.tenant_id = $1 AND NOT m.dirty AND m.blocked_by IS NULL AND m.acked_quantity IS NULL AND m.push_version > 0
      AND m.mode = 'live'
      AND EXISTS (SELECT FROM variant_item v JOIN binding b ON b.tenant_id = $1 AND b.connection_id = m.connection_id
                    AND b.kind = 'variant' AND b.internal_id = v.variant_id
                  WHERE v.tenant_id = $1 AND v.item_id = m.item_id)
    ORDER BY m.connection_id, m.item_id FOR NO KEY UPDATE OF m
), marked AS (
    UPDATE channel_stock m SET dirty = true, dirty_at = clock_timestamp() FROM untold u
    WHERE m.tenant_id = $1 AND m.connection_id = u.connection_id AND m.item_id = u.item_id RETURNING 1
)
SELECT count(*)::int FROM marked

-- name: doctor_resume
-- Let a connection go on that waited for a person. $1 tenant, $2 connection.
UPDATE connection SET state = 'active', state_reason = NULL
WHERE tenant_id = $1 AND connection_id = $2 AND state IN ('paused', 'waiting_auth') RETURNING name

-- name: doctor_config
-- The newest configuration. $1 tenant.
SELECT version, document, applied_by, applied_at FROM config_version WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1

-- name: doctor_issues
-- Issues that are not resolved. $1 tenant.
SELECT count(*)::int AS issues, coalesce(sum(standing), 0)::int AS standing FROM issue WHERE tenant_id = $1 AND state <> 'resolved'
