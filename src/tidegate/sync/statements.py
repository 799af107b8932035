"""SQL of T2. Every statement is set-based; $1 is the tenant; locks are taken in the one order of ARCHITECTURE.md.

slot -> marks (channel_stock) -> orders -> payments -> stock -> commands, each sorted by key.

Look-ups of many keys are LATERAL with OFFSET 0: one index probe per key in the order given, whatever the planner
believes about the size of a table that was empty when it planned. An update of many rows takes its whole key, tenant
included, from the rows that it is given (OFFSET 0 keeps them together), for the same reason.
"""

import re

ORDER_COLUMNS = {
    "tenant_id": "uuid", "order_id": "uuid", "connection_id": "uuid", "external_id": "text", "number": "text",
    "version": "int", "order_state": "text", "payment_state": "text", "fulfillment_state": "text", "currency": "text",
    "total_minor": "bigint", "shipping_minor": "bigint", "discount_minor": "bigint", "tax_minor": "bigint",
    "totals_mismatch": "bool", "shipping_method": "text", "placed_at": "timestamptz", "channel_payment_state": "text",
    "data_key_id": "uuid", "private": "bytea",
}  # fmt: skip
LINE_COLUMNS = {
    "tenant_id": "uuid", "order_id": "uuid", "line_id": "uuid", "external_id": "text", "position": "int",
    "variant_id": "uuid", "sku": "text", "title": "text", "ordered": "int", "current": "int", "shipped": "int",
    "unit_price": "numeric", "total_minor": "bigint", "location_id": "uuid",
}  # fmt: skip
ENTRY_COLUMNS = {
    "tenant_id": "uuid", "item_id": "uuid", "location_id": "uuid", "version": "bigint", "kind": "text",
    "on_hand_delta": "int", "unavailable_delta": "int", "committed_delta": "int", "reserved_delta": "int",
    "on_hand_after": "int", "unavailable_after": "int", "committed_after": "int", "reserved_after": "int",
    "cause_key": "text", "event_id": "uuid", "order_line_id": "uuid", "reservation_id": "uuid", "actor": "text",
}  # fmt: skip
OUTCOME_COLUMNS = {
    "tenant_id": "uuid", "event_id": "uuid", "run": "int", "outcome": "text", "code": "text", "reason": "text",
    "entity_kind": "text", "entity_id": "uuid", "connector_version": "text", "mapping_version": "text",
    "code_version": "text", "config_version": "int",
}  # fmt: skip
COMMAND_KEY_COLUMNS = {
    "tenant_id": "uuid", "connection_id": "uuid", "kind": "text", "entity_id": "uuid", "version": "bigint",
    "command_id": "uuid",
}  # fmt: skip
COMMAND_COLUMNS = {
    "tenant_id": "uuid", "command_id": "uuid", "connection_id": "uuid", "kind": "text", "entity_id": "uuid",
    "version": "bigint", "target_key": "text", "priority": "smallint", "deadline_at": "timestamptz",
    "cause_event_id": "uuid", "state": "text", "code": "text", "reason": "text", "not_before": "timestamptz",
}  # fmt: skip
"""Columns, with their types, of the tables whose new rows nobody can know yet."""
NEW_ROWS: dict[str, dict[str, str]] = {
    "order": ORDER_COLUMNS,
    "order_line": LINE_COLUMNS,
    "event_outcome": OUTCOME_COLUMNS,
    "command_key": COMMAND_KEY_COLUMNS,
    "command": COMMAND_COLUMNS,
}
"""What a batch adds before it waits for anything, in the order of the foreign keys."""


_INSERT = 'INSERT INTO "$table" (tenant_id, $names) SELECT $1, n.* FROM unnest($arrays) AS n($names)'


def _insert(table: str, columns: dict[str, str], first: int = 2) -> str:
    """Return an INSERT of a tenant's rows ($1) that come as one array per other column, from parameter `first` on."""
    names = [name for name in columns if name != "tenant_id"]
    arrays = ", ".join(f"${at}::{columns[name]}[]" for at, name in enumerate(names, first))
    return _INSERT.replace("$table", table).replace("$names", ", ".join(names)).replace("$arrays", arrays)


INSERT_ENTRIES = _insert("stock_entry", ENTRY_COLUMNS)

HOLD_CONFIG = "SELECT pg_advisory_xact_lock_shared($1, hashtext($2::uuid::text))"
NEWEST_CONFIG = """
SELECT (SELECT coalesce(max(version), 0) FROM config_version WHERE tenant_id = $1) AS config_version,
       (SELECT coalesce(max(revision), 0) FROM flow_mode WHERE tenant_id = $1) AS modes_revision,
       (SELECT catalogue_version FROM tenant WHERE tenant_id = $1) AS catalogue_version,
       EXISTS (SELECT FROM reservation WHERE tenant_id = $1 AND awaits_order) AS is_order_awaited
"""
"""No configuration is put to work while a batch is applied under an older one: what it leaves undone, nobody would do."""

CATALOGUE_VERSION = "SELECT catalogue_version FROM tenant WHERE tenant_id = $1"

LOAD_GATES = """
SELECT want.connection_id, want.kind, want.external_id, e.*
FROM unnest($2::uuid[], $3::text[], $4::text[]) AS want(connection_id, kind, external_id)
CROSS JOIN LATERAL (
  SELECT source_version, source_seq, mapping_version, digest FROM entity_version e
  WHERE e.tenant_id = $1 AND e.connection_id = want.connection_id AND e.kind = want.kind
    AND e.external_id = want.external_id AND e.facet = 'all' OFFSET 0) e
"""

SAVE_GATES = """
INSERT INTO entity_version AS e (tenant_id, connection_id, kind, external_id, facet, source_version, source_seq,
                                 mapping_version, digest)
SELECT $1, g.connection_id, g.kind, g.external_id, 'all', g.version, g.seq, g.mapping, g.digest
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::int[], $8::bytea[])
  AS g(connection_id, kind, external_id, version, seq, mapping, digest)
ON CONFLICT (tenant_id, connection_id, kind, external_id, facet) DO UPDATE
SET source_version = excluded.source_version, source_seq = excluded.source_seq,
    mapping_version = excluded.mapping_version, digest = excluded.digest
"""

# Whose number changes with that of the items: they themselves, and the kits that they are parts of. Once for each part.
TOLD_OF = """
  SELECT i.id AS item_id, NULL::uuid AS part_id, NULL::int AS units FROM unnest({items}::uuid[]) AS i(id)
  UNION ALL
  SELECT k.item_id, k.part_id, k.units FROM unnest({items}::uuid[]) AS i(id)
  CROSS JOIN LATERAL (
    SELECT item_id, part_id, units FROM kit_part WHERE tenant_id = $1 AND part_id = i.id OFFSET 0) k
"""

# Locks every mark of the items and of the kits that they are parts of, also the ones that are dirty already: whoever sends a
# number next waits for this transaction, and so reads the stock that it leaves behind. A mark that only waits for another look
# does not hold news back. Returns those that are not told at once yet ($4), with what can wait: whoever knows the stock asks
# `HURRY_MARKS` for the rest.
MARK_DIRTY = """
WITH locked AS MATERIALIZED (
  SELECT c.tenant_id, c.connection_id, c.item_id, c.dirty AND (c.not_before IS NULL OR c.tries > 0) AS is_marked, c.priority,
         c.quiet_from, c.quiet_to, want.part_id, want.units
  FROM (SELECT channel.id AS channel_id, item.item_id, item.part_id, item.units
        FROM unnest($2::uuid[]) AS channel(id) CROSS JOIN ($told) AS item
        ORDER BY channel.id, item.item_id) AS want
  CROSS JOIN LATERAL (
    SELECT c.tenant_id, c.connection_id, c.item_id, c.dirty, c.not_before, c.tries, c.priority, c.quiet_from, c.quiet_to
    FROM channel_stock c
    WHERE c.tenant_id = $1 AND c.connection_id = want.channel_id AND c.item_id = want.item_id AND c.mode <> 'observe'
    OFFSET 0 FOR NO KEY UPDATE) c
), marked AS (
  UPDATE channel_stock c SET dirty = true, dirty_at = clock_timestamp(), not_before = NULL
  FROM locked l
  WHERE c.tenant_id = l.tenant_id AND c.connection_id = l.connection_id AND c.item_id = l.item_id AND NOT l.is_marked
)
SELECT connection_id, item_id, quiet_from, quiet_to, part_id, units FROM locked WHERE priority > $4::smallint
""".replace("$told", TOLD_OF.format(items="$3"))
# One row per mark: $2 channel, $3 item; $4 priority. The marks are locked: `MARK_DIRTY` came before, in the same transaction.
HURRY_MARKS = """
UPDATE channel_stock m SET priority = $4::smallint
FROM (SELECT $1::uuid AS tenant_id, * FROM unnest($2::uuid[], $3::uuid[]) AS n(connection_id, item_id) OFFSET 0) n
WHERE m.tenant_id = n.tenant_id AND m.connection_id = n.connection_id AND m.item_id = n.item_id AND m.dirty
  AND m.priority > $4::smallint
"""
# The update finds its row by key, not by place: a row that changed while its lock was awaited lies elsewhere now.

# What a channel shows goes down by itself when it sells, where its sales are followed (`moved` is not null): then the number
# that it is believed to show goes with it. Units that were missed there already are explained first. Of items that are shared out,
# what a channel may at worst still sell goes down with what orders tell that it sold; units that count as sold already are not
# taken off again. Both look at what was missed before. The marks are locked. $2 channels, $3 items, $4 units sold there, negative
# for units that came back.
FOLLOW_SALES = """
WITH n AS MATERIALIZED (
  SELECT $1::uuid AS tenant_id, n.*, greatest(0, least(n.units, old.unseen)) AS told,
         greatest(0, least(-n.units, old.unseen_back)) AS told_back
  FROM unnest($2::uuid[], $3::uuid[], $4::int[]) AS n(connection_id, item_id, units)
  CROSS JOIN LATERAL (
    SELECT unseen, unseen_back FROM channel_stock
    WHERE tenant_id = $1 AND connection_id = n.connection_id AND item_id = n.item_id OFFSET 0) old
), lots AS (
  UPDATE channel_allocation a
  SET settled = CASE WHEN a.settled IS NOT NULL THEN greatest(0, a.settled - l.units) END,
      asked = CASE WHEN a.asked IS NOT NULL THEN greatest(0, a.asked - l.units) END,
      cap = CASE WHEN NOT l.is_over THEN a.cap - least(0, l.units) END,
      drains_since = CASE WHEN NOT l.is_over THEN a.drains_since END, sales = a.sales + greatest(0, n.units)
  FROM n
  CROSS JOIN LATERAL (
    SELECT n.units - n.told + n.told_back AS units, coalesce(
             old.counting <> 'booked' AND greatest(0, old.settled - (n.units - n.told + n.told_back))
                                         <= old.cap - least(0, n.units - n.told + n.told_back), false) AS is_over
    FROM channel_allocation old
    WHERE old.tenant_id = n.tenant_id AND old.connection_id = n.connection_id AND old.item_id = n.item_id OFFSET 0) l
  WHERE a.tenant_id = n.tenant_id AND a.connection_id = n.connection_id AND a.item_id = n.item_id
)
UPDATE channel_stock m
SET unseen = m.unseen - n.told, unseen_back = m.unseen_back - n.told_back,
    acked_quantity = m.acked_quantity - (n.units - n.told + n.told_back), moved = m.moved + n.units - n.told + n.told_back
FROM n
WHERE m.tenant_id = n.tenant_id AND m.connection_id = n.connection_id AND m.item_id = n.item_id AND m.moved IS NOT NULL
  AND m.mode <> 'observe'
"""

# Articles that a channel was never told of and that were counted: of others there is no number.
MARK_UNTOLD = """
WITH untold AS MATERIALIZED (
  SELECT tenant_id, connection_id, item_id FROM channel_stock m
  WHERE tenant_id = $1 AND connection_id = ANY($2::uuid[]) AND push_version = 0 AND NOT dirty AND acked_quantity IS NULL
    AND mode <> 'observe'
    AND EXISTS (SELECT FROM stock_counted s WHERE s.tenant_id = $1 AND s.item_id = m.item_id)
  ORDER BY connection_id, item_id FOR NO KEY UPDATE
)
UPDATE channel_stock c SET dirty = true, dirty_at = clock_timestamp()
FROM untold u WHERE c.tenant_id = u.tenant_id AND c.connection_id = u.connection_id AND c.item_id = u.item_id
"""

# What is on its way by the last word of each source: $2 connections, $3 what it is called there.
DROP_EXPECTED = """
WITH old AS MATERIALIZED (
  SELECT i.tenant_id, i.source_id, i.reference, i.item_id
  FROM (SELECT * FROM unnest($2::uuid[], $3::text[]) AS n(source_id, reference) ORDER BY 1, 2) want
  CROSS JOIN LATERAL (
    SELECT * FROM stock_incoming i
    WHERE i.tenant_id = $1 AND i.source_id = want.source_id AND i.reference = want.reference OFFSET 0 FOR UPDATE) i
)
DELETE FROM stock_incoming i USING old o
WHERE i.tenant_id = o.tenant_id AND i.source_id = o.source_id AND i.reference = o.reference AND i.item_id = o.item_id
"""
ADD_EXPECTED = """
INSERT INTO stock_incoming (tenant_id, source_id, reference, item_id, location_id, units, expected_on, actor)
SELECT $1, n.source_id, n.reference, n.item_id, n.location_id, n.units, n.expected_on, $8
FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::int[], $7::date[])
  AS n(source_id, reference, item_id, location_id, units, expected_on)
ON CONFLICT (tenant_id, source_id, reference, item_id) DO UPDATE
SET location_id = excluded.location_id, units = excluded.units, expected_on = excluded.expected_on, actor = excluded.actor,
    changed_at = clock_timestamp()
"""

FIND_FULFILLMENTS = """
SELECT want.source_id, want.source_ref, f.fulfillment_id
FROM unnest($2::uuid[], $3::text[]) AS want(source_id, source_ref)
CROSS JOIN LATERAL (
  SELECT fulfillment_id FROM fulfillment f
  WHERE f.tenant_id = $1 AND f.source_id = want.source_id AND f.source_ref = want.source_ref OFFSET 0) f
"""

FIND_ORDERS = """
SELECT want.connection_id, want.external_id, o.order_id
FROM unnest($2::uuid[], $3::text[]) AS want(connection_id, external_id)
CROSS JOIN LATERAL (
  SELECT order_id FROM "order" o WHERE o.tenant_id = $1 AND o.connection_id = want.connection_id
     AND o.external_id = want.external_id OFFSET 0) o
"""

# What channels say of the money of orders that are hinted at. $4 kinds of payments that bring money in.
HINTED_MONEY = """
SELECT want.connection_id, want.external_id, o.placed_at, o.payment_state, o.total_minor,
       coalesce((SELECT sum(p.amount_minor) FROM payment p
                 WHERE p.tenant_id = $1 AND p.order_id = o.order_id AND p.kind = ANY($4::text[])
                   AND lower(p.state) NOT IN ('failed', 'cancelled', 'canceled')), 0)::bigint AS told_minor
FROM unnest($2::uuid[], $3::text[]) AS want(connection_id, external_id)
CROSS JOIN LATERAL (
  SELECT order_id, placed_at, coalesce(channel_payment_state, payment_state) AS payment_state, total_minor FROM "order" o
  WHERE o.tenant_id = $1 AND o.connection_id = want.connection_id AND o.external_id = want.external_id OFFSET 0) o
"""

LOCK_ORDERS = """
SELECT order_id, connection_id, external_id, number, version, order_state, payment_state, fulfillment_state, currency,
       total_minor, shipping_minor, discount_minor, tax_minor, totals_mismatch, shipping_method, placed_at,
       channel_payment_state, called_off_at IS NOT NULL AS is_called_off
FROM "order" WHERE tenant_id = $1 AND order_id = ANY($2::uuid[])
ORDER BY order_id FOR NO KEY UPDATE
"""

LOAD_LINES = """
SELECT order_id, line_id, external_id, position, variant_id, sku, title, ordered, current, shipped, fulfilled,
       unit_price::text, total_minor, location_id
FROM order_line WHERE tenant_id = $1 AND order_id = ANY($2::uuid[])
"""

ANNOUNCED_UNITS = """
SELECT fl.line_id, sum(fl.quantity)::int FROM unnest($2::uuid[]) AS want(order_id)
CROSS JOIN LATERAL (
  SELECT fulfillment_id FROM fulfillment
  WHERE tenant_id = $1 AND order_id = want.order_id AND state <> 'cancelled' OFFSET 0) f
CROSS JOIN LATERAL (
  SELECT line_id, quantity FROM fulfillment_line WHERE tenant_id = $1 AND fulfillment_id = f.fulfillment_id OFFSET 0) fl
GROUP BY fl.line_id
"""

SAVE_ORDERS = """
UPDATE "order" o
SET number = n.number, version = n.version, order_state = n.order_state, payment_state = n.payment_state,
    fulfillment_state = n.fulfillment_state, currency = n.currency, total_minor = n.total_minor,
    shipping_minor = n.shipping_minor, discount_minor = n.discount_minor, tax_minor = n.tax_minor,
    totals_mismatch = n.totals_mismatch, shipping_method = n.shipping_method, placed_at = n.placed_at,
    channel_payment_state = n.channel_payment_state, data_key_id = n.data_key_id, private = n.private
FROM (
  SELECT $1::uuid AS tenant_id, *
  FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::int[], $7::text[], $8::text[], $9::text[],
              $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bool[], $16::text[],
              $17::timestamptz[], $18::text[], $19::uuid[], $20::bytea[])
    AS n(order_id, connection_id, external_id, number, version, order_state, payment_state, fulfillment_state, currency,
         total_minor, shipping_minor, discount_minor, tax_minor, totals_mismatch, shipping_method, placed_at,
         channel_payment_state, data_key_id, private)
  OFFSET 0
) n
WHERE o.tenant_id = n.tenant_id AND o.order_id = n.order_id
"""

# A shipment or a payment changes no private part: the encrypted column stays as it is.
TOUCH_ORDERS = """
UPDATE "order" o SET version = n.version, fulfillment_state = n.state, payment_state = n.payment_state,
    channel_payment_state = n.channel_payment_state
FROM (
  SELECT $1::uuid AS tenant_id, *
  FROM unnest($2::uuid[], $3::int[], $4::text[], $5::text[], $6::text[])
    AS n(order_id, version, state, payment_state, channel_payment_state)
  OFFSET 0
) n
WHERE o.tenant_id = n.tenant_id AND o.order_id = n.order_id
"""

SAVE_LINES = """
UPDATE order_line l SET position = n.position, current = n.current, shipped = n.shipped,
    unit_price = n.unit_price::numeric, total_minor = n.total_minor
FROM (
  SELECT $1::uuid AS tenant_id, *
  FROM unnest($2::uuid[], $3::uuid[], $4::int[], $5::int[], $6::int[], $7::text[], $8::bigint[])
    AS n(order_id, line_id, position, current, shipped, unit_price, total_minor)
  OFFSET 0
) n
WHERE l.tenant_id = n.tenant_id AND l.order_id = n.order_id AND l.line_id = n.line_id
"""

SAVE_PAYMENTS = """
INSERT INTO payment AS p (tenant_id, order_id, external_id, kind, state, amount_minor, currency, method, psp_reference)
SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::text[])
ON CONFLICT (tenant_id, order_id, external_id) DO UPDATE
SET kind = excluded.kind, state = excluded.state, amount_minor = excluded.amount_minor,
    psp_reference = excluded.psp_reference
"""

# --- payments at their provider: after orders, before stock ---
FIND_PAYMENTS = """
SELECT p.order_id FROM unnest($2::uuid[], $3::text[]) AS want(connection_id, external_id)
CROSS JOIN LATERAL (
  SELECT order_id FROM psp_payment p
  WHERE p.tenant_id = $1 AND p.connection_id = want.connection_id AND p.external_id = want.external_id OFFSET 0) p
"""
# Orders that name payments which belong to none: the first one of each. $2 provider, $3 ids there, $4 channels.
FIND_NAMING = """
SELECT want.psp_reference, o.order_id
FROM unnest($3::text[]) AS want(psp_reference)
CROSS JOIN LATERAL (
  SELECT o.order_id FROM payment c JOIN "order" o ON o.tenant_id = $1 AND o.order_id = c.order_id
  WHERE c.tenant_id = $1 AND c.psp_reference = want.psp_reference AND c.psp_reference <> '' AND c.kind <> 'refund'
    AND o.connection_id = ANY($4::uuid[])
  ORDER BY o.placed_at, o.order_id LIMIT 1) o
WHERE NOT EXISTS (SELECT FROM psp_payment p
                  WHERE p.tenant_id = $1 AND p.connection_id = $2 AND p.external_id = want.psp_reference
                    AND p.order_id IS NOT NULL)
"""
# A payment that its provider shows, or an order of the same batch names, is there from now on: whoever else names it waits for us here.
ENSURE_PAYMENTS = """
INSERT INTO psp_payment (tenant_id, payment_id, connection_id, external_id, state, currency, amount_minor, capturable_minor,
                         captured_minor, refunded_minor, multi_capture, method)
SELECT $1, n.payment_id, n.connection_id, n.external_id, 'unseen', '---', 0, 0, 0, 0, false, ''
FROM unnest($2::uuid[], $3::text[], $4::uuid[]) AS n(connection_id, external_id, payment_id)
ORDER BY n.connection_id, n.external_id
ON CONFLICT (tenant_id, connection_id, external_id) DO NOTHING
"""
# $2 providers, $3 ids there, $4 orders.
LOCK_PAYMENTS = """
SELECT payment_id, connection_id, external_id, order_id, number, state, currency, amount_minor, capturable_minor,
       captured_minor, refunded_minor, multi_capture, method, expires_at, claimed_minor, refunding_minor
FROM psp_payment
WHERE tenant_id = $1 AND payment_id = ANY(ARRAY(
    SELECT p.payment_id FROM unnest($2::uuid[], $3::text[]) AS want(connection_id, external_id)
    CROSS JOIN LATERAL (
      SELECT payment_id FROM psp_payment p
      WHERE p.tenant_id = $1 AND p.connection_id = want.connection_id AND p.external_id = want.external_id OFFSET 0) p
    UNION
    SELECT p.payment_id FROM unnest($4::uuid[]) AS mine(order_id)
    CROSS JOIN LATERAL (
      SELECT payment_id FROM psp_payment p WHERE p.tenant_id = $1 AND p.order_id = mine.order_id OFFSET 0) p))
ORDER BY payment_id FOR NO KEY UPDATE
"""
LOAD_CAPTURES = """
SELECT c.* FROM unnest($2::uuid[]) AS mine(order_id)
CROSS JOIN LATERAL (
  SELECT order_id, number, capture_id, payment_id, amount_minor, is_final, state FROM capture c
  WHERE c.tenant_id = $1 AND c.order_id = mine.order_id ORDER BY number OFFSET 0) c
"""
# $2 orders, $3 payments that have none.
LOAD_REFUNDS = """
SELECT refund_id, origin, amount_minor, currency, state, kind, order_id, number, payment_id, carry, code, channel_ref,
       psp_ref, reason
FROM refund
WHERE tenant_id = $1 AND (order_id = ANY($2::uuid[]) OR (order_id IS NULL AND payment_id = ANY($3::uuid[])))
ORDER BY order_id, number
"""
# Payments that an order named before its provider showed them; null where somebody else was there meanwhile.
SAVE_NEW_PAYMENTS = """
INSERT INTO psp_payment (tenant_id, payment_id, connection_id, external_id, order_id, number, state, currency, amount_minor,
                         capturable_minor, captured_minor, refunded_minor, multi_capture, method)
SELECT $1, n.payment_id, n.connection_id, n.external_id, n.order_id, n.number, 'unseen', '---', 0, 0, 0, 0, false, ''
FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::int[])
  AS n(payment_id, connection_id, external_id, order_id, number)
ORDER BY n.connection_id, n.external_id
ON CONFLICT (tenant_id, connection_id, external_id) DO NOTHING
RETURNING payment_id
"""
# $2 payments, and what they are now.
SAVE_PSP_PAYMENTS = """
UPDATE psp_payment p
SET order_id = n.order_id, number = n.number, state = n.state, currency = n.currency, amount_minor = n.amount_minor,
    capturable_minor = n.capturable_minor, captured_minor = n.captured_minor, refunded_minor = n.refunded_minor,
    multi_capture = n.multi_capture, method = n.method, expires_at = n.expires_at, claimed_minor = n.claimed_minor,
    refunding_minor = n.refunding_minor
FROM (
  SELECT $1::uuid AS tenant_id, *
  FROM unnest($2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[],
              $10::bigint[], $11::bool[], $12::text[], $13::timestamptz[], $14::bigint[], $15::bigint[])
    AS n(payment_id, order_id, number, state, currency, amount_minor, capturable_minor, captured_minor, refunded_minor,
         multi_capture, method, expires_at, claimed_minor, refunding_minor)
  OFFSET 0
) n
WHERE p.tenant_id = n.tenant_id AND p.payment_id = n.payment_id
"""
SAVE_CAPTURES = """
INSERT INTO capture (tenant_id, order_id, number, capture_id, payment_id, amount_minor, is_final, state)
SELECT $1, * FROM unnest($2::uuid[], $3::int[], $4::uuid[], $5::uuid[], $6::bigint[], $7::bool[], $8::text[])
"""
SAVE_REFUNDS = """
INSERT INTO refund AS r (tenant_id, refund_id, order_id, number, payment_id, origin, kind, amount_minor, currency, state,
                         carry, code, channel_ref, psp_ref, reason)
SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::int[], $5::uuid[], $6::text[], $7::text[], $8::bigint[], $9::text[],
                         $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[])
ON CONFLICT (tenant_id, refund_id) DO UPDATE
SET order_id = excluded.order_id, number = excluded.number, payment_id = excluded.payment_id, state = excluded.state,
    carry = excluded.carry, code = excluded.code, channel_ref = excluded.channel_ref, psp_ref = excluded.psp_ref,
    reason = excluded.reason
"""

SAVE_FULFILLMENTS = """
INSERT INTO fulfillment (tenant_id, fulfillment_id, order_id, source_id, source_ref, tracking, carrier, state, shipped_at)
SELECT $1, n.fulfillment_id, n.order_id, n.source_id, n.source_ref, n.tracking, n.carrier, 'shipped', n.shipped_at
FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::timestamptz[])
  AS n(fulfillment_id, order_id, source_id, source_ref, tracking, carrier, shipped_at)
"""

SAVE_FULFILLMENT_LINES = """
INSERT INTO fulfillment_line (tenant_id, fulfillment_id, line_id, quantity)
SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::int[])
"""

ENSURE_LEVELS = """
INSERT INTO stock_level (tenant_id, item_id, location_id)
SELECT $1, n.item_id, n.location_id FROM unnest($2::uuid[], $3::uuid[]) AS n(item_id, location_id)
ORDER BY n.item_id, n.location_id
ON CONFLICT (tenant_id, item_id, location_id) DO NOTHING
"""

# A level is locked and never updated.
LOCK_LEVELS = """
SELECT count(*) FROM (
  SELECT FROM unnest($2::uuid[], $3::uuid[]) AS want(item_id, location_id)
  CROSS JOIN LATERAL (
    SELECT FROM stock_level s
    WHERE s.tenant_id = $1 AND s.item_id = want.item_id AND s.location_id = want.location_id
    OFFSET 0 FOR NO KEY UPDATE) s
) locked
"""

# A statement of its own, after the locks: its snapshot sees the entries of everybody who had them before.
READ_BALANCES = """
SELECT b.*, t.counts, t.available, EXISTS (SELECT FROM reservation WHERE tenant_id = $1 AND awaits_order) AS is_order_awaited
FROM unnest($2::uuid[], $3::uuid[]) AS want(item_id, location_id)
CROSS JOIN LATERAL (
  SELECT item_id, location_id, on_hand, unavailable, committed, reserved, version FROM stock_balance b
  WHERE b.tenant_id = $1 AND b.item_id = want.item_id AND b.location_id = want.location_id OFFSET 0) b
CROSS JOIN LATERAL (
  SELECT coalesce(bool_or(a.location_id = want.location_id), false) AS counts, coalesce(sum(a.available), 0)::int AS available
  FROM stock_balance a JOIN location p ON p.tenant_id = $1 AND p.location_id = a.location_id AND p.active
  WHERE a.tenant_id = $1 AND a.item_id = want.item_id) t
"""
"""With each level what is available of its item at all active locations together, and whether the level is among these; and
whether claims wait for orders."""

# A command that ended before it was ever sent has had no effect: planned again, it is open again.
SAVE_COMMANDS = """
WITH planned AS (
  SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::bigint[], $7::text[], $8::smallint[],
                       $9::timestamptz[], $10::uuid[], $11::text[], $12::text[], $13::text[], $14::timestamptz[])
    AS n(command_id, connection_id, kind, entity_id, version, target_key, priority, deadline_at, cause_event_id, state,
         code, reason, not_before)
), fresh AS (
  INSERT INTO command_key (tenant_id, connection_id, kind, entity_id, version, command_id)
  SELECT $1, connection_id, kind, entity_id, version, command_id FROM planned
  ORDER BY connection_id, kind, entity_id, version
  ON CONFLICT DO NOTHING RETURNING command_id
), unsent AS MATERIALIZED (
  SELECT c.tenant_id, c.command_id, p.deadline_at, p.cause_event_id, p.state, p.code, p.reason
  FROM planned p CROSS JOIN LATERAL (
    SELECT command_id FROM command_key k
    WHERE k.tenant_id = $1 AND k.connection_id = p.connection_id AND k.kind = p.kind AND k.entity_id = p.entity_id
      AND k.version = p.version OFFSET 0) k
  CROSS JOIN LATERAL (
    SELECT tenant_id, command_id FROM command c
    WHERE c.tenant_id = $1 AND c.command_id = k.command_id AND c.state = 'cancelled'
      AND (c.code = 'observed' OR (c.call_id IS NULL AND c.code IN ('annihilated', 'nothing_left', 'not_released')))
    OFFSET 0 FOR NO KEY UPDATE) c
  WHERE p.state <> 'cancelled'
), revived AS (
  UPDATE command c SET state = u.state, code = u.code, reason = u.reason, finished_at = NULL, not_before = NULL,
         deadline_at = u.deadline_at, cause_event_id = u.cause_event_id, approved_by = NULL, approved_at = NULL
  FROM unsent u WHERE c.tenant_id = u.tenant_id AND c.command_id = u.command_id AND c.state = 'cancelled'
)
INSERT INTO command (tenant_id, command_id, connection_id, kind, target_key, entity_id, version, priority, state,
                     deadline_at, cause_event_id, code, reason, not_before, finished_at)
SELECT $1, p.command_id, p.connection_id, p.kind, p.target_key, p.entity_id, p.version, p.priority, p.state,
       p.deadline_at, p.cause_event_id, p.code, p.reason, CASE WHEN p.state = 'pending' THEN p.not_before END,
       CASE WHEN p.state = 'cancelled' THEN clock_timestamp() END
FROM planned p JOIN fresh USING (command_id) ORDER BY p.command_id
RETURNING connection_id
"""

# The newest open command of each target: what is planned now stands behind it, also when a clock says otherwise.
NEWEST_OPEN = """
SELECT want.connection_id, want.target_key, c.command_id FROM unnest($2::uuid[], $3::text[]) AS want(connection_id, target_key)
CROSS JOIN LATERAL (
  SELECT command_id FROM command
  WHERE tenant_id = $1 AND connection_id = want.connection_id AND target_key = want.target_key
    AND state IN ('proposed', 'pending', 'sending', 'in_doubt')
  ORDER BY command_id DESC LIMIT 1) c
"""

# A cancel meets a create that never left: both end here, and the ERP never hears of the order.
ANNIHILATE_CREATES = """
WITH unsent AS (
  SELECT tenant_id, command_id FROM command
  WHERE tenant_id = $1 AND entity_id = ANY($2::uuid[]) AND kind = 'order.create' AND state IN ('proposed', 'pending')
    AND call_id IS NULL
  ORDER BY command_id FOR NO KEY UPDATE
)
UPDATE command c SET state = 'cancelled', code = 'annihilated', finished_at = clock_timestamp(),
       reason = 'the order was cancelled before it was sent'
FROM unsent WHERE c.tenant_id = unsent.tenant_id AND c.command_id = unsent.command_id AND c.state IN ('proposed', 'pending')
RETURNING c.entity_id
"""

# Orders that the ERP may know: a create was planned, or the order is bound. By way of the connections, because the indexes
# begin with them: a tenant has few connections and many commands.
PLANNED_CREATES = """
SELECT k.entity_id FROM connection c JOIN command_key k USING (tenant_id, connection_id)
WHERE tenant_id = $1 AND k.kind = 'order.create' AND k.entity_id = ANY($2::uuid[])
UNION
SELECT b.internal_id FROM connection c JOIN binding b USING (tenant_id, connection_id)
WHERE tenant_id = $1 AND b.kind = 'order' AND b.internal_id = ANY($2::uuid[])
"""

PARK = """
INSERT INTO event_parked AS p (tenant_id, event_id, run, slot, connection_id, ordering_key, kind, code, reason, until)
SELECT $1, * FROM unnest($2::uuid[], $3::int[], $4::smallint[], $5::uuid[], $6::text[], $7::text[], $8::text[],
                         $9::text[], $10::timestamptz[])
ON CONFLICT (tenant_id, event_id) DO UPDATE
SET run = excluded.run, kind = excluded.kind, code = excluded.code, reason = excluded.reason, until = excluded.until,
    at = clock_timestamp()
"""

UNPARK = "DELETE FROM event_parked WHERE tenant_id = $1 AND event_id = ANY($2::uuid[])"

# What has an outcome is under no suspicion any more: a replay is tried as often as the first time.
FORGET_CRASHES = "DELETE FROM event_crash WHERE tenant_id = $1 AND event_id = ANY($2::uuid[])"

# Parked events whose time has come go back to their slot's queue.
# Where the queue stands, on which server, whether the time of a parked event has come, and when a reservation is due. Costs the same however much
# there is, or was.
PULSE = """
SELECT CASE WHEN q.is_called THEN q.last_value ELSE q.last_value - 1 END AS last_seq,
       pg_postmaster_start_time()::text AS server,
       EXISTS (SELECT FROM event_parked WHERE kind = 'parked' AND until <= clock_timestamp()) AS is_parked_due,
       (SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 FROM reservation
        WHERE state = 'held' OR awaits_order) AS due_in
FROM event_seq q
"""
WAKE_PARKED = """
WITH due AS (
  DELETE FROM event_parked WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM event_parked
    WHERE kind = 'parked' AND until <= clock_timestamp() AND slot = ANY($1::smallint[])
    ORDER BY until LIMIT 500 FOR UPDATE SKIP LOCKED))
  RETURNING slot, tenant_id, event_id, run
)
INSERT INTO event_queue (slot, tenant_id, event_id, run)
SELECT slot, tenant_id, event_id, run FROM due ORDER BY event_id
"""

REQUEST_FETCHES = """
INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by, hints, not_before)
SELECT $1::uuid, n.connection_id, n.topic, n.external_id, (array_agg(n.event_id ORDER BY n.event_id DESC))[1], count(*),
       clock_timestamp() + make_interval(secs => CASE WHEN count(*) >= min(n.hints_max) THEN 0 ELSE min(n.wait_seconds) END)
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::float8[], $7::int[])
  AS n(connection_id, topic, external_id, event_id, wait_seconds, hints_max)
GROUP BY n.connection_id, n.topic, n.external_id ORDER BY n.connection_id, n.topic, n.external_id
ON CONFLICT (tenant_id, connection_id, topic, external_id) DO UPDATE
SET requested_by = excluded.requested_by, hints = fetch_request.hints + excluded.hints, tries = 0,
    not_before = CASE WHEN fetch_request.hints + excluded.hints >= $8::int THEN clock_timestamp()
                 ELSE least(fetch_request.not_before, excluded.not_before) END
"""

# What was to be read because nobody had shown it, and was shown meanwhile. An order that its own channel hinted at is read.
FORGET_FETCHES = """
DELETE FROM fetch_request f USING unnest($2::uuid[], $3::text[], $4::text[]) AS n(connection_id, topic, external_id)
WHERE f.tenant_id = $1 AND f.connection_id = n.connection_id AND f.topic = n.topic AND f.external_id = n.external_id
  AND f.tries = 0 AND f.not_before > clock_timestamp()
  AND (f.topic = 'payment' OR EXISTS (
         SELECT FROM event e
         WHERE e.tenant_id = $1 AND e.event_id = f.requested_by AND e.connection_id <> f.connection_id))
"""

# By place, found by key one by one. A queue is empty whenever its statistics are made, and a plan for an empty table
# compares every row that waits with every row that is done.
TAKE_FROM_QUEUE = """
DELETE FROM event_queue WHERE ctid = ANY(ARRAY(
  SELECT q.ctid FROM unnest($2::smallint[], $3::bigint[]) AS done(slot, seq)
  CROSS JOIN LATERAL (
    SELECT e.ctid FROM event_queue e
    WHERE e.slot = done.slot AND e.tenant_id = $1 AND e.seq = done.seq OFFSET 0) q))
"""
# Takes them from the queue and counts them: $4 who counts, $5 connections, $6 hours of receipt, and how many of each outcome.
COUNT_OUTCOMES = """
INSERT INTO conservation AS c (tenant_id, connection_id, hour, writer, applied, superseded, ignored, quarantined)
SELECT $1, n.connection_id, n.hour, $4, n.applied, n.superseded, n.ignored, n.quarantined
FROM unnest($5::uuid[], $6::timestamptz[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
  AS n(connection_id, hour, applied, superseded, ignored, quarantined)
ORDER BY n.connection_id, n.hour
ON CONFLICT (tenant_id, connection_id, hour, writer) DO UPDATE
SET applied = c.applied + excluded.applied, superseded = c.superseded + excluded.superseded,
    ignored = c.ignored + excluded.ignored, quarantined = c.quarantined + excluded.quarantined
"""
TAKE_AND_COUNT = f"WITH taken AS ({TAKE_FROM_QUEUE}) {COUNT_OUTCOMES}"


_TOGETHER = "WITH $parts $last"


def _moved(statement: str, by: int) -> str:
    """Return a statement whose parameters behind $1 have moved."""
    return re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + by * (found[1] != '1')}", statement)


def _store_together() -> str:
    parts, after = [], 1
    for table, columns in NEW_ROWS.items():
        parts.append(f'"new_{table}" AS ({_insert(table, columns, after + 1)})')
        after += len(columns) - 1
    parts.append(f"gates AS ({_moved(SAVE_GATES, after - 1)})")
    after += SAVE_GATES.count("[]")
    parts.append(f"taken AS ({_moved(TAKE_FROM_QUEUE, after - 1)})")
    return _TOGETHER.replace("$parts", ", ".join(parts)).replace("$last", _moved(COUNT_OUTCOMES, after - 1))


STORE_TOGETHER = _store_together()
"""In one round trip: all of `NEW_ROWS`, then what `SAVE_GATES` takes, then what `TAKE_AND_COUNT` takes."""

# Orders of channels by when they were placed: $2 channels, $3 since, $4 until.
COUNT_PLACED = """
SELECT n.connection_id, n.since, n.until, c.orders
FROM unnest($2::uuid[], $3::timestamptz[], $4::timestamptz[]) AS n(connection_id, since, until)
CROSS JOIN LATERAL (
  SELECT count(*)::int AS orders FROM "order"
  WHERE tenant_id = $1 AND connection_id = n.connection_id AND placed_at >= n.since AND placed_at < n.until) c
"""
# $2 channels, $3 since, $4 until, $5 theirs, $6 ours, $7 events. Kept for a week.
SAVE_COUNTS = """
WITH old AS (
  DELETE FROM order_count o USING unnest($2::uuid[]) AS n(connection_id)
  WHERE o.tenant_id = $1 AND o.connection_id = n.connection_id AND o.until < clock_timestamp() - interval '7 days'
)
INSERT INTO order_count (tenant_id, connection_id, since, until, theirs, ours, event_id)
SELECT DISTINCT ON (n.connection_id, n.until, n.since) $1::uuid, n.connection_id, n.since, n.until, n.theirs, n.ours, n.event_id
FROM unnest($2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::int[], $6::int[], $7::uuid[])
  AS n(connection_id, since, until, theirs, ours, event_id)
ORDER BY n.connection_id, n.until, n.since, n.event_id DESC
ON CONFLICT (tenant_id, connection_id, until, since) DO UPDATE
SET theirs = excluded.theirs, ours = excluded.ours, event_id = excluded.event_id, counted_at = clock_timestamp()
"""

# Catalogue: bindings of the variants that lines name (a deleted article goes on standing for its variant), their bills, and
# variants by SKU.
FIND_BOUND_VARIANTS = """
SELECT want.connection_id, want.external_id, b.internal_id
FROM unnest($2::uuid[], $3::text[]) AS want(connection_id, external_id)
CROSS JOIN LATERAL (
  SELECT internal_id FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = want.connection_id
     AND b.kind = 'variant' AND b.external_id = want.external_id
  UNION ALL
  SELECT variant_id FROM tombstone t WHERE t.tenant_id = $1 AND t.connection_id = want.connection_id
     AND t.external_id = want.external_id OFFSET 0) b
"""
FIND_VARIANTS_BY_SKU = "SELECT sku, variant_id FROM variant WHERE tenant_id = $1 AND sku = ANY($2::text[])"
# Sold as `item_id`, so many units of it, and made of `part_id`: for a plain article that is the same.
FIND_BILLS = """
SELECT b.variant_id, b.item_id, b.required_qty, coalesce(k.part_id, b.item_id) AS part_id,
       b.required_qty * coalesce(k.units, 1) AS units
FROM variant_item b
LEFT JOIN LATERAL (SELECT part_id, units FROM kit_part WHERE tenant_id = $1 AND item_id = b.item_id OFFSET 0) k ON true
WHERE b.tenant_id = $1 AND b.variant_id = ANY($2::uuid[])
ORDER BY b.variant_id, part_id
"""
CREATE_VARIANTS = """
WITH n AS (SELECT * FROM unnest($2::text[], $3::text[], $4::uuid[], $5::uuid[]) AS n(sku, title, variant_id, item_id)),
made AS (
  INSERT INTO variant (tenant_id, variant_id, sku, title) SELECT $1, variant_id, sku, title FROM n ORDER BY sku
  ON CONFLICT (tenant_id, sku) DO NOTHING RETURNING variant_id, sku),
items AS (
  INSERT INTO inventory_item (tenant_id, item_id, sku) SELECT $1, n.item_id, n.sku FROM n JOIN made USING (variant_id)
  ORDER BY n.sku ON CONFLICT (tenant_id, sku) DO NOTHING RETURNING item_id)
INSERT INTO variant_item (tenant_id, variant_id, item_id, required_qty)
SELECT $1, n.variant_id, n.item_id, 1 FROM n JOIN made USING (variant_id) JOIN items ON items.item_id = n.item_id
"""
FIND_LOCATIONS = """
SELECT connection_id, external_id, internal_id FROM binding WHERE tenant_id = $1 AND kind = 'location'
"""
DEFAULT_LOCATION = "SELECT location_id FROM location WHERE tenant_id = $1 AND active ORDER BY location_id LIMIT 1"
CREATE_LOCATION = """
INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, name) DO NOTHING
"""
BIND = """
INSERT INTO binding (tenant_id, connection_id, kind, external_id, internal_id)
SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[])
ON CONFLICT DO NOTHING
"""
