-- name: alerts_calls
-- Calls of the last minutes by connection. $1 tenant, $2 first attempt id.
SELECT n.name AS connection, count(*) AS calls,
       count(*) FILTER (WHERE a.is_failed) AS failed,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY a.duration_ms) / 1000 AS slow_seconds,
       (array_agg(a.code ORDER BY a.attempt_id DESC) FILTER (WHERE a.is_failed))[1] AS code
FROM (SELECT a.tenant_id, a.attempt_id, a.code, a.duration_ms, a.late,
             a.outcome IN ('transient', 'unknown', 'rejected', 'authentication', 'configuration', 'defect') AS is_failed FROM attempt_answer a
      WHERE a.tenant_id = $1 AND a.attempt_id >= $2) a
JOIN attempt t USING (tenant_id, attempt_id)
JOIN connection n ON n.tenant_id = t.tenant_id AND n.connection_id = t.connection_id
WHERE t.tenant_id = $1 AND t.attempt_id >= $2 AND NOT a.late
GROUP BY n.name ORDER BY n.name

-- name: alerts_lag
-- How long the newest applied events took. $1 tenant, $2 first event id, $3 how many.
SELECT count(*) AS events, coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds), 0) AS slow_seconds
FROM (
    SELECT extract(epoch FROM o.at)
           - ('x' || '0000' || left(replace(o.event_id::text, '-', ''), 12))::bit(64)::bigint / 1000.0 AS seconds
    FROM event_outcome o
    WHERE o.tenant_id = $1 AND o.event_id >= $2 AND o.run = 0
    ORDER BY o.event_id DESC LIMIT $3
) newest

-- name: alerts_counters
-- What came per connection and hour, and what was refused per code and hour, since $2. $1 tenant.
SELECT 'received' AS kind, n.name, c.hour, sum(c.received)::bigint AS number
FROM conservation c JOIN connection n USING (tenant_id, connection_id)
WHERE c.tenant_id = $1 AND c.hour >= $2 GROUP BY n.name, c.hour
UNION ALL
SELECT 'refused', r.code, r.hour, sum(r.refused)::bigint FROM intake_refusal r WHERE r.hour >= $2 GROUP BY r.code, r.hour

-- name: alerts_history
-- What came per connection in each hour of the past. $1 tenant, $2 first hour, $3 first hour that does not count.
SELECT n.name, c.hour, sum(c.received)::bigint AS number
FROM conservation c JOIN connection n USING (tenant_id, connection_id)
WHERE c.tenant_id = $1 AND c.hour >= $2 AND c.hour < $3
GROUP BY n.name, c.hour

-- name: alerts_count_rhythm
-- Count deliveries per topic and hour, once each. $1 tenant, $2 after this event id, $3 before this one.
INSERT INTO alert_rhythm AS r (tenant_id, connection_id, topic, hour, received, last_at)
SELECT $1, e.connection_id, e.topic, date_trunc('hour', e.at), count(*), max(e.at)
FROM (
    SELECT connection_id, topic, to_timestamp(
               ('x' || '0000' || left(replace(event_id::text, '-', ''), 12))::bit(64)::bigint / 1000.0) AS at
    FROM event
    WHERE tenant_id = $1 AND event_id > $2 AND event_id < $3 AND source = 'webhook'
) e
GROUP BY 2, 3, 4
ORDER BY 2, 3, 4
ON CONFLICT (tenant_id, connection_id, topic, hour)
DO UPDATE SET received = r.received + excluded.received, last_at = greatest(r.last_at, excluded.last_at)
RETURNING r.connection_id, r.topic, r.hour, r.received, r.last_at

-- name: alerts_rhythm
-- The rhythm of the past, with the names of its connections. $1 tenant, $2 first hour.
SELECT r.connection_id, r.topic, r.hour, r.received, r.last_at FROM alert_rhythm r
WHERE r.tenant_id = $1 AND r.hour >= $2

-- name: alerts_connection_names
-- Names of connections. $1 tenant.
SELECT connection_id, name FROM connection WHERE tenant_id = $1

-- name: alerts_unforwarded
-- Released orders that the ERP does not have, by channel. $1 tenant, $2 first order id, $3 releasing payment states,
-- $4 placed from then on, $5 channels, $6 first configuration version under which such orders go out.
WITH open_order AS (
    SELECT o.order_id, o.connection_id, o.number FROM "order" o
    WHERE o.tenant_id = $1 AND o.order_id >= $2 AND o.order_state = 'open' AND o.payment_state = ANY($3)
      AND o.placed_at >= $4
      AND NOT EXISTS (SELECT FROM command c
                      WHERE c.tenant_id = $1 AND c.entity_id = o.order_id AND c.command_id >= $2
                        AND c.kind = 'order.create' AND c.state IN ('succeeded', 'cancelled', 'failed', 'proposed'))
    LIMIT 1000
), released AS (
    SELECT n.name AS channel, r.number, last.at
    FROM open_order r
    JOIN connection n ON n.tenant_id = $1 AND n.connection_id = r.connection_id
    CROSS JOIN LATERAL (
        SELECT e.at, e.config_version FROM event_outcome e
        WHERE e.tenant_id = $1 AND e.entity_id = r.order_id AND e.event_id >= $2 AND e.outcome = 'applied'
        ORDER BY e.at DESC LIMIT 1
    ) last
    WHERE n.name = ANY($5) AND last.config_version >= $6
)
SELECT channel, count(*) AS orders, min(at) AS oldest_at, (array_agg(number ORDER BY at))[1] AS number
FROM released GROUP BY channel ORDER BY channel

-- name: alerts_uncaptured
-- Orders that their channel calls authorised and of which goods left, without any money that was captured or asked for, by
-- channel. $1 tenant, $2 first fulfillment id, $3 placed from then on or null, $4 the channel's word. An id tells its moment.
WITH gone AS (
    SELECT DISTINCT ON (f.order_id) f.order_id, f.fulfillment_id FROM fulfillment f
    WHERE f.tenant_id = $1 AND f.fulfillment_id >= $2 AND f.state <> 'cancelled'
    ORDER BY f.order_id, f.fulfillment_id
), owing AS (
    SELECT g.fulfillment_id, o.connection_id, o.number
    FROM gone g JOIN "order" o ON o.tenant_id = $1 AND o.order_id = g.order_id
    WHERE coalesce(o.channel_payment_state, o.payment_state) = $4 AND ($3::timestamptz IS NULL OR o.placed_at >= $3)
      AND NOT EXISTS (SELECT FROM psp_payment p
                      WHERE p.tenant_id = $1 AND p.order_id = o.order_id AND (p.captured_minor > 0 OR p.claimed_minor > 0))
    LIMIT 1000
)
SELECT n.name AS channel, count(*) AS orders, (array_agg(w.fulfillment_id ORDER BY w.fulfillment_id))[1] AS first_id,
       (array_agg(w.number ORDER BY w.fulfillment_id))[1] AS number
FROM owing w JOIN connection n ON n.tenant_id = $1 AND n.connection_id = w.connection_id
GROUP BY n.name ORDER BY n.name

-- name: alerts_read_window
-- Have the orders of a window read, and wake the lane. $1 tenant, $2 connection by name, $3 topic, $4 window, $5 who asks.
WITH asked AS (
    INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by)
    SELECT $1, c.connection_id, $3, $4, $5 FROM connection c WHERE c.tenant_id = $1 AND c.name = $2
    ON CONFLICT DO NOTHING RETURNING connection_id
)
SELECT pg_notify('tidegate_command', connection_id::text) FROM asked

-- name: alerts_versions
-- Documents of earlier configurations, newest first. $1 tenant, $2 up to this version, $3 how many.
SELECT version, document FROM config_version WHERE tenant_id = $1 AND version <= $2 ORDER BY version DESC LIMIT $3

-- name: alerts_live_roles
-- Roles that have a worker loop whose heartbeat is younger than $1 seconds, and what other machines are missing.
SELECT 'node' AS kind, role AS name, count(*) AS number FROM node
WHERE heartbeat_at > clock_timestamp() - make_interval(secs => $1) GROUP BY role
UNION ALL
SELECT 'missing', host || ': ' || unnest(missing), 1 FROM alert_witness
WHERE seen_at > clock_timestamp() - make_interval(secs => $2)

-- name: alerts_witness
-- Say what is missing on this machine. $1 host, $2 project, $3 names.
INSERT INTO alert_witness (host, project, seen_at, missing) VALUES ($1, $2, clock_timestamp(), $3)
ON CONFLICT (host, project) DO UPDATE SET seen_at = excluded.seen_at, missing = excluded.missing

-- name: alerts_lead
-- Take the evaluator's place unless another process has it. $1 first key, $2 second key of the advisory lock.
SELECT pg_try_advisory_lock($1, $2)

-- name: alerts_note_round
-- Say that the rules were looked at. $1 when, $2 host, $3 pid, $4 up to which event the rhythm is counted.
INSERT INTO alert_evaluator (name, evaluated_at, host, pid, counted_to) VALUES ('main', $1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE
SET evaluated_at = excluded.evaluated_at, host = excluded.host, pid = excluded.pid, counted_to = excluded.counted_to

-- name: alerts_last_round
-- When the rules were looked at last, by whom, and up to which event the rhythm is counted.
SELECT evaluated_at, host, pid, counted_to FROM alert_evaluator WHERE name = 'main'

-- name: alerts_firing
-- Alerts that fire, with the times at which each subject fired since $1.
SELECT a.tenant_id, a.alert_id, a.rule, a.subject, a.since, a.fired_at, a.flaps,
       ARRAY(SELECT p.fired_at FROM alert p WHERE p.tenant_id = a.tenant_id AND p.rule = a.rule AND p.subject = a.subject
             AND p.fired_at > $1 ORDER BY p.fired_at) AS fires
FROM alert a WHERE a.state = 'firing'

-- name: alerts_fire
-- An alert fires; one that fires already stays as it is. $1 tenant, $2 id, $3 rule, $4 subject, $5 severity, $6 since, $7 now, $8 value, $9 threshold, $10 cause, $11 next command.
INSERT INTO alert (tenant_id, alert_id, rule, subject, severity, state, since, fired_at, value, threshold, cause, next_command)
VALUES ($1, $2, $3, $4, $5, 'firing', $6, $7, $8, $9, $10, $11)
ON CONFLICT (tenant_id, rule, subject) WHERE state = 'firing' DO NOTHING

-- name: alerts_refresh
-- What a firing alert looks like now. $1 tenant, $2 rule, $3 subject, $4 severity, $5 value, $6 threshold, $7 cause, $8 next command, $9 relapses.
UPDATE alert SET severity = $4, value = $5, threshold = $6, cause = $7, next_command = $8, flaps = $9
WHERE tenant_id = $1 AND rule = $2 AND subject = $3 AND state = 'firing'

-- name: alerts_resolve
-- An alert is over. $1 tenant, $2 rule, $3 subject, $4 when.
UPDATE alert SET state = 'resolved', resolved_at = $4 WHERE tenant_id = $1 AND rule = $2 AND subject = $3 AND state = 'firing'

-- name: alerts_to_tell
-- Alerts of a tenant that fire, are not told to be over, or were told since $2; locked while notices are made of them.
SELECT tenant_id, alert_id, rule, subject, severity, state, since, fired_at, resolved_at, value, threshold, cause, flaps,
       told_state, told_at, acked_by, acked_at, next_command
FROM alert
WHERE tenant_id = $1 AND (state = 'firing' OR told_state = 'firing' OR told_at > $2)
ORDER BY alert_id FOR NO KEY UPDATE

-- name: alerts_told
-- Alerts were told in a state. $1 tenant, $2 alert ids, $3 state, $4 when.
UPDATE alert SET told_state = $3, told_at = $4 WHERE tenant_id = $1 AND alert_id = ANY($2::uuid[])

-- name: alerts_silences
-- Silences that have not ended. $1 tenant, $2 now.
SELECT silence_id, rule, subject, until, reason, created_by FROM alert_silence
WHERE tenant_id = $1 AND until > $2 ORDER BY until

-- name: alerts_silence_add
-- Silence a rule, a subject, or both. $1 tenant, $2 id, $3 rule, $4 subject, $5 until, $6 reason, $7 who.
INSERT INTO alert_silence (tenant_id, silence_id, rule, subject, until, reason, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: alerts_silence_end
-- End silences of a rule and a subject now. $1 tenant, $2 rule, $3 subject, $4 now.
UPDATE alert_silence SET until = $4
WHERE tenant_id = $1 AND until > $4 AND rule IS NOT DISTINCT FROM $2 AND subject IS NOT DISTINCT FROM $3

-- name: alerts_ack
-- A person has seen an alert. $1 tenant, $2 alert ids, $3 who, $4 when.
UPDATE alert SET acked_by = $3, acked_at = $4
WHERE tenant_id = $1 AND alert_id = ANY($2::uuid[]) AND state = 'firing' AND acked_at IS NULL
RETURNING alert_id

-- name: alerts_list
-- Alerts as people look at them, those that fire first, newest first. $1 tenant, $2 also those that are over, $3 how many.
SELECT tenant_id, alert_id, rule, subject, severity, state, since, fired_at, resolved_at, value, threshold, cause, flaps,
       told_state, told_at, acked_by, acked_at, next_command
FROM alert WHERE tenant_id = $1 AND ($2 OR state = 'firing')
ORDER BY state, fired_at DESC LIMIT $3

-- name: alerts_one
-- One alert. $1 tenant, $2 alert.
SELECT tenant_id, alert_id, rule, subject, severity, state, since, fired_at, resolved_at, value, threshold, cause, flaps,
       told_state, told_at, acked_by, acked_at, next_command
FROM alert WHERE tenant_id = $1 AND alert_id = $2

-- name: alerts_notice_add
-- Something to tell to a target; what it was told already is not told again. $1 tenant, $2 id, $3 key, $4 target, $5 kind, $6 severity, $7 title, $8 body, $9 alert ids, $10 now.
INSERT INTO alert_notice (tenant_id, notice_id, notice_key, target, kind, severity, title, body, alerts, not_before, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
ON CONFLICT (tenant_id, notice_key, target) DO NOTHING

-- name: alerts_notices_claim
-- Take notices whose time has come; until $2 nobody else takes them. $1 now, $2 until then, $3 how many.
UPDATE alert_notice n SET tries = n.tries + 1, not_before = $2
FROM (
    SELECT tenant_id, notice_id FROM alert_notice WHERE state = 'pending' AND not_before <= $1
    ORDER BY not_before LIMIT $3 FOR UPDATE SKIP LOCKED
) due
WHERE n.tenant_id = due.tenant_id AND n.notice_id = due.notice_id
RETURNING n.tenant_id, n.notice_id, n.notice_key, n.target, n.kind, n.severity, n.title, n.body, n.alerts, n.tries, n.created_at

-- name: alerts_notice_done
-- What became of a try, unless somebody else has taken the notice since. $1 tenant, $2 notice, $3 tries, $4 state, $5 next try, $6 error, $7 now.
UPDATE alert_notice SET state = $4, not_before = $5, last_error = $6,
       finished_at = CASE WHEN $4 = 'pending' THEN NULL ELSE $7::timestamptz END
WHERE tenant_id = $1 AND notice_id = $2 AND tries = $3 AND state = 'pending'

-- name: alerts_notices_pending
-- How many notices wait, and when the next one's time comes.
SELECT count(*) AS number, min(not_before) AS next_at FROM alert_notice WHERE state = 'pending'

-- name: alerts_notices_recent
-- The newest notices of a tenant. $1 tenant, $2 how many.
SELECT notice_id, target, kind, severity, title, state, tries, last_error, created_at, finished_at FROM alert_notice
WHERE tenant_id = $1 ORDER BY notice_id DESC LIMIT $2

-- name: alerts_targets
-- Targets of a tenant. $1 tenant.
SELECT name, kind, data_key_id, address, fingerprint, created_by, created_at, last_ok_at, last_error
FROM alert_target WHERE tenant_id = $1 ORDER BY name

-- name: alerts_target_put
-- Store a target's address; one of that name is replaced. $1 tenant, $2 name, $3 kind, $4 data key, $5 address, $6 fingerprint, $7 who.
INSERT INTO alert_target (tenant_id, name, kind, data_key_id, address, fingerprint, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant_id, name) DO UPDATE
SET kind = excluded.kind, data_key_id = excluded.data_key_id, address = excluded.address, fingerprint = excluded.fingerprint,
    created_by = excluded.created_by, created_at = clock_timestamp(), last_ok_at = NULL, last_error = NULL

-- name: alerts_target_remove
-- Forget a target. $1 tenant, $2 name.
DELETE FROM alert_target WHERE tenant_id = $1 AND name = $2 RETURNING name

-- name: alerts_target_used
-- What a target answered last. $1 tenant, $2 name, $3 when, $4 error, null when it took the notice.
UPDATE alert_target
SET last_ok_at = CASE WHEN $4::text IS NULL THEN $3 ELSE last_ok_at END, last_error = $4
WHERE tenant_id = $1 AND name = $2

-- name: alerts_prune_alerts
-- Forget alerts that were over before $1.
DELETE FROM alert WHERE state = 'resolved' AND resolved_at < $1

-- name: alerts_prune_notices
-- Forget notices that were finished before $1.
DELETE FROM alert_notice WHERE state <> 'pending' AND finished_at < $1

-- name: alerts_prune_rhythm
-- Forget hours before $1.
DELETE FROM alert_rhythm WHERE hour < $1

-- name: alerts_prune_silences
-- Forget silences that ended before $1.
DELETE FROM alert_silence WHERE until < $1

-- name: alerts_prune_witnesses
-- Forget machines that were not heard of since $1.
DELETE FROM alert_witness WHERE seen_at < $1

-- name: alerts_credentials
-- Credentials whose end is known: refresh tokens that are refused, or end and are not about to be renewed, and keys of our
-- API. $1 tenant, $2 now, $3 how far ahead is looked.
SELECT 'token' AS kind, t.name, t.refused, t.refresh_expires_at AS ends_at
FROM oauth_token t JOIN connection c ON c.tenant_id = t.tenant_id AND c.name = t.name AND c.state <> 'disabled'
WHERE t.tenant_id = $1
  AND (t.refused IS NOT NULL
       OR t.refresh_expires_at < $2::timestamptz + $3
          AND (c.state <> 'active' OR t.use_until IS NULL OR t.use_until > t.refresh_expires_at
               OR t.use_until < $2::timestamptz - interval '1 day'))
UNION ALL
SELECT 'key', k.name, NULL, k.expires_at
FROM api_key k
WHERE k.tenant_id = $1 AND k.revoked_at IS NULL AND k.expires_at BETWEEN $2::timestamptz - interval '7 days' AND $2 + $3
ORDER BY kind, name
