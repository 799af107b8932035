"""Units that a channel is not told of because others may sell them before it hears of it, in T2s; the rules: `inventory.buffer`.

They fade when nobody buys any more: a number of which units are held back is looked at again after a while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from tidegate.commerce.stock import ChannelOpen, Level, channel_quantity
from tidegate.dispatch.payloads import StockNumberRow
from tidegate.dispatch.safety import SafetyRules
from tidegate.dispatch.scope import Scope
from tidegate.inventory import allocate
from tidegate.inventory.buffer import Seller, broadcast, limit_of
from tidegate.store.connections import Connection

HELD = "buffer"
"""Key in a number's counters: units that the channel was not told of."""
FADES = "buffer_fades"
"""Key in a number's counters: after how many seconds time alone may give some of these back."""
PASSING_SECONDS = 5
"""After how long it is seen whether the others were told what they are to show."""
_LEVEL = ("on_hand", "unavailable", "committed", "reserved", "safety_stock", "unseen")
_CARRIED = ("unfulfilled", "shipped_unconfirmed")

# Channels that sell the items, or the same units under other SKUs (parts of a kit, kits with the part), and are told numbers of
# them: what each sold in the last $3 seconds, in units of the item, the seconds in which that was, and how long 19 of 20 of its
# last numbers took; null: none was told. A kit sells as fast as the part of it that runs fastest, however it is sold. $2 items.
# A hot item's newest entries are enough.
SELLERS = """
WITH made AS MATERIALIZED (
  SELECT want.item_id, p.part_id, p.units
  FROM unnest($2::uuid[]) AS want(item_id)
  CROSS JOIN LATERAL (
    SELECT part_id, units FROM kit_part WHERE tenant_id = $1 AND item_id = want.item_id
    UNION ALL
    SELECT want.item_id, 1 WHERE NOT EXISTS (SELECT FROM kit_part WHERE tenant_id = $1 AND item_id = want.item_id)
    OFFSET 0) p
), apart AS MATERIALIZED (
  SELECT item_id, part_id AS listed_id FROM made WHERE part_id <> item_id
  UNION
  SELECT m.item_id, k.item_id FROM made m
  CROSS JOIN LATERAL (SELECT item_id FROM kit_part WHERE tenant_id = $1 AND part_id = m.part_id OFFSET 0) k
  WHERE k.item_id <> m.item_id
), sales AS MATERIALIZED (
  SELECT DISTINCT ON (item_id, connection_id) item_id, connection_id, units, seconds
  FROM (
    SELECT m.item_id, m.part_id, v.connection_id, sum(e.committed_delta)::float8 / m.units AS units,
           extract(epoch FROM clock_timestamp() - min(e.at))::float8 AS seconds
    FROM made m
    CROSS JOIN LATERAL (
      SELECT location_id FROM stock_level WHERE tenant_id = $1 AND item_id = m.part_id OFFSET 0) l
    CROSS JOIN LATERAL (
      SELECT committed_delta, kind, at, event_id FROM stock_entry
      WHERE tenant_id = $1 AND item_id = m.part_id AND location_id = l.location_id
      ORDER BY version DESC LIMIT 200) e
    CROSS JOIN LATERAL (
      SELECT connection_id FROM event WHERE tenant_id = $1 AND event_id = e.event_id OFFSET 0) v
    WHERE e.kind = 'commit' AND e.committed_delta > 0 AND e.at > clock_timestamp() - make_interval(secs => $3::float8)
    GROUP BY m.item_id, m.part_id, m.units, v.connection_id
  ) s
  ORDER BY item_id, connection_id, units / greatest(seconds, 1) DESC
)
SELECT want.item_id, c.connection_id, c.name, c.connector, CASE WHEN own.push_version > 0 THEN own.acked_quantity ELSE 0 END AS shows,
       coalesce(s.units, 0)::float8 AS units, coalesce(s.seconds, 0)::float8 AS seconds, t.lag,
       own.push_version IS NOT NULL AS is_told, other.sells AS sells_apart
FROM unnest($2::uuid[]) AS want(item_id)
CROSS JOIN connection c
LEFT JOIN LATERAL (
  SELECT m.push_version, m.acked_quantity FROM channel_stock m
  WHERE m.tenant_id = $1 AND m.connection_id = c.connection_id AND m.item_id = want.item_id AND m.mode <> 'observe'
    AND EXISTS (SELECT FROM variant_item vi
                CROSS JOIN LATERAL (
                  SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = c.connection_id AND b.kind = 'variant'
                   AND b.internal_id = vi.variant_id OFFSET 0) b
                WHERE vi.tenant_id = $1 AND vi.item_id = want.item_id)
  OFFSET 0) own ON true
CROSS JOIN LATERAL (
  SELECT EXISTS (
    SELECT FROM apart a
    CROSS JOIN LATERAL (
      SELECT FROM channel_stock m
      WHERE m.tenant_id = $1 AND m.connection_id = c.connection_id AND m.item_id = a.listed_id AND m.mode <> 'observe'
        AND EXISTS (SELECT FROM variant_item vi
                    CROSS JOIN LATERAL (
                      SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = c.connection_id AND b.kind = 'variant'
                       AND b.internal_id = vi.variant_id OFFSET 0) b
                    WHERE vi.tenant_id = $1 AND vi.item_id = a.listed_id)
      OFFSET 0) m
    WHERE a.item_id = want.item_id) AS sells) other
LEFT JOIN sales s ON s.item_id = want.item_id AND s.connection_id = c.connection_id
LEFT JOIN LATERAL (
  SELECT max(p.lag) AS lag
  FROM (SELECT want.item_id AS told_id
        UNION ALL
        (SELECT listed_id FROM apart WHERE item_id = want.item_id ORDER BY listed_id LIMIT 10)) w
  CROSS JOIN LATERAL (
    SELECT percentile_cont(0.95) WITHIN GROUP (
             ORDER BY extract(epoch FROM k.finished_at)::float8 - (k.ledger->>'marked_ms')::float8 / 1000) AS lag
    FROM (SELECT finished_at, ledger FROM command
          WHERE tenant_id = $1 AND entity_id = w.told_id AND connection_id = c.connection_id AND kind = 'inventory.set'
            AND state = 'succeeded' AND ledger ? 'marked_ms'
          ORDER BY command_id DESC LIMIT 40) k) p
) t ON true
WHERE c.tenant_id = $1 AND (own.push_version IS NOT NULL OR other.sells)
ORDER BY want.item_id, c.connection_id
"""


async def read_sellers(conn: Connection, tenant_id: UUID, items: Sequence[UUID]) -> dict[UUID, list[Any]]:
    """Return the channels of each item with how fast they sell it and hear of it: rows of `SELLERS`. Reads only."""
    found: dict[UUID, list[Any]] = {item_id: [] for item_id in items}
    for row in await conn.fetch(SELLERS, tenant_id, list(items), allocate.PACE_SECONDS) if items else ():
        found[row["item_id"]].append(row)
    return found


def seller_of(row: Any, peaks: Mapping[str, float], *, enforces: bool = True) -> Seller:
    """Return what counts of a row of `SELLERS`. `peaks`: units a second that channels are expected to sell, by name."""
    pace = allocate.pace_of(row["units"], row["seconds"], row["lag"])
    return Seller(
        channel=row["connection_id"],
        pace=allocate.at_peak(pace, peaks.get(row["name"], 0.0)),
        fades=pace.velocity > 0,
        shows=row["shows"],
        enforces=enforces,
        is_told=row["is_told"],
        sells_apart=row["sells_apart"],
    )


async def hold_back(conn: Connection, scope: Scope, rows: list[StockNumberRow]) -> list[StockNumberRow]:
    """Return the rows with the numbers of items of which the channel is not told all."""
    rules = scope.safety.rules
    if not rules.may_buffer:
        return rows
    items = [row.item_id for row in rows if _is_buffered(row, rules)]
    sellers = await read_sellers(conn, scope.ids[0], items)
    return [
        _held_back(scope, row, [seller_of(each, rules.peak_of(row.sku)) for each in sellers[row.item_id]])
        if row.item_id in sellers
        else row
        for row in rows
    ]


def _is_buffered(row: StockNumberRow, rules: SafetyRules) -> bool:
    return not row.is_shared and row.variant_external_id is not None and rules.buffer_of(row.sku) == "auto"


def _held_back(scope: Scope, row: StockNumberRow, sellers: Sequence[Seller]) -> StockNumberRow:
    counters = msgspec.json.decode(row.ledger, type=dict[str, int])
    level = Level(**{name: counters[name] for name in _LEVEL})
    sellable = level.available - level.safety_stock - level.unseen
    plan = broadcast(sellable, sellers, "auto", limit=limit_of(scope.safety.rules.oversell_max, sellable))
    held = max(0, sellable) - plan.told.get(scope.ids[1], max(0, sellable))
    if not held:
        return row
    fades = PASSING_SECONDS if plan.is_passing else int(allocate.PACE_SECONDS)
    is_fading = plan.is_passing or any(seller.fades for seller in sellers)
    number = channel_quantity(
        msgspec.structs.replace(level, safety_stock=level.safety_stock + held),
        ChannelOpen(**{name: counters.get(name, 0) for name in _CARRIED}),
        stock_number=scope.connector.stock_number,
    )
    return msgspec.structs.replace(
        row,
        quantity=number,
        look_seconds=fades if is_fading else None,
        ledger=msgspec.json.encode({**counters, HELD: held, **({FADES: fades} if is_fading else {})}),
    )
