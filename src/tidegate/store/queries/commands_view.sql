-- name: commands_list
-- Newest commands first. $1 tenant, $2 connection or null, $3 state or null, $4 kind or null, $5 ids from, $6 ids below, $7 at most,
-- $8 entities or null, $9 code or null.
SELECT m.command_id, c.name AS connection, m.kind, m.state, m.code, m.reason, m.attempt_number, m.not_before,
       m.entity_id, m.version, m.quantity, m.finished_at
FROM command m JOIN connection c USING (tenant_id, connection_id)
WHERE m.tenant_id = $1 AND ($2::uuid IS NULL OR m.connection_id = $2) AND ($3::text IS NULL OR m.state = $3)
  AND ($4::text IS NULL OR m.kind = $4) AND m.command_id >= $5 AND m.command_id < $6
  AND ($8::uuid[] IS NULL OR m.entity_id = ANY($8)) AND ($9::text IS NULL OR m.code = $9)
ORDER BY m.command_id DESC LIMIT $7

-- name: commands_one
-- One command. $1 tenant, $2 command.
SELECT m.command_id, m.connection_id, c.name AS connection, m.kind, m.target_key, m.entity_id, m.version, m.priority,
       m.state, m.code, m.reason, m.not_before, m.settles_at, m.negatives, m.deadline_at, m.attempt_number, m.call_id,
       m.cause_event_id, m.quantity, m.ledger, m.finished_at
FROM command m JOIN connection c USING (tenant_id, connection_id)
WHERE m.tenant_id = $1 AND m.command_id = $2
