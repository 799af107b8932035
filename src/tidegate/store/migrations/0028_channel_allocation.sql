-- What each channel may at worst still sell of an item whose units are shared out, so that all together never exceed what can
-- be sold. An item has rows here while it is shared out; its marks (channel_stock) are the locks.
CREATE TABLE channel_allocation (
    tenant_id      uuid NOT NULL,
    connection_id  uuid NOT NULL,
    item_id        uuid NOT NULL,
    counting       text NOT NULL CHECK (counting IN ('compared', 'booked', 'blind')),
    enforces       boolean NOT NULL,                -- it refuses to sell below zero
    is_sold        boolean NOT NULL,                -- the channel has the article
    settled        int CHECK (settled >= 0),        -- at worst, whatever becomes of the number on its way; null = not bounded
    asked          int CHECK (asked >= 0),          -- at worst, if the number on its way arrives; null = none is
    cap            int CHECK (cap >= 0),            -- what bounds it once all orders until drains_since are read
    drains_since   timestamptz,
    aim            int NOT NULL DEFAULT 0,          -- what it would have, could units be moved at once
    sales          float8 NOT NULL DEFAULT 0,       -- units sold, fading
    exposure       float8 NOT NULL DEFAULT 0,       -- seconds in which it had any, fading
    looked_at      timestamptz NOT NULL,            -- until when these two are counted
    raises         int NOT NULL DEFAULT 0,
    withdrawals    int NOT NULL DEFAULT 0,
    config_version int NOT NULL,
    since          timestamptz NOT NULL,
    CHECK ((cap IS NULL) = (drains_since IS NULL)),
    PRIMARY KEY (tenant_id, connection_id, item_id)
) WITH (fillfactor = 70);
CREATE INDEX channel_allocation_item ON channel_allocation (tenant_id, item_id);

-- The newest commands about one thing are found without reading all of them.
DROP INDEX command_entity;
CREATE INDEX command_entity ON command (tenant_id, entity_id, command_id);
