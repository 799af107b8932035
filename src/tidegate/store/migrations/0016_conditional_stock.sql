-- Numbers that are set only where the channel shows what we expect. What it shows is known from the last number that was
-- confirmed or read there, less the channel's own sales since; what is missing beyond that are sales that nobody told yet.
ALTER TABLE channel_stock
    ADD COLUMN moved       int,                      -- units sold there since the last number was sent; null = not followed
    ADD COLUMN pack        int NOT NULL DEFAULT 1,   -- units of the item in what is sold there, when the last one was sent
    ADD COLUMN unseen      int NOT NULL DEFAULT 0 CHECK (unseen >= 0),       -- units that are gone there unexplained
    ADD COLUMN unseen_back int NOT NULL DEFAULT 0 CHECK (unseen_back >= 0),  -- units that came back there unexplained
    ADD COLUMN unseen_at   timestamptz;              -- when that was noticed last
ALTER TABLE poll_cursor ADD COLUMN even_at timestamptz;  -- when the newest read that reached the feed's end began
CREATE INDEX channel_stock_unseen ON channel_stock (tenant_id, item_id) WHERE unseen > 0;

-- What a platform calls the thing that it counts, where that is not the article that it sells.
CREATE TABLE counted_article (
    tenant_id           uuid NOT NULL,
    connection_id       uuid NOT NULL,
    external_id         text NOT NULL,               -- of the article, as in its binding
    counted_external_id text NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, external_id)
);
