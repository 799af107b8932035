-- When each connection is looked at by itself. `interval_seconds` is what looks adapted to; `rules` is the configuration it was
-- worked out by. A pause holds what is under way too, and outlives every process.
CREATE TABLE sync_schedule (
    tenant_id         uuid NOT NULL,
    connection_id     uuid NOT NULL,
    due_at            timestamptz NOT NULL,
    interval_seconds  float8 NOT NULL,
    rules             text NOT NULL,
    last_run          uuid,                            -- the newest run that a schedule began
    paused_at         timestamptz,
    paused_until      timestamptz,                     -- null = until somebody resumes it
    paused_by         text,
    PRIMARY KEY (tenant_id, connection_id)
);

-- One read of a connection at a time: a second look waits for the next turn, whoever asks. Runs of the release before this one
-- are ended, because their reads may overlap; the next look is a fresh one.
UPDATE sync_read SET state = 'failed', error = 'ended by an upgrade', version = version + 1, finished_at = clock_timestamp()
WHERE state IN ('waiting', 'reading', 'comparing');
UPDATE sync_run SET finished_at = clock_timestamp() WHERE finished_at IS NULL;
ALTER TABLE sync_read DROP CONSTRAINT sync_read_state_check;
ALTER TABLE sync_read ADD CONSTRAINT sync_read_state_check
    CHECK (state IN ('waiting', 'reading', 'comparing', 'healing', 'done', 'failed'));
DROP INDEX sync_read_open;
CREATE UNIQUE INDEX sync_read_open ON sync_read (tenant_id, connection_id)
    WHERE state IN ('waiting', 'reading', 'comparing', 'healing');
CREATE INDEX sync_read_newest ON sync_read (tenant_id, connection_id, run_id);
ALTER TABLE sync_read
    ADD COLUMN held          boolean NOT NULL DEFAULT false,   -- by a pause: nothing of it goes on
    ADD COLUMN differences   int NOT NULL DEFAULT 0,           -- found, and not being changed at the moment
    ADD COLUMN healed        int NOT NULL DEFAULT 0,           -- told anew because of this run
    ADD COLUMN heal_waits    int NOT NULL DEFAULT 0;           -- that wait for a person

-- What becomes of a difference. due: this run tells it anew once all is compared. waits: a person is asked. healing: it was told
-- anew, and the next look shows what became of it. stuck: telling it did not help, so it is left alone.
ALTER TABLE drift
    ADD COLUMN item_id  uuid,
    ADD COLUMN heal     text NOT NULL DEFAULT '' CHECK (heal IN ('', 'due', 'waits', 'healing', 'stuck')),
    ADD COLUMN heals    smallint NOT NULL DEFAULT 0,           -- how often it was told anew since it is seen
    ADD COLUMN healed_at timestamptz,
    ADD COLUMN healed_by text;
CREATE INDEX drift_heal ON drift (tenant_id, connection_id, heal, external_id) WHERE heal IN ('due', 'waits');

-- What looks found and what became of it, for the story of a SKU. Append-only, kept for a time.
CREATE TABLE drift_entry (
    tenant_id      uuid NOT NULL,
    entry_id       uuid NOT NULL,
    connection_id  uuid NOT NULL,
    run_id         uuid,                                       -- null = a person did it
    event_id       uuid,                                       -- the fact of the log that it was stored with
    sku            text NOT NULL,
    external_id    text NOT NULL,
    field          text NOT NULL,
    place          text NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('found', 'changed', 'gone', 'told', 'asked')),
    owner_value    numeric(18, 6),
    other_value    numeric(18, 6),
    cause          text NOT NULL,
    actor          text NOT NULL,
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, entry_id)
);
CREATE INDEX drift_entry_sku ON drift_entry (tenant_id, sku, entry_id);
