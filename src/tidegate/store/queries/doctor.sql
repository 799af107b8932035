-- name: doctor_connections
-- Connections with the fields of their active secrets. $1 tenant.
SELECT c.tenant_id, c.connection_id, c.name, c.connector, c.state, c.state_reason, c.path_hash, c.settings,
       ARRAY(SELECT DISTINCT s.field FROM credential s
             WHERE s.tenant_id = c.tenant_id AND s.connection_id = c.connection_id AND s.active) AS fields
FROM connection c WHERE c.tenant_id = $1 ORDER BY c.name

-- name: doctor_key_classes
-- Key classes of a tenant that are in use. $1 tenant.
SELECT DISTINCT key_class FROM tenant_key WHERE tenant_id = $1 ORDER BY key_class

-- name: doctor_partitions
-- How many of the partitioned tables have a partition for a day. $1 day as YYYYMMDD.
SELECT count(*) FROM pg_class
WHERE relname = ANY(ARRAY['event_' || $1, 'event_outcome_' || $1, 'command_' || $1, 'call_' || $1, 'attempt_' || $1,
                          'attempt_answer_' || $1]) AND relispartition

-- name: doctor_server
-- The server's version and clock.
SELECT current_setting('server_version') AS version, clock_timestamp() AS now
