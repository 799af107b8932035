-- Units that are held for a cart, a checkout or a quote until a time. What a reservation holds is counted in `reserved` of
-- its levels; whoever changes a reservation has locked every level that it holds units of.

CREATE TABLE reservation (
    tenant_id       uuid NOT NULL,
    reservation_id  uuid NOT NULL,
    state           text NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'claimed', 'released', 'expired')),
    reference       text CHECK (reference <> '' AND length(reference) <= 120),  -- the caller's own name of it
    asked           text NOT NULL,                  -- JSON: [[SKU, quantity], ...] as it was asked for
    location_id     uuid,                           -- where it was to be held; null = wherever there is some
    due_at          timestamptz NOT NULL,           -- held: when it expires; awaits_order: when it waits no longer
    awaits_order    boolean NOT NULL DEFAULT false, -- claimed, and its order is not known yet: its units stand committed
    connection_id   uuid,                           -- of the order that it was claimed for, where that was told
    order_reference text,                           -- the order's number or id in that channel
    order_id        uuid,                           -- the order that has it
    actor           text NOT NULL,
    ended_at        timestamptz,
    ended_by        text,
    CHECK ((state = 'held') = (ended_at IS NULL)),
    CHECK (NOT awaits_order OR state = 'claimed'),
    PRIMARY KEY (tenant_id, reservation_id)
);
CREATE UNIQUE INDEX reservation_reference ON reservation (tenant_id, reference) WHERE state = 'held' AND reference IS NOT NULL;
CREATE INDEX reservation_due ON reservation (due_at) WHERE state = 'held' OR awaits_order;
CREATE INDEX reservation_awaits ON reservation (tenant_id, connection_id, order_reference) WHERE awaits_order;
CREATE INDEX reservation_ended ON reservation (ended_at) WHERE ended_at IS NOT NULL;

-- What is held now; gone when it is held no more: the ledger keeps what was.
CREATE TABLE reservation_hold (
    tenant_id       uuid NOT NULL,
    reservation_id  uuid NOT NULL,
    item_id         uuid NOT NULL,
    location_id     uuid NOT NULL,
    units           int NOT NULL CHECK (units > 0),
    due_at          timestamptz NOT NULL,           -- of its reservation
    PRIMARY KEY (tenant_id, reservation_id, item_id, location_id)
);
CREATE INDEX reservation_hold_item ON reservation_hold (tenant_id, item_id, due_at);

ALTER TABLE stock_entry
    ADD COLUMN reservation_id uuid,
    DROP CONSTRAINT stock_entry_kind_check,
    ADD CONSTRAINT stock_entry_kind_check CHECK (kind IN ('receive', 'adjust', 'count', 'transfer_out', 'transfer_in',
        'reserve', 'reserve_expire', 'release', 'claim', 'commit', 'ship', 'unship', 'return_receive', 'return_scrap',
        'kit_explode', 'sync_correction')),
    -- Facts always post; a promise takes only what is there.
    ADD CONSTRAINT stock_entry_promise_check CHECK (kind <> 'reserve'
        OR on_hand_after - unavailable_after - committed_after - reserved_after >= 0);
