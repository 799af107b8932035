-- Failures grouped into issues. Nothing that fails writes here: a keeper reads what failed, a bounded step at a time, by
-- the moment at which it failed, and keeps the groups. See ADR 0026.

CREATE TABLE issue (
    tenant_id       uuid NOT NULL REFERENCES tenant,
    issue_id        uuid NOT NULL,
    fingerprint     bytea NOT NULL,                  -- of class, connection, operation, code and shape
    class           text NOT NULL,                   -- what happens next: rejected, unknown, quarantined, ...
    connection_id   uuid,                            -- null: not of one connection (refused deliveries)
    operation       text NOT NULL,                   -- kind of the command, topic of the event, feed:<name>, ...
    code            text NOT NULL,
    shape           text NOT NULL DEFAULT '',        -- the reason's words that are in the vocabulary, nothing else
    state           text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'acknowledged', 'resolved', 'regressed')),
    first_seen_at   timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    seen            bigint NOT NULL DEFAULT 0,       -- failures ever
    standing        int NOT NULL DEFAULT 0 CHECK (standing >= 0),   -- of these, the ones that still stand
    retried         int NOT NULL DEFAULT 0 CHECK (retried >= 0),    -- sent again, and not over yet
    regressions     int NOT NULL DEFAULT 0,          -- times that it came again after it was resolved
    affected        jsonb NOT NULL DEFAULT '{}',     -- {"orders": n, "skus": n, "value": {"EUR": minor}, "is_partial": false}
    sample          jsonb,                           -- one request and answer, redacted by allow-list
    note            text,
    assigned_to     text,
    changed_by      text NOT NULL DEFAULT 'keeper',
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, issue_id),
    UNIQUE (tenant_id, fingerprint)
) WITH (fillfactor = 70);
CREATE INDEX issue_unresolved ON issue (tenant_id, last_seen_at) WHERE state <> 'resolved';

-- The failures of an issue that still stand or were sent again. A subject fails for one reason at a time.
CREATE TABLE issue_member (
    tenant_id       uuid NOT NULL,
    subject_id      uuid NOT NULL,                   -- a command or an event
    issue_id        uuid NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('command', 'event')),
    failed_at       timestamptz NOT NULL,            -- which failure of the subject it is
    retried         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, subject_id)
);
CREATE INDEX issue_member_issue ON issue_member (tenant_id, issue_id, subject_id);

-- How far the keeper has read.
CREATE TABLE issue_progress (
    tenant_id       uuid NOT NULL REFERENCES tenant,
    failed_at       timestamptz NOT NULL DEFAULT '-infinity',  -- commands that failed until then are grouped
    quarantined_at  timestamptz NOT NULL DEFAULT '-infinity',
    doubtful_after  uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    swept_after     uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    PRIMARY KEY (tenant_id)
);

CREATE INDEX command_failed_at ON command (tenant_id, finished_at) WHERE state = 'failed';
CREATE INDEX command_asking ON command (tenant_id, command_id) WHERE state = 'in_doubt' AND not_before IS NULL;
CREATE INDEX event_parked_quarantined ON event_parked (tenant_id, at) WHERE kind = 'quarantined';
