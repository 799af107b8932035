-- name: login_add
-- Make a login unless the name exists; returns the name when it was made. $1 tenant, $2 name, $3 hash.
INSERT INTO login (tenant_id, name, password_hash) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING name

-- name: login_put
-- Make a login, or give it another password. $1 tenant, $2 name, $3 hash.
INSERT INTO login (tenant_id, name, password_hash) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, name) DO UPDATE SET password_hash = excluded.password_hash, changed_at = clock_timestamp()

-- name: login_remove
-- Remove a login with its sessions; returns the name when there was one. $1 tenant, $2 name.
DELETE FROM login WHERE tenant_id = $1 AND name = $2 RETURNING name

-- name: login_list
-- Logins and how many sessions each has. $1 tenant.
SELECT l.name, l.changed_at, (SELECT count(*) FROM login_session s WHERE s.tenant_id = l.tenant_id AND s.name = l.name) AS sessions,
       (SELECT max(s.seen_at) FROM login_session s WHERE s.tenant_id = l.tenant_id AND s.name = l.name) AS last_seen_at
FROM login l WHERE l.tenant_id = $1 ORDER BY l.name

-- name: login_exists
-- Whether anybody may sign in. $1 tenant.
SELECT EXISTS (SELECT FROM login WHERE tenant_id = $1)

-- name: login_hash
-- The hash of a login's password. $1 tenant, $2 name.
SELECT password_hash FROM login WHERE tenant_id = $1 AND name = $2

-- name: login_sessions_end
-- End all sessions of a login. $1 tenant, $2 name.
DELETE FROM login_session WHERE tenant_id = $1 AND name = $2

-- name: login_failure_begin
-- Make the row of a subject, so that it can be locked. $1 tenant, $2 subject, $3 now.
INSERT INTO login_failure (tenant_id, subject, failures, last_at) VALUES ($1, $2, 1, $3) ON CONFLICT DO NOTHING RETURNING failures

-- name: login_failure_lock
-- Lock the row of a subject. $1 tenant, $2 subject.
SELECT failures, last_at FROM login_failure WHERE tenant_id = $1 AND subject = $2 FOR UPDATE

-- name: login_failure_count
-- Count one more. $1 tenant, $2 subject, $3 failures, $4 now.
UPDATE login_failure SET failures = $3, last_at = $4 WHERE tenant_id = $1 AND subject = $2

-- name: login_failure_clear
-- Forget the failures of these subjects. $1 tenant, $2 subjects.
DELETE FROM login_failure WHERE tenant_id = $1 AND subject = ANY($2::bytea[])

-- name: login_failure_forget
-- Forget what is old. $1 tenant, $2 before.
DELETE FROM login_failure WHERE tenant_id = $1 AND last_at < $2

-- name: login_session_begin
-- Begin a session, unless the password that was proven has been replaced meanwhile. $1 tenant, $2 hash, $3 name, $4 now,
-- $5 when it was started, $6 the hash of the password that was proven.
INSERT INTO login_session (tenant_id, session_hash, name, started_at, seen_at, confirmed_at)
SELECT $1, $2, l.name, $5, $4, $4 FROM login l WHERE l.tenant_id = $1 AND l.name = $3 AND l.password_hash = $6
RETURNING true

-- name: login_session_find
-- A session that still holds. $1 tenant, $2 hash, $3 seen since, $4 started since.
SELECT name, started_at, seen_at, confirmed_at FROM login_session
WHERE tenant_id = $1 AND session_hash = $2 AND seen_at >= $3 AND started_at >= $4

-- name: login_session_alive
-- Which of these sessions still hold. $1 tenant, $2 hashes, $3 seen since, $4 started since.
SELECT session_hash FROM login_session
WHERE tenant_id = $1 AND session_hash = ANY($2::bytea[]) AND seen_at >= $3 AND started_at >= $4

-- name: login_session_seen
-- Note that a session was used. $1 tenant, $2 hash, $3 now.
UPDATE login_session SET seen_at = greatest(seen_at, $3) WHERE tenant_id = $1 AND session_hash = $2

-- name: login_session_end
-- End a session; returns its name when there was one. $1 tenant, $2 hash.
DELETE FROM login_session WHERE tenant_id = $1 AND session_hash = $2 RETURNING name

-- name: login_sessions_forget
-- Forget sessions that are over. $1 tenant, $2 seen before, $3 started before.
DELETE FROM login_session WHERE tenant_id = $1 AND (seen_at < $2 OR started_at < $3)
