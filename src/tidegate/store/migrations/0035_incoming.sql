-- What is expected is known by who says so and what it is called there, so that the last word of a source replaces the one before,
-- whatever article or place it was about. Nothing wrote this table before.
ALTER TABLE stock_incoming DROP CONSTRAINT stock_incoming_pkey;
ALTER TABLE stock_incoming
    ADD COLUMN source_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',  -- a connection; nil: people
    ADD PRIMARY KEY (tenant_id, source_id, reference, item_id);
CREATE INDEX stock_incoming_level ON stock_incoming (tenant_id, item_id, location_id) INCLUDE (units);
