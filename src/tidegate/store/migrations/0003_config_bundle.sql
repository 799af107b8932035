-- Files that a configuration names (value tables, hook code) are kept with it: workers on other machines have them, and
-- what was processed under an old version can be explained with the files of that version. Equal files are stored once.
CREATE TABLE config_bundle (
    tenant_id       uuid NOT NULL REFERENCES tenant,
    digest          bytea NOT NULL,                  -- SHA-256 over names and contents
    files           jsonb NOT NULL,                  -- name -> text
    PRIMARY KEY (tenant_id, digest)
);
ALTER TABLE config_version ADD COLUMN bundle_digest bytea;  -- NULL: the document names no files

-- Under which map a request was made: digest of the map, its tables and its hook code. NULL: under none.
ALTER TABLE call ADD COLUMN map_digest bytea;
ALTER TABLE call ADD COLUMN config_version int;    -- the configuration that it was made under
