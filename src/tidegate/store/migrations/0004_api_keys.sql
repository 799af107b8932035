-- Keys of the API, and the answers to its writes.

CREATE TABLE api_key (
    tenant_id       uuid NOT NULL REFERENCES tenant,
    key_id          uuid NOT NULL,
    name            text NOT NULL CHECK (name <> '' AND length(name) <= 80),
    secret_hash     bytea NOT NULL CHECK (octet_length(secret_hash) = 32),  -- HMAC-SHA-256 under a pepper that is not here
    scopes          text[] NOT NULL CHECK (cardinality(scopes) > 0),
    networks        text[] NOT NULL DEFAULT '{}',   -- addresses that may use it, in CIDR notation; empty: all
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    revoked_by      text,
    last_used_at    timestamptz,                    -- to the minute
    CHECK (expires_at > created_at AND expires_at <= created_at + interval '366 days'),
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL)),
    PRIMARY KEY (tenant_id, key_id)
);
-- A key is presented without its tenant; ids are random enough to be unique everywhere.
CREATE UNIQUE INDEX api_key_id ON api_key (key_id);
CREATE UNIQUE INDEX api_key_name ON api_key (tenant_id, name) WHERE revoked_at IS NULL;

-- What a write was answered with: committed together with its effect, so that the same request again gets the same answer.
CREATE TABLE api_answer (
    tenant_id       uuid NOT NULL,
    key_id          uuid NOT NULL,
    idempotency_key text NOT NULL CHECK (idempotency_key <> '' AND length(idempotency_key) <= 255),
    request_digest  bytea NOT NULL,                 -- SHA-256 of method, address and body
    status          smallint NOT NULL,
    media_type      text NOT NULL,
    body            bytea NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, key_id, idempotency_key)
);
CREATE INDEX api_answer_created ON api_answer (created_at);

-- Whoever reads balances reads levels and entries under their own rights, so row security holds behind the view too.
ALTER VIEW stock_balance SET (security_invoker = true);
