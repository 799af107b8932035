-- Tokens that expire and are replaced at each use, sealed. By the connection's name: they are kept before it exists.
CREATE TABLE oauth_token (
    tenant_id          uuid NOT NULL REFERENCES tenant,
    name               text NOT NULL,
    generation         bigint NOT NULL CHECK (generation > 0), -- rises with every pair; a store of an older one changes nothing
    data_key_id        uuid NOT NULL,
    ciphertext         bytea NOT NULL,
    use_until          timestamptz,                            -- renewed from then on; NULL: not before it is refused
    expires_at         timestamptz,
    refresh_expires_at timestamptz,
    attempt_at         timestamptz,                            -- a request with this pair's refresh token may have left; NULL: certainly not
    refused            text,                                   -- why a person has to give new ones; NULL: they work
    updated_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);
ALTER TABLE oauth_token ENABLE ROW LEVEL SECURITY;
CREATE POLICY granted ON oauth_token USING (true) WITH CHECK (true);
