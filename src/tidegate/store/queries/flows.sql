-- name: flows_proposed_commands
-- Commands that wait for an approval, oldest first, with the order each is about. $1 tenant, $2 at most.
SELECT m.command_id, c.name AS connection, m.kind, m.code, m.reason, o.number, o.order_id, o.total_minor, o.currency,
       (SELECT string_agg(l.current || ' x ' || l.sku, ', ' ORDER BY l.position) FROM order_line l
        WHERE l.tenant_id = m.tenant_id AND l.order_id = o.order_id AND l.current > 0) AS lines
FROM command m
JOIN connection c USING (tenant_id, connection_id)
LEFT JOIN fulfillment f ON m.kind = 'fulfillment.create' AND f.tenant_id = m.tenant_id AND f.fulfillment_id = m.entity_id
LEFT JOIN "order" o ON o.tenant_id = m.tenant_id
                   AND o.order_id = CASE WHEN m.kind = 'fulfillment.create' THEN f.order_id ELSE m.entity_id END
WHERE m.tenant_id = $1 AND m.state = 'proposed'
ORDER BY m.command_id LIMIT $2

-- name: flows_proposed_marks
-- Stock numbers that wait for an approval. $1 tenant, $2 at most.
SELECT m.connection_id, m.item_id, c.name AS connection, c.connector, i.sku, m.acked_quantity, m.dirty_at
FROM channel_stock m
JOIN connection c USING (tenant_id, connection_id)
JOIN inventory_item i USING (tenant_id, item_id)
WHERE m.tenant_id = $1 AND m.dirty AND NOT m.sendable AND m.mode = 'propose'
ORDER BY m.connection_id, m.item_id LIMIT $2

-- name: flows_proposed_count
-- How many proposals there are. $1 tenant.
SELECT (SELECT count(*) FROM command WHERE tenant_id = $1 AND state = 'proposed')
     + (SELECT count(*) FROM channel_stock WHERE tenant_id = $1 AND dirty AND NOT sendable AND mode = 'propose')
