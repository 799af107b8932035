"""SQL of T2. Every statement is set-based; $1 is the tenant; locks are taken in the one order of ARCHITECTURE.md.

slot -> marks (channel_stock) -> orders -> payments -> stock -> commands, each sorted by key.
"""

LOAD_GATES = """
SELECT e.connection_id, e.kind, e.external_id, e.source_version, e.source_seq, e.mapping_version, e.digest
FROM unnest($2::uuid[], $3::text[], $4::text[]) AS want(connection_id, kind, external_id)
JOIN entity_version e ON e.tenant_id = $1 AND e.connection_id = want.connection_id AND e.kind = want.kind
 AND e.external_id = want.external_id AND e.facet = 'all'
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

# Locks every mark of the items, also the ones that are dirty already: whoever sends a number next waits for this
# transaction, and so reads the stock that it leaves behind.
MARK_DIRTY = """
WITH locked AS (
  SELECT connection_id, item_id, dirty FROM channel_stock
  WHERE tenant_id = $1 AND connection_id = ANY($2::uuid[]) AND item_id = ANY($3::uuid[])
  ORDER BY connection_id, item_id FOR NO KEY UPDATE
)
UPDATE channel_stock c SET dirty = true, dirty_at = clock_timestamp()
FROM locked l
WHERE c.tenant_id = $1 AND c.connection_id = l.connection_id AND c.item_id = l.item_id AND NOT l.dirty
"""

FIND_FULFILLMENTS = """
SELECT f.source_id, f.source_ref, f.fulfillment_id
FROM unnest($2::uuid[], $3::text[]) AS want(source_id, source_ref)
JOIN fulfillment f ON f.tenant_id = $1 AND f.source_id = want.source_id AND f.source_ref = want.source_ref
"""

FIND_ORDERS = """
SELECT o.connection_id, o.external_id, o.order_id
FROM unnest($2::uuid[], $3::text[]) AS want(connection_id, external_id)
JOIN "order" o ON o.tenant_id = $1 AND o.connection_id = want.connection_id AND o.external_id = want.external_id
"""

LOCK_ORDERS = """
SELECT order_id, connection_id, external_id, number, version, order_state, payment_state, fulfillment_state, currency,
       total_minor, shipping_minor, discount_minor, tax_minor, totals_mismatch, shipping_method, placed_at
FROM "order" WHERE tenant_id = $1 AND order_id = ANY($2::uuid[])
ORDER BY order_id FOR NO KEY UPDATE
"""

LOAD_LINES = """
SELECT order_id, line_id, external_id, position, variant_id, sku, title, ordered, current, shipped, fulfilled,
       unit_price::text, total_minor, location_id
FROM order_line WHERE tenant_id = $1 AND order_id = ANY($2::uuid[])
"""

SAVE_ORDERS = """
INSERT INTO "order" AS o (tenant_id, order_id, connection_id, external_id, number, version, order_state, payment_state,
    fulfillment_state, currency, total_minor, shipping_minor, discount_minor, tax_minor, totals_mismatch,
    shipping_method, placed_at, data_key_id, private)
SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::int[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bool[], $16::text[],
    $17::timestamptz[], $18::uuid[], $19::bytea[])
ON CONFLICT (tenant_id, order_id) DO UPDATE
SET number = excluded.number, version = excluded.version, order_state = excluded.order_state,
    payment_state = excluded.payment_state, fulfillment_state = excluded.fulfillment_state,
    currency = excluded.currency, total_minor = excluded.total_minor, shipping_minor = excluded.shipping_minor,
    discount_minor = excluded.discount_minor, tax_minor = excluded.tax_minor,
    totals_mismatch = excluded.totals_mismatch, shipping_method = excluded.shipping_method,
    placed_at = excluded.placed_at, data_key_id = excluded.data_key_id, private = excluded.private
"""

# A shipment changes no private part: the encrypted column stays as it is.
TOUCH_ORDERS = """
UPDATE "order" o SET version = n.version, fulfillment_state = n.state
FROM unnest($2::uuid[], $3::int[], $4::text[]) AS n(order_id, version, state)
WHERE o.tenant_id = $1 AND o.order_id = n.order_id
"""

SAVE_LINES = """
INSERT INTO order_line AS l (tenant_id, order_id, line_id, external_id, position, variant_id, sku, title, ordered,
    current, shipped, unit_price, total_minor, location_id)
SELECT $1, n.order_id, n.line_id, n.external_id, n.position, n.variant_id, n.sku, n.title, n.ordered, n.current,
    n.shipped, n.unit_price::numeric, n.total_minor, n.location_id
FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::int[], $6::uuid[], $7::text[], $8::text[], $9::int[], $10::int[],
    $11::int[], $12::text[], $13::bigint[], $14::uuid[])
  AS n(order_id, line_id, external_id, position, variant_id, sku, title, ordered, current, shipped, unit_price,
       total_minor, location_id)
ON CONFLICT (tenant_id, order_id, line_id) DO UPDATE
SET current = excluded.current, shipped = excluded.shipped, unit_price = excluded.unit_price,
    total_minor = excluded.total_minor
"""

SAVE_PAYMENTS = """
INSERT INTO payment AS p (tenant_id, order_id, external_id, kind, state, amount_minor, currency, method)
SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[])
ON CONFLICT (tenant_id, order_id, external_id) DO UPDATE
SET kind = excluded.kind, state = excluded.state, amount_minor = excluded.amount_minor
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

LOCK_LEVELS = """
SELECT s.item_id, s.location_id, s.on_hand, s.unavailable, s.committed, s.reserved, s.version
FROM unnest($2::uuid[], $3::uuid[]) AS want(item_id, location_id)
JOIN stock_level s ON s.tenant_id = $1 AND s.item_id = want.item_id AND s.location_id = want.location_id
ORDER BY s.item_id, s.location_id FOR NO KEY UPDATE OF s
"""

KNOWN_CAUSES = "SELECT cause_key FROM stock_entry WHERE tenant_id = $1 AND cause_key = ANY($2::text[])"

SAVE_LEVELS = """
UPDATE stock_level s
SET on_hand = n.on_hand, unavailable = n.unavailable, committed = n.committed, reserved = n.reserved,
    version = n.version
FROM unnest($2::uuid[], $3::uuid[], $4::int[], $5::int[], $6::int[], $7::int[], $8::bigint[])
  AS n(item_id, location_id, on_hand, unavailable, committed, reserved, version)
WHERE s.tenant_id = $1 AND s.item_id = n.item_id AND s.location_id = n.location_id
"""

SAVE_ENTRIES = """
INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, on_hand_delta, unavailable_delta,
    committed_delta, reserved_delta, on_hand_after, committed_after, cause_key, event_id, order_line_id, actor)
SELECT $1, n.*, 'tidegate'
FROM unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::int[], $7::int[], $8::int[], $9::int[], $10::int[],
    $11::int[], $12::text[], $13::uuid[], $14::uuid[]) AS n
"""

SAVE_COMMANDS = """
WITH planned AS (
  SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::bigint[], $7::text[], $8::smallint[],
                       $9::timestamptz[], $10::uuid[])
    AS n(command_id, connection_id, kind, entity_id, version, target_key, priority, deadline_at, cause_event_id)
), fresh AS (
  INSERT INTO command_key (tenant_id, connection_id, kind, entity_id, version, command_id)
  SELECT $1, connection_id, kind, entity_id, version, command_id FROM planned
  ORDER BY connection_id, kind, entity_id, version
  ON CONFLICT DO NOTHING RETURNING command_id
)
INSERT INTO command (tenant_id, command_id, connection_id, kind, target_key, entity_id, version, priority, state,
                     deadline_at, cause_event_id)
SELECT $1, p.command_id, p.connection_id, p.kind, p.target_key, p.entity_id, p.version, p.priority, 'pending',
       p.deadline_at, p.cause_event_id
FROM planned p JOIN fresh USING (command_id) ORDER BY p.command_id
RETURNING connection_id
"""

# A cancel meets a create that never left: both end here, and the ERP never hears of the order.
ANNIHILATE_CREATES = """
WITH unsent AS (
  SELECT tenant_id, command_id FROM command
  WHERE tenant_id = $1 AND entity_id = ANY($2::uuid[]) AND kind = 'order.create' AND state = 'pending' AND call_id IS NULL
  ORDER BY command_id FOR NO KEY UPDATE
)
UPDATE command c SET state = 'cancelled', code = 'annihilated', finished_at = clock_timestamp(),
       reason = 'the order was cancelled before it was sent'
FROM unsent WHERE c.tenant_id = unsent.tenant_id AND c.command_id = unsent.command_id AND c.state = 'pending'
RETURNING c.entity_id
"""

PLANNED_CREATES = """
SELECT entity_id FROM command_key WHERE tenant_id = $1 AND kind = 'order.create' AND entity_id = ANY($2::uuid[])
"""

SAVE_OUTCOMES = """
INSERT INTO event_outcome (tenant_id, event_id, run, outcome, code, reason, entity_kind, entity_id,
    connector_version, mapping_version, code_version, config_version)
SELECT $1, n.*, $11, $12
FROM unnest($2::uuid[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::text[], $10::text[]) AS n
"""

COUNT_OUTCOMES = """
INSERT INTO conservation AS c (tenant_id, connection_id, hour, writer, applied, superseded, ignored, quarantined)
SELECT $1, n.connection_id, n.hour, $2, n.applied, n.superseded, n.ignored, n.quarantined
FROM unnest($3::uuid[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
  AS n(connection_id, hour, applied, superseded, ignored, quarantined)
ORDER BY n.connection_id, n.hour
ON CONFLICT (tenant_id, connection_id, hour, writer) DO UPDATE
SET applied = c.applied + excluded.applied, superseded = c.superseded + excluded.superseded,
    ignored = c.ignored + excluded.ignored, quarantined = c.quarantined + excluded.quarantined
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

# Parked events whose time has come go back to their slot's queue.
WAKE_PARKED = """
WITH due AS (
  DELETE FROM event_parked WHERE (tenant_id, event_id) IN (
    SELECT tenant_id, event_id FROM event_parked
    WHERE kind = 'parked' AND until <= clock_timestamp() AND slot = ANY($1::smallint[])
    ORDER BY until LIMIT 500 FOR UPDATE SKIP LOCKED)
  RETURNING slot, tenant_id, event_id, run
)
INSERT INTO event_queue (slot, tenant_id, event_id, run)
SELECT slot, tenant_id, event_id, run FROM due ORDER BY event_id
"""

REQUEST_FETCHES = """
INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by)
SELECT DISTINCT ON (n.connection_id, n.topic, n.external_id) $1::uuid, n.connection_id, n.topic, n.external_id, n.event_id
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[]) AS n(connection_id, topic, external_id, event_id)
ORDER BY n.connection_id, n.topic, n.external_id
ON CONFLICT (tenant_id, connection_id, topic, external_id) DO NOTHING
"""

TAKE_FROM_QUEUE = """
DELETE FROM event_queue q USING unnest($2::smallint[], $3::bigint[]) AS done(slot, seq)
WHERE q.slot = done.slot AND q.tenant_id = $1 AND q.seq = done.seq
"""

# Catalogue: bindings of the variants that lines name, their bills, and variants by SKU.
FIND_BOUND_VARIANTS = """
SELECT b.connection_id, b.external_id, b.internal_id FROM unnest($2::uuid[], $3::text[]) AS want(connection_id, external_id)
JOIN binding b ON b.tenant_id = $1 AND b.kind = 'variant' AND b.connection_id = want.connection_id
 AND b.external_id = want.external_id
"""
FIND_VARIANTS_BY_SKU = "SELECT sku, variant_id FROM variant WHERE tenant_id = $1 AND sku = ANY($2::text[])"
FIND_BILLS = """
SELECT variant_id, item_id, required_qty FROM variant_item WHERE tenant_id = $1 AND variant_id = ANY($2::uuid[])
ORDER BY variant_id, item_id
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
