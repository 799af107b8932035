-- What the policy of the stock flow did with orders that held units which were not there; those that wait are in backorder.
CREATE TABLE oversold_order (
    tenant_id     uuid NOT NULL,
    order_id      uuid NOT NULL,
    version       int NOT NULL,                  -- of the order, after it was done
    item_id       uuid NOT NULL,
    outcome       text NOT NULL CHECK (outcome IN ('moved')),
    units         int NOT NULL CHECK (units > 0),
    location_id   uuid NOT NULL,                 -- where they lacked
    to_id         uuid,                          -- the location that serves the order instead
    decided_by    text NOT NULL,
    decided_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, order_id, version, item_id, location_id),
    CHECK ((outcome = 'moved') = (to_id IS NOT NULL))
);
