-- Payments at their provider, what is captured of them, and what is given back.

-- What the order's channel says of the money. payment_state is what counts: a provider that owns payments decides it.
ALTER TABLE "order" ADD COLUMN channel_payment_state text;
-- A channel's transaction names the payment, or the refund, at the provider.
ALTER TABLE payment ADD COLUMN psp_reference text NOT NULL DEFAULT '';

-- A payment as its provider shows it. It may come before its order, or be named by an order before it is seen.
CREATE TABLE psp_payment (
    tenant_id         uuid NOT NULL,
    payment_id        uuid NOT NULL,
    connection_id     uuid NOT NULL,                 -- the provider
    external_id       text NOT NULL,
    order_id          uuid,                          -- once an order named it
    number            int,                           -- of the order's payments, from 1
    state             text NOT NULL CHECK (state IN ('unseen', 'pending', 'authorised', 'captured', 'voided', 'failed')),
    currency          char(3) NOT NULL,
    amount_minor      bigint NOT NULL CHECK (amount_minor >= 0),     -- asked for, or authorised
    capturable_minor  bigint NOT NULL CHECK (capturable_minor >= 0),
    captured_minor    bigint NOT NULL CHECK (captured_minor >= 0),   -- never shrinks
    refunded_minor    bigint NOT NULL CHECK (refunded_minor >= 0),   -- never shrinks
    multi_capture     boolean NOT NULL,
    method            text NOT NULL,
    expires_at        timestamptz,
    claimed_minor     bigint NOT NULL DEFAULT 0,     -- what our captures ask for
    refunding_minor   bigint NOT NULL DEFAULT 0,     -- what our refunds give back
    CHECK (claimed_minor BETWEEN 0 AND amount_minor),        -- we never ask for more than was authorised
    CHECK (refunding_minor BETWEEN 0 AND captured_minor),    -- we never give back more than was captured
    CHECK ((order_id IS NULL) = (number IS NULL)),
    PRIMARY KEY (tenant_id, payment_id),
    UNIQUE (tenant_id, connection_id, external_id),
    UNIQUE (tenant_id, order_id, number)
) WITH (fillfactor = 80);

-- What is captured of the payments of an order; the number is the version of its command.
CREATE TABLE capture (
    tenant_id     uuid NOT NULL,
    order_id      uuid NOT NULL,
    number        int NOT NULL CHECK (number > 0),
    capture_id    uuid NOT NULL,
    payment_id    uuid NOT NULL,
    amount_minor  bigint NOT NULL CHECK (amount_minor > 0),
    is_final      boolean NOT NULL,                  -- nothing more of this payment will be captured
    state         text NOT NULL CHECK (state IN ('planned', 'sent', 'captured', 'failed')),
    PRIMARY KEY (tenant_id, order_id, number),
    UNIQUE (tenant_id, capture_id)
);
-- A payment is captured to its end once.
CREATE UNIQUE INDEX capture_final ON capture (tenant_id, payment_id) WHERE is_final;

-- Money that went back or is to go back; the number is the version of its command.
CREATE TABLE refund (
    tenant_id     uuid NOT NULL,
    refund_id     uuid NOT NULL,
    order_id      uuid,                              -- null while its payment waits for its order
    number        int CHECK (number > 0),
    payment_id    uuid,                              -- null while it is open which payment gives it back
    origin        text NOT NULL CHECK (origin IN ('channel', 'provider')),  -- who showed it first
    kind          text NOT NULL CHECK (kind IN ('refund', 'dispute')),
    amount_minor  bigint NOT NULL CHECK (amount_minor > 0),
    currency      char(3) NOT NULL,
    state         text NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed', 'cancelled')),
    carry         text NOT NULL CHECK (carry IN ('open', 'planned', 'sent', 'done', 'left')),  -- over to the other side
    code          text,                              -- why it is not carried over
    channel_ref   text,                              -- its id in the channel
    psp_ref       text,                              -- its id at the provider
    reason        text NOT NULL,
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((order_id IS NULL) = (number IS NULL)),
    PRIMARY KEY (tenant_id, refund_id),
    UNIQUE (tenant_id, order_id, number),
    UNIQUE (tenant_id, order_id, channel_ref),
    UNIQUE (tenant_id, payment_id, psp_ref)
);
