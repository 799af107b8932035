-- name: proposals_chosen_commands
-- Proposed commands, oldest first. $1 tenant, $2 commands or null for all, $3 kinds, $4 connection or null.
SELECT command_id FROM command
WHERE tenant_id = $1 AND state = 'proposed' AND ($2::uuid[] IS NULL OR command_id = ANY($2)) AND kind = ANY($3::text[])
  AND ($4::uuid IS NULL OR connection_id = $4)
ORDER BY command_id

-- name: proposals_chosen_marks
-- Stock numbers that wait for a person. $1 tenant, $2 connection or null.
SELECT m.connection_id, m.item_id, i.sku
FROM channel_stock m JOIN inventory_item i USING (tenant_id, item_id)
WHERE m.tenant_id = $1 AND m.dirty AND NOT m.sendable AND m.mode = 'propose' AND ($2::uuid IS NULL OR m.connection_id = $2)
ORDER BY m.connection_id, m.item_id
