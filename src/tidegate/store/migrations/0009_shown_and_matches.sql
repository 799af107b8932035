-- What systems show, read by runs; the differences that were found; articles that nobody could match.

-- A run is asked for once and read by the lanes: one read per connection, page by page, each page with its checkpoint.
CREATE TABLE sync_run (
    tenant_id     uuid NOT NULL,
    run_id        uuid NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('drift')),
    requested_by  text NOT NULL,
    requested_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at   timestamptz,
    PRIMARY KEY (tenant_id, run_id)
);
CREATE TABLE sync_read (
    tenant_id      uuid NOT NULL,
    run_id         uuid NOT NULL,
    connection_id  uuid NOT NULL,
    state          text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'reading', 'comparing', 'done', 'failed')),
    cursor         text NOT NULL DEFAULT '',         -- of the next page; while comparing: the last article compared
    version        bigint NOT NULL DEFAULT 0,        -- +1 with every step: a step that was overtaken changes nothing
    pages          int NOT NULL DEFAULT 0,
    articles       int NOT NULL DEFAULT 0,
    compared       int NOT NULL DEFAULT 0,
    tries          smallint NOT NULL DEFAULT 0,      -- failures in a row
    not_before     timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at     timestamptz,
    read_at        timestamptz,                      -- when the last page was stored
    finished_at    timestamptz,
    error          text,
    PRIMARY KEY (tenant_id, run_id, connection_id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES sync_run (tenant_id, run_id) ON DELETE CASCADE
);
CREATE INDEX sync_read_open ON sync_read (tenant_id, connection_id, run_id) WHERE state IN ('waiting', 'reading', 'comparing');

-- The newest observation of each number that a system shows.
CREATE TABLE shown (
    tenant_id      uuid NOT NULL,
    connection_id  uuid NOT NULL,
    external_id    text NOT NULL,
    field          text NOT NULL CHECK (field IN ('stock', 'on_hand', 'price', 'price_with_tax')),
    place          text NOT NULL DEFAULT '',         -- external id of the location; '' for prices
    sku            text NOT NULL,
    title          text NOT NULL DEFAULT '',
    value          numeric(18, 6) NOT NULL,
    currency       text NOT NULL DEFAULT '',         -- '' for units
    observed_at    timestamptz NOT NULL,             -- before the request that showed it was sent
    run_id         uuid NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, external_id, field, place)
) WITH (fillfactor = 80);

-- What differs now. A row keeps `since` over runs for as long as every look finds a difference.
CREATE TABLE drift (
    tenant_id      uuid NOT NULL,
    connection_id  uuid NOT NULL,
    external_id    text NOT NULL,
    field          text NOT NULL CHECK (field IN ('stock', 'on_hand', 'price', 'price_with_tax')),
    place          text NOT NULL DEFAULT '',
    sku            text NOT NULL,
    variant_id     uuid,                             -- null: nothing of ours is bound to it
    owner          text NOT NULL,                    -- 'tidegate', or the connection that owns the field
    other          text NOT NULL,                    -- whose number is compared with the owner's
    owner_value    numeric(18, 6),                   -- null: the owner has no number for it
    other_value    numeric(18, 6),                   -- null: it is not shown there
    currency       text NOT NULL DEFAULT '',         -- of the values; '' for units
    risk           numeric(20, 2),                   -- value at risk; null: no price is known
    risk_currency  text NOT NULL DEFAULT '',
    cause          text NOT NULL,
    in_flight      boolean NOT NULL DEFAULT false,   -- true: being changed at the last look, so not called drift
    since          timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id         uuid NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, external_id, field, place)
) WITH (fillfactor = 80);
CREATE INDEX drift_by_risk ON drift (tenant_id, risk DESC NULLS LAST, since);

-- Articles of a connection that were not bound when it was looked at last, and what a person decided about them.
CREATE TABLE match_open (
    tenant_id      uuid NOT NULL,
    connection_id  uuid NOT NULL,
    external_id    text NOT NULL,
    sku            text NOT NULL,
    title          text NOT NULL DEFAULT '',
    barcode        text NOT NULL DEFAULT '',
    reason         text NOT NULL CHECK (reason IN ('ambiguous', 'missing', 'without_sku')),
    candidates     text[] NOT NULL DEFAULT '{}',     -- SKUs of ours that come into question
    found_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, connection_id, external_id)
);
CREATE TABLE match_decision (
    tenant_id      uuid NOT NULL,
    connection_id  uuid NOT NULL,
    external_id    text NOT NULL,
    decision       text NOT NULL CHECK (decision IN ('bind', 'ignore')),
    variant_id     uuid,
    decided_by     text NOT NULL,
    decided_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, connection_id, external_id),
    CHECK ((decision = 'bind') = (variant_id IS NOT NULL))
);
