"""SQL of units that are shared out. $1 is the tenant, $2 the connection; the marks of the items are locked, in every channel."""

from __future__ import annotations

from tidegate.dispatch import conditions

# Items of these that are shared out now. $2 items.
SHARED_ITEMS = """
SELECT want.item_id FROM unnest($2::uuid[]) AS want(item_id)
WHERE EXISTS (SELECT FROM channel_allocation a WHERE a.tenant_id = $1 AND a.item_id = want.item_id OFFSET 0)
"""
# Whether any unit stands in the channel's name.
HAS_LOTS = "SELECT EXISTS (SELECT FROM channel_allocation WHERE tenant_id = $1 AND connection_id = $2)"
SKUS = """
SELECT want.item_id, i.sku FROM unnest($2::uuid[]) AS want(item_id)
CROSS JOIN LATERAL (SELECT sku FROM inventory_item WHERE tenant_id = $1 AND item_id = want.item_id OFFSET 0) i
WHERE NOT EXISTS (SELECT FROM kit_part k WHERE k.tenant_id = $1 AND k.item_id = want.item_id OFFSET 0)
"""

# Each channel of the items with its lot, if it has one. What only observes is not ours to tell. $2 items.
LOTS = """
SELECT m.item_id, m.connection_id, c.name, c.connector, c.state, m.acked_quantity, m.moved, m.blocked_by IS NOT NULL AS is_blocked,
       m.sendable, m.push_version, m.unseen, coalesce(m.late_until > clock_timestamp(), false) AS may_come_late,
       coalesce(m.late_until <= clock_timestamp(), false) AS is_due_again,
       a.counting, a.enforces, a.is_sold, a.settled, a.asked, a.cap, a.drains_since, a.aim, a.sales, a.exposure,
       a.config_version,
       extract(epoch FROM clock_timestamp() - a.looked_at)::float8 AS looked_seconds, a.since
FROM unnest($2::uuid[]) AS want(item_id)
CROSS JOIN connection c
CROSS JOIN LATERAL (
  SELECT * FROM channel_stock
  WHERE tenant_id = $1 AND connection_id = c.connection_id AND item_id = want.item_id AND mode <> 'observe' OFFSET 0) m
LEFT JOIN LATERAL (
  SELECT * FROM channel_allocation
  WHERE tenant_id = $1 AND connection_id = c.connection_id AND item_id = want.item_id OFFSET 0) a ON true
WHERE c.tenant_id = $1
ORDER BY m.item_id, m.connection_id
"""

# Of these items, the ones that were lowered so long ago that every order until then is in the channel's list: whether its feeds were
# read since, and whether all of these orders are read and counted. $3 items, $4 seconds that its list may be late, $5 feeds that
# tell of nothing and only mend.
DRAINED = f"""
SELECT a.item_id, {conditions.FEEDS_READ_SINCE.format(moment="a.drains_since + make_interval(secs => $4::float8)")} AS is_read,
       {conditions.READ_SINCE.format(moment="a.drains_since + make_interval(secs => $4::float8)")} AS is_drained
FROM unnest($3::uuid[]) AS want(id)
CROSS JOIN LATERAL (
  SELECT * FROM channel_allocation
  WHERE tenant_id = $1 AND connection_id = $2 AND item_id = want.id AND cap IS NOT NULL OFFSET 0) a
WHERE a.drains_since < clock_timestamp() - make_interval(secs => $4::float8)
"""  # noqa: S608 - a constant condition

# The channel's own lots as they are now. One row per item: $3 item, $4 counting, $5 enforces, $6 is sold, $7 settled, $8
# asked, $9 cap, $10 aim, $11 sales, $12 exposure, $13 raises more, $14 withdrawals more, $15 configuration.
STORE_LOTS = """
INSERT INTO channel_allocation AS a (tenant_id, connection_id, item_id, counting, enforces, is_sold, settled, asked, cap,
                                     drains_since, aim, sales, exposure, raises, withdrawals, looked_at, since,
                                     config_version)
SELECT $1, $2, n.item_id, n.counting, n.enforces, n.is_sold, n.settled, n.asked, n.cap,
       CASE WHEN n.cap IS NOT NULL THEN clock_timestamp() END, n.aim, n.sales, n.exposure, n.raises, n.withdrawals,
       clock_timestamp(), clock_timestamp(), $15
FROM unnest($3::uuid[], $4::text[], $5::bool[], $6::bool[], $7::int[], $8::int[], $9::int[], $10::int[], $11::float8[],
            $12::float8[], $13::int[], $14::int[])
  AS n(item_id, counting, enforces, is_sold, settled, asked, cap, aim, sales, exposure, raises, withdrawals)
ON CONFLICT (tenant_id, connection_id, item_id) DO UPDATE
SET counting = excluded.counting, enforces = excluded.enforces, is_sold = excluded.is_sold, settled = excluded.settled,
    asked = excluded.asked, cap = excluded.cap,
    drains_since = CASE WHEN excluded.cap IS NOT NULL THEN coalesce(a.drains_since, clock_timestamp()) END,
    aim = excluded.aim, sales = excluded.sales, exposure = excluded.exposure, raises = a.raises + excluded.raises,
    withdrawals = a.withdrawals + excluded.withdrawals, looked_at = clock_timestamp(),
    config_version = greatest(a.config_version, excluded.config_version)
"""

# They are not shared out any more. $2 items.
FORGET_LOTS = "DELETE FROM channel_allocation WHERE tenant_id = $1 AND item_id = ANY($2::uuid[])"

# Channels that have something to do with an item. One row per pair: $2 channel, $3 item. One that only waits for another look
# looks now.
MARK_CHANNELS = """
UPDATE channel_stock m SET dirty = true, dirty_at = coalesce(m.dirty_at, clock_timestamp()),
                           not_before = CASE WHEN m.tries > 0 THEN m.not_before END
FROM (SELECT $1::uuid AS tenant_id, n.* FROM unnest($2::uuid[], $3::uuid[]) AS n(connection_id, item_id) OFFSET 0) n
WHERE m.tenant_id = n.tenant_id AND m.connection_id = n.connection_id AND m.item_id = n.item_id AND m.mode <> 'observe'
"""

# Nothing is to be told now, and time alone may change that. One row per item: $3 item, $4 seconds until it is looked at again.
LOOK_LATER = """
UPDATE channel_stock m
SET dirty = true, dirty_at = coalesce(m.dirty_at, clock_timestamp()),
    not_before = CASE WHEN m.dirty AND m.tries > 0 THEN m.not_before
                      WHEN m.dirty AND m.not_before IS NULL THEN NULL
                      ELSE least(m.not_before, clock_timestamp() + make_interval(secs => n.seconds)) END
FROM (SELECT $1::uuid AS tenant_id, $2::uuid AS connection_id, n.*
      FROM unnest($3::uuid[], $4::float8[]) AS n(item_id, seconds) OFFSET 0) n
WHERE m.tenant_id = n.tenant_id AND m.connection_id = n.connection_id AND m.item_id = n.item_id AND m.mode <> 'observe' AND m.blocked_by IS NULL
"""

# A channel's lots with what its mark says, before or after a number is settled. $3 items.
OWN_LOTS = """
SELECT a.item_id, a.counting, a.settled, a.asked, a.cap, m.acked_quantity, m.moved, m.unseen, m.pack,
       m.late_until IS NOT NULL AS is_late
FROM unnest($3::uuid[]) AS want(id)
CROSS JOIN LATERAL (
  SELECT * FROM channel_allocation
  WHERE tenant_id = $1 AND connection_id = $2 AND item_id = want.id OFFSET 0) a
CROSS JOIN LATERAL (
  SELECT * FROM channel_stock WHERE tenant_id = $1 AND connection_id = $2 AND item_id = want.id OFFSET 0) m
"""
# One row per item: $3 item, $4 settled, $5 cap.
SETTLE_LOTS = """
UPDATE channel_allocation a
SET settled = n.settled, asked = NULL, cap = n.cap,
    drains_since = CASE WHEN n.cap IS NOT NULL THEN CASE WHEN a.cap IS NULL THEN clock_timestamp() ELSE a.drains_since END END
FROM (SELECT $1::uuid AS tenant_id, $2::uuid AS connection_id, n.*
      FROM unnest($3::uuid[], $4::int[], $5::int[]) AS n(item_id, settled, cap) OFFSET 0) n
WHERE a.tenant_id = n.tenant_id AND a.connection_id = n.connection_id AND a.item_id = n.item_id
"""
# The channel was told 0, and that is what it shows: what it sold before was told by orders that came since.
SHOW_NOTHING = """
UPDATE channel_stock SET acked_quantity = 0, moved = CASE WHEN moved IS NOT NULL THEN 0 END
WHERE tenant_id = $1 AND connection_id = $2 AND item_id = ANY($3::uuid[])
"""

# How fast items sell, and how long it takes until a channel is told. Per item: units that were sold in the last $3 seconds, the
# seconds in which that was, and how long 19 of 20 of the last numbers took from the change to the answer; null: none was told
# lately. $2 items. A hot item's newest entries are enough.
PACE = """
SELECT want.item_id, coalesce(s.units, 0)::bigint AS units, coalesce(s.seconds, 0)::float8 AS seconds, t.lag
FROM unnest($2::uuid[]) AS want(item_id)
LEFT JOIN LATERAL (
  SELECT sum(e.committed_delta) AS units,
         extract(epoch FROM clock_timestamp() - min(e.at)) AS seconds
  FROM stock_level l CROSS JOIN LATERAL (
    SELECT committed_delta, kind, at FROM stock_entry e
    WHERE e.tenant_id = $1 AND e.item_id = want.item_id AND e.location_id = l.location_id
    ORDER BY e.version DESC LIMIT 200) e
  WHERE l.tenant_id = $1 AND l.item_id = want.item_id AND e.kind = 'commit' AND e.committed_delta > 0
    AND e.at > clock_timestamp() - make_interval(secs => $3::float8)
) s ON true
LEFT JOIN LATERAL (
  SELECT percentile_cont(0.95) WITHIN GROUP (
           ORDER BY extract(epoch FROM c.finished_at)::float8 - (c.ledger->>'marked_ms')::float8 / 1000) AS lag
  FROM (SELECT finished_at, ledger FROM command
        WHERE tenant_id = $1 AND entity_id = want.item_id AND kind = 'inventory.set' AND state = 'succeeded'
          AND ledger ? 'marked_ms'
        ORDER BY command_id DESC LIMIT 40) c
) t ON true
"""
