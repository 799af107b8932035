"""SQL of reservations. $1 is the tenant; locks are taken in the one order of ARCHITECTURE.md: marks, then levels.

Whoever changes a reservation holds the locks of all levels that it holds units of, so its row needs no lock of its own.
"""

from __future__ import annotations

from tidegate.sync.statements import TOLD_OF

# Every mark of the items, and of the kits that they are parts of, that counts, locked as T2 locks them, and then every level of the items that exists, at all locations:
# all marks are counted before the first level is looked at. What becomes dirty is known only when it is decided.
LOCK = """
WITH marks AS MATERIALIZED (
  SELECT m.connection_id, m.item_id, m.is_marked, m.priority, m.quiet_from, m.quiet_to, want.part_id, want.units
  FROM (SELECT c.connection_id, i.item_id, i.part_id, i.units FROM connection c CROSS JOIN ($told) AS i
        WHERE c.tenant_id = $1 ORDER BY c.connection_id, i.item_id) AS want
  CROSS JOIN LATERAL (
    SELECT m.connection_id, m.item_id, m.dirty AND (m.not_before IS NULL OR m.tries > 0) AS is_marked, m.priority,
           m.quiet_from, m.quiet_to
    FROM channel_stock m
    WHERE m.tenant_id = $1 AND m.connection_id = want.connection_id AND m.item_id = want.item_id AND m.mode <> 'observe'
    OFFSET 0 FOR NO KEY UPDATE) m
)
SELECT s.item_id, s.location_id, NULL::uuid AS connection_id, NULL::boolean AS is_marked, NULL::smallint AS priority,
       NULL::integer AS quiet_from, NULL::integer AS quiet_to, NULL::uuid AS part_id, NULL::integer AS units
FROM unnest($2::uuid[]) AS want(item_id)
CROSS JOIN LATERAL (
  SELECT s.item_id, s.location_id FROM stock_level s
  WHERE s.tenant_id = $1 AND s.item_id = want.item_id ORDER BY s.location_id OFFSET 0 FOR NO KEY UPDATE) s
WHERE (SELECT count(*) FROM marks) >= 0
UNION ALL
SELECT item_id, NULL, connection_id, is_marked, priority, quiet_from, quiet_to, part_id, units FROM marks
""".replace("$told", TOLD_OF.format(items="$2"))
# A statement of its own, after the locks. Units that are missed in channels count as sold, wherever they were; so do those that
# channels may sell of an item whose units are shared out: what nobody bounds is everything.
READ_SHELVES = """
SELECT clock_timestamp() AS now, (SELECT catalogue_version FROM tenant WHERE tenant_id = $1) AS catalogue_version, b.*, p.active,
       (SELECT coalesce(sum(m.unseen), 0)::int FROM channel_stock m
        WHERE m.tenant_id = $1 AND m.item_id = want.item_id AND m.unseen > 0)
       + (SELECT coalesce(sum(m.unseen * k.units), 0)::int FROM kit_part k
          JOIN channel_stock m ON m.tenant_id = $1 AND m.item_id = k.item_id AND m.unseen > 0
          WHERE k.tenant_id = $1 AND k.part_id = want.item_id)
       + (SELECT least(coalesce(sum(coalesce(greatest(a.settled, CASE WHEN a.settled IS NOT NULL THEN a.asked END), 1000000000)), 0),
                       1000000000)::int
          FROM channel_allocation a WHERE a.tenant_id = $1 AND a.item_id = want.item_id) AS unseen
FROM unnest($2::uuid[]) AS want(item_id)
CROSS JOIN LATERAL (
  SELECT item_id, location_id, on_hand, unavailable, committed, reserved, version, safety_stock FROM stock_balance b
  WHERE b.tenant_id = $1 AND b.item_id = want.item_id OFFSET 0) b
JOIN location p ON p.tenant_id = $1 AND p.location_id = b.location_id
ORDER BY b.item_id, b.location_id
"""
NOW_AND_CATALOGUE = "SELECT clock_timestamp() AS now, catalogue_version FROM tenant WHERE tenant_id = $1"

# What of the items is still held although its time is over, oldest first. $3 at most of each item. It holds the configuration,
# too: no mode changes while marks are looked at, and what observes now is told of everything when it goes live.
FIND_DUE_OF = """
WITH held AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared($4, hashtext($1::uuid::text)))
SELECT DISTINCT h.reservation_id FROM held CROSS JOIN unnest($2::uuid[]) AS want(item_id)
CROSS JOIN LATERAL (
  SELECT h.reservation_id FROM reservation_hold h
  WHERE h.tenant_id = $1 AND h.item_id = want.item_id AND h.due_at <= statement_timestamp()
  ORDER BY h.due_at LIMIT $3) h
"""
# The same of a tenant, whatever the items; $2 at most.
FIND_DUE = """
SELECT reservation_id FROM reservation
WHERE tenant_id = $1 AND (state = 'held' OR awaits_order) AND due_at <= statement_timestamp()
ORDER BY due_at LIMIT $2
"""
TENANTS_WITH_DUE = """
SELECT DISTINCT tenant_id FROM (
  SELECT tenant_id FROM reservation WHERE (state = 'held' OR awaits_order) AND due_at <= statement_timestamp()
  ORDER BY due_at LIMIT $1) due
"""
# One process at a time lets the reservations of a tenant expire; the others have nothing to wait for.
SWEEP_LOCK = "SELECT pg_try_advisory_xact_lock($1, hashtext($2::uuid::text))"

# Reservations with what they hold; those that hold nothing any more have one row without units.
STANDING_COLUMNS = """
r.reservation_id, r.state, r.awaits_order, r.due_at, r.reference, r.connection_id, r.order_reference, r.order_id,
h.item_id, h.location_id, h.units
"""
READ_STANDING = f"""
SELECT {STANDING_COLUMNS} FROM unnest($2::uuid[]) AS want(reservation_id)
CROSS JOIN LATERAL (
  SELECT * FROM reservation r WHERE r.tenant_id = $1 AND r.reservation_id = want.reservation_id OFFSET 0) r
LEFT JOIN LATERAL (
  SELECT item_id, location_id, units FROM reservation_hold h
  WHERE h.tenant_id = $1 AND h.reservation_id = r.reservation_id OFFSET 0) h ON true
ORDER BY r.reservation_id, h.item_id, h.location_id
"""  # noqa: S608 - a constant list of columns
# Those that orders name, by id or by the caller's own name, or that wait for them. $2 ids, $3 names, $4 connections and
# $5 what their orders are called there.
READ_NAMED = f"""
WITH named AS (
  SELECT unnest($2::uuid[]) AS reservation_id
  UNION
  SELECT r.reservation_id FROM unnest($3::text[]) AS want(reference)
  CROSS JOIN LATERAL (
    SELECT reservation_id FROM reservation r
    WHERE r.tenant_id = $1 AND r.reference = want.reference AND r.state = 'held' OFFSET 0) r
  UNION
  SELECT r.reservation_id FROM unnest($4::uuid[], $5::text[]) AS want(connection_id, order_reference)
  CROSS JOIN LATERAL (
    SELECT reservation_id FROM reservation r
    WHERE r.tenant_id = $1 AND r.connection_id = want.connection_id AND r.order_reference = want.order_reference
      AND r.awaits_order OFFSET 0) r
)
SELECT {STANDING_COLUMNS} FROM named
CROSS JOIN LATERAL (
  SELECT * FROM reservation r WHERE r.tenant_id = $1 AND r.reservation_id = named.reservation_id
    AND (r.state = 'held' OR r.awaits_order) OFFSET 0) r
JOIN LATERAL (
  SELECT item_id, location_id, units FROM reservation_hold h
  WHERE h.tenant_id = $1 AND h.reservation_id = r.reservation_id OFFSET 0) h ON true
ORDER BY r.reservation_id, h.item_id, h.location_id
"""  # noqa: S608 - a constant list of columns
IS_ORDER_AWAITED = "SELECT EXISTS (SELECT FROM reservation WHERE tenant_id = $1 AND awaits_order)"
# Held reservations by the caller's own name.
READ_REFERENCES = """
SELECT r.reference, r.reservation_id, r.asked, r.location_id, r.due_at FROM unnest($2::text[]) AS want(reference)
CROSS JOIN LATERAL (
  SELECT * FROM reservation r
  WHERE r.tenant_id = $1 AND r.reference = want.reference AND r.state = 'held' OFFSET 0) r
"""
# Orders by what people or their channel call them; drafts hold nothing yet.
FIND_NAMED_ORDERS = """
SELECT want.connection_id, want.name, o.order_id FROM unnest($2::uuid[], $3::text[]) AS want(connection_id, name)
CROSS JOIN LATERAL (
  SELECT order_id FROM (
    SELECT order_id FROM "order" o WHERE o.tenant_id = $1 AND o.connection_id = want.connection_id
       AND o.external_id = want.name AND o.order_state <> 'draft'
    UNION ALL
    SELECT order_id FROM "order" o WHERE o.tenant_id = $1 AND o.number = want.name
       AND o.connection_id = want.connection_id AND o.order_state <> 'draft') found
  LIMIT 1) o
"""

# Rows come as JSON arrays of arrays: row security refuses COPY, and arrays of PostgreSQL cost the client twice as much. Entries
# move neither on_hand nor unavailable.
ADD_ENTRIES = """
INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, committed_delta, reserved_delta, on_hand_after,
                         unavailable_after, committed_after, reserved_after, cause_key, reservation_id, actor)
SELECT $1, (r->>0)::uuid, (r->>1)::uuid, (r->>2)::bigint, r->>3, (r->>4)::int, (r->>5)::int, (r->>6)::int, (r->>7)::int,
       (r->>8)::int, (r->>9)::int, r->>10, (r->>11)::uuid, r->>12
FROM jsonb_array_elements($2::jsonb) AS n(r)
"""
# $2 entries, $3 reservations, $4 what they hold.
ADD_GRANTED = f"""
WITH reserved AS (
  INSERT INTO reservation (tenant_id, reservation_id, reference, asked, location_id, due_at, actor)
  SELECT $1, (r->>0)::uuid, r->>1, r->>2, (r->>3)::uuid, (r->>4)::timestamptz, r->>5 FROM jsonb_array_elements($3::jsonb) AS n(r)
), held AS (
  INSERT INTO reservation_hold (tenant_id, reservation_id, item_id, location_id, units, due_at)
  SELECT $1, (r->>0)::uuid, (r->>1)::uuid, (r->>2)::uuid, (r->>3)::int, (r->>4)::timestamptz
  FROM jsonb_array_elements($4::jsonb) AS n(r)
)
{ADD_ENTRIES}
"""  # noqa: S608 - constants
# Nothing that has ended ends again.
END_RESERVATIONS = """
UPDATE reservation r
SET state = e.state, awaits_order = e.awaits_order, order_id = coalesce(e.order_id, r.order_id),
    connection_id = coalesce(e.connection_id, r.connection_id),
    order_reference = coalesce(e.order_reference, r.order_reference), due_at = coalesce(e.due_at, r.due_at),
    ended_at = coalesce(r.ended_at, clock_timestamp()), ended_by = coalesce(r.ended_by, e.actor)
FROM unnest($2::uuid[], $3::text[], $4::boolean[], $5::uuid[], $6::uuid[], $7::text[], $8::timestamptz[], $9::text[])
  AS e(reservation_id, state, awaits_order, order_id, connection_id, order_reference, due_at, actor)
WHERE r.tenant_id = $1 AND r.reservation_id = e.reservation_id AND (r.state = 'held' OR r.awaits_order)
"""
DROP_HOLDS = "DELETE FROM reservation_hold WHERE tenant_id = $1 AND reservation_id = ANY($2::uuid[])"
KEEP_HOLDS = """
UPDATE reservation_hold h SET due_at = n.due_at FROM unnest($2::uuid[], $3::timestamptz[]) AS n(reservation_id, due_at)
WHERE h.tenant_id = $1 AND h.reservation_id = n.reservation_id
"""
FIND_ANSWERS = """
SELECT a.key_id, a.idempotency_key, a.request_digest, a.status, a.media_type, a.body
FROM unnest($2::uuid[], $3::text[]) AS want(key_id, idempotency_key)
CROSS JOIN LATERAL (
  SELECT * FROM api_answer a
  WHERE a.tenant_id = $1 AND a.key_id = want.key_id AND a.idempotency_key = want.idempotency_key OFFSET 0) a
"""
# Sorted by key, last: two transactions with the same keys wait for each other in one direction.
ADD_ANSWERS = """
INSERT INTO api_answer (tenant_id, key_id, idempotency_key, request_digest, status, media_type, body)
SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::bytea[], $5::smallint[], $6::text[], $7::bytea[])
  AS n(key_id, idempotency_key, request_digest, status, media_type, body)
ORDER BY n.key_id, n.idempotency_key
"""
FIND_BILLS_OF_SKUS = """
SELECT v.sku, coalesce(k.part_id, b.item_id) AS item_id, b.required_qty * coalesce(k.units, 1) AS required_qty
FROM unnest($2::text[]) AS want(sku)
CROSS JOIN LATERAL (SELECT variant_id, sku FROM variant v WHERE v.tenant_id = $1 AND v.sku = want.sku OFFSET 0) v
CROSS JOIN LATERAL (
  SELECT item_id, required_qty FROM variant_item b WHERE b.tenant_id = $1 AND b.variant_id = v.variant_id OFFSET 0) b
LEFT JOIN LATERAL (SELECT part_id, units FROM kit_part WHERE tenant_id = $1 AND item_id = b.item_id OFFSET 0) k ON true
ORDER BY v.sku, 2
"""
LOCATIONS = "SELECT name, location_id FROM location WHERE tenant_id = $1 AND active"
CATALOGUE_VERSION = "SELECT catalogue_version FROM tenant WHERE tenant_id = $1"
