-- Modes that hold where it counts: in the transaction that lets a byte leave.

-- What each flow may do at a connection. Written only by whoever puts a configuration to work; T2s reads its row
-- FOR SHARE, so that nothing leaves under an older mode. No row: the flow observes.
CREATE TABLE flow_mode (
    tenant_id       uuid NOT NULL,
    connection_id   uuid NOT NULL,                   -- the connection that is written to
    flow            text NOT NULL CHECK (flow IN ('orders', 'shipments', 'stock')),
    mode            text NOT NULL CHECK (mode IN ('observe', 'propose', 'live')),
    rules           text NOT NULL DEFAULT '',        -- stock: what decides of single SKUs
    live_from       timestamptz,                     -- orders placed before it are not created: when it stopped observing
    revision        bigint NOT NULL,                 -- of the tenant's modes; T2 plans under the newest or not at all
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, connection_id, flow)
);

-- proposed: planned, waits for a person. It holds up later commands of its target like any open one.
ALTER TABLE command DROP CONSTRAINT command_state_check;
ALTER TABLE command ADD CONSTRAINT command_state_check CHECK (state IN ('proposed', 'pending', 'sending', 'in_doubt',
    'succeeded', 'failed', 'cancelled', 'superseded'));
ALTER TABLE command ADD COLUMN approved_by text, ADD COLUMN approved_at timestamptz;
DROP INDEX command_unsure;
CREATE INDEX command_unsure ON command (tenant_id, connection_id, target_key, command_id)
    WHERE state IN ('proposed', 'pending', 'sending', 'in_doubt');
CREATE INDEX command_proposed ON command (tenant_id, connection_id, command_id) WHERE state = 'proposed';

-- The mode of one item in one channel: of its flow, or of an override that fits its SKU.
ALTER TABLE channel_stock
    ADD COLUMN mode text NOT NULL DEFAULT 'observe' CHECK (mode IN ('observe', 'propose', 'live')),
    ADD COLUMN approved_by text,                     -- propose: a person approved the next number
    ADD COLUMN approved_at timestamptz;
ALTER TABLE channel_stock ADD COLUMN sendable boolean NOT NULL
    GENERATED ALWAYS AS (mode = 'live' OR (mode = 'propose' AND approved_at IS NOT NULL)) STORED;
DROP INDEX channel_stock_dirty, channel_stock_untold;
CREATE INDEX channel_stock_dirty ON channel_stock (tenant_id, connection_id, priority, dirty_at) WHERE dirty AND sendable;
CREATE INDEX channel_stock_proposed ON channel_stock (tenant_id, connection_id, item_id) WHERE dirty AND NOT sendable;
CREATE INDEX channel_stock_untold ON channel_stock (tenant_id, connection_id)
    WHERE push_version = 0 AND NOT dirty AND acked_quantity IS NULL AND mode <> 'observe';
