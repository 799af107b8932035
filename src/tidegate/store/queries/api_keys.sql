-- name: api_key_add
-- Make a key. $1 tenant, $2 id, $3 name, $4 hash of the secret, $5 scopes, $6 networks, $7 who, $8 now, $9 expires at.
INSERT INTO api_key (tenant_id, key_id, name, secret_hash, scopes, networks, created_by, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: api_key_find
-- Keys as they are presented: by their ids alone, whoever's they are. $1 ids.
SELECT tenant_id, key_id, name, secret_hash, scopes, networks, expires_at, revoked_at FROM api_key
WHERE key_id = ANY($1::uuid[])

-- name: api_key_list
-- All keys of a tenant, newest first. $1 tenant.
SELECT key_id, name, scopes, networks, created_by, created_at, expires_at, revoked_at, revoked_by, last_used_at
FROM api_key WHERE tenant_id = $1 ORDER BY key_id DESC

-- name: api_key_revoke
-- Revoke a key by its id, or the unrevoked one of a name. $1 tenant, $2 id or null, $3 name, $4 who.
UPDATE api_key SET revoked_at = now(), revoked_by = $4
WHERE tenant_id = $1 AND revoked_at IS NULL AND (key_id = $2 OR ($2::uuid IS NULL AND name = $3))
RETURNING key_id, name

-- name: api_key_used
-- Note that a key was used, when it was not within the last minute. $1 tenant, $2 id.
UPDATE api_key SET last_used_at = clock_timestamp()
WHERE tenant_id = $1 AND key_id = $2
  AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')

-- name: api_answer_lock
-- Whether nobody else works on this idempotency key now; held to the end of the transaction. $1 tenant, $2 key, $3 idempotency key.
SELECT pg_try_advisory_xact_lock(hashtextextended($1::uuid::text || $2::uuid::text || $3::text, 7482))

-- name: api_answer_find
-- What a write was answered with. $1 tenant, $2 key, $3 idempotency key.
SELECT request_digest, status, media_type, body FROM api_answer
WHERE tenant_id = $1 AND key_id = $2 AND idempotency_key = $3

-- name: api_answer_add
-- Keep an answer. $1 tenant, $2 key, $3 idempotency key, $4 digest of the request, $5 status, $6 media type, $7 body.
INSERT INTO api_answer (tenant_id, key_id, idempotency_key, request_digest, status, media_type, body)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: api_answer_purge
-- Forget answers that are older than they have to be kept; at most so many. $1 kept for, $2 at most.
DELETE FROM api_answer WHERE (tenant_id, key_id, idempotency_key) IN (
    SELECT tenant_id, key_id, idempotency_key FROM api_answer
    WHERE created_at < clock_timestamp() - $1::interval ORDER BY created_at LIMIT $2)
