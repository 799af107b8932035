"""Units that are shared out among channels: what each of them is told, in T2s and T3. The rules are `inventory.allocate`.

An item's lots change under the locks of its marks in every channel, so that two lanes never give out the same units. Each
lane tells its own channel only; whom else it concerns is marked, and works it out anew from committed state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import structlog

from tidegate.commerce.states import CommandState
from tidegate.commerce.stock import ChannelOpen, Level
from tidegate.dispatch import allocation_statements as sql
from tidegate.dispatch.decide import RETRIES_ENDED, Decision
from tidegate.dispatch.payloads import StockNumberRow
from tidegate.dispatch.records import DirtyMark, Subject
from tidegate.dispatch.scope import Scope
from tidegate.dispatch.statements import COMMAND_CHANNEL, LOCK_MARKS_EVERYWHERE
from tidegate.inventory import allocate
from tidegate.inventory.allocate import Claim, Counting, Lot
from tidegate.kernel import crashpoint
from tidegate.store.connections import Connection

log = structlog.get_logger()


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """Items of a call that are shared out, or come to be, or are not any more. The marks of all their channels are locked."""

    items: frozenset[UUID] = frozenset()
    before: frozenset[UUID] = frozenset()
    """Those that are shared out already."""


async def lock_shared(conn: Connection, scope: Scope, marks: Sequence[DirtyMark]) -> Shared:
    """Find and lock what is shared out of these items, before the marks of the lane alone are locked."""
    items, rules = [mark.item_id for mark in marks], scope.safety.rules
    if not await _may_have_lots(conn, scope):
        return Shared()
    before = frozenset(row[0] for row in await conn.fetch(sql.SHARED_ITEMS, scope.ids[0], items))
    found = set(before)
    if rules.may_share:
        found.update(row[0] for row in await conn.fetch(sql.SKUS, scope.ids[0], items) if rules.shares(row[1]) != "off")
    if not found:
        return Shared()
    await conn.fetch(LOCK_MARKS_EVERYWHERE, *scope.ids, sorted(found), sorted(found))
    before = frozenset(row[0] for row in await conn.fetch(sql.SHARED_ITEMS, scope.ids[0], items))
    return Shared(items=frozenset(found), before=before)


async def _may_have_lots(conn: Connection, scope: Scope) -> bool:
    """Whether units may be shared out in the channel's name. Where nothing is shared out, that is asked once only."""
    safety = scope.safety
    if safety.has_lots and not safety.rules.may_share:
        rules = safety.rules
        has_lots = bool(await conn.fetchval(sql.HAS_LOTS, *scope.ids))
        if safety.rules is rules:
            safety.has_lots = has_lots
    return safety.has_lots


async def allot(conn: Connection, scope: Scope, rows: list[StockNumberRow], shared: Shared) -> list[StockNumberRow]:
    """Return the rows with the numbers of shared items in place of what all channels may sell.

    Lots are stored with these numbers on their way, and channels are marked that have something to do.
    """
    mine = [row for row in rows if row.item_id in shared.items]
    if not mine:
        return rows
    ids = [row.item_id for row in mine]
    lots: dict[UUID, list[Any]] = {item_id: [] for item_id in ids}
    for lot in await conn.fetch(sql.LOTS, scope.ids[0], ids):
        lots[lot["item_id"]].append(lot)
    drained = await _drained(conn, scope, ids)
    automatic = [row.item_id for row in mine if scope.safety.rules.shares(row.sku) == "auto"]
    desk = _Desk(scope, await read_paces(conn, scope.ids[0], automatic))
    replaced: dict[UUID, StockNumberRow] = {}
    for row in mine:
        if not desk.is_shared(row, lots[row.item_id], was=row.item_id in shared.before):
            desk.forget(row.item_id, lots[row.item_id])
            continue
        replaced[row.item_id] = desk.allot(row, lots[row.item_id], is_drained=row.item_id in drained)
    await desk.store(conn)
    return [replaced.get(row.item_id, row) for row in rows]


async def read_paces(conn: Connection, tenant_id: UUID, items: Sequence[UUID]) -> dict[UUID, allocate.Pace]:
    """Return how fast items sell, and how fast their channels hear of it. Reads only."""
    rows = await conn.fetch(sql.PACE, tenant_id, list(items), allocate.PACE_SECONDS) if items else ()
    return {row["item_id"]: allocate.pace_of(row["units"], row["seconds"], row["lag"]) for row in rows}


async def _drained(conn: Connection, scope: Scope, items: list[UUID]) -> set[UUID]:
    """Return the items of which all is known that was sold before they were lowered; have feeds read that would tell."""
    seconds = scope.settings.unseen_settle_seconds
    rows = await conn.fetch(sql.DRAINED, *scope.ids, items, seconds, scope.silent_feeds)
    if not all(row["is_read"] for row in rows):
        scope.wishes.are_feeds_due = True
    return {row["item_id"] for row in rows if row["is_drained"]}


class _Desk:
    """Works out what one channel is told of each item, and collects what is to be stored."""

    def __init__(self, scope: Scope, paces: Mapping[UUID, allocate.Pace]) -> None:
        self._scope = scope
        self._paces = paces
        self._version = scope.maps().config_version or 0
        connector = scope.connector
        self._counting = allocate.counting_of(
            conditional_set=connector.conditional_set,
            deducts_own_orders=connector.deducts_own_orders,
            stock_number=connector.stock_number,
        )
        self.units: dict[UUID, int] = {}
        self._stored: list[tuple[Any, ...]] = []
        self._marked: set[tuple[UUID, UUID]] = set()
        self._forgotten: list[UUID] = []
        self._nothing: list[UUID] = []
        self._frees = False

    def is_shared(self, row: StockNumberRow, lots: Sequence[Any], *, was: bool) -> bool:
        """Whether an item is shared out from now on. A lane that does not know the newest configuration changes nothing."""
        known = max((lot["config_version"] or 0 for lot in lots), default=0)
        if was and known > self._version:
            return True
        mode = self._scope.safety.rules.shares(row.sku)
        if mode != "auto":
            return mode == "always"
        peak = sum(self._scope.safety.rules.peak_of(row.sku).values())
        pace, sellable = allocate.at_peak(self._paces[row.item_id], peak), _sellable(row)
        is_scarce = allocate.is_scarce(sellable, pace, len(lots), was_scarce=was)
        if is_scarce != was:
            log.info(
                "stock.scarce" if is_scarce else "stock.plenty",
                sku=row.sku,
                sellable=sellable,
                velocity=round(pace.velocity, 3),
                lag_seconds=round(pace.lag_seconds, 2),
                channels=len(lots),
            )
        return is_scarce

    def forget(self, item_id: UUID, lots: Sequence[Any]) -> None:
        """Have an item told as a whole to every channel again."""
        if any(lot["settled"] is not None or lot["counting"] is not None for lot in lots):
            self._forgotten.append(item_id)
            self._marked |= {(lot["connection_id"], item_id) for lot in lots}

    def allot(self, row: StockNumberRow, lots: Sequence[Any], *, is_drained: bool) -> StockNumberRow:
        """Return the row with what this channel is told of an item."""
        own = next(lot for lot in lots if lot["connection_id"] == self._scope.ids[1])
        counters = msgspec.json.decode(row.ledger, type=dict[str, int])
        carried = ChannelOpen(**{name: counters.get(name, 0) for name in _CARRIED})
        acked = row.acked_quantity
        shown = acked if acked is None or self._counting is not Counting.BOOKED else acked - carried.unfulfilled
        lot = self._lot(own, shown, row)
        is_sold = row.variant_external_id is not None
        shown = shown if is_sold else 0
        was_open = lot.worst
        if is_drained and lot.is_draining:
            if lot.settled is None:
                shown, acked = 0, 0
                self._nothing.append(row.item_id)
            lot = allocate.drain(lot, shows=shown)
        exposure = allocate.fade(own["exposure"] or 0.0, own["looked_seconds"] or 0.0)
        exposure += (own["looked_seconds"] or 0.0) if was_open and own["counting"] is not None else 0.0
        sales = allocate.fade(own["sales"] or 0.0, own["looked_seconds"] or 0.0)
        claims = [
            self._claim(
                other,
                lot if other is own else None,
                shown if other is own else other["acked_quantity"],
                own,
                (sales, exposure),
            )
            for other in lots
            if (is_sold or lot.worst != 0 if other is own else other["is_sold"] is not False or other["settled"] != 0)
        ]
        plan = allocate.plan(_sellable(row), claims)
        move = plan.moves.get(self._scope.ids[1])
        units = self._units_of(move, lot, row)
        raises = withdrawals = 0
        if move is not None and units is not None:
            raises, withdrawals = int(move.kind == "raise"), int(units < (lot.settled or 0) and move.kind != "check")
            self.units[row.item_id] = units
            lot = allocate.begin(lot, units, shown=shown)
        elif row.is_due_again and acked is not None:
            lot = allocate.begin(lot, max(0, shown or 0), shown=shown)
            self.units[row.item_id] = max(0, shown or 0)
        is_new = own["counting"] is None
        frees = (was_open or 0) > (lot.worst or 0)
        self._frees |= frees
        if is_new or frees:
            self._marked |= {(other["connection_id"], row.item_id) for other in lots if other is not own}
        self._marked |= {(channel, row.item_id) for channel in plan.moves if channel != self._scope.ids[1]}
        aim = plan.aims.get(self._scope.ids[1], 0)
        self._stored.append(
            (
                row.item_id, str(lot.counting), self._scope.connector.enforces_stock, is_sold,
                lot.settled, lot.asked, lot.cap, aim, sales, exposure, raises, withdrawals,
            )
        )  # fmt: skip
        told = self.units.get(row.item_id)
        look = self._scope.settings.drain_look_seconds if lot.is_draining else _worth_another_look(claims, exposure)
        if look is None and row.item_id in self._paces:
            look = allocate.PACE_SECONDS  # it may have become plenty although nobody buys any more
        number = acked or 0
        if told is not None:
            number = told + (carried.unfulfilled if self._counting is Counting.BOOKED else 0)
        return msgspec.structs.replace(
            row,
            quantity=number,
            acked_quantity=acked,
            is_forced=told is not None,
            is_left=told is None,
            look_seconds=look,
        )

    def _lot(self, own: Any, shown: int | None, row: StockNumberRow) -> Lot:
        if row.variant_external_id is None and own["counting"] is None:
            return Lot(counting=self._counting, settled=0)
        if own["counting"] is None:
            is_known = self._counting is Counting.COMPARED and shown is not None and own["moved"] is not None
            is_known = is_known and not (row.may_come_late or row.is_due_again)
            return Lot(counting=self._counting, settled=max(0, shown or 0) if is_known else None)
        lot = Lot(counting=Counting(own["counting"]), settled=own["settled"], asked=own["asked"], cap=own["cap"])
        if lot.asked is not None:  # somebody gave the number up without an answer
            lot = allocate.answer(lot, "unsure", before=shown, shows=None, is_late=True)
        if lot.counting is not self._counting:  # the connector counts in another way than it did
            lot = Lot(counting=self._counting, settled=None)
        if (
            row.variant_external_id is None
        ):  # it sells no more; what it sold until now is read before its units go elsewhere
            return msgspec.structs.replace(lot, cap=None if lot.settled == 0 else 0)
        return lot

    def _claim(self, other: Any, lot: Lot | None, shown: int | None, own: Any, rate: tuple[float, float]) -> Claim:
        allocation, is_own = self._scope.safety.rules.allocation, other is own
        if lot is None:
            is_known = other["counting"] is not None
            lot = Lot(
                counting=Counting(other["counting"]) if is_known else Counting.BLIND,
                settled=other["settled"],
                asked=other["asked"],
                cap=other["cap"],
            )
            age = other["looked_seconds"] or 0.0
            worth = age if lot.worst else 0.0
            rate = (allocate.fade(other["sales"] or 0.0, age), allocate.fade(other["exposure"] or 0.0, age) + worth)
        return Claim(
            channel=other["connection_id"],
            lot=lot,
            shown=shown,
            weight=allocation.weights.get(other["name"], 1.0) if other["is_sold"] is not False else 0.0,
            minimum=allocation.minimum.get(other["name"], 0),
            velocity=allocate.velocity_of(*rate),
            is_late=other["may_come_late"] or (other["is_due_again"] and lot.counting is not Counting.COMPARED),
            is_held=not is_own and (other["is_blocked"] or not other["sendable"] or other["state"] != "active"),
        )

    def _units_of(self, move: allocate.Move | None, lot: Lot, row: StockNumberRow) -> int | None:
        """Return what the channel is to be let sell, in whole packs; None where there is nothing to tell."""
        if move is None or row.variant_external_id is None:
            return None
        units = move.units // row.units_per_variant * row.units_per_variant
        if move.kind == "raise" and units + lot.slack(row.acked_quantity) <= (lot.worst or 0):
            return None
        if move.kind == "close" and row.acked_quantity == 0 and row.may_come_late:
            return None
        return units

    async def store(self, conn: Connection) -> None:
        """Write what was worked out."""
        scope = self._scope
        if self._forgotten:
            await conn.execute(sql.FORGET_LOTS, scope.ids[0], self._forgotten)
            log.info("stock.shared_no_more", connection=scope.connection.name, count=len(self._forgotten))
        if self._stored:
            columns = [list(column) for column in zip(*self._stored, strict=True)]
            await conn.execute(sql.STORE_LOTS, *scope.ids, *columns, self._version)
        if self._nothing:
            await conn.execute(sql.SHOW_NOTHING, *scope.ids, self._nothing)
        await _mark(conn, scope, self._marked)
        if self._frees:
            crashpoint.reach("dispatch.lots.freed")


def _worth_another_look(claims: Sequence[Claim], exposure_seconds: float) -> float | None:
    """Return after how many seconds units that nobody buys may be worth a try elsewhere; None where all channels have some.

    How fast a channel sells is known in powers of two, so nothing changes before the time that it had units has doubled.
    """
    has_none = [not claim.lot.worst for claim in claims]
    return max(allocate.PRIOR_SECONDS, exposure_seconds) if any(has_none) and not all(has_none) else None


def _sellable(row: StockNumberRow) -> int:
    """Return the units that all channels together may sell, from what the number was made of."""
    counters = msgspec.json.decode(row.ledger, type=dict[str, int])
    level = Level(**{name: counters[name] for name in _LEVEL})
    return level.available - level.safety_stock - level.unseen


_LEVEL = ("on_hand", "unavailable", "committed", "reserved", "safety_stock", "unseen")
_CARRIED = ("unfulfilled", "shipped_unconfirmed")


async def _mark(conn: Connection, scope: Scope, pairs: set[tuple[UUID, UUID]]) -> None:
    if pairs:
        columns = [list(column) for column in zip(*sorted(pairs), strict=True)]
        await conn.execute(sql.MARK_CHANNELS, scope.ids[0], *columns)
        await conn.execute("SELECT pg_notify($1, '')", COMMAND_CHANNEL)


async def look_later(conn: Connection, scope: Scope, items: Mapping[UUID, float]) -> None:
    """Have items looked at again after so many seconds each."""
    if items:
        await conn.execute(sql.LOOK_LATER, *scope.ids, list(items), list(items.values()))


async def shared_items(conn: Connection, scope: Scope, items: Sequence[UUID]) -> list[UUID]:
    """Return which of these items are shared out: their marks are to be locked in every channel."""
    if not items or not scope.safety.has_lots:
        return []
    return [row[0] for row in await conn.fetch(sql.SHARED_ITEMS, scope.ids[0], list(items))]


async def read_lots(conn: Connection, scope: Scope, items: Sequence[UUID]) -> dict[UUID, Any]:
    """Return the channel's lots of these items with their marks."""
    rows = await conn.fetch(sql.OWN_LOTS, *scope.ids, list(items)) if items and scope.safety.has_lots else ()
    return {row["item_id"]: row for row in rows}


async def settle_lots(
    conn: Connection, scope: Scope, over: Sequence[tuple[Subject, Decision]], before: Mapping[UUID, Any]
) -> None:
    """Bring lots to what became of their numbers. `before`: lots and marks right before the marks were released."""
    if not before:
        return
    after = await read_lots(conn, scope, list(before))
    found: list[tuple[UUID, int | None, int | None]] = []
    marked: set[tuple[UUID, UUID]] = set()
    for subject, decision in over:
        was, now = before.get(subject.entity_id), after.get(subject.entity_id)
        if was is None or now is None or was["asked"] is None:
            continue
        lot = Lot(counting=Counting(was["counting"]), settled=was["settled"], asked=was["asked"], cap=was["cap"])
        is_compared = lot.counting is Counting.COMPARED
        settled = allocate.answer(
            lot,
            _fate_of(decision),
            before=was["acked_quantity"] if is_compared else None,
            shows=now["acked_quantity"] if is_compared else _odd(decision, was["pack"]),
            seen=_seen(subject, decision, was),
            gone=now["unseen"] - was["unseen"],
            is_late=now["is_late"],
            is_compared=is_compared and was["acked_quantity"] is not None,
        )
        if decision.is_unbounded:
            settled = Lot(counting=lot.counting, settled=None)
        found.append((subject.entity_id, settled.settled, settled.cap))
        if lot.worst is not None and (settled.worst is None or settled.worst < lot.worst):
            marked.add((scope.ids[1], subject.entity_id))
    if not found:
        return
    items = [item_id for item_id, _, _ in found]
    await conn.execute(sql.SETTLE_LOTS, *scope.ids, *[list(column) for column in zip(*found, strict=True)])
    seconds = scope.settings.drain_look_seconds
    await look_later(conn, scope, {item_id: seconds for item_id, _, cap in found if cap is not None})
    if freed := {item_id for _, item_id in marked}:
        for row in await conn.fetch(sql.LOTS, scope.ids[0], sorted(freed)):
            marked.add((row["connection_id"], row["item_id"]))
        await _mark(conn, scope, marked)
        crashpoint.reach("dispatch.lots.freed")
    log.debug("stock.lots_settled", connection=scope.connection.name, count=len(items))


def _fate_of(decision: Decision) -> allocate.Fate:
    if decision.state is CommandState.SUCCEEDED and decision.late_seconds is None:
        return "arrived"
    is_unsure = (
        decision.is_unsure
        or decision.forget_acked
        or decision.late_seconds is not None
        or decision.code == RETRIES_ENDED
    )
    return "unsure" if is_unsure else "refused"


def _odd(decision: Decision, pack: int) -> int | None:
    """Return the units that a channel shows although it was told another number; None where it did not say so."""
    return decision.shown * pack if decision.shown is not None and decision.is_unsure else None


def _seen(subject: Subject, decision: Decision, was: Any) -> int | None:
    """Return what the channel certainly showed at some moment of the call, in units."""
    pack: int = was["pack"]
    acked: int | None = was["acked_quantity"]
    if decision.state is CommandState.SUCCEEDED:
        if decision.shown is None or acked is None:
            return subject.quantity
        less = max(0, ((acked + (was["moved"] or 0)) // pack - decision.shown) * pack)
        return max(0, (subject.quantity or 0) - less)
    if decision.shown is None or acked is None:
        return None
    return max(0, acked + (decision.shown - acked // pack) * pack)
