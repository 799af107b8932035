-- People who may open the pages, and where they are signed in. Passwords and cookies are here as hashes only.

CREATE TABLE login (
    tenant_id     uuid NOT NULL REFERENCES tenant,
    name          text NOT NULL CHECK (name ~ '^[a-z][a-z0-9._-]{0,39}$'),
    password_hash text NOT NULL,                     -- argon2id, with its parameters and salt
    changed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE login_session (
    tenant_id    uuid NOT NULL,
    session_hash bytea NOT NULL CHECK (length(session_hash) = 32),  -- SHA-256 of the cookie's value
    name         text NOT NULL,
    started_at   timestamptz NOT NULL,
    seen_at      timestamptz NOT NULL,               -- a session that is not used ends
    confirmed_at timestamptz NOT NULL,               -- when the password was typed last
    PRIMARY KEY (tenant_id, session_hash),
    FOREIGN KEY (tenant_id, name) REFERENCES login ON DELETE CASCADE
);
CREATE INDEX login_session_name ON login_session (tenant_id, name);

-- Failures in a row per name and address, and per name alone; names that do not exist count alike.
CREATE TABLE login_failure (
    tenant_id uuid NOT NULL,
    subject   bytea NOT NULL CHECK (length(subject) = 32),
    failures  int NOT NULL CHECK (failures > 0),
    last_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject)
);
CREATE INDEX login_failure_last ON login_failure (last_at);
