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

# Channels that sell the items and are told numbers of them: what each sold in the last $3 seconds, the seconds in which that was,
# and how long 19 of 20 of its last numbers took; null: none was told. $2 items. A hot item's newest entries are enough.
SELLERS = """
WITH sales AS MATERIALIZED (
  SELECT want.item_id, v.connection_id, sum(e.committed_delta) AS units,
         extract(epoch FROM clock_timestamp() - min(e.at)) AS seconds
  FROM unnest($2::uuid[]) AS want(item_id)
  CROSS JOIN LATERAL (
    SELECT location_id FROM stock_level WHERE tenant_id = $1 AND item_id = want.item_id OFFSET 0) l
  CROSS JOIN LATERAL (
    SELECT committed_delta, kind, at, event_id FROM stock_entry
    WHERE tenant_id = $1 AND item_id = want.item_id AND location_id = l.location_id
    ORDER BY version DESC LIMIT 200) e
  CROSS JOIN LATERAL (
    SELECT connection_id FROM event WHERE tenant_id = $1 AND event_id = e.event_id OFFSET 0) v
  WHERE e.kind = 'commit' AND e.committed_delta > 0 AND e.at > clock_timestamp() - make_interval(secs => $3::float8)
  GROUP BY 1, 2
)
SELECT want.item_id, c.connection_id, c.name, c.connector, CASE WHEN m.push_version > 0 THEN m.acked_quantity ELSE 0 END AS shows,
       coalesce(s.units, 0)::bigint AS units, coalesce(s.seconds, 0)::float8 AS seconds, t.lag
FROM unnest($2::uuid[]) AS want(item_id)
CROSS JOIN connection c
CROSS JOIN LATERAL (
  SELECT push_version, acked_quantity FROM channel_stock
  WHERE tenant_id = $1 AND connection_id = c.connection_id AND item_id = want.item_id AND mode <> 'observe' OFFSET 0) m
CROSS JOIN LATERAL (
  SELECT FROM variant_item vi
  CROSS JOIN LATERAL (
    SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = c.connection_id AND b.kind = 'variant'
     AND b.internal_id = vi.variant_id OFFSET 0) b
  WHERE vi.tenant_id = $1 AND vi.item_id = want.item_id LIMIT 1) sold
LEFT JOIN sales s ON s.item_id = want.item_id AND s.connection_id = c.connection_id
LEFT JOIN LATERAL (
  SELECT percentile_cont(0.95) WITHIN GROUP (
           ORDER BY extract(epoch FROM k.finished_at)::float8 - (k.ledger->>'marked_ms')::float8 / 1000) AS lag
  FROM (SELECT finished_at, ledger FROM command
        WHERE tenant_id = $1 AND entity_id = want.item_id AND connection_id = c.connection_id AND kind = 'inventory.set'
          AND state = 'succeeded' AND ledger ? 'marked_ms'
        ORDER BY command_id DESC LIMIT 40) k
) t ON true
WHERE c.tenant_id = $1
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
    return (
        not row.is_shared
        and not row.is_kit
        and row.variant_external_id is not None
        and rules.buffer_of(row.sku) == "auto"
    )


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
