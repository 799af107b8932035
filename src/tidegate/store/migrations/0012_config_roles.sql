-- What a preset filled a version by: connector -> roles. Whoever reads the version needs no connector to understand it.
ALTER TABLE config_version ADD COLUMN roles jsonb NOT NULL DEFAULT '{}';
