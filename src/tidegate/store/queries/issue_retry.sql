-- name: retry_facts
-- What a retry of an issue would meet. $1 tenant, $2 issue.
SELECT i.class, i.code, i.operation, i.standing, i.retried, c.name AS connection, c.connector, c.state AS connection_state,
       (SELECT s.is_on FROM switch s WHERE s.name = 'stop_all_writes') AS writes_stopped,
       (SELECT f.mode FROM flow_mode f
        WHERE f.tenant_id = $1 AND f.connection_id = i.connection_id
          AND f.flow = CASE WHEN i.operation IN ('order.create', 'order.cancel') THEN 'orders'
                            WHEN i.operation = 'fulfillment.create' THEN 'shipments'
                            WHEN i.operation IN ('payment.capture', 'payment.void', 'refund.create') THEN 'payments'
                            WHEN i.operation = 'event.send' THEN 'events' END) AS flow_mode
FROM issue i LEFT JOIN connection c ON c.tenant_id = i.tenant_id AND c.connection_id = i.connection_id
WHERE i.tenant_id = $1 AND i.issue_id = $2

-- name: retry_preview
-- Failures of an issue in the order of a retry, with what they are about and what would refuse them again. $1 tenant, $2 issue,
-- $3 also in doubt, $4 at most.
WITH mine AS MATERIALIZED (
    SELECT subject_id, kind FROM issue_member WHERE tenant_id = $1 AND issue_id = $2 AND NOT retried
    ORDER BY subject_id LIMIT $4
)
SELECT m.subject_id, m.kind AS subject_kind, c.connection_id, n.connector, c.kind, c.state, c.target_key, o.number, v.sku,
       c.state = 'in_doubt' AND NOT $3::boolean AS is_left_out,
       c.kind <> 'inventory.set' AND EXISTS (
           SELECT FROM (SELECT c.entity_id AS id
                        UNION ALL SELECT t.order_id
                        UNION ALL SELECT f.fulfillment_id FROM fulfillment f WHERE f.tenant_id = $1 AND f.order_id = t.order_id) e
           CROSS JOIN LATERAL (SELECT FROM command later
                               WHERE later.tenant_id = $1 AND later.entity_id = e.id AND later.connection_id = c.connection_id
                                 AND later.target_key = c.target_key AND later.command_id > c.command_id
                                 AND later.state IN ('sending', 'in_doubt', 'succeeded') LIMIT 1) l) AS is_overtaken,
       CASE WHEN c.code IS DISTINCT FROM 'sku_unbound' THEN false
            WHEN c.kind = 'order.create' THEN EXISTS (
                SELECT FROM order_line l WHERE l.tenant_id = $1 AND l.order_id = c.entity_id AND l.current > 0
                  AND NOT EXISTS (SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = c.connection_id
                                    AND b.kind = 'variant' AND b.internal_id = l.variant_id))
            ELSE NOT EXISTS (
                SELECT FROM variant_item x JOIN binding b ON b.tenant_id = $1 AND b.connection_id = c.connection_id
                  AND b.kind = 'variant' AND b.internal_id = x.variant_id
                WHERE x.tenant_id = $1 AND x.item_id = c.entity_id) END AS is_unbound,
       r.connector_version, r.mapping_version, r.code_version, p.code AS parked_code
FROM mine m
LEFT JOIN command c ON m.kind = 'command' AND c.tenant_id = $1 AND c.command_id = m.subject_id
LEFT JOIN event_parked p ON m.kind = 'event' AND p.tenant_id = $1 AND p.event_id = m.subject_id AND p.kind = 'quarantined'
CROSS JOIN LATERAL (SELECT CASE WHEN c.target_key ~ '^order:[0-9a-f-]{36}$' THEN substr(c.target_key, 7)::uuid END AS order_id) t
LEFT JOIN connection n ON n.tenant_id = $1 AND n.connection_id = coalesce(c.connection_id, p.connection_id)
LEFT JOIN fulfillment f ON c.kind = 'fulfillment.create' AND f.tenant_id = $1 AND f.fulfillment_id = c.entity_id
LEFT JOIN "order" o ON o.tenant_id = $1 AND o.order_id = coalesce(f.order_id, c.entity_id)
LEFT JOIN inventory_item v ON c.kind = 'inventory.set' AND v.tenant_id = $1 AND v.item_id = c.entity_id
LEFT JOIN LATERAL (SELECT connector_version, mapping_version, code_version FROM event_outcome e
                   WHERE m.kind = 'event' AND e.tenant_id = $1 AND e.event_id = m.subject_id
                   ORDER BY run DESC LIMIT 1) r ON true
WHERE c.state IN ('failed', 'in_doubt') OR p.event_id IS NOT NULL
ORDER BY m.subject_id

-- name: retry_members
-- The next failures of an issue that are not on their way. $1 tenant, $2 issue, $3 subjects after, $4 at most.
SELECT m.subject_id, m.kind AS subject_kind, c.kind, c.connection_id, c.entity_id
FROM (SELECT subject_id, kind FROM issue_member WHERE tenant_id = $1 AND issue_id = $2 AND NOT retried AND subject_id > $3
      ORDER BY subject_id LIMIT $4) m
LEFT JOIN command c ON m.kind = 'command' AND c.tenant_id = $1 AND c.command_id = m.subject_id
ORDER BY m.subject_id

-- name: retry_actions
-- Let action commands be sent again, each unless a later one of its target went out. $1 tenant, $2 commands, $3 rebuild, $4 states,
-- then per kind: kind, seconds until its deadline; $7 who: where a person must approve what is sent, this is the approval.
WITH wanted AS MATERIALIZED (
    SELECT c.command_id, c.connection_id, c.target_key, c.entity_id, k.seconds
    FROM command c JOIN unnest($5::text[], $6::float8[]) AS k(kind, seconds) ON k.kind = c.kind
    WHERE c.tenant_id = $1 AND c.command_id = ANY($2::uuid[])
), free AS MATERIALIZED (
    SELECT c.command_id, c.seconds FROM wanted c
    CROSS JOIN LATERAL (SELECT CASE WHEN c.target_key ~ '^order:[0-9a-f-]{36}$' THEN substr(c.target_key, 7)::uuid END AS order_id) t
    WHERE NOT EXISTS (
           SELECT FROM (SELECT c.entity_id AS id
                        UNION ALL SELECT t.order_id
                        UNION ALL SELECT f.fulfillment_id FROM fulfillment f WHERE f.tenant_id = $1 AND f.order_id = t.order_id) e
           CROSS JOIN LATERAL (SELECT FROM command later
                               WHERE later.tenant_id = $1 AND later.entity_id = e.id AND later.connection_id = c.connection_id
                                 AND later.target_key = c.target_key AND later.command_id > c.command_id
                                 AND later.state IN ('sending', 'in_doubt', 'succeeded') LIMIT 1) l)
)
UPDATE command c
SET state = 'pending', code = 'retried_by_operator', reason = NULL, not_before = NULL, settles_at = NULL, negatives = 0,
    attempt_number = 0, finished_at = NULL, deadline_at = clock_timestamp() + make_interval(secs => f.seconds),
    call_id = CASE WHEN $3 THEN NULL ELSE call_id END, approved_by = $7, approved_at = clock_timestamp()
FROM free f
WHERE c.tenant_id = $1 AND c.command_id = f.command_id AND c.command_id = ANY($2::uuid[]) AND c.state = ANY($4::text[])
RETURNING c.command_id

-- name: retry_lock_marks
-- Lock the marks of stock commands, in the one order. $1 tenant, $2 connections, $3 items.
SELECT m.connection_id FROM channel_stock m
JOIN unnest($2::uuid[], $3::uuid[]) AS n(connection_id, item_id) USING (connection_id, item_id)
WHERE m.tenant_id = $1 ORDER BY m.connection_id, m.item_id FOR NO KEY UPDATE OF m

-- name: retry_pushes
-- End stock commands and mark their items: a number is never sent again, a new one is. Those of items that observe
-- stay as they are: nothing would be told. $1 tenant, $2 commands, $3 states, $4 who: where a person must approve what is sent, this is the approval.
WITH ended AS (
    UPDATE command c SET state = 'superseded', code = 'retried_by_operator', finished_at = clock_timestamp(),
           not_before = NULL, settles_at = NULL
    WHERE c.tenant_id = $1 AND c.command_id = ANY($2::uuid[]) AND c.kind = 'inventory.set' AND c.state = ANY($3::text[])
      AND EXISTS (SELECT FROM channel_stock m WHERE m.tenant_id = $1 AND m.connection_id = c.connection_id
                    AND m.item_id = c.entity_id AND m.mode <> 'observe')
    RETURNING command_id, connection_id, entity_id
), items AS (
    SELECT connection_id, entity_id, array_agg(command_id) AS commands FROM ended GROUP BY connection_id, entity_id
), freed AS (
    UPDATE channel_stock m
    SET acked_quantity = CASE WHEN m.blocked_by = ANY(i.commands) THEN NULL ELSE m.acked_quantity END,
        blocked_by = CASE WHEN m.blocked_by = ANY(i.commands) THEN NULL ELSE m.blocked_by END, not_before = NULL, tries = 0,
        dirty = m.mode <> 'observe',
        dirty_at = CASE WHEN m.mode <> 'observe' THEN coalesce(m.dirty_at, clock_timestamp()) END,
        approved_by = CASE WHEN m.mode = 'propose' THEN $4 ELSE m.approved_by END,
        approved_at = CASE WHEN m.mode = 'propose' THEN clock_timestamp() ELSE m.approved_at END
    FROM items i WHERE m.tenant_id = $1 AND m.connection_id = i.connection_id AND m.item_id = i.entity_id
)
SELECT command_id FROM ended

-- name: retry_note
-- Note which failures are on their way again, and move the issue's counters. $1 tenant, $2 issue, $3 subjects.
WITH noted AS (
    UPDATE issue_member SET retried = true
    WHERE tenant_id = $1 AND issue_id = $2 AND subject_id = ANY($3::uuid[]) AND NOT retried RETURNING 1
)
UPDATE issue SET standing = greatest(0, standing - n.members), retried = retried + n.members
FROM (SELECT count(*)::int AS members FROM noted) n
WHERE tenant_id = $1 AND issue_id = $2

-- name: retry_result
-- What became of a command that was sent again. $1 tenant, $2 command.
SELECT c.state, c.code, c.reason, c.not_before, n.state AS newer_state, n.code AS newer_code, n.reason AS newer_reason,
       coalesce(m.dirty OR m.blocked_by IS NOT NULL, false) AS is_marked
FROM command c
LEFT JOIN LATERAL (SELECT state, code, reason FROM command x
                   WHERE c.kind = 'inventory.set' AND x.tenant_id = $1 AND x.connection_id = c.connection_id
                     AND x.entity_id = c.entity_id AND x.kind = c.kind AND x.command_id > c.command_id
                   ORDER BY x.command_id DESC LIMIT 1) n ON true
LEFT JOIN channel_stock m ON c.kind = 'inventory.set' AND m.tenant_id = $1 AND m.connection_id = c.connection_id
                         AND m.item_id = c.entity_id
WHERE c.tenant_id = $1 AND c.command_id = $2

-- name: retry_event_result
-- What became of an event that was replayed. $1 tenant, $2 event.
SELECT p.kind AS parked, p.code, p.reason, o.outcome, o.run,
       EXISTS (SELECT FROM event_queue q JOIN event e ON e.tenant_id = $1 AND e.event_id = $2 AND e.slot = q.slot
               WHERE q.tenant_id = $1 AND q.event_id = $2) AS is_queued
FROM (SELECT 1) one
LEFT JOIN event_parked p ON p.tenant_id = $1 AND p.event_id = $2
LEFT JOIN LATERAL (SELECT outcome, run FROM event_outcome x WHERE x.tenant_id = $1 AND x.event_id = $2
                   ORDER BY run DESC LIMIT 1) o ON true
