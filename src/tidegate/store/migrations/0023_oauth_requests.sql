-- Requests to a person to allow our app at a platform, while a command waits for the browser to come back.
CREATE TABLE oauth_request (
    tenant_id    uuid NOT NULL REFERENCES tenant,
    request_id   uuid NOT NULL,
    name         text NOT NULL,                          -- of the connection
    state_digest bytea NOT NULL CHECK (octet_length(state_digest) = 32),  -- the state itself is known to the command only
    expires_at   timestamptz NOT NULL,
    answer       bytea,                                  -- the redirect's query, under a key that only the state gives
    answered_at  timestamptz,                            -- a second redirect changes nothing
    PRIMARY KEY (tenant_id, request_id)
);
-- A redirect comes without its tenant; states are random enough to be unique everywhere.
CREATE UNIQUE INDEX oauth_request_state ON oauth_request (state_digest);
