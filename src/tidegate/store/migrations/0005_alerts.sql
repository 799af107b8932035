-- Alerts: what is wrong now and was before, who is told, and what was told to whom.

-- Addresses of targets are secrets of a class of their own: whoever delivers alerts can open nothing else.
ALTER TABLE tenant_key DROP CONSTRAINT tenant_key_key_class_check,
    ADD CONSTRAINT tenant_key_key_class_check CHECK (key_class IN ('intake', 'credential', 'alert'));
ALTER TABLE data_key DROP CONSTRAINT data_key_key_class_check,
    ADD CONSTRAINT data_key_key_class_check CHECK (key_class IN ('intake', 'credential', 'alert'));

-- One row per time that a rule fired for a subject. What has not lasted long enough to fire is in memory only.
CREATE TABLE alert (
    tenant_id       uuid NOT NULL REFERENCES tenant,
    alert_id        uuid NOT NULL,
    rule            text NOT NULL,
    subject         text NOT NULL,                  -- a connection, a connection and its topic, a role; '' the whole
    severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    state           text NOT NULL CHECK (state IN ('firing', 'resolved')),
    since           timestamptz NOT NULL,           -- when the cause was first seen
    fired_at        timestamptz NOT NULL,
    resolved_at     timestamptz,
    value           double precision NOT NULL,      -- the last one that was seen
    threshold       double precision NOT NULL,
    cause           text NOT NULL,                  -- in words, as it was seen last
    flaps           int NOT NULL DEFAULT 0,         -- how often it came back before it was taken for over
    told_state      text CHECK (told_state IN ('firing', 'resolved')),
    told_at         timestamptz,
    acked_by        text,
    acked_at        timestamptz,
    CHECK ((resolved_at IS NOT NULL) = (state = 'resolved')),
    PRIMARY KEY (tenant_id, alert_id)
);
CREATE UNIQUE INDEX alert_firing ON alert (tenant_id, rule, subject) WHERE state = 'firing';
CREATE INDEX alert_untold ON alert (tenant_id, rule) WHERE told_state = 'firing' OR state = 'firing';

-- Nobody is told of what a silence covers, now or later, until it ends. NULL covers everything.
CREATE TABLE alert_silence (
    tenant_id       uuid NOT NULL REFERENCES tenant,
    silence_id      uuid NOT NULL,
    rule            text,
    subject         text,
    until           timestamptz NOT NULL,
    reason          text NOT NULL,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, silence_id)
);

CREATE TABLE alert_target (
    tenant_id       uuid NOT NULL REFERENCES tenant,
    name            text NOT NULL CHECK (name <> ''),
    kind            text NOT NULL CHECK (kind IN ('mail', 'chat', 'webhook', 'heartbeat')),
    data_key_id     uuid NOT NULL,
    address         bytea NOT NULL,                 -- encrypted
    fingerprint     text NOT NULL,                  -- first 8 hex digits of a keyed digest, for people
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_ok_at      timestamptz,
    last_error      text,
    PRIMARY KEY (tenant_id, name)
);

-- What is to be told to one target: written with the change of state, delivered at least once. The key says what it
-- tells, so that two gateways never tell the same twice.
CREATE TABLE alert_notice (
    tenant_id       uuid NOT NULL REFERENCES tenant,
    notice_id       uuid NOT NULL,
    notice_key      text NOT NULL,
    target          text NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('firing', 'reminder', 'resolved')),
    severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    title           text NOT NULL,
    body            text NOT NULL,
    alerts          uuid[] NOT NULL,
    state           text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed')),
    tries           int NOT NULL DEFAULT 0,
    not_before      timestamptz NOT NULL,           -- the next try; while one runs, when it counts as lost
    last_error      text,
    created_at      timestamptz NOT NULL,
    finished_at     timestamptz,
    CHECK ((finished_at IS NOT NULL) = (state <> 'pending')),
    PRIMARY KEY (tenant_id, notice_id),
    UNIQUE (tenant_id, notice_key, target)
);
CREATE INDEX alert_notice_due ON alert_notice (not_before) WHERE state = 'pending';

-- How many deliveries came per connection, topic and hour: what silence is measured against.
CREATE TABLE alert_rhythm (
    tenant_id       uuid NOT NULL REFERENCES tenant,
    connection_id   uuid NOT NULL,
    topic           text NOT NULL,
    hour            timestamptz NOT NULL,
    received        bigint NOT NULL CHECK (received > 0),
    last_at         timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, topic, hour)
);

-- When the rules were looked at last, by whom, and up to which event the rhythm is counted.
CREATE TABLE alert_evaluator (
    name            text PRIMARY KEY CHECK (name = 'main'),
    evaluated_at    timestamptz NOT NULL,
    host            text NOT NULL,
    pid             int NOT NULL,
    counted_to      uuid NOT NULL
);

-- What a gateway sees on its own machine and no other can: which of its processes are not there.
CREATE TABLE alert_witness (
    host            text NOT NULL,
    project         text NOT NULL,
    seen_at         timestamptz NOT NULL,
    missing         text[] NOT NULL,
    PRIMARY KEY (host, project)
);
