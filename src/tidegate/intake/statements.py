"""What the door reads and counts. Its role sees nothing else (see grants.sql)."""

from __future__ import annotations

CONNECTIONS_CHANGED = "tidegate_connection"
"""Channel on which changes of connections and secrets are announced."""

ENDPOINTS = """
SELECT c.path_hash, c.tenant_id, c.connection_id, c.connector, c.state,
       s.record_version, s.data_key_id, s.ciphertext
FROM connection c
LEFT JOIN credential s ON s.tenant_id = c.tenant_id AND s.connection_id = c.connection_id
     AND s.key_class = 'intake' AND s.field = 'webhook_secret' AND s.active
WHERE c.path_hash IS NOT NULL
ORDER BY c.tenant_id, c.connection_id, s.record_version DESC
"""
"""Every connection with a path, one row per active webhook secret, newest first."""

COUNT_REFUSALS = """
INSERT INTO intake_refusal AS r (hour, code, writer, refused)
SELECT date_trunc('hour', clock_timestamp()), code, $3, refused FROM unnest($1::text[], $2::bigint[]) AS n (code, refused)
ORDER BY code
ON CONFLICT (hour, code, writer) DO UPDATE SET refused = r.refused + EXCLUDED.refused
"""
