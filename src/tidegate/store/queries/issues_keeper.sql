-- name: keeper_pulse
-- Tenants with something for the keeper to do. $1 since when refusals count.
SELECT t.tenant_id FROM tenant t LEFT JOIN issue_progress p USING (tenant_id)
WHERE EXISTS (SELECT FROM command m WHERE m.tenant_id = t.tenant_id AND m.state = 'failed'
                AND m.finished_at > coalesce(p.failed_at, '-infinity'))
   OR EXISTS (SELECT FROM event_parked e WHERE e.tenant_id = t.tenant_id AND e.kind = 'quarantined'
                AND e.at > coalesce(p.quarantined_at, '-infinity'))
   OR EXISTS (SELECT FROM command m WHERE m.tenant_id = t.tenant_id AND m.state = 'in_doubt' AND m.not_before IS NULL)
   OR EXISTS (SELECT FROM issue_member i WHERE i.tenant_id = t.tenant_id)
   OR EXISTS (SELECT FROM issue i WHERE i.tenant_id = t.tenant_id AND i.state <> 'resolved')
   OR EXISTS (SELECT FROM connection c WHERE c.tenant_id = t.tenant_id AND c.state IN ('paused', 'waiting_auth'))
   OR EXISTS (SELECT FROM poll_cursor c WHERE c.tenant_id = t.tenant_id AND c.last_error IS NOT NULL)
   OR EXISTS (SELECT FROM intake_refusal r WHERE r.hour >= $1)
ORDER BY t.tenant_id

-- name: keeper_lock
-- Only one keeper of a tenant at a time; who retries an issue waits for it. $1 tenant.
SELECT pg_advisory_xact_lock(7483, hashtext($1::uuid::text))

-- name: keeper_try_lock
-- As keeper_lock, without waiting. $1 tenant.
SELECT pg_try_advisory_xact_lock(7483, hashtext($1::uuid::text))

-- name: keeper_progress
-- How far the keeper has read. $1 tenant.
INSERT INTO issue_progress AS p (tenant_id) VALUES ($1)
ON CONFLICT (tenant_id) DO UPDATE SET tenant_id = p.tenant_id
RETURNING greatest(failed_at, 'epoch') AS failed_at, greatest(quarantined_at, 'epoch') AS quarantined_at, doubtful_after,
          swept_after

-- name: keeper_set_progress
-- Note how far the keeper has read; null: as it is. $1 tenant, $2 failed, $3 quarantined, $4 doubtful after, $5 swept after.
UPDATE issue_progress SET failed_at = coalesce($2, failed_at), quarantined_at = coalesce($3, quarantined_at),
       doubtful_after = coalesce($4, doubtful_after), swept_after = coalesce($5, swept_after)
WHERE tenant_id = $1

-- name: keeper_failed
-- Commands that failed after a moment and are not grouped as that failure. $1 tenant, $2 moment, $3 last of that moment, $4 at most.
SELECT m.command_id AS subject_id, m.connection_id, m.kind AS operation, m.state, m.code, m.reason, m.call_id,
       m.finished_at AS failed_at, a.outcome
FROM (SELECT * FROM command c
      WHERE c.tenant_id = $1 AND c.state = 'failed' AND (c.finished_at, c.command_id) > ($2::timestamptz, $3::uuid)
        AND NOT EXISTS (SELECT FROM issue_member i WHERE i.tenant_id = $1 AND i.subject_id = c.command_id
                                                     AND i.failed_at = c.finished_at)
      ORDER BY c.finished_at, c.command_id LIMIT $4) m
LEFT JOIN LATERAL (SELECT outcome FROM attempt_answer r WHERE r.tenant_id = $1 AND r.attempt_id = m.attempt_id
                   ORDER BY r.at DESC LIMIT 1) a ON m.call_id IS NOT NULL
ORDER BY m.finished_at, m.command_id

-- name: keeper_asking
-- Commands in doubt that only a person can decide, by id; their failure is the attempt's. $1 tenant, $2 after, $3 at most.
SELECT m.command_id AS subject_id, m.connection_id, m.kind AS operation, m.state, m.code, m.reason, m.call_id,
       to_timestamp(('x0000' || left(replace(coalesce(m.attempt_id, m.command_id)::text, '-', ''), 12))::bit(64)::bigint
                    / 1000.0) AS failed_at, 'unknown' AS outcome
FROM command m
WHERE m.tenant_id = $1 AND m.state = 'in_doubt' AND m.not_before IS NULL AND m.command_id > $2
ORDER BY m.command_id LIMIT $3

-- name: keeper_known
-- Which failures of these subjects are grouped. $1 tenant, $2 subjects.
SELECT subject_id, failed_at FROM issue_member WHERE tenant_id = $1 AND subject_id = ANY($2::uuid[])

-- name: keeper_quarantined
-- Events put aside after a moment and not grouped as that failure. $1 tenant, $2 moment, $3 last of that moment, $4 at most.
SELECT q.event_id AS subject_id, q.connection_id, coalesce(e.topic, '') AS operation, 'quarantined' AS state, q.code,
       q.reason, NULL::uuid AS call_id, q.at AS failed_at, 'quarantined' AS outcome
FROM (SELECT * FROM event_parked p
      WHERE p.tenant_id = $1 AND p.kind = 'quarantined' AND (p.at, p.event_id) > ($2::timestamptz, $3::uuid)
        AND NOT EXISTS (SELECT FROM issue_member i WHERE i.tenant_id = $1 AND i.subject_id = p.event_id
                                                     AND i.failed_at = p.at)
      ORDER BY p.at, p.event_id LIMIT $4) q
LEFT JOIN event e ON e.tenant_id = $1 AND e.event_id = q.event_id
ORDER BY q.at, q.event_id

-- name: keeper_shapes
-- How many issues there are of each of these causes. $1 tenant, $2 classes, $3 connections, $4 operations, $5 codes.
SELECT i.class, i.connection_id, i.operation, i.code, count(*) AS shapes
FROM issue i
JOIN (SELECT DISTINCT * FROM unnest($2::text[], $3::uuid[], $4::text[], $5::text[]) AS n(class, connection_id, operation, code)) n
  ON n.class = i.class AND n.connection_id IS NOT DISTINCT FROM i.connection_id AND n.operation = i.operation
 AND n.code = i.code
WHERE i.tenant_id = $1 GROUP BY i.class, i.connection_id, i.operation, i.code

-- name: keeper_fingerprints
-- Which of these issues exist. $1 tenant, $2 fingerprints.
SELECT fingerprint FROM issue WHERE tenant_id = $1 AND fingerprint = ANY($2::bytea[])

-- name: keeper_issues
-- Make or move issues: one row per fingerprint. A resolved one that fails again later has regressed. Arrays: id, fingerprint,
-- class, connection, operation, code, shape, first failure, last failure.
INSERT INTO issue AS i (tenant_id, issue_id, fingerprint, class, connection_id, operation, code, shape, first_seen_at,
                        last_seen_at)
SELECT $1, n.* FROM unnest($2::uuid[], $3::bytea[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[],
                           $9::timestamptz[], $10::timestamptz[])
    AS n(issue_id, fingerprint, class, connection_id, operation, code, shape, first_at, last_at)
ORDER BY n.fingerprint
ON CONFLICT (tenant_id, fingerprint) DO UPDATE
SET first_seen_at = least(i.first_seen_at, EXCLUDED.first_seen_at),
    last_seen_at = greatest(i.last_seen_at, EXCLUDED.last_seen_at),
    sample = CASE WHEN i.state = 'resolved' AND EXCLUDED.last_seen_at > i.changed_at THEN NULL ELSE i.sample END,
    regressions = i.regressions + (i.state = 'resolved' AND EXCLUDED.last_seen_at > i.changed_at)::int,
    state = CASE WHEN i.state = 'resolved' AND EXCLUDED.last_seen_at > i.changed_at THEN 'regressed' ELSE i.state END
RETURNING issue_id, fingerprint, sample IS NULL AS wants_sample

-- name: keeper_forget
-- Forget subjects; returns how many of which issue, retried or not. $1 tenant, $2 subjects.
WITH gone AS (DELETE FROM issue_member WHERE tenant_id = $1 AND subject_id = ANY($2::uuid[]) RETURNING issue_id, retried)
SELECT issue_id, retried, count(*)::int AS members FROM gone GROUP BY issue_id, retried

-- name: keeper_remember
-- Note which failure belongs to which issue. $1 tenant, then arrays: subject, issue, kind, failed at.
INSERT INTO issue_member (tenant_id, subject_id, issue_id, kind, failed_at)
SELECT $1, n.* FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[]) AS n(subject_id, issue_id, kind, failed_at)
ORDER BY n.subject_id

-- name: keeper_count
-- Move the counters of issues. $1 tenant, then arrays: issue, standing, retried, seen.
UPDATE issue i SET standing = greatest(0, i.standing + n.standing), retried = greatest(0, i.retried + n.retried),
       seen = i.seen + n.seen
FROM unnest($2::uuid[], $3::int[], $4::int[], $5::int[]) AS n(issue_id, standing, retried, seen)
WHERE i.tenant_id = $1 AND i.issue_id = n.issue_id

-- name: keeper_members
-- A piece of all failures, in turn, with what became of each. $1 tenant, $2 after, $3 at most.
SELECT m.subject_id, m.issue_id, m.kind, m.retried, m.failed_at, c.state, c.not_before, c.finished_at,
       p.at AS quarantined_at
FROM (SELECT * FROM issue_member WHERE tenant_id = $1 AND subject_id > $2 ORDER BY subject_id LIMIT $3) m
LEFT JOIN command c ON m.kind = 'command' AND c.tenant_id = $1 AND c.command_id = m.subject_id
LEFT JOIN event_parked p ON m.kind = 'event' AND p.tenant_id = $1 AND p.event_id = m.subject_id AND p.kind = 'quarantined'
ORDER BY m.subject_id

-- name: keeper_mark
-- Note which failures are on their way again. $1 tenant, $2 subjects, $3 retried.
UPDATE issue_member SET retried = $3 WHERE tenant_id = $1 AND subject_id = ANY($2::uuid[])

-- name: keeper_resolve
-- Close issues of which nothing is left. $1 tenant.
UPDATE issue i SET state = 'resolved', standing = 0, retried = 0, changed_by = 'keeper', changed_at = clock_timestamp()
WHERE i.tenant_id = $1 AND i.state <> 'resolved' AND i.class NOT IN ('connection', 'feed', 'intake')
  AND i.standing = 0 AND i.retried = 0
  AND NOT EXISTS (SELECT FROM issue_member m WHERE m.tenant_id = $1 AND m.issue_id = i.issue_id)
RETURNING i.issue_id

-- name: keeper_states
-- What stands still by itself: connections, feeds, refused deliveries. $1 tenant, $2 since when refusals count, $3 codes of refusals.
SELECT 'connection' AS class, c.connection_id, 'connection' AS operation, c.state AS code, c.state_reason AS reason, 1::bigint AS standing
FROM connection c WHERE c.tenant_id = $1 AND c.state IN ('paused', 'waiting_auth')
UNION ALL
SELECT 'feed', p.connection_id, 'feed:' || p.feed, split_part(p.last_error, ':', 1), substr(p.last_error, position(':' in p.last_error) + 1), 1
FROM poll_cursor p WHERE p.tenant_id = $1 AND p.last_error IS NOT NULL
UNION ALL
SELECT 'intake', NULL, 'delivery', r.code, '', sum(r.refused)::bigint FROM intake_refusal r
WHERE r.hour >= $2 AND r.code = ANY($3::text[]) AND NOT EXISTS (SELECT FROM tenant t WHERE t.tenant_id <> $1)
GROUP BY r.code

-- name: keeper_known_states
-- Issues of what stands still by itself. $1 tenant.
SELECT issue_id, fingerprint, state, standing, seen FROM issue
WHERE tenant_id = $1 AND class IN ('connection', 'feed', 'intake') AND (state <> 'resolved' OR standing > 0
      OR fingerprint = ANY($2::bytea[]))

-- name: keeper_set_state
-- Bring an issue of what stands still by itself up to date. $1 tenant, $2 issue, $3 state, $4 standing, $5 seen, $6 came again, $7 is seen now.
UPDATE issue SET state = $3, standing = $4, seen = $5, regressions = regressions + $6::int,
       last_seen_at = CASE WHEN $7 THEN clock_timestamp() ELSE last_seen_at END,
       changed_by = CASE WHEN state <> $3 THEN 'keeper' ELSE changed_by END,
       changed_at = CASE WHEN state <> $3 THEN clock_timestamp() ELSE changed_at END
WHERE tenant_id = $1 AND issue_id = $2

-- name: keeper_affected
-- What an issue holds up, of at most so many failures. $1 tenant, $2 issue, $3 at most.
WITH mine AS (
    SELECT c.kind, c.entity_id FROM (SELECT subject_id FROM issue_member WHERE tenant_id = $1 AND issue_id = $2
                                       AND kind = 'command' LIMIT $3) m
    JOIN command c ON c.tenant_id = $1 AND c.command_id = m.subject_id
), held AS (
    SELECT entity_id AS order_id FROM mine WHERE kind IN ('order.create', 'order.cancel', 'payment.capture', 'payment.void', 'refund.create')
    UNION
    SELECT f.order_id FROM mine JOIN fulfillment f ON f.tenant_id = $1 AND f.fulfillment_id = mine.entity_id
    WHERE mine.kind = 'fulfillment.create'
), sums AS (
    SELECT o.currency, count(*) AS orders, sum(o.total_minor)::bigint AS total
    FROM held JOIN "order" o ON o.tenant_id = $1 AND o.order_id = held.order_id GROUP BY o.currency
)
SELECT coalesce((SELECT sum(orders) FROM sums), 0)::int AS orders,
       (SELECT count(DISTINCT entity_id) FROM mine WHERE kind = 'inventory.set')::int AS skus,
       coalesce((SELECT jsonb_object_agg(currency, total) FROM sums), '{}') AS value,
       (SELECT count(*) FROM mine)::int AS members

-- name: keeper_keep
-- Keep what an issue holds up, and a sample where one was made. $1 tenant, $2 issue, $3 affected, $4 sample or null.
UPDATE issue SET affected = $3, sample = coalesce($4, sample) WHERE tenant_id = $1 AND issue_id = $2

-- name: keeper_call
-- The frozen request of a command and its newest answer, sealed. $1 tenant, $2 command.
SELECT c.call_id, c.kind, k.members, k.data_key_id AS call_key_id, k.payload, a.attempt_id, a.data_key_id AS answer_key_id,
       a.answer, a.http_status, a.outcome, a.code, a.duration_ms
FROM command c
JOIN call k ON k.tenant_id = $1 AND k.call_id = c.call_id
LEFT JOIN LATERAL (SELECT * FROM attempt_answer r WHERE r.tenant_id = $1 AND r.attempt_id = c.attempt_id
                   ORDER BY r.at DESC LIMIT 1) a ON true
WHERE c.tenant_id = $1 AND c.command_id = $2

-- name: keeper_event
-- The sealed body of an event. $1 tenant, $2 event.
SELECT event_id, topic, data_key_id, body FROM event WHERE tenant_id = $1 AND event_id = $2
