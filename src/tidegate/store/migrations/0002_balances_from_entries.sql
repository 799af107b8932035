-- What a level holds is what its newest entry says. The level itself is a row to lock, and it is never updated: a
-- counter that changes with every sale leaves a version behind each time, and one old snapshot anywhere in the database
-- keeps all of them in everybody's way.

ALTER TABLE stock_entry ADD COLUMN unavailable_after int, ADD COLUMN reserved_after int;
UPDATE stock_entry e SET unavailable_after = s.unavailable_after, reserved_after = s.reserved_after
FROM (
    SELECT tenant_id, item_id, location_id, version, sum(unavailable_delta) OVER level AS unavailable_after,
           sum(reserved_delta) OVER level AS reserved_after
    FROM stock_entry WINDOW level AS (PARTITION BY tenant_id, item_id, location_id ORDER BY version)
) s
WHERE e.tenant_id = s.tenant_id AND e.item_id = s.item_id AND e.location_id = s.location_id AND e.version = s.version;
ALTER TABLE stock_entry
    ALTER COLUMN unavailable_after SET NOT NULL,
    ALTER COLUMN reserved_after SET NOT NULL,
    ADD CONSTRAINT stock_entry_unavailable_check CHECK (unavailable_after >= 0),
    ADD CONSTRAINT stock_entry_committed_check CHECK (committed_after >= 0),
    ADD CONSTRAINT stock_entry_reserved_check CHECK (reserved_after >= 0);

ALTER TABLE stock_level
    DROP COLUMN available, DROP COLUMN on_hand, DROP COLUMN unavailable, DROP COLUMN committed, DROP COLUMN reserved,
    DROP COLUMN version;
ALTER TABLE stock_level RESET (fillfactor);

-- The counters of every level. Facts always post: nothing forbids available < 0.
CREATE VIEW stock_balance AS
SELECT l.tenant_id, l.item_id, l.location_id, coalesce(e.on_hand, 0) AS on_hand, coalesce(e.unavailable, 0) AS unavailable,
       coalesce(e.committed, 0) AS committed, coalesce(e.reserved, 0) AS reserved,
       coalesce(e.on_hand - e.unavailable - e.committed - e.reserved, 0) AS available, l.incoming, l.safety_stock,
       coalesce(e.version, 0) AS version  -- number of the newest entry; 0: none yet
FROM stock_level l
LEFT JOIN LATERAL (
    SELECT n.on_hand_after AS on_hand, n.unavailable_after AS unavailable, n.committed_after AS committed,
           n.reserved_after AS reserved, n.version
    FROM stock_entry n
    WHERE n.tenant_id = l.tenant_id AND n.item_id = l.item_id AND n.location_id = l.location_id
    ORDER BY n.version DESC LIMIT 1
) e ON true;
