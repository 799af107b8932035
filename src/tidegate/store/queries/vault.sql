-- name: tenant_key_add
-- Store a tenant's key of a class unless that version exists. $1 tenant, $2 class, $3 version, $4 wrapped key.
INSERT INTO tenant_key (tenant_id, key_class, key_version, wrapped) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: tenant_keys
-- The newest key of a tenant's class. $1 tenant, $2 class.
SELECT key_version, wrapped FROM tenant_key WHERE tenant_id = $1 AND key_class = $2 ORDER BY key_version DESC LIMIT 1

-- name: data_key_add
-- Store the data key of a day unless the day has one. $1 tenant, $2 class, $3 key id, $4 day, $5 version of the tenant key, $6 wrapped key.
INSERT INTO data_key (tenant_id, key_class, key_id, day, key_version, wrapped) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING

-- name: data_key_of_day
-- The data key of a day. $1 tenant, $2 class, $3 day.
SELECT key_id, wrapped FROM data_key WHERE tenant_id = $1 AND key_class = $2 AND day = $3

-- name: data_keys
-- Data keys by id. $1 tenants, $2 key ids.
SELECT k.tenant_id, k.key_id, k.key_class, k.wrapped
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, key_id)
JOIN data_key k USING (tenant_id, key_id)

-- name: credential_lock
-- Lock a connection while one of its secrets is replaced. $1 tenant, $2 connection.
SELECT true FROM connection WHERE tenant_id = $1 AND connection_id = $2 FOR NO KEY UPDATE

-- name: credential_versions
-- The highest version of a secret. $1 tenant, $2 connection, $3 field.
SELECT coalesce(max(record_version), 0) FROM credential WHERE tenant_id = $1 AND connection_id = $2 AND field = $3

-- name: credential_add
-- Store a new version of a secret. $1 tenant, $2 connection, $3 class, $4 field, $5 version, $6 data key, $7 ciphertext, $8 fingerprint.
INSERT INTO credential (tenant_id, connection_id, key_class, field, record_version, data_key_id, ciphertext, fingerprint)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: credential_retire
-- Deactivate all versions of a secret but the newest so many ($5); a field of that name in another class is another secret.
-- $1 tenant, $2 connection, $3 class, $4 field.
UPDATE credential SET active = false
WHERE tenant_id = $1 AND connection_id = $2 AND key_class = $3 AND field = $4 AND active AND record_version NOT IN (
    SELECT record_version FROM credential
    WHERE tenant_id = $1 AND connection_id = $2 AND key_class = $3 AND field = $4
    ORDER BY record_version DESC LIMIT $5
)

-- name: credentials_active
-- The active secrets of a connection's class, newest version of a field first. $1 tenant, $2 connection, $3 class.
SELECT field, record_version, data_key_id, ciphertext
FROM credential
WHERE tenant_id = $1 AND connection_id = $2 AND key_class = $3 AND active
ORDER BY field, record_version DESC
