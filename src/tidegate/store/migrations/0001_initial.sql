-- The first schema. Tenant first in every key; ids are made by the application (UUIDv7), so a range of ids
-- is a range of time and the big tables are partitioned by id. Nothing references a partition that is
-- dropped. Every lock is taken in the order written in queries/locks.sql.

-- ---------------------------------------------------------------- vault
CREATE TABLE tenant (
    tenant_id   uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (name <> ''),
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- Keys of a tenant: one key-encrypting key per class, wrapped by that class's root key.
CREATE TABLE tenant_key (
    tenant_id   uuid NOT NULL REFERENCES tenant,
    key_class   text NOT NULL CHECK (key_class IN ('intake', 'credential')),
    key_version int  NOT NULL CHECK (key_version > 0),
    wrapped     bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key_class, key_version)
);

-- Data keys encrypt bodies and other private fields: one per tenant, class and day.
CREATE TABLE data_key (
    tenant_id   uuid NOT NULL REFERENCES tenant,
    key_class   text NOT NULL CHECK (key_class IN ('intake', 'credential')),
    key_id      uuid NOT NULL,
    day         date NOT NULL,
    key_version int  NOT NULL,
    wrapped     bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key_id),
    UNIQUE (tenant_id, key_class, day)
);

CREATE TABLE connection (
    tenant_id         uuid NOT NULL REFERENCES tenant,
    connection_id     uuid NOT NULL,
    name              text NOT NULL CHECK (name <> ''),
    connector         text NOT NULL,
    external_account  text NOT NULL,                -- the shop or database at the other end
    state             text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'waiting_auth', 'disabled')),
    state_reason      text,
    path_hash         bytea UNIQUE,                 -- SHA-256 of the secret path; the path itself is not stored
    settings          jsonb NOT NULL DEFAULT '{}',  -- not secret: base URL, default location, ...
    created_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, connection_id),
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, connector, external_account) -- reconnecting a shop revives its connection
);

-- Encrypted secrets. class 'intake' holds webhook secrets (the door may decrypt them), class 'credential' API secrets.
CREATE TABLE credential (
    tenant_id       uuid NOT NULL,
    connection_id   uuid NOT NULL,
    key_class       text NOT NULL CHECK (key_class IN ('intake', 'credential')),
    field           text NOT NULL,
    record_version  int  NOT NULL CHECK (record_version > 0),
    data_key_id     uuid NOT NULL,
    ciphertext      bytea NOT NULL,
    fingerprint     text NOT NULL,                  -- first 8 hex digits of a keyed digest, for people
    active          boolean NOT NULL DEFAULT true,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, connection_id, field, record_version),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connection
);

-- ---------------------------------------------------------------- event log
CREATE TABLE event (
    tenant_id       uuid NOT NULL,
    event_id        uuid NOT NULL,                  -- UUIDv7: its time is when we received it
    connection_id   uuid NOT NULL,
    source          text NOT NULL CHECK (source IN ('webhook', 'poll', 'fetch', 'import', 'operator', 'result')),
    topic           text NOT NULL,
    ordering_key    text NOT NULL,
    slot            smallint NOT NULL CHECK (slot BETWEEN 0 AND 1023),
    dedupe_key      bytea NOT NULL,
    body_digest     bytea NOT NULL,                 -- SHA-256 of the raw body
    conflict        boolean NOT NULL DEFAULT false, -- same dedupe key as an earlier event, other body
    undecodable     text,                           -- why the key fields could not be read; such an event is quarantined
    external_id     text,                           -- the sender's event id
    occurred_at     timestamptz,
    headers         jsonb NOT NULL DEFAULT '{}',    -- allow-listed
    envelope        jsonb NOT NULL DEFAULT '{}',    -- {"v":1,"connector":..,"connector_version":..,"code_version":..}
    data_key_id     uuid NOT NULL,
    body            bytea NOT NULL,                 -- encrypted
    PRIMARY KEY (tenant_id, event_id)
) PARTITION BY RANGE (event_id);
CREATE TABLE event_default PARTITION OF event DEFAULT;

-- Narrow, not partitioned: kept longer than any sender retries.
CREATE TABLE event_dedupe (
    tenant_id       uuid NOT NULL,
    connection_id   uuid NOT NULL,
    dedupe_key      bytea NOT NULL,
    event_id        uuid NOT NULL,
    body_digest     bytea NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, dedupe_key)
);

CREATE SEQUENCE event_seq CACHE 1;
-- Work that is waiting for T2: inserted in T1, deleted in T2. `run` tells a replay from the first run.
CREATE TABLE event_queue (
    slot            smallint NOT NULL,
    tenant_id       uuid NOT NULL,
    seq             bigint NOT NULL DEFAULT nextval('event_seq'),
    event_id        uuid NOT NULL,
    run             int NOT NULL DEFAULT 0,
    PRIMARY KEY (slot, tenant_id, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Events that wait for a parent or for a person: out of the queue, so that they hold nobody up.
CREATE TABLE event_parked (
    tenant_id       uuid NOT NULL,
    event_id        uuid NOT NULL,
    run             int NOT NULL,
    slot            smallint NOT NULL,
    connection_id   uuid NOT NULL,
    ordering_key    text NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('parked', 'quarantined')),
    code            text NOT NULL,
    reason          text NOT NULL,
    until           timestamptz,
    at              timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, event_id)
);
CREATE INDEX event_parked_until ON event_parked (until) WHERE kind = 'parked';

CREATE TABLE event_outcome (
    tenant_id         uuid NOT NULL,
    event_id          uuid NOT NULL,
    run               int NOT NULL,
    outcome           text NOT NULL CHECK (outcome IN ('applied', 'superseded', 'ignored', 'quarantined', 'needs_fetch')),
    code              text NOT NULL,
    reason            text,
    entity_kind       text,
    entity_id         uuid,
    connector_version text NOT NULL,
    mapping_version   text NOT NULL,
    code_version      text NOT NULL,
    config_version    int NOT NULL DEFAULT 0,
    at                timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, event_id, run)
) PARTITION BY RANGE (event_id);
CREATE TABLE event_outcome_default PARTITION OF event_outcome DEFAULT;
CREATE INDEX event_outcome_entity ON event_outcome (tenant_id, entity_id) WHERE entity_id IS NOT NULL;

-- received = applied + superseded + duplicate + ignored + quarantined + pending. `hour` is the hour of receipt;
-- `writer` spreads the hot rows (one per lane of a door, one per worker).
CREATE TABLE conservation (
    tenant_id       uuid NOT NULL,
    connection_id   uuid NOT NULL,
    hour            timestamptz NOT NULL,
    writer          text NOT NULL,
    received        bigint NOT NULL DEFAULT 0 CHECK (received >= 0),
    duplicate       bigint NOT NULL DEFAULT 0 CHECK (duplicate >= 0),
    applied         bigint NOT NULL DEFAULT 0,
    superseded      bigint NOT NULL DEFAULT 0,
    ignored         bigint NOT NULL DEFAULT 0,
    quarantined     bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, connection_id, hour, writer)
) WITH (fillfactor = 50);

-- Refused deliveries: a counter is all that is kept of them.
CREATE TABLE intake_refusal (
    hour        timestamptz NOT NULL,
    code        text NOT NULL,
    writer      text NOT NULL,
    refused     bigint NOT NULL,
    PRIMARY KEY (hour, code, writer)
);

-- Polls: cursor per connection and feed; the last observation of each entity decides whether a read is news.
CREATE TABLE poll_cursor (
    tenant_id       uuid NOT NULL,
    connection_id   uuid NOT NULL,
    feed            text NOT NULL,
    cursor          text NOT NULL DEFAULT '',
    version         bigint NOT NULL DEFAULT 0,
    last_ok_at      timestamptz,
    last_error      text,
    PRIMARY KEY (tenant_id, connection_id, feed)
);
CREATE TABLE poll_observation (
    tenant_id       uuid NOT NULL,
    connection_id   uuid NOT NULL,
    topic           text NOT NULL,
    external_id     text NOT NULL,
    body_digest     bytea NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, topic, external_id)
);
-- A thin or contradictory event asks for a fetch; the lane of the connection makes the call.
CREATE TABLE fetch_request (
    tenant_id       uuid NOT NULL,
    connection_id   uuid NOT NULL,
    topic           text NOT NULL,
    external_id     text NOT NULL,
    requested_by    uuid NOT NULL,
    not_before      timestamptz NOT NULL DEFAULT now(),
    tries           int NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, connection_id, topic, external_id)
);

-- ---------------------------------------------------------------- sync: bindings and version gates
CREATE TABLE binding (
    tenant_id       uuid NOT NULL,
    connection_id   uuid NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('order', 'order_line', 'variant', 'location', 'fulfillment', 'shipment')),
    external_id     text NOT NULL,
    internal_id     uuid NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, kind, external_id),
    UNIQUE (tenant_id, connection_id, kind, internal_id)
);

CREATE TABLE entity_version (
    tenant_id       uuid NOT NULL,
    connection_id   uuid NOT NULL,
    kind            text NOT NULL,
    external_id     text NOT NULL,
    facet           text NOT NULL,
    source_version  bigint NOT NULL,
    source_seq      bigint NOT NULL,
    mapping_version int NOT NULL,
    digest          bytea NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, kind, external_id, facet)
) WITH (fillfactor = 80);

-- ---------------------------------------------------------------- catalogue
CREATE TABLE product (
    tenant_id   uuid NOT NULL,
    product_id  uuid NOT NULL,
    title       text NOT NULL,
    PRIMARY KEY (tenant_id, product_id)
);
CREATE TABLE variant (
    tenant_id   uuid NOT NULL,
    variant_id  uuid NOT NULL,
    product_id  uuid,
    sku         text NOT NULL,
    title       text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, variant_id)
);
CREATE UNIQUE INDEX variant_sku ON variant (tenant_id, sku);
CREATE TABLE inventory_item (
    tenant_id   uuid NOT NULL,
    item_id     uuid NOT NULL,
    sku         text NOT NULL,
    PRIMARY KEY (tenant_id, item_id),
    UNIQUE (tenant_id, sku)
);
-- A variant consumes items through a bill; a plain article is a bill of one.
CREATE TABLE variant_item (
    tenant_id    uuid NOT NULL,
    variant_id   uuid NOT NULL,
    item_id      uuid NOT NULL,
    required_qty int NOT NULL CHECK (required_qty > 0),
    PRIMARY KEY (tenant_id, variant_id, item_id)
);
CREATE INDEX variant_item_item ON variant_item (tenant_id, item_id);

-- ---------------------------------------------------------------- inventory
CREATE TABLE location (
    tenant_id   uuid NOT NULL,
    location_id uuid NOT NULL,
    name        text NOT NULL,
    kind        text NOT NULL DEFAULT 'warehouse' CHECK (kind IN ('warehouse', 'store', '3pl', 'drop_ship', 'virtual')),
    active      boolean NOT NULL DEFAULT true,
    PRIMARY KEY (tenant_id, location_id),
    UNIQUE (tenant_id, name)
);

-- Cached counters of the ledger. Facts always post: nothing here forbids available < 0.
CREATE TABLE stock_level (
    tenant_id    uuid NOT NULL,
    item_id      uuid NOT NULL,
    location_id  uuid NOT NULL,
    on_hand      int NOT NULL DEFAULT 0,
    unavailable  int NOT NULL DEFAULT 0 CHECK (unavailable >= 0),
    committed    int NOT NULL DEFAULT 0 CHECK (committed >= 0),
    reserved     int NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    incoming     int NOT NULL DEFAULT 0 CHECK (incoming >= 0),
    safety_stock int NOT NULL DEFAULT 0 CHECK (safety_stock >= 0),
    available    int NOT NULL GENERATED ALWAYS AS (on_hand - unavailable - committed - reserved) STORED,
    version      bigint NOT NULL DEFAULT 0,          -- number of the last ledger entry of this level
    PRIMARY KEY (tenant_id, item_id, location_id)
) WITH (fillfactor = 70);

CREATE TABLE stock_entry (
    tenant_id         uuid NOT NULL,
    item_id           uuid NOT NULL,
    location_id       uuid NOT NULL,
    version           bigint NOT NULL CHECK (version > 0),  -- 1, 2, 3 ... per level, without gaps
    kind              text NOT NULL CHECK (kind IN ('receive', 'adjust', 'count', 'transfer_out', 'transfer_in', 'reserve',
                        'reserve_expire', 'release', 'commit', 'ship', 'unship', 'return_receive', 'return_scrap',
                        'kit_explode', 'sync_correction')),
    on_hand_delta     int NOT NULL DEFAULT 0,
    unavailable_delta int NOT NULL DEFAULT 0,
    committed_delta   int NOT NULL DEFAULT 0,
    reserved_delta    int NOT NULL DEFAULT 0,
    on_hand_after     int NOT NULL,
    committed_after   int NOT NULL,
    cause_key         text NOT NULL,                 -- unique: the same fact never posts twice
    event_id          uuid,
    order_line_id     uuid,
    actor             text NOT NULL,
    at                timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, item_id, location_id, version),
    UNIQUE (tenant_id, cause_key)
);

-- What one channel has been told of one item, and whether it must be told again.
CREATE TABLE channel_stock (
    tenant_id        uuid NOT NULL,
    connection_id    uuid NOT NULL,
    item_id          uuid NOT NULL,
    dirty            boolean NOT NULL DEFAULT false,
    dirty_at         timestamptz,
    priority         smallint NOT NULL DEFAULT 50,
    push_version     bigint NOT NULL DEFAULT 0,      -- versions of inventory.set commands for this target
    acked_quantity   int,                            -- what the channel is believed to show; null = never told
    acked_at         timestamptz,
    blocked_by       uuid,                           -- the inventory.set in flight or in doubt for this item here
    not_before       timestamptz,                    -- after a failure: parked until
    tries            smallint NOT NULL DEFAULT 0,    -- failures in a row
    PRIMARY KEY (tenant_id, connection_id, item_id)
) WITH (fillfactor = 70);
CREATE INDEX channel_stock_dirty ON channel_stock (tenant_id, connection_id, priority, dirty_at) WHERE dirty;
CREATE INDEX channel_stock_untold ON channel_stock (tenant_id, connection_id) WHERE push_version = 0 AND NOT dirty;
CREATE INDEX channel_stock_blocked ON channel_stock (tenant_id, connection_id) WHERE blocked_by IS NOT NULL;

-- ---------------------------------------------------------------- orders
CREATE TABLE "order" (
    tenant_id         uuid NOT NULL,
    order_id          uuid NOT NULL,
    connection_id     uuid NOT NULL,                 -- the channel it was placed in
    external_id       text NOT NULL,
    number            text NOT NULL,                 -- what people call it
    version           int NOT NULL DEFAULT 1,        -- ours, +1 for each applied change
    order_state       text NOT NULL CHECK (order_state IN ('draft', 'pending', 'open', 'on_hold', 'cancelled', 'closed')),
    payment_state     text NOT NULL CHECK (payment_state IN ('none', 'pending', 'authorised', 'partially_paid', 'paid',
                        'partially_refunded', 'refunded', 'voided', 'failed', 'disputed')),
    fulfillment_state text NOT NULL CHECK (fulfillment_state IN ('unfulfilled', 'scheduled', 'in_progress', 'partially_fulfilled', 'fulfilled')),
    return_state      text NOT NULL DEFAULT 'none' CHECK (return_state IN ('none', 'requested', 'in_progress', 'partially_returned', 'returned')),
    currency          char(3) NOT NULL,
    total_minor       bigint NOT NULL,
    shipping_minor    bigint NOT NULL,
    discount_minor    bigint NOT NULL,
    tax_minor         bigint NOT NULL,
    totals_mismatch   boolean NOT NULL DEFAULT false,
    shipping_method   text,
    placed_at         timestamptz NOT NULL,
    data_key_id       uuid NOT NULL,
    private           bytea NOT NULL,                -- encrypted: customer and addresses
    PRIMARY KEY (tenant_id, order_id),
    UNIQUE (tenant_id, connection_id, external_id)
);
CREATE INDEX order_number ON "order" (tenant_id, number);
CREATE TABLE order_line (
    tenant_id     uuid NOT NULL,
    order_id      uuid NOT NULL,
    line_id       uuid NOT NULL,
    external_id   text NOT NULL,                     -- identity of a line is the vendor's line id, never its SKU
    position      int NOT NULL,
    variant_id    uuid NOT NULL,
    sku           text NOT NULL,
    title         text NOT NULL,
    ordered       int NOT NULL CHECK (ordered >= 0),
    current       int NOT NULL CHECK (current >= 0), -- ordered + added - cancelled
    shipped       int NOT NULL DEFAULT 0,            -- by the ERP or warehouse
    fulfilled     int NOT NULL DEFAULT 0,            -- confirmed in the channel it was sold in
    unit_price    numeric(20,6) NOT NULL,
    total_minor   bigint NOT NULL,
    location_id   uuid NOT NULL,                     -- where it stands committed
    PRIMARY KEY (tenant_id, order_id, line_id),
    UNIQUE (tenant_id, order_id, external_id)
);
CREATE INDEX order_line_open ON order_line (tenant_id, variant_id) WHERE fulfilled < current;

CREATE TABLE payment (
    tenant_id     uuid NOT NULL,
    order_id      uuid NOT NULL,
    external_id   text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('authorise', 'capture', 'sale', 'void', 'refund')),
    state         text NOT NULL,
    amount_minor  bigint NOT NULL,
    currency      char(3) NOT NULL,
    method        text NOT NULL,
    PRIMARY KEY (tenant_id, order_id, external_id)
);

-- One shipment of the warehouse = one fulfillment in the channel.
CREATE TABLE fulfillment (
    tenant_id        uuid NOT NULL,
    fulfillment_id   uuid NOT NULL,
    order_id         uuid NOT NULL,
    source_id        uuid NOT NULL,                  -- connection that reported the shipment
    source_ref       text NOT NULL,                  -- its id there
    tracking         text,
    carrier          text,
    state            text NOT NULL CHECK (state IN ('shipped', 'confirmed', 'cancelled')),  -- confirmed: the channel has it
    shipped_at       timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, fulfillment_id),
    UNIQUE (tenant_id, source_id, source_ref)
);
CREATE INDEX fulfillment_order ON fulfillment (tenant_id, order_id);
CREATE TABLE fulfillment_line (
    tenant_id        uuid NOT NULL,
    fulfillment_id   uuid NOT NULL,
    line_id          uuid NOT NULL,
    quantity         int NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (tenant_id, fulfillment_id, line_id)
);

-- ---------------------------------------------------------------- dispatch
-- Key of a command: (connection, kind, internal entity, version), never the id of an event. Not partitioned.
CREATE TABLE command_key (
    tenant_id      uuid NOT NULL,
    connection_id  uuid NOT NULL,
    kind           text NOT NULL,
    entity_id      uuid NOT NULL,
    version        bigint NOT NULL,
    command_id     uuid NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, kind, entity_id, version)
);
CREATE TABLE command (
    tenant_id       uuid NOT NULL,
    command_id      uuid NOT NULL,                   -- UUIDv7: order of planning
    connection_id   uuid NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('order.create', 'order.cancel', 'fulfillment.create', 'inventory.set')),
    target_key      text NOT NULL,                   -- FIFO per target
    entity_id       uuid NOT NULL,
    version         bigint NOT NULL,
    priority        smallint NOT NULL,               -- lower goes first; see commerce.commands.Priority
    state           text NOT NULL CHECK (state IN ('pending', 'sending', 'in_doubt', 'succeeded', 'failed', 'cancelled', 'superseded')),
    code            text,                            -- why it is in that state
    reason          text,
    not_before      timestamptz,                     -- parked until
    deadline_at     timestamptz NOT NULL,
    attempt_number  int NOT NULL DEFAULT 0,
    call_id         uuid,
    attempt_id      uuid,                            -- T3 and late answers compare-and-set on this
    settles_at      timestamptz,                     -- in doubt: from then on a read-back's 'not found' may be believed
    negatives       smallint NOT NULL DEFAULT 0,     -- believable read-backs of that attempt that found nothing
    cause_event_id  uuid,
    quantity        int,                             -- inventory.set: the number sent, and the ledger it came from
    ledger          jsonb,
    finished_at     timestamptz,
    CHECK ((finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled', 'superseded'))),
    PRIMARY KEY (tenant_id, command_id)
) PARTITION BY RANGE (command_id);
CREATE TABLE command_default PARTITION OF command DEFAULT;
CREATE INDEX command_open ON command (tenant_id, connection_id, priority, command_id) WHERE state = 'pending';
CREATE INDEX command_unsure ON command (tenant_id, connection_id, target_key, command_id)
    WHERE state IN ('pending', 'sending', 'in_doubt');
CREATE INDEX command_flight ON command (tenant_id, connection_id) WHERE state IN ('sending', 'in_doubt');
CREATE INDEX command_entity ON command (tenant_id, entity_id);
CREATE INDEX command_dead ON command (tenant_id, command_id) WHERE state = 'failed';

-- One request to the other side: frozen before any byte leaves. Resent only as it stands, under the same key.
CREATE TABLE call (
    tenant_id        uuid NOT NULL,
    call_id          uuid NOT NULL,
    connection_id    uuid NOT NULL,
    kind             text NOT NULL,
    idempotency_key  text NOT NULL,
    members          uuid[] NOT NULL,                -- command ids, in payload order
    charge           double precision NOT NULL,      -- taken from the budget
    data_key_id      uuid NOT NULL,
    payload          bytea NOT NULL,                 -- encrypted, frozen
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, call_id)
) PARTITION BY RANGE (call_id);
CREATE TABLE call_default PARTITION OF call DEFAULT;

-- One try of a call, or one read-back of it. The row is made with T2s; its answer is appended, never fenced away.
CREATE TABLE attempt (
    tenant_id        uuid NOT NULL,
    attempt_id       uuid NOT NULL,
    call_id          uuid NOT NULL,
    connection_id    uuid NOT NULL,
    purpose          text NOT NULL CHECK (purpose IN ('send', 'verify')),
    attempt_number   int NOT NULL CHECK (attempt_number > 0),
    node_id          uuid NOT NULL,
    started_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, attempt_id)
) PARTITION BY RANGE (attempt_id);
CREATE TABLE attempt_default PARTITION OF attempt DEFAULT;
CREATE INDEX attempt_call ON attempt (tenant_id, call_id);
CREATE TABLE attempt_answer (
    tenant_id        uuid NOT NULL,
    attempt_id       uuid NOT NULL,
    answer_id        uuid NOT NULL,
    outcome          text NOT NULL,                  -- success, or the error class: rate_limited, transient, unknown, ...
    code             text NOT NULL,
    http_status      int,
    duration_ms      int NOT NULL,
    late             boolean NOT NULL DEFAULT false, -- arrived after the state had moved on
    data_key_id      uuid NOT NULL,
    answer           bytea NOT NULL,                 -- encrypted excerpt
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, attempt_id, answer_id)
) PARTITION BY RANGE (attempt_id);
CREATE TABLE attempt_answer_default PARTITION OF attempt_answer DEFAULT;

CREATE TABLE lane_state (
    tenant_id        uuid NOT NULL,
    connection_id    uuid NOT NULL,
    tokens           double precision NOT NULL,
    tokens_at        timestamptz NOT NULL,
    snoozed_until    timestamptz,
    snooze_reason    text,
    PRIMARY KEY (tenant_id, connection_id)
);

-- ---------------------------------------------------------------- runtime
CREATE TABLE node (
    node_id         uuid PRIMARY KEY,
    role            text NOT NULL CHECK (role IN ('apply', 'dispatch')),
    lock_key        int NOT NULL,                    -- session advisory lock (classid 7480)
    pid             int NOT NULL,
    host            text NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Written before a batch, cleared in its T2: what was being worked on when a process vanished.
    working_slots   smallint[],
    working_tenant  uuid,
    working_event   uuid
) WITH (fillfactor = 50);
CREATE TABLE slot (
    role            text NOT NULL CHECK (role IN ('apply', 'dispatch')),
    slot            smallint NOT NULL CHECK (slot BETWEEN 0 AND 1023),
    node_id         uuid,
    epoch           bigint NOT NULL DEFAULT 0,
    crashes         int NOT NULL DEFAULT 0,          -- processes that vanished while working on it
    PRIMARY KEY (role, slot)
);
INSERT INTO slot (role, slot) SELECT r, s FROM unnest(ARRAY['apply', 'dispatch']) r, generate_series(0, 1023) s;
CREATE TABLE event_crash (
    tenant_id       uuid NOT NULL,
    event_id        uuid NOT NULL,
    crashes         int NOT NULL,
    PRIMARY KEY (tenant_id, event_id)
);

CREATE TABLE switch (                               -- stop-all-writes and its like
    name            text PRIMARY KEY,
    is_on           boolean NOT NULL,
    reason          text,
    changed_by      text NOT NULL,
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO switch VALUES ('stop_all_writes', false, NULL, 'migration');

CREATE TABLE config_version (
    tenant_id       uuid NOT NULL REFERENCES tenant,
    version         int NOT NULL CHECK (version > 0),
    digest          bytea NOT NULL,
    document        text NOT NULL,
    applied_by      text NOT NULL,
    applied_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, version)
);

CREATE TABLE audit_log (
    tenant_id       uuid NOT NULL,
    audit_id        uuid NOT NULL,
    actor           text NOT NULL,
    action          text NOT NULL,
    subject         text NOT NULL,
    detail          jsonb NOT NULL DEFAULT '{}',
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, audit_id)
);

-- ---------------------------------------------------------------- storage
-- Encrypted values do not compress, and rows of up to nearly a page stay in one piece: one write instead of three.
-- Daily partitions are made with the same setting (see eventlog.partitions).
ALTER TABLE event ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE event_default ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE call ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE call_default ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE attempt_answer ALTER COLUMN answer SET STORAGE EXTERNAL;
ALTER TABLE attempt_answer_default ALTER COLUMN answer SET STORAGE EXTERNAL;
ALTER TABLE "order" ALTER COLUMN private SET STORAGE EXTERNAL;
ALTER TABLE event_default SET (toast_tuple_target = 8160);
ALTER TABLE call_default SET (toast_tuple_target = 8160);
ALTER TABLE attempt_answer_default SET (toast_tuple_target = 8160);

-- ---------------------------------------------------------------- row security
-- Open to everybody who has a grant; grants.sql narrows the door to rows of class 'intake'.
ALTER TABLE tenant_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE data_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE credential ENABLE ROW LEVEL SECURITY;
CREATE POLICY granted ON tenant_key USING (true) WITH CHECK (true);
CREATE POLICY granted ON data_key USING (true) WITH CHECK (true);
CREATE POLICY granted ON credential USING (true) WITH CHECK (true);
