"""SQL about articles that were deleted, came back or were made anew. $1 is the tenant."""

from __future__ import annotations

# Bound articles of products. $2 connections, $3 products.
FIND_PARTS = """
SELECT b.connection_id, b.parent_id, b.external_id
FROM unnest($2::uuid[], $3::text[]) AS n(connection_id, parent_id)
CROSS JOIN LATERAL (
  SELECT * FROM binding WHERE tenant_id = $1 AND connection_id = n.connection_id AND parent_id = n.parent_id
     AND parent_id <> '' AND kind = 'variant' OFFSET 0) b
ORDER BY b.connection_id, b.external_id
"""
# What is known of articles. $2 connections, $3 articles, $4 their SKUs, '' where it does not matter.
FIND_LISTINGS = """
SELECT n.connection_id, n.external_id, k.variant_id, b.internal_id IS NOT NULL AS is_bound,
       t.variant_id IS NOT NULL AS is_buried, f.is_taken, f.was_deleted, f.is_ignored,
       CASE WHEN b.internal_id IS NULL AND t.variant_id IS NULL AND f.was_deleted AND NOT f.is_taken
            THEN (SELECT count(DISTINCT s.external_id)::int FROM shown s
                  WHERE s.tenant_id = $1 AND s.connection_id = n.connection_id AND s.sku = n.sku
                    AND s.external_id <> n.external_id
                    AND NOT EXISTS (SELECT FROM binding o WHERE o.tenant_id = $1 AND o.connection_id = s.connection_id
                                      AND o.kind = 'variant' AND o.external_id = s.external_id)
                    AND NOT EXISTS (SELECT FROM tombstone o WHERE o.tenant_id = $1 AND o.connection_id = s.connection_id
                                      AND o.external_id = s.external_id)
                    AND NOT EXISTS (SELECT FROM match_decision o WHERE o.tenant_id = $1 AND o.connection_id = s.connection_id
                                      AND o.external_id = s.external_id AND o.decision = 'ignore'))
            ELSE 0 END AS rivals
FROM unnest($2::uuid[], $3::text[], $4::text[]) AS n(connection_id, external_id, sku)
LEFT JOIN LATERAL (
  SELECT internal_id FROM binding WHERE tenant_id = $1 AND connection_id = n.connection_id AND kind = 'variant'
     AND external_id = n.external_id OFFSET 0) b ON true
LEFT JOIN LATERAL (
  SELECT variant_id FROM tombstone WHERE tenant_id = $1 AND connection_id = n.connection_id
     AND external_id = n.external_id OFFSET 0) t ON true
LEFT JOIN LATERAL (SELECT variant_id FROM variant WHERE tenant_id = $1 AND sku = n.sku AND n.sku <> '' OFFSET 0) v ON true
CROSS JOIN LATERAL (SELECT coalesce(b.internal_id, t.variant_id, v.variant_id) AS variant_id) k
CROSS JOIN LATERAL (
  SELECT EXISTS (SELECT FROM binding o WHERE o.tenant_id = $1 AND o.connection_id = n.connection_id AND o.kind = 'variant'
                   AND o.internal_id = k.variant_id) AS is_taken,
         EXISTS (SELECT FROM tombstone o WHERE o.tenant_id = $1 AND o.connection_id = n.connection_id
                   AND o.variant_id = k.variant_id) AS was_deleted,
         EXISTS (SELECT FROM match_decision o WHERE o.tenant_id = $1 AND o.connection_id = n.connection_id
                   AND o.external_id = n.external_id AND o.decision = 'ignore') AS is_ignored) f
"""
# $2 connection, $3 article, $4 event.
BURY = """
WITH gone AS (
  DELETE FROM binding WHERE tenant_id = $1 AND connection_id = $2 AND kind = 'variant' AND external_id = $3
  RETURNING internal_id, parent_id
)
INSERT INTO tombstone (tenant_id, connection_id, external_id, variant_id, parent_id, event_id)
SELECT $1, $2, $3, internal_id, parent_id, $4 FROM gone
ON CONFLICT (tenant_id, connection_id, external_id) DO UPDATE
SET variant_id = excluded.variant_id, parent_id = excluded.parent_id, event_id = excluded.event_id,
    gone_at = clock_timestamp()
"""
# Marks of items that the connection does not sell any more. A number that is on its way ends first, and what was sold there and
# not told of yet is read first: T2s clears what is left. $2 connection, $3 variant.
DROP_MARKS = """
DELETE FROM channel_stock m USING variant_item i
WHERE i.tenant_id = $1 AND i.variant_id = $3 AND m.tenant_id = $1 AND m.connection_id = $2 AND m.item_id = i.item_id
  AND m.blocked_by IS NULL AND m.unseen + m.unseen_back = 0
  AND NOT EXISTS (SELECT FROM channel_allocation a
                  WHERE a.tenant_id = $1 AND a.connection_id = $2 AND a.item_id = m.item_id)
  AND NOT EXISTS (SELECT FROM variant_item o JOIN binding b
                    ON b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant' AND b.internal_id = o.variant_id
                  WHERE o.tenant_id = $1 AND o.item_id = m.item_id)
"""
MARK_LEFT = """
UPDATE channel_stock m SET dirty = true, dirty_at = coalesce(m.dirty_at, clock_timestamp()), not_before = NULL
FROM variant_item i
WHERE i.tenant_id = $1 AND i.variant_id = $3 AND m.tenant_id = $1 AND m.connection_id = $2 AND m.item_id = i.item_id
  AND m.mode <> 'observe'
"""
# An article was bound: what it shows is not known, and so nothing bounds what it sells. The marks of the items are locked. A number
# that is on its way to another article says nothing about this one. $2 connection, $3 variant.
FORGET_LOTS = """
UPDATE channel_allocation a
SET settled = NULL, asked = greatest(a.asked, CASE WHEN a.asked IS NOT NULL THEN 1 END), cap = NULL, drains_since = NULL
FROM variant_item i
WHERE i.tenant_id = $1 AND i.variant_id = $3 AND a.tenant_id = $1 AND a.connection_id = $2 AND a.item_id = i.item_id
"""
# Dead letters of numbers that nobody has to be told any more. $2 connection, $3 variant.
END_NUMBERS = """
UPDATE command c SET state = 'superseded', code = 'variant_gone', reason = 'the article was deleted there',
                     finished_at = clock_timestamp()
FROM variant_item i
WHERE i.tenant_id = $1 AND i.variant_id = $3 AND c.tenant_id = $1 AND c.connection_id = $2 AND c.entity_id = i.item_id
  AND c.kind = 'inventory.set' AND c.state = 'failed'
  AND NOT EXISTS (SELECT FROM channel_stock m WHERE m.tenant_id = $1 AND m.connection_id = $2 AND m.item_id = i.item_id)
"""
# What a look has shown of the same SKU and is bound to nothing is read: it may take the place. At most a handful, because of
# several none takes it by itself. $2 connection, $3 variant, $4 event, $5 seconds to wait.
ASK_FOR_SUCCESSORS = """
INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by, not_before)
SELECT DISTINCT $1::uuid, $2::uuid, 'variant', s.external_id, $4::uuid, clock_timestamp() + make_interval(secs => $5::float8)
FROM (
  SELECT DISTINCT s.external_id FROM variant v JOIN shown s ON s.tenant_id = $1 AND s.connection_id = $2 AND s.sku = v.sku
  WHERE v.tenant_id = $1 AND v.variant_id = $3
    AND NOT EXISTS (SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant'
                      AND b.external_id = s.external_id)
    AND NOT EXISTS (SELECT FROM tombstone t WHERE t.tenant_id = $1 AND t.connection_id = $2
                      AND t.external_id = s.external_id)
  LIMIT 5) s
ON CONFLICT (tenant_id, connection_id, topic, external_id) DO UPDATE
SET requested_by = excluded.requested_by, hints = fetch_request.hints + 1, tries = 0,
    not_before = least(fetch_request.not_before, excluded.not_before)
"""
# $2 connection, $3 article.
RAISE = """
WITH back AS (
  DELETE FROM tombstone WHERE tenant_id = $1 AND connection_id = $2 AND external_id = $3 RETURNING variant_id, parent_id
)
INSERT INTO binding (tenant_id, connection_id, kind, external_id, internal_id, parent_id)
SELECT $1, $2, 'variant', $3, variant_id, parent_id FROM back
ON CONFLICT DO NOTHING
"""
# $2 connection, $3 article, $4 variant, $5 product there, $6 what is counted there or ''.
TAKE_PLACE = """
WITH bound AS (
  INSERT INTO binding (tenant_id, connection_id, kind, external_id, internal_id, parent_id)
  VALUES ($1, $2, 'variant', $3, $4, $5) ON CONFLICT DO NOTHING RETURNING external_id
)
INSERT INTO counted_article (tenant_id, connection_id, external_id, counted_external_id)
SELECT $1, $2, external_id, $6 FROM bound WHERE $6 <> ''
ON CONFLICT (tenant_id, connection_id, external_id) DO UPDATE SET counted_external_id = excluded.counted_external_id
"""
CLOSE = "DELETE FROM match_open WHERE tenant_id = $1 AND connection_id = $2 AND external_id = $3"
# An article that may take the place of a deleted one, for a person to decide. $2 connection, $3 article, $4 SKU, $5 title,
# $6 variant.
ASK = """
INSERT INTO match_open (tenant_id, connection_id, external_id, sku, title, reason, candidates)
SELECT $1, $2, $3, left($4, 300), left($5, 300), 'recreated', ARRAY[v.sku] FROM variant v
WHERE v.tenant_id = $1 AND v.variant_id = $6
ON CONFLICT (tenant_id, connection_id, external_id) DO UPDATE
SET reason = excluded.reason, candidates = excluded.candidates WHERE match_open.reason <> excluded.reason
RETURNING true
"""
SKUS_OF = """
SELECT i.item_id, i.sku FROM variant_item v JOIN inventory_item i ON i.tenant_id = $1 AND i.item_id = v.item_id
WHERE v.tenant_id = $1 AND v.variant_id = $2 ORDER BY i.item_id
"""
# $2 connection, $3 items, $4 modes. What it shows of them is not known.
ADD_MARKS = """
INSERT INTO channel_stock AS m (tenant_id, connection_id, item_id, mode, dirty, dirty_at)
SELECT $1, $2, n.item_id, n.mode, c.is_told, CASE WHEN c.is_told THEN clock_timestamp() END
FROM unnest($3::uuid[], $4::text[]) AS n(item_id, mode)
CROSS JOIN LATERAL (
  SELECT n.mode <> 'observe' AND EXISTS (SELECT FROM stock_counted s WHERE s.tenant_id = $1 AND s.item_id = n.item_id) AS is_told
) c
ORDER BY n.item_id
ON CONFLICT (tenant_id, connection_id, item_id) DO UPDATE
SET dirty = m.dirty OR excluded.dirty, dirty_at = coalesce(m.dirty_at, excluded.dirty_at), acked_quantity = NULL,
    not_before = NULL, tries = 0
"""
# The story of the SKU. $2 entries, $3 kinds, $4 connections, $5 articles, $6 variants, $7 events, $8 actor.
ADD_ENTRIES = """
INSERT INTO drift_entry (tenant_id, connection_id, event_id, actor, entry_id, sku, external_id, field, place, kind, cause)
SELECT $1, n.connection_id, n.event_id, $8, n.entry_id, v.sku, n.external_id, 'listed', '', n.kind, ''
FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::uuid[], $7::uuid[])
  AS n(entry_id, kind, connection_id, external_id, variant_id, event_id)
JOIN variant v ON v.tenant_id = $1 AND v.variant_id = n.variant_id
ORDER BY n.entry_id
"""
