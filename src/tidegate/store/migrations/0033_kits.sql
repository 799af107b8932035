-- What an article is made of. The article keeps an inventory item of its own: channels are told a number of it, and it is counted
-- nowhere; how many can be sold follows from its parts. A part is no kit itself.
CREATE TABLE kit_part (
    tenant_id uuid NOT NULL,
    item_id   uuid NOT NULL,                   -- the kit's own item
    part_id   uuid NOT NULL CHECK (part_id <> item_id),
    units     int NOT NULL CHECK (units BETWEEN 1 AND 10000),
    PRIMARY KEY (tenant_id, item_id, part_id)
);
CREATE INDEX kit_part_part ON kit_part (tenant_id, part_id) INCLUDE (item_id, units);

-- Bills of several items, which nothing but SQL could make, become kits; from now on an article is sold as one item.
INSERT INTO inventory_item (tenant_id, item_id, sku)
SELECT v.tenant_id, gen_random_uuid(), v.sku FROM variant v
WHERE (SELECT count(*) FROM variant_item b WHERE b.tenant_id = v.tenant_id AND b.variant_id = v.variant_id) > 1
ON CONFLICT (tenant_id, sku) DO NOTHING;
INSERT INTO kit_part (tenant_id, item_id, part_id, units)
SELECT b.tenant_id, i.item_id, b.item_id, b.required_qty
FROM variant_item b
JOIN variant v ON v.tenant_id = b.tenant_id AND v.variant_id = b.variant_id
JOIN inventory_item i ON i.tenant_id = v.tenant_id AND i.sku = v.sku
WHERE i.item_id <> b.item_id
  AND (SELECT count(*) FROM variant_item o WHERE o.tenant_id = b.tenant_id AND o.variant_id = b.variant_id) > 1;
INSERT INTO variant_item (tenant_id, variant_id, item_id, required_qty)
SELECT DISTINCT v.tenant_id, v.variant_id, i.item_id, 1
FROM variant v JOIN inventory_item i ON i.tenant_id = v.tenant_id AND i.sku = v.sku
JOIN kit_part k ON k.tenant_id = i.tenant_id AND k.item_id = i.item_id
ON CONFLICT DO NOTHING;
DELETE FROM variant_item b USING variant v, inventory_item i, kit_part k
WHERE v.tenant_id = b.tenant_id AND v.variant_id = b.variant_id AND i.tenant_id = v.tenant_id AND i.sku = v.sku
  AND k.tenant_id = i.tenant_id AND k.item_id = i.item_id AND b.item_id <> i.item_id;
ALTER TABLE variant_item DROP CONSTRAINT variant_item_pkey;
ALTER TABLE variant_item ADD PRIMARY KEY (tenant_id, variant_id);

-- Items of which there is a number: those that were ever counted, and kits whose parts all were.
CREATE VIEW stock_counted WITH (security_invoker = true) AS
SELECT tenant_id, item_id FROM stock_level
UNION ALL
SELECT k.tenant_id, k.item_id FROM kit_part k
WHERE NOT EXISTS (SELECT FROM kit_part o WHERE o.tenant_id = k.tenant_id AND o.item_id = k.item_id
                  AND NOT EXISTS (SELECT FROM stock_level l WHERE l.tenant_id = o.tenant_id AND l.item_id = o.part_id));
