-- Under which safety stock a channel was told its numbers; NULL: none. When the rules change, the numbers that change are marked.
ALTER TABLE lane_state ADD COLUMN safety_rules jsonb;
