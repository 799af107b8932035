-- name: tenant_add
-- Make a tenant unless its name exists. $1 id, $2 name.
INSERT INTO tenant (tenant_id, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING

-- name: tenant_lock
-- The id of a tenant, its row locked: versions are numbered one at a time. $1 name.
SELECT tenant_id FROM tenant WHERE name = $1 FOR NO KEY UPDATE

-- name: tenant_ids
-- All tenants: id and name.
SELECT tenant_id, name FROM tenant ORDER BY tenant_id

-- name: config_version_add
-- Add a version unless the newest one has the same digest; returns the newest number. $1 tenant, $2 digest, $3 document, $4 who, $5 bundle, $6 roles.
WITH newest AS (
    SELECT version, digest FROM config_version WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1
), added AS (
    INSERT INTO config_version (tenant_id, version, digest, document, applied_by, bundle_digest, roles)
    SELECT $1, coalesce((SELECT version FROM newest), 0) + 1, $2, $3, $4, $5, $6
    WHERE NOT EXISTS (SELECT FROM newest WHERE digest = $2)
    RETURNING version, pg_notify('tidegate_config', tenant_id::text)
)
SELECT version FROM added UNION ALL SELECT version FROM newest LIMIT 1

-- name: config_version_newest
-- The newest version of each tenant that is above what the caller knows. $1 tenants, $2 their known versions.
SELECT t.tenant_id, v.version, v.document, b.files, v.roles
FROM tenant t
LEFT JOIN unnest($1::uuid[], $2::int[]) AS known (tenant_id, version) USING (tenant_id)
CROSS JOIN LATERAL (
    SELECT version, document, bundle_digest, roles FROM config_version c
    WHERE c.tenant_id = t.tenant_id AND c.version > coalesce(known.version, 0)
    ORDER BY version DESC LIMIT 1
) v
LEFT JOIN config_bundle b ON b.tenant_id = t.tenant_id AND b.digest = v.bundle_digest
ORDER BY t.tenant_id

-- name: config_version_before
-- The newest version below one. $1 tenant, $2 version.
SELECT c.tenant_id, c.version, c.document, b.files, c.roles
FROM config_version c LEFT JOIN config_bundle b ON b.tenant_id = c.tenant_id AND b.digest = c.bundle_digest
WHERE c.tenant_id = $1 AND c.version < $2
ORDER BY c.version DESC LIMIT 1

-- name: config_bundle_add
-- Keep files once. $1 tenant, $2 digest, $3 JSON of name -> text.
INSERT INTO config_bundle (tenant_id, digest, files) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: config_bundle_newest
-- The files of a tenant's newest version, NULL when it names none. $1 tenant.
SELECT b.files
FROM (SELECT bundle_digest FROM config_version WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1) v
JOIN config_bundle b ON b.tenant_id = $1 AND b.digest = v.bundle_digest

-- name: config_versions
-- The versions of a tenant below one, newest first. $1 tenant, $2 version, $3 how many.
SELECT c.tenant_id, c.version, c.document, b.files, c.roles, c.applied_by, c.applied_at, c.digest
FROM config_version c LEFT JOIN config_bundle b ON b.tenant_id = c.tenant_id AND b.digest = c.bundle_digest
WHERE c.tenant_id = $1 AND c.version < $2
ORDER BY c.version DESC LIMIT $3

-- name: config_version_of_text
-- The newest version whose text is this one, NULL when there is none. $1 tenant, $2 document.
SELECT max(version) FROM config_version WHERE tenant_id = $1 AND document = $2
