"""SQL of adjustments. $1 is the tenant; locks are taken in the one order of ARCHITECTURE.md: marks, then levels."""

CONNECTIONS = "SELECT connection_id FROM connection WHERE tenant_id = $1 ORDER BY connection_id"
LOCATIONS = "SELECT name, location_id, active FROM location WHERE tenant_id = $1 ORDER BY name"

# Items by SKU, and whether they are made of others: such an item has no stock of its own.
ARTICLES = """
SELECT want.sku, i.item_id, EXISTS (SELECT FROM kit_part k WHERE k.tenant_id = $1 AND k.item_id = i.item_id) AS is_kit
FROM unnest($2::text[]) AS want(sku)
LEFT JOIN LATERAL (
  SELECT item_id FROM inventory_item i WHERE i.tenant_id = $1 AND i.sku = want.sku OFFSET 0) i ON true
"""

# What stands already under these keys: they post once.
POSTED = """
SELECT e.cause_key, e.item_id, e.location_id, e.version, e.on_hand_delta, e.unavailable_delta, e.on_hand_after,
       e.unavailable_after, e.reason
FROM unnest($2::text[]) AS want(cause_key)
CROSS JOIN LATERAL (
  SELECT * FROM stock_entry e WHERE e.tenant_id = $1 AND e.cause_key = want.cause_key OFFSET 0) e
"""
LEVELS = """
SELECT b.* FROM unnest($2::uuid[], $3::uuid[]) AS want(item_id, location_id)
CROSS JOIN LATERAL (
  SELECT item_id, location_id, on_hand, unavailable, committed, reserved, version, safety_stock FROM stock_balance b
  WHERE b.tenant_id = $1 AND b.item_id = want.item_id AND b.location_id = want.location_id OFFSET 0) b
"""
# Units set aside, by reason.
ASIDE = """
SELECT want.item_id, want.location_id, coalesce(e.reason, 'other') AS reason, sum(e.unavailable_delta)::int AS units
FROM unnest($2::uuid[], $3::uuid[]) AS want(item_id, location_id)
CROSS JOIN LATERAL (
  SELECT reason, unavailable_delta FROM stock_entry e
  WHERE e.tenant_id = $1 AND e.item_id = want.item_id AND e.location_id = want.location_id AND e.unavailable_delta <> 0
  OFFSET 0) e
GROUP BY 1, 2, 3
"""
# Units set aside, by reason, as they were after an entry ($4) or at a moment ($5); one of them is null.
ASIDE_THEN = """
SELECT want.item_id, want.location_id, want.version, want.moment, coalesce(e.reason, 'other') AS reason,
       sum(e.unavailable_delta)::int AS units
FROM unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::timestamptz[]) AS want(item_id, location_id, version, moment)
CROSS JOIN LATERAL (
  SELECT reason, unavailable_delta FROM stock_entry e
  WHERE e.tenant_id = $1 AND e.item_id = want.item_id AND e.location_id = want.location_id AND e.unavailable_delta <> 0
    AND (e.version <= want.version OR e.at <= want.moment)
  OFFSET 0) e
GROUP BY 1, 2, 3, 4, 5
"""
# on_hand as the ledger had it at a moment. Entries are numbered without gaps and in the order of their times, so the number of the
# newest one by then is found by halving.
ON_HAND_AT = """
WITH RECURSIVE search AS (
  SELECT want.item_id, want.location_id, want.moment, 0::bigint AS low, coalesce(top.version, 0) AS high
  FROM unnest($2::uuid[], $3::uuid[], $4::timestamptz[]) AS want(item_id, location_id, moment)
  LEFT JOIN LATERAL (
    SELECT version FROM stock_entry e
    WHERE e.tenant_id = $1 AND e.item_id = want.item_id AND e.location_id = want.location_id
    ORDER BY version DESC LIMIT 1) top ON true
  UNION ALL
  SELECT s.item_id, s.location_id, s.moment, CASE WHEN e.at <= s.moment THEN m.middle ELSE s.low END,
         CASE WHEN e.at <= s.moment THEN s.high ELSE m.middle - 1 END
  FROM search s CROSS JOIN LATERAL (SELECT (s.low + s.high + 1) / 2 AS middle) m
  CROSS JOIN LATERAL (
    SELECT at FROM stock_entry e
    WHERE e.tenant_id = $1 AND e.item_id = s.item_id AND e.location_id = s.location_id AND e.version = m.middle OFFSET 0) e
  WHERE s.low < s.high
)
SELECT s.item_id, s.location_id, s.moment, s.low AS version, coalesce(e.on_hand_after, 0) AS on_hand
FROM search s
LEFT JOIN LATERAL (
  SELECT on_hand_after FROM stock_entry e
  WHERE e.tenant_id = $1 AND e.item_id = s.item_id AND e.location_id = s.location_id AND e.version = s.low OFFSET 0) e ON true
WHERE s.low = s.high
"""
# on_hand as it was after an entry; null where there is no such entry.
ON_HAND_AFTER = """
SELECT want.item_id, want.location_id, want.version, e.on_hand_after AS on_hand
FROM unnest($2::uuid[], $3::uuid[], $4::bigint[]) AS want(item_id, location_id, version)
CROSS JOIN LATERAL (
  SELECT on_hand_after FROM stock_entry e
  WHERE e.tenant_id = $1 AND e.item_id = want.item_id AND e.location_id = want.location_id AND e.version = want.version
  OFFSET 0) e
"""

# Rows come as JSON arrays of arrays: row security refuses COPY.
ADD_ENTRIES = """
INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, on_hand_delta, unavailable_delta, on_hand_after,
                         unavailable_after, committed_after, reserved_after, cause_key, actor, reason, note)
SELECT $1, (r->>0)::uuid, (r->>1)::uuid, (r->>2)::bigint, r->>3, (r->>4)::int, (r->>5)::int, (r->>6)::int, (r->>7)::int,
       (r->>8)::int, (r->>9)::int, r->>10, r->>11, r->>12, r->>13
FROM jsonb_array_elements($2::jsonb) AS n(r)
"""
SET_SAFETY = """
UPDATE stock_level s SET safety_stock = n.units
FROM unnest($2::uuid[], $3::uuid[], $4::int[]) AS n(item_id, location_id, units)
WHERE s.tenant_id = $1 AND s.item_id = n.item_id AND s.location_id = n.location_id AND s.safety_stock <> n.units
"""
