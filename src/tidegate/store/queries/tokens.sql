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

-- name: tokens_listed
-- How long the tokens of connections are good. $1 tenant.
SELECT name, use_until, expires_at, refresh_expires_at, refused FROM oauth_token WHERE tenant_id = $1 ORDER BY name
