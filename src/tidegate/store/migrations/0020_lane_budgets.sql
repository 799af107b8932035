-- A lane's budget is a meter of its platform's own rule: one versioned value, numbered so that an older one never
-- replaces a newer one. `tokens` stays as what was left then. A lane that has none begins empty.
ALTER TABLE lane_state ADD COLUMN budget jsonb;
ALTER TABLE lane_state ADD COLUMN budget_number bigint NOT NULL DEFAULT 0;
