-- What channels count of their own orders in closed windows, and how many of them were known here then.
CREATE TABLE order_count (
    tenant_id      uuid NOT NULL,
    connection_id  uuid NOT NULL,
    until          timestamptz NOT NULL,
    since          timestamptz NOT NULL,
    theirs         int NOT NULL,
    ours           int NOT NULL,
    event_id       uuid NOT NULL,
    counted_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, connection_id, until, since)
);
CREATE INDEX order_placed ON "order" (tenant_id, connection_id, placed_at);
