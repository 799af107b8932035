"""What can be promised about an item: how many units its channels may at worst sell that nobody has, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from tidegate.commerce.stock import Level
from tidegate.config import Config
from tidegate.config.effective import effective
from tidegate.dispatch.allocation import read_paces
from tidegate.dispatch.allocation_statements import LOTS
from tidegate.dispatch.safety import safety_rules
from tidegate.dispatch.statements import NUMBERS
from tidegate.inventory import allocate
from tidegate.inventory.allocate import Counting, Pace
from tidegate.monitor.stock_view import find_item
from tidegate.store.connections import Connection

COUNTERS = ("on_hand", "unavailable", "committed", "reserved", "safety_stock", "unseen")


class ChannelPromise(msgspec.Struct, frozen=True, kw_only=True):
    """What one channel may do."""

    channel: str
    may_sell: int | None
    """Units that it may at worst still sell and that no order told yet; None: not known, or not bounded."""
    share: int | None
    """Units that it is to have; None where units are not shared out."""
    counting: str
    promise: Literal["impossible", "bounded", "not yet"]
    bound: int | None
    """Units that it may at worst sell beyond what there is; None: not known yet."""
    why: str


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What can be promised about an item."""

    sku: str
    is_shared: bool
    """Units are shared out among the channels now."""
    mode: str
    """What the configuration says: off, auto or always."""
    sellable: int
    pool: int | None
    """Units that no channel may sell at the moment; None: not known yet."""
    velocity: float
    """Units a second, over all channels, in the last minute."""
    lag_seconds: float
    """From a change to the moment at which channels are told, at most times."""
    bound: int | None
    """Units that all channels together may at worst sell beyond what there is; None: not known yet."""
    channels: tuple[ChannelPromise, ...]
    words: str


async def read_promise(conn: Connection, tenant_id: UUID, sku: str, config: Config) -> Promise:
    """Return what can be promised about a SKU, from one snapshot. Raises ConfigurationError when there is no such item."""
    rules = safety_rules(effective(config, datetime.now(UTC)).planned)
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        item = await find_item(conn, tenant_id, sku)
        lots = await conn.fetch(LOTS, tenant_id, [item["item_id"]])
        paces = await read_paces(conn, tenant_id, [item["item_id"]])
        sellable = 0
        if lots:
            number = await conn.fetchrow(NUMBERS, tenant_id, lots[0]["connection_id"], [item["item_id"]])
            level = Level(**{name: int(number[name]) for name in COUNTERS}) if number is not None else Level(on_hand=0)
            sellable = level.available - max(level.safety_stock, rules.of(item["sku"])) - level.unseen
    return tell_promise(item["sku"], rules.shares(item["sku"]), sellable, lots, paces[item["item_id"]])


def tell_promise(sku: str, mode: str, sellable: int, lots: Sequence[Any], pace: Pace) -> Promise:
    """Return the promise from the lots of an item's channels. Pure."""
    is_shared = any(lot["counting"] is not None for lot in lots)
    sold_by = [lot for lot in lots if lot["is_sold"] is not False]
    channels = tuple(_shared(lot, pace) if is_shared else _whole(lot, pace) for lot in sold_by)
    bounds = [channel.bound for channel in channels]
    worst = [channel.may_sell for channel in channels]
    known = [bound for bound in bounds if bound is not None]
    bound = sum(known) if len(known) == len(bounds) else None
    if not is_shared:
        bound = allocate.units_within(pace.velocity, pace.lag_seconds) if len(channels) > 1 else 0
    pool = sellable - sum(units or 0 for units in worst) if is_shared and None not in worst else None
    return Promise(
        sku=sku,
        is_shared=is_shared,
        mode=mode,
        sellable=sellable,
        pool=pool,
        velocity=round(pace.velocity, 3),
        lag_seconds=round(pace.lag_seconds, 2),
        bound=bound,
        channels=channels,
        words=_words(sellable, bound, pool, pace, is_shared=is_shared, count=len(channels)),
    )


def _words(sellable: int, bound: int | None, pool: int | None, pace: Pace, *, is_shared: bool, count: int) -> str:
    if not count:
        return "no channel that we tell numbers sells it"
    if not is_shared:
        how = f"each of {count} channels is told all {max(0, sellable)} units"
        return f"{how}: at {pace.velocity:.2g} a second and {pace.lag_seconds:.1f} s until they hear of a sale, up to {bound} may be sold too often"
    if bound is None:
        return "units are shared out, and it is not known yet what every channel shows: nothing is promised until it is"
    if pool is not None and pool < 0:
        return f"{-pool} more than there are may be sold: they are being withdrawn"
    if bound:
        return f"units are shared out; channels that sell below zero may sell up to {bound} too often"
    return (
        f"overselling is impossible: all channels together may sell at most the {max(0, sellable)} units that there are"
    )


_COUNTING = {
    Counting.COMPARED: "a number is set only where it shows what we expect",
    Counting.BOOKED: "it keeps its open orders apart, so that a number never offers them again",
    Counting.BLIND: "it is told 0, and its orders are read, before it is told more",
}


def _shared(lot: Any, pace: Pace) -> ChannelPromise:
    worst = None if lot["settled"] is None else max(lot["settled"], lot["asked"] or 0)
    counting = Counting(lot["counting"]) if lot["counting"] is not None else None
    promise: Literal["impossible", "bounded", "not yet"] = "impossible"
    bound: int | None = 0
    why = _COUNTING[counting] if counting is not None else "its lane has not looked at the item yet"
    if worst is None or counting is None:
        promise, bound = "not yet", None
        if counting is not None:
            why = "it is not known what it shows: it is told 0, and its orders up to then are read"
        if lot["state"] != "active":
            why += f"; its connection is {lot['state']}"
    elif not lot["enforces"]:
        promise, bound = "bounded", allocate.units_within(pace.velocity, pace.lag_seconds)
        why = "it may sell below zero until it is told; " + why
    return ChannelPromise(
        channel=lot["name"],
        may_sell=worst,
        share=lot["aim"],
        counting=str(counting or ""),
        promise=promise,
        bound=bound,
        why=why,
    )


def _whole(lot: Any, pace: Pace) -> ChannelPromise:
    return ChannelPromise(
        channel=lot["name"],
        may_sell=lot["acked_quantity"],
        share=None,
        counting="",
        promise="bounded",
        bound=allocate.units_within(pace.velocity, pace.lag_seconds),
        why="it is told all that can be sold, and sells on until it hears of the others' sales",
    )
