-- name: issue_state
-- The state of an issue, its row locked. $1 tenant, $2 issue.
SELECT state FROM issue WHERE tenant_id = $1 AND issue_id = $2 FOR NO KEY UPDATE

-- name: issue_change
-- Change what people say about an issue; '' takes a text back. $1 tenant, $2 issue, $3 state, $4 note, $5 assigned to (null: as it is), $6 who.
UPDATE issue SET state = coalesce($3, state), note = CASE WHEN $4::text IS NULL THEN note ELSE nullif($4, '') END,
       assigned_to = CASE WHEN $5::text IS NULL THEN assigned_to ELSE nullif($5, '') END, changed_by = $6,
       changed_at = clock_timestamp()
WHERE tenant_id = $1 AND issue_id = $2 RETURNING state
