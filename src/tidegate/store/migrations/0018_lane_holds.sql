-- What holds the head of a lane at the moment, as its owner says it; '' when nothing does.
ALTER TABLE lane_state
    ADD COLUMN hold_rule text NOT NULL DEFAULT '',
    ADD COLUMN hold_since timestamptz,
    ADD COLUMN hold_until timestamptz,               -- null: not known beforehand
    ADD COLUMN breaker_opened_at timestamptz,        -- since when the other side counts as down; null: it does not
    ADD COLUMN hints_bundled bigint NOT NULL DEFAULT 0;  -- reads that were saved because one served several hints

-- How many thin events one read will serve.
ALTER TABLE fetch_request ADD COLUMN hints int NOT NULL DEFAULT 1;
