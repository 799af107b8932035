-- name: token_read
-- The tokens of a connection. $1 tenant, $2 name.
SELECT generation, data_key_id, ciphertext, use_until, expires_at, refresh_expires_at, attempt_at, refused,
       coalesce(use_until <= clock_timestamp(), false) AS is_due
FROM oauth_token WHERE tenant_id = $1 AND name = $2

-- name: token_begin
-- Note that the refresh token of a generation is about to be used. $1 tenant, $2 name, $3 generation.
UPDATE oauth_token SET attempt_at = clock_timestamp() WHERE tenant_id = $1 AND name = $2 AND generation = $3
RETURNING true

-- name: token_unsent
-- Note that the request certainly did not leave. $1 tenant, $2 name, $3 generation.
UPDATE oauth_token SET attempt_at = NULL WHERE tenant_id = $1 AND name = $2 AND generation = $3

-- name: token_store
-- Keep a pair; one that is not newer than the stored one changes nothing. $1 tenant, $2 name, $3 generation, $4 data key,
-- $5 ciphertext, $6 use until, $7 expires, $8 refresh expires.
INSERT INTO oauth_token (tenant_id, name, generation, data_key_id, ciphertext, use_until, expires_at, refresh_expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id, name) DO UPDATE
SET generation = excluded.generation, data_key_id = excluded.data_key_id, ciphertext = excluded.ciphertext,
    use_until = excluded.use_until, expires_at = excluded.expires_at, refresh_expires_at = excluded.refresh_expires_at,
    attempt_at = NULL, refused = NULL, updated_at = clock_timestamp()
WHERE oauth_token.generation < excluded.generation
RETURNING true

-- name: token_refuse
-- Note that a person has to give new tokens. $1 tenant, $2 name, $3 generation, $4 why.
UPDATE oauth_token SET refused = $4, updated_at = clock_timestamp()
WHERE tenant_id = $1 AND name = $2 AND generation = $3

-- name: token_lock
-- Wait for whoever renews the tokens; the lock is the session's, and gone with its process. $1 key.
SELECT pg_advisory_lock($1)

-- name: token_unlock
-- Let the next one renew. $1 key.
SELECT pg_advisory_unlock($1)

-- name: token_rename
-- Give the tokens of a connection to its new name; what it has under that name already stays, because it was given later. $1 tenant, $2 new name, $3 old name, $4 data key,
-- $5 ciphertext, sealed to the new name.
WITH gone AS (DELETE FROM oauth_token WHERE tenant_id = $1 AND name = $3 RETURNING *)
INSERT INTO oauth_token (tenant_id, name, generation, data_key_id, ciphertext, use_until, expires_at, refresh_expires_at,
                         attempt_at, refused)
SELECT tenant_id, $2, generation, $4, $5, use_until, expires_at, refresh_expires_at, attempt_at, refused FROM gone
ON CONFLICT (tenant_id, name) DO NOTHING

-- name: token_forget
-- Drop the tokens of a connection. $1 tenant, $2 name.
DELETE FROM oauth_token WHERE tenant_id = $1 AND name = $2

-- name: session_limits
-- What bounds the statements of this session.
SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock

-- name: session_set_limits
-- Bound the statements of this session otherwise. $1 statement timeout, $2 lock timeout.
SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false)

-- name: redirect_await
-- Wait for the redirect of a request to a person; what ended without one is dropped. $1 tenant, $2 id, $3 connection's name,
-- $4 digest of the state, $5 seconds.
WITH old AS (DELETE FROM oauth_request WHERE tenant_id = $1 AND expires_at < clock_timestamp())
INSERT INTO oauth_request (tenant_id, request_id, name, state_digest, expires_at)
VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5::float8))

-- name: redirect_take
-- Keep what a redirect brought, once. $1 digest of its state, $2 the query, sealed.
UPDATE oauth_request SET answer = $2, answered_at = clock_timestamp()
WHERE state_digest = $1 AND answer IS NULL AND expires_at > clock_timestamp() RETURNING true

-- name: redirect_read
-- What came. $1 tenant, $2 id.
SELECT answer FROM oauth_request WHERE tenant_id = $1 AND request_id = $2

-- name: redirect_end
-- Nothing is waited for any more. $1 tenant, $2 id.
DELETE FROM oauth_request WHERE tenant_id = $1 AND request_id = $2
