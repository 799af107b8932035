-- Orders that wait for goods because somebody, or the policy of the stock flow, decided so: they are shown and not alarmed.
CREATE TABLE backorder (
    tenant_id   uuid NOT NULL,
    order_id    uuid NOT NULL,
    item_id     uuid NOT NULL,
    units       int NOT NULL CHECK (units > 0),
    promised_on date,                            -- by what was on its way when it was decided; null: nothing covered it
    decided_by  text NOT NULL,
    decided_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, order_id, item_id)
);
CREATE INDEX backorder_item ON backorder (tenant_id, item_id);
