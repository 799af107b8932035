-- name: issues_list
-- Issues, those that need somebody first; the list is short by nature. $1 tenant, $2 also resolved ones, $3 connection or null,
-- $4 at most.
SELECT i.issue_id, c.name AS connection, i.class, i.operation, i.code, i.shape, i.state, i.first_seen_at, i.last_seen_at,
       i.seen, i.standing, i.retried, i.regressions, i.affected, i.note, i.assigned_to, i.changed_by, i.changed_at
FROM issue i LEFT JOIN connection c ON c.tenant_id = i.tenant_id AND c.connection_id = i.connection_id
WHERE i.tenant_id = $1 AND ($2::boolean OR i.state <> 'resolved') AND ($3::text IS NULL OR c.name = $3)
ORDER BY (i.state = 'resolved'), i.standing DESC, i.last_seen_at DESC, i.issue_id LIMIT $4

-- name: issues_one
-- One issue with its redacted sample. $1 tenant, $2 issue.
SELECT i.issue_id, c.name AS connection, i.class, i.operation, i.code, i.shape, i.state, i.first_seen_at, i.last_seen_at,
       i.seen, i.standing, i.retried, i.regressions, i.affected, i.note, i.assigned_to, i.changed_by, i.changed_at, i.sample
FROM issue i LEFT JOIN connection c ON c.tenant_id = i.tenant_id AND c.connection_id = i.connection_id
WHERE i.tenant_id = $1 AND i.issue_id = $2

-- name: issues_members
-- Failures of an issue, in the order in which a retry takes them. $1 tenant, $2 issue, $3 subjects after, $4 at most.
SELECT subject_id, kind, failed_at, retried FROM issue_member
WHERE tenant_id = $1 AND issue_id = $2 AND subject_id > $3 ORDER BY subject_id LIMIT $4

-- name: issues_history
-- What people did to an issue, newest first. $1 tenant, $2 subject.
SELECT actor, action, detail, at FROM audit_log
WHERE tenant_id = $1 AND subject = $2 AND action LIKE 'issue.%' ORDER BY audit_id DESC LIMIT 50
