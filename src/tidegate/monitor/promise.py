"""What can be promised about an item: how many units its channels may at worst sell that nobody has, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from tidegate.commerce.stock import Level
from tidegate.config import Config
from tidegate.config.effective import effective
from tidegate.dispatch.allocation import read_paces
from tidegate.dispatch.allocation_statements import LOTS
from tidegate.dispatch.buffers import read_sellers, seller_of
from tidegate.dispatch.numbers import read_numbers
from tidegate.dispatch.safety import safety_rules
from tidegate.dispatch.settings import DEFAULTS
from tidegate.inventory import allocate
from tidegate.inventory.allocate import Counting, Pace
from tidegate.inventory.buffer import Broadcast, Buffer, Seller, broadcast, limit_of
from tidegate.monitor.stock_view import find_item
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection

COUNTERS = ("on_hand", "unavailable", "committed", "reserved", "safety_stock", "unseen")


class ChannelPromise(msgspec.Struct, frozen=True, kw_only=True):
    """What one channel may do."""

    channel: str
    may_sell: int | None
    """Units that it may at worst still sell and that no order told yet; None: not known, or not bounded."""
    share: int | None
    """Units that it is to have; None where units are not shared out."""
    held: int
    """Units that can be sold and that it is not to be told of, because others may sell them before it hears of it."""
    counting: str
    promise: Literal["impossible", "bounded", "not yet"]
    bound: int | None
    """Units that it may at worst sell beyond what there is; None: not known yet."""
    velocity: float
    """Units a second that it sells, or is expected to."""
    lag_seconds: float
    """Until it is told a number, at most times."""
    why: str


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What can be promised about an item."""

    sku: str
    is_shared: bool
    """Units are shared out among the channels now."""
    mode: str
    """What the configuration says: off, auto or always."""
    buffer: str
    """What the configuration says of units that are held back while it is not shared out: off, auto or a number."""
    sellable: int
    pool: int | None
    """Units that no channel may sell at the moment; None: not known yet."""
    velocity: float
    """Units a second, over all channels, in the last minute, or as expected."""
    lag_seconds: float
    """From a change to the moment at which channels are told, at most times."""
    bound: int | None
    """Units that all channels together may at worst sell beyond what there is; None: not known yet."""
    channels: tuple[ChannelPromise, ...]
    words: str


class PromiseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a promise is made of."""

    sku: str
    sellable: int
    lots: Sequence[Any]
    """Rows of `LOTS`, of each channel that is told numbers."""
    sellers: Sequence[Seller]
    """Those of them that sell the item."""
    pace: Pace
    """Over all channels."""
    polled: frozenset[UUID]
    """Channels whose orders are read, whatever became of their webhooks."""
    mode: str = "off"
    buffer: Buffer = "off"
    limit: int = 0
    """Units that may be sold too often where the buffer is worked out."""


async def read_promise(
    conn: Connection, tenant_id: UUID, sku: str, config: Config, connectors: Mapping[str, Connector]
) -> Promise:
    """Return what can be promised about a SKU, from one snapshot. Raises ConfigurationError when there is no such item."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        item = await find_item(conn, tenant_id, sku)
        return await promise_of(conn, tenant_id, item["item_id"], item["sku"], config, connectors)


async def promise_of(
    conn: Connection, tenant_id: UUID, item_id: UUID, sku: str, config: Config, connectors: Mapping[str, Connector]
) -> Promise:
    """Return what can be promised about an item, inside a transaction of the caller's."""
    rules = safety_rules(effective(config, datetime.now(UTC)).planned)
    peaks = rules.peak_of(sku)
    lots = await conn.fetch(LOTS, tenant_id, [item_id])
    sellers = (await read_sellers(conn, tenant_id, [item_id]))[item_id]
    pace = (await read_paces(conn, tenant_id, [item_id]))[item_id]
    sellable, is_kit = 0, False
    if lots:
        (number,) = await read_numbers(
            conn, tenant_id, lots[0]["connection_id"], [item_id], rules, stock_number="available"
        )
        is_kit = number["parts"] is not None
        level = Level(**{name: int(number[name]) for name in COUNTERS})
        kept = level.safety_stock if is_kit else max(level.safety_stock, rules.of(sku))
        sellable = level.available - kept - level.unseen
    known = {lot["connection_id"]: connectors.get(lot["connector"]) for lot in lots}
    selling = [seller_of(row, peaks, enforces=_enforces(known.get(row["connection_id"]))) for row in sellers]
    if is_kit:  # no entry of the ledger is about its own item
        pace = Pace(
            sum(seller.pace.velocity for seller in selling),
            max((seller.pace.lag_seconds for seller in selling), default=allocate.LAG_SECONDS),
        )
    facts = PromiseFacts(
        sku=sku,
        sellable=sellable,
        lots=lots,
        sellers=selling,
        pace=allocate.at_peak(pace, sum(peaks.values())),
        polled=frozenset(channel for channel, connector in known.items() if connector and _is_polled(connector)),
        mode="off" if is_kit else rules.shares(sku),
        buffer=rules.buffer_of(sku),
        limit=limit_of(rules.oversell_max, sellable),
    )
    return _of_kit(tell_promise(facts)) if is_kit else tell_promise(facts)


def _of_kit(found: Promise) -> Promise:
    """Return the promise of a kit, in words that say what it is."""
    made = (
        f"it is made of other articles: {max(0, found.sellable)} can be made of what its parts leave, none where the units of a "
        "part are shared out"
    )
    return msgspec.structs.replace(found, words=f"{made}; {found.words}")


def _enforces(connector: Connector | None) -> bool:
    return connector is not None and connector.enforces_stock


def _is_polled(connector: Connector) -> bool:
    return any(feed.tells_sales for feed in connector.feeds.values())


def tell_promise(facts: PromiseFacts) -> Promise:
    """Return the promise from the lots of an item's channels. Pure."""
    is_shared = any(lot["counting"] is not None for lot in facts.lots)
    sellers = {seller.channel: seller for seller in facts.sellers if seller.is_told}
    plan = broadcast(facts.sellable, facts.sellers, facts.buffer, limit=facts.limit)
    if is_shared:
        channels = tuple(
            _shared(lot, sellers.get(lot["connection_id"]), facts)
            for lot in facts.lots
            if lot["is_sold"] is not False or lot["settled"] != 0
        )
    else:
        channels = tuple(
            _whole(lot, sellers[lot["connection_id"]], plan, facts)
            for lot in facts.lots
            if lot["connection_id"] in sellers
        )
    bounds = [channel.bound for channel in channels]
    worst = [channel.may_sell for channel in channels]
    known = [bound for bound in bounds if bound is not None]
    bound = sum(known) if len(known) == len(bounds) else None
    pool = facts.sellable - sum(units or 0 for units in worst) if is_shared and None not in worst else None
    return Promise(
        sku=facts.sku,
        is_shared=is_shared,
        mode=facts.mode,
        buffer=str(facts.buffer),
        sellable=facts.sellable,
        pool=pool,
        velocity=round(facts.pace.velocity, 3),
        lag_seconds=round(facts.pace.lag_seconds, 2),
        bound=bound,
        channels=channels,
        words=_shared_words(facts, bound, pool) if is_shared else _whole_words(facts, channels, bound or 0),
    )


def _shared_words(facts: PromiseFacts, bound: int | None, pool: int | None) -> str:
    if bound is None:
        return "units are shared out, and it is not known yet what every channel shows: nothing is promised until it is"
    if pool is not None and pool < 0:
        return f"{-pool} more than there are may be sold: they are being withdrawn"
    if bound:
        return f"units are shared out; not every channel can be held to its part: up to {bound} may be sold too often"
    return f"overselling is impossible: all channels together may sell at most the {max(0, facts.sellable)} units that there are"


def _whole_words(facts: PromiseFacts, channels: Sequence[ChannelPromise], bound: int) -> str:
    if not channels:
        return "no channel that we tell numbers sells it"
    left, count, pace = max(0, facts.sellable), len(channels), facts.pace
    who = "the channel" if count == 1 else f"each of {count} channels"
    if count == 1 and not bound and not channels[0].held:
        return f"one channel sells it, and is told all {left} units"
    at = f"at {pace.velocity:.2g} a second and {pace.lag_seconds:.1f} s until they hear of a sale"
    match facts.buffer:
        case "off":
            how = f"{who} is told all {left} units"
        case "auto":
            how = f"{who} is told fewer than the {left} units by what others sell before it hears of it"
        case int() as kept:
            how = f"{who} is told {kept} fewer than the {left} units"
    if not pace.velocity:
        return (
            f"{how}; nothing was sold in the last minute, and no peak is expected (`stock.peak`): what a sudden rush may "
            "sell too often is not known"
        )
    return f"{how}: {at}, up to {bound} may be sold too often"


_COUNTING = {
    Counting.COMPARED: "a number is set only where it shows what we expect",
    Counting.BOOKED: "it keeps its open orders apart, so that a number never offers them again",
    Counting.BLIND: "it is told 0, and its orders are read, before it is told more",
}


def _shared(lot: Any, seller: Seller | None, facts: PromiseFacts) -> ChannelPromise:
    worst = None if lot["settled"] is None else max(lot["settled"], lot["asked"] or 0)
    counting = Counting(lot["counting"]) if lot["counting"] is not None else None
    pace = seller.pace if seller is not None else facts.pace
    risk = 0
    reasons = [_COUNTING[counting] if counting is not None else "its lane has not looked at the item yet"]
    if worst is None or counting is None:
        if counting is not None:
            reasons = ["it is not known what it shows: it is told 0, and its orders up to then are read"]
        if lot["state"] != "active":
            reasons.append(f"its connection is {lot['state']}")
    else:
        if not lot["enforces"]:
            risk += allocate.units_within(pace.velocity, pace.lag_seconds)
            reasons.insert(0, "it may sell below zero until it is told")
        if lot["connection_id"] not in facts.polled:
            risk += max(worst, lot["aim"] or 0)
            seconds = f"{DEFAULTS.unseen_settle_seconds:g} s"
            reasons.append(
                f"its orders come by webhooks alone: one that comes later than {seconds} after it was told 0 finds its units "
                "given to another channel"
            )
    bound = None if worst is None or counting is None else risk
    return ChannelPromise(
        channel=lot["name"],
        may_sell=worst,
        share=lot["aim"],
        held=0,
        counting=str(counting or ""),
        promise="not yet" if bound is None else "bounded" if bound else _certainty(lot, facts),
        bound=bound,
        velocity=round(pace.velocity, 3),
        lag_seconds=round(pace.lag_seconds, 2),
        why="; ".join(reasons),
    )


def _certainty(lot: Any, facts: PromiseFacts) -> Literal["impossible", "bounded"]:
    """A bound that happens to be 0 now is no proof."""
    return "impossible" if lot["enforces"] and lot["connection_id"] in facts.polled else "bounded"


def _whole(lot: Any, seller: Seller, plan: Broadcast, facts: PromiseFacts) -> ChannelPromise:
    told = plan.told[seller.channel]
    held = max(0, facts.sellable) - told
    if len(facts.sellers) == 1 and not seller.sells_apart:
        why = "nobody else sells it"
    elif held:
        under = ", or under other SKUs," if any(s.sells_apart or not s.is_told for s in facts.sellers) else ""
        why = f"it is told {told}: {held} may be sold by others{under} before it hears of it"
    else:
        why = "it is told all that can be sold, and sells on until it hears of the others' sales"
    if not seller.enforces:
        why += "; it may sell below zero until it is told"
    return ChannelPromise(
        channel=lot["name"],
        may_sell=lot["acked_quantity"],
        share=None,
        held=held,
        counting="",
        promise="bounded",
        bound=plan.risks[seller.channel],
        velocity=round(seller.pace.velocity, 3),
        lag_seconds=round(seller.pace.lag_seconds, 2),
        why=why,
    )
