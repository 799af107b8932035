-- name: flow_modes_save
-- Change modes. $1 tenant, $2 connections, $3 flows, $4 modes, $5 rules.
-- A flow that stops observing creates nothing that was placed before, unless that is asked for; at a new connection `since`
-- alone decides.
INSERT INTO flow_mode AS f (tenant_id, connection_id, flow, mode, rules, live_from, revision)
SELECT $1, n.connection_id, n.flow, n.mode, n.rules, NULL,
       (SELECT coalesce(max(revision), 0) + 1 FROM flow_mode WHERE tenant_id = $1)
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) AS n (connection_id, flow, mode, rules)
ORDER BY n.connection_id, n.flow
ON CONFLICT (tenant_id, connection_id, flow) DO UPDATE
SET mode = excluded.mode, rules = excluded.rules, revision = excluded.revision, changed_at = clock_timestamp(),
    live_from = CASE WHEN f.mode = 'observe' AND excluded.mode <> 'observe' THEN clock_timestamp() ELSE f.live_from END

-- name: flow_modes_include
-- Also create what was placed since then. $1 tenant, $2 connections, $3 flow, $4 since. Where no switch shuts anything out
-- (null, which least() would skip), it stays so.
UPDATE flow_mode
SET live_from = CASE WHEN live_from IS NOT NULL THEN least(live_from, $4::timestamptz) END, changed_at = clock_timestamp(),
    revision = (SELECT max(revision) + 1 FROM flow_mode WHERE tenant_id = $1)
WHERE tenant_id = $1 AND connection_id = ANY($2::uuid[]) AND flow = $3 AND mode <> 'observe'

-- name: commands_end_observed
-- End what a flow that observes would still send. $1 tenant, $2 connections, $3 kinds, $4 code, $5 reason.
WITH open AS (
    SELECT c.tenant_id, c.command_id
    FROM unnest($2::uuid[], $3::text[]) AS n (connection_id, kind)
    JOIN command c ON c.tenant_id = $1 AND c.connection_id = n.connection_id AND c.kind = n.kind
    WHERE c.state IN ('proposed', 'pending')
    ORDER BY c.command_id FOR NO KEY UPDATE OF c
)
UPDATE command c
SET state = 'cancelled', code = $4, reason = $5, finished_at = clock_timestamp(), not_before = NULL, settles_at = NULL
FROM open WHERE c.tenant_id = open.tenant_id AND c.command_id = open.command_id AND c.state IN ('proposed', 'pending')

-- name: commands_hold
-- Have a person decide what nobody approved yet. $1 tenant, $2 connections, $3 kinds.
WITH open AS (
    SELECT c.tenant_id, c.command_id
    FROM unnest($2::uuid[], $3::text[]) AS n (connection_id, kind)
    JOIN command c ON c.tenant_id = $1 AND c.connection_id = n.connection_id AND c.kind = n.kind
    WHERE c.state = 'pending' AND c.approved_at IS NULL
    ORDER BY c.command_id FOR NO KEY UPDATE OF c
)
UPDATE command c SET state = 'proposed', not_before = NULL
FROM open
WHERE c.tenant_id = open.tenant_id AND c.command_id = open.command_id AND c.state = 'pending' AND c.approved_at IS NULL

-- name: commands_release
-- Send what waited for a person only because its flow proposed. $1 tenant, $2 connections, $3 kinds, $4 code that stays,
-- $5 seconds to do it in.
WITH open AS (
    SELECT c.tenant_id, c.command_id
    FROM unnest($2::uuid[], $3::text[]) AS n (connection_id, kind)
    JOIN command c ON c.tenant_id = $1 AND c.connection_id = n.connection_id AND c.kind = n.kind
    WHERE c.state = 'proposed' AND c.code IS DISTINCT FROM $4
    ORDER BY c.command_id FOR NO KEY UPDATE OF c
)
UPDATE command c SET state = 'pending', deadline_at = clock_timestamp() + make_interval(secs => $5::float8)
FROM open WHERE c.tenant_id = open.tenant_id AND c.command_id = open.command_id AND c.state = 'proposed'

-- name: commands_revive
-- Open again what ended only because its flow observed. $1 tenant, $2 connections, $3 kinds, $4 states, $5 seconds to do it in.
WITH ended AS (
    SELECT c.tenant_id, c.command_id, n.state
    FROM unnest($2::uuid[], $3::text[], $4::text[]) AS n (connection_id, kind, state)
    JOIN command c ON c.tenant_id = $1 AND c.connection_id = n.connection_id AND c.kind = n.kind
    WHERE c.state = 'cancelled' AND c.code = 'observed'
    ORDER BY c.command_id FOR NO KEY UPDATE OF c
)
UPDATE command c
SET state = ended.state, code = NULL, reason = NULL, finished_at = NULL, not_before = NULL, approved_by = NULL,
    approved_at = NULL, deadline_at = clock_timestamp() + make_interval(secs => $5::float8)
FROM ended WHERE c.tenant_id = ended.tenant_id AND c.command_id = ended.command_id AND c.state = 'cancelled'

-- name: payments_to_review
-- Have payments read anew: authorised ones of known orders, so that what is due for them is planned from what their provider
-- says now, and those that stored orders name and that belong to none yet, so that they are joined. Of a payment that was never
-- shown only those of orders whose money is still to be taken. $1 tenant, $2 provider, $3 channels, $4 placed since or null.
INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by)
SELECT $1, $2, 'payment', n.external_id, min(n.requested_by::text)::uuid
FROM (
    SELECT p.external_id, p.payment_id AS requested_by
    FROM psp_payment p
    WHERE p.tenant_id = $1 AND p.connection_id = $2 AND p.state = 'authorised' AND p.order_id IS NOT NULL
    UNION ALL
    SELECT c.psp_reference, o.order_id
    FROM "order" o JOIN payment c ON c.tenant_id = $1 AND c.order_id = o.order_id
    LEFT JOIN psp_payment p ON p.tenant_id = $1 AND p.connection_id = $2 AND p.external_id = c.psp_reference
    WHERE o.tenant_id = $1 AND o.connection_id = ANY($3::uuid[]) AND ($4::timestamptz IS NULL OR o.placed_at >= $4)
      AND c.psp_reference <> '' AND c.kind <> 'refund' AND p.order_id IS NULL
      AND (p.payment_id IS NOT NULL OR o.payment_state IN ('pending', 'authorised'))
) n
GROUP BY n.external_id ORDER BY n.external_id
ON CONFLICT (tenant_id, connection_id, topic, external_id) DO NOTHING

-- name: orders_to_include
-- Orders that would go to the ERP and are not known there nor on their way, in the order they were placed. $1 tenant, $2 channels, $3 ERP,
-- $4 placed since, $5 states of payment that release an order.
SELECT o.order_id
FROM "order" o
WHERE o.tenant_id = $1 AND o.connection_id = ANY($2::uuid[]) AND o.placed_at >= $4 AND o.order_state = 'open'
  AND o.payment_state = ANY($5::text[])
  AND NOT EXISTS (SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = $3 AND b.kind = 'order'
                                          AND b.internal_id = o.order_id)
  AND NOT EXISTS (SELECT FROM command_key k JOIN command c ON c.tenant_id = $1 AND c.command_id = k.command_id
                  WHERE k.tenant_id = $1 AND k.connection_id = $3 AND k.kind = 'order.create' AND k.entity_id = o.order_id
                    AND k.version = 1 AND NOT (c.state = 'cancelled' AND (c.code = 'observed' OR (c.call_id IS NULL
                    AND c.code IN ('annihilated', 'nothing_left', 'not_released')))))
ORDER BY o.placed_at, o.order_id

-- name: fulfillments_to_include
-- Shipments that their channels do not have and are not told, of orders placed since then. $1 tenant, $2 channels, $3 placed since.
SELECT f.fulfillment_id, f.order_id, o.connection_id
FROM fulfillment f JOIN "order" o ON o.tenant_id = $1 AND o.order_id = f.order_id
WHERE f.tenant_id = $1 AND f.state = 'shipped' AND o.connection_id = ANY($2::uuid[]) AND o.placed_at >= $3
  AND NOT EXISTS (SELECT FROM command_key k JOIN command c ON c.tenant_id = $1 AND c.command_id = k.command_id
                  WHERE k.tenant_id = $1 AND k.connection_id = o.connection_id AND k.kind = 'fulfillment.create' AND k.entity_id = f.fulfillment_id
                    AND k.version = 1 AND NOT (c.state = 'cancelled' AND (c.code = 'observed' OR (c.call_id IS NULL
                    AND c.code IN ('annihilated', 'nothing_left', 'not_released')))))
ORDER BY f.fulfillment_id

-- name: marks_settle
-- Give items the mode that they have in each channel, and return how many changed. $1 tenant, $2 connections, $3 whether each
-- is told stock numbers, $4 the flow's mode, $5 items with another mode, $6 their modes. What a channel shows of an item that was
-- observed is not known: others may have written it.
WITH exception AS MATERIALIZED (
    SELECT * FROM unnest($5::uuid[], $6::text[]) AS e (item_id, mode)
), chosen AS MATERIALIZED (
    SELECT m.connection_id, m.item_id, CASE WHEN c.is_target THEN coalesce(e.mode, $4::text) ELSE 'observe' END AS mode
    FROM unnest($2::uuid[], $3::bool[]) AS c (connection_id, is_target)
    JOIN channel_stock m ON m.tenant_id = $1 AND m.connection_id = c.connection_id
    LEFT JOIN exception e ON e.item_id = m.item_id
    WHERE m.mode <> CASE WHEN c.is_target THEN coalesce(e.mode, $4::text) ELSE 'observe' END
    ORDER BY m.connection_id, m.item_id
    FOR NO KEY UPDATE OF m
), settled AS (
    UPDATE channel_stock m
    SET mode = chosen.mode, approved_by = NULL, approved_at = NULL,
        dirty = CASE WHEN chosen.mode = 'observe' THEN false
                     WHEN m.mode = 'observe' THEN
                       EXISTS (SELECT FROM stock_counted s WHERE s.tenant_id = m.tenant_id AND s.item_id = m.item_id)
                     ELSE m.dirty END,
        dirty_at = CASE WHEN chosen.mode = 'observe' THEN NULL WHEN m.mode = 'observe' THEN clock_timestamp()
                        ELSE m.dirty_at END,
        not_before = CASE WHEN chosen.mode = 'observe' OR m.mode = 'observe' THEN NULL ELSE m.not_before END,
        tries = CASE WHEN chosen.mode = 'observe' OR m.mode = 'observe' THEN 0 ELSE m.tries END,
        acked_quantity = CASE WHEN m.mode = 'observe' THEN NULL ELSE m.acked_quantity END,
        unseen = CASE WHEN chosen.mode = 'observe' THEN 0 ELSE m.unseen END,
        unseen_back = CASE WHEN chosen.mode = 'observe' THEN 0 ELSE m.unseen_back END
    FROM chosen
    WHERE m.tenant_id = $1 AND m.connection_id = chosen.connection_id AND m.item_id = chosen.item_id
    RETURNING m.dirty
)
SELECT count(*), (SELECT pg_notify('tidegate_command', '')) FROM settled

-- name: modes_figures
-- What would leave now and what waits for a person. $1 tenant.
SELECT (SELECT count(*) FROM channel_stock WHERE tenant_id = $1 AND dirty AND sendable) AS numbers,
       (SELECT count(*) FROM channel_stock WHERE tenant_id = $1 AND dirty AND NOT sendable AND mode = 'propose')
         AS proposed_numbers,
       (SELECT count(*) FROM command WHERE tenant_id = $1 AND state = 'pending') AS commands,
       (SELECT count(*) FROM command WHERE tenant_id = $1 AND state = 'proposed') AS proposed_commands
