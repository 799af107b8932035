-- Why people moved stock, in their own words, and why units that are there are not sold. How many are set aside for what is the
-- sum of the entries that say so: they are few, and have an index of their own.
ALTER TABLE stock_entry
    ADD COLUMN reason text,
    ADD COLUMN note   text CHECK (length(note) <= 500);
CREATE INDEX stock_entry_aside ON stock_entry (tenant_id, item_id, location_id) INCLUDE (reason, unavailable_delta)
    WHERE unavailable_delta <> 0;

-- What is expected, by what it is expected with: a purchase order, a transfer, a return.
CREATE TABLE stock_incoming (
    tenant_id   uuid NOT NULL,
    item_id     uuid NOT NULL,
    location_id uuid NOT NULL,
    reference   text NOT NULL CHECK (reference <> '' AND length(reference) <= 120),
    units       int NOT NULL CHECK (units > 0),
    expected_on date,                           -- null: nobody knows when
    actor       text NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, item_id, location_id, reference)
);

CREATE OR REPLACE VIEW stock_balance WITH (security_invoker = true) AS
SELECT l.tenant_id, l.item_id, l.location_id, coalesce(e.on_hand, 0) AS on_hand, coalesce(e.unavailable, 0) AS unavailable,
       coalesce(e.committed, 0) AS committed, coalesce(e.reserved, 0) AS reserved,
       coalesce(e.on_hand - e.unavailable - e.committed - e.reserved, 0) AS available,
       coalesce((SELECT sum(i.units)::int FROM stock_incoming i
                 WHERE i.tenant_id = l.tenant_id AND i.item_id = l.item_id AND i.location_id = l.location_id), 0) AS incoming,
       l.safety_stock,
       coalesce(e.version, 0) AS version  -- number of the newest entry; 0: none yet
FROM stock_level l
LEFT JOIN LATERAL (
    SELECT n.on_hand_after AS on_hand, n.unavailable_after AS unavailable, n.committed_after AS committed,
           n.reserved_after AS reserved, n.version
    FROM stock_entry n
    WHERE n.tenant_id = l.tenant_id AND n.item_id = l.item_id AND n.location_id = l.location_id
    ORDER BY n.version DESC LIMIT 1
) e ON true;
ALTER TABLE stock_level DROP COLUMN incoming;
