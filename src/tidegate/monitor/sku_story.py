"""The story of one SKU: how its numbers came to be, who holds units of it, and what each channel was told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from tidegate.commerce.commands import Priority
from tidegate.commerce.significance import BEYOND, describe
from tidegate.dispatch.drift_decide import Cause
from tidegate.kernel.ids import public_id, time_of
from tidegate.monitor.drift_view import CAUSE_WORDS
from tidegate.monitor.promise import Promise
from tidegate.monitor.stock_view import ChannelView, Unseen
from tidegate.monitor.story import Row, Step
from tidegate.monitor.waiting import LaneFacts, Wait

COUNTERS = ("on_hand", "unavailable", "committed", "reserved")


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """How one ledger entry changed one counter."""

    counter: str
    before: int
    after: int


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A number that a channel was told, or was to be told."""

    command: str
    quantity: int
    state: str
    at: datetime
    entries: int | None
    """How many ledger entries of the item the number was made of; None for numbers of an earlier release."""


class SkuChannel(msgspec.Struct, frozen=True, kw_only=True):
    """One channel's belief about the item, and the rule that holds the next number back."""

    connection: str
    mode: str
    """The mode of the stock flow towards it for this SKU; `none` when no flow tells it."""
    was_told: int | None
    told_at: datetime | None
    should_be_told: int | None
    is_dirty: bool
    dirty_since: datetime | None
    last: Told | None
    """The newest number that was on its way; it may have failed."""
    waits: str
    """What holds the next number; '' when there is nothing to tell."""
    waits_until: datetime | None
    unseen: Unseen | None
    """What it shows and no order explains; None when there is nothing of the kind."""
    urgency: str
    """Which of the next changes go out at once; '' while nothing is known to have arrived there."""


class SkuOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that holds units of the item."""

    order_id: str
    number: str
    channel: str
    units: int
    order_state: str
    payment_state: str
    placed_at: datetime


class SkuReservation(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation that holds units of the item, or a claim that stands committed until its order comes."""

    reservation_id: str
    reference: str | None
    state: str
    location: str
    units: int
    due_at: datetime


class SkuStory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of one SKU."""

    sku: str
    mode: str
    """The mode of the stock flow for this SKU; `none` without a stock flow."""
    owner: str | None
    """The connection that counts it."""
    levels: tuple[Mapping[str, Any], ...]
    channels: tuple[SkuChannel, ...]
    orders: tuple[SkuOrder, ...]
    """Oldest first, cut at a limit."""
    reservations: tuple[SkuReservation, ...]
    """Due first, cut at a limit."""
    bindings: tuple[Mapping[str, Any], ...]
    steps: tuple[Step, ...]
    """By time: ledger entries, numbers told and differences found, cut at a limit."""
    promise: Promise
    """Whether it can be oversold, and by how many units."""
    is_cut: bool
    """There are older entries or numbers than those shown."""


class SkuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that the story is made of, as the statements of `sku_story.sql` give them."""

    sku: str
    levels: Sequence[Row]
    entries: Sequence[Row]
    orders: Sequence[Row]
    holders: Sequence[Row]
    told: Sequence[Row]
    marks: Sequence[tuple[ChannelView, Row]]
    """Belief and mark of each channel."""
    bindings: Sequence[Row]
    drift: Sequence[Row]
    """What looks found of it, and what became of it."""
    lanes: Mapping[UUID, LaneFacts]
    promise: Promise
    is_cut: bool


class SkuModes(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says about the SKU."""

    mode: str
    owner: str | None
    targets: tuple[str, ...]


def tell_sku(facts: SkuFacts, modes: SkuModes, *, cell: str) -> SkuStory:
    """Return the story that the rows tell."""
    newest: dict[UUID, Row] = {}
    for row in facts.told:
        newest.setdefault(row["connection_id"], row)
    steps = [*_ledger_steps(facts.entries, cell), *_told_steps(facts.told, cell), *_look_steps(facts.drift, cell)]
    steps.sort(key=lambda step: step.at)
    return SkuStory(
        sku=facts.sku,
        mode=modes.mode,
        owner=modes.owner,
        levels=tuple(dict(row) for row in facts.levels),  # type: ignore[call-overload]
        channels=tuple(_channel(view, mark, newest, modes, facts, cell) for view, mark in facts.marks),
        orders=tuple(_order(row, cell) for row in facts.orders),
        reservations=tuple(_reservation(row, cell) for row in facts.holders),
        bindings=tuple(dict(row) for row in facts.bindings),  # type: ignore[call-overload]
        steps=tuple(steps),
        promise=facts.promise,
        is_cut=facts.is_cut,
    )


def movements(entry: Row) -> tuple[Movement, ...]:
    """Return what an entry changed, as before and after."""
    return tuple(
        Movement(counter=name, before=entry[f"{name}_after"] - entry[f"{name}_delta"], after=entry[f"{name}_after"])
        for name in COUNTERS
        if entry[f"{name}_delta"]
    )


def _ledger_steps(rows: Sequence[Row], cell: str) -> Iterable[Step]:
    orders = {row["order_line_id"]: row for row in rows if row["order_id"] is not None}
    for row in rows:
        order = orders.get(row["order_line_id"])  # a movement names the line only; the commit before it names the order
        shown = ", ".join(f"{change.counter} {change.before} → {change.after}" for change in movements(row))
        because = f" because of order {order['order_number']}" if order is not None else ""
        yield Step(
            at=row["at"],
            kind="ledger",
            words=f"{row['kind']} at {row['location']}: {shown or 'no change'}{because}",
            about=_about(row, cell),
            detail={
                "entry": row["version"],
                "cause": row["cause_key"],
                "actor": row["actor"],
                "order": public_id("ord", cell, order["order_id"]) if order is not None else None,
            },
        )


def _about(row: Row, cell: str) -> str:
    """Return what an entry is because of: a reservation, else an event."""
    if row["reservation_id"] is not None:
        return public_id("res", cell, row["reservation_id"])
    return public_id("evt", cell, row["event_id"]) if row["event_id"] else ""


_TONES = {"succeeded": "good", "failed": "bad", "in_doubt": "doubt"}
_STATE_WORDS = {
    "succeeded": "told {where}: {number}",
    "superseded": "{where} was to be told {number}; a newer number took its place",
    "failed": "{where} could not be told {number}",
    "cancelled": "{where} is not told {number}",
    "in_doubt": "{where} was sent {number} without an answer; it is being verified",
    "sending": "{where} is being told {number}",
    "pending": "{where} will be told {number}",
    "proposed": "{where} would be told {number}; it waits for an approval",
}


def _told_steps(rows: Iterable[Row], cell: str) -> Iterable[Step]:
    for row in rows:
        words = _STATE_WORDS.get(row["state"], "{where}: {number}").format(
            where=row["connection"], number=row["quantity"]
        )
        entries = _entries(row)
        if entries is not None:
            words += f", made of ledger entries 1 to {entries}" if entries else ", before the first ledger entry"
        if (because := _ledger(row).get("because")) is not None:
            words += f", sent at once because {describe(str(because))}"
        if row["reason"] and row["state"] != "succeeded":
            words += f" - {row['reason']}"
        yield Step(
            at=time_of(row["command_id"]),
            kind="stock",
            words=words,
            about=public_id("cmd", cell, row["command_id"]),
            tone=_TONES.get(row["state"], "plain"),
            detail={"version": row["version"], "code": row["code"], "counters": _counters(row)},
        )


_LOOK_WORDS = {
    "found": "a look at {where} found {field} {shown}, where it should be {owned}: {cause}",
    "changed": "a look at {where} found {field} {shown}, where it should be {owned}: {cause}",
    "gone": "a look at {where} found {field} even again",
    "told": "{where} is told {field} anew because of a look, by {actor}",
    "asked": "a person is asked whether {where} is told {field} anew",
    "deleted": "{where} deleted its article {article}: it is told no numbers any more, its orders go on",
    "restored": "{where} has its article {article} again: its numbers are told as before",
    "relinked": "{where} made the article anew as {article}, the only one with this SKU: it is bound in the deleted one's place",
    "relink_asked": "{where} has an article {article} with this SKU; whether it takes the deleted one's place, a person says",
}


_LOOK_TONES = {
    "found": "doubt",
    "changed": "doubt",
    "gone": "good",
    "deleted": "doubt",
    "restored": "good",
    "relinked": "good",
    "relink_asked": "doubt",
}


def _look_steps(rows: Iterable[Row], cell: str) -> Iterable[Step]:
    for row in rows:
        words = _LOOK_WORDS[row["kind"]].format(
            where=row["connection"],
            field=row["field"],
            shown=_units(row["other_value"]),
            owned=_units(row["owner_value"]),
            cause=CAUSE_WORDS[Cause(row["cause"])] if row["cause"] else "",
            actor=row["actor"],
            article=row["external_id"],
        )
        yield Step(
            at=row["at"],
            kind="drift",
            words=words,
            about=public_id("evt", cell, row["event_id"]) if row["event_id"] is not None else "",
            tone=_LOOK_TONES.get(row["kind"], "plain"),
            detail={"cause": row["cause"], "run": public_id("run", cell, row["run_id"]) if row["run_id"] else None},
        )


def _units(value: Decimal | None) -> str:
    return "nothing" if value is None else format(value.normalize(), "f")


def _channel(
    view: ChannelView, mark: Row, newest: Mapping[UUID, Row], modes: SkuModes, facts: SkuFacts, cell: str
) -> SkuChannel:
    last = newest.get(mark["connection_id"])
    mode = modes.mode if view.connection in modes.targets else "none"
    wait = explain_mark(mark, view, mode=mode, lane=facts.lanes.get(mark["connection_id"], LaneFacts(state="active")))
    return SkuChannel(
        connection=view.connection,
        mode=mode,
        was_told=view.was_told,
        told_at=view.told_at,
        should_be_told=view.should_be_told,
        is_dirty=view.is_dirty,
        dirty_since=mark["dirty_at"],
        last=_told(last, cell) if last is not None else None,
        waits=wait.words if wait is not None else "",
        waits_until=wait.until if wait is not None else None,
        unseen=view.unseen,
        urgency=tell_urgency(mark),
    )


def tell_urgency(mark: Row) -> str:
    """Return which changes of a number go out at once, in words; '' where nothing is known to have arrived. Pure."""
    lowest, highest = mark["quiet_from"], mark["quiet_to"]
    if lowest is None or highest is None:
        return ""
    at_once = (
        " (the next number goes at once)" if mark["dirty"] and mark["priority"] <= Priority.INVENTORY_CRITICAL else ""
    )
    told = f"when it was told, {mark['told_available']} were available; "
    if lowest == highest:
        return f"{told}every change goes out at once{at_once}"
    if lowest <= -BEYOND and highest >= BEYOND:
        return f"{told}changes wait for company{at_once}"
    if lowest <= -BEYOND:
        return f"{told}above {highest} it goes out at once{at_once}"
    upper = "" if highest >= BEYOND else f" or above {highest}"
    return f"{told}below {lowest}{upper} it goes out at once{at_once}"


def explain_mark(mark: Row, view: ChannelView, *, mode: str, lane: LaneFacts) -> Wait | None:
    """Return the strongest rule that keeps a channel from its next number; None when there is nothing to tell."""
    differs = view.should_be_told is not None and view.was_told != view.should_be_told
    if mark["blocked_by"] is not None:
        return Wait(rule="answer", words="a number is on its way, or it is being verified whether it arrived")
    if not mark["dirty"] and not differs:
        return None
    if mode == "none":
        return Wait(rule="no_flow", words="no stock flow tells this channel")
    if mode == "observe":
        return Wait(rule="observe", words="the stock flow only observes; tell it with: tidegate live stock")
    if lane.writes_stopped:
        return Wait(rule="writes_stopped", words="all writes are stopped; go on with: tidegate writes resume")
    if lane.state != "active":
        reason = f": {lane.state_reason}" if lane.state_reason else ""
        return Wait(rule="connection", words=f"its connection is {lane.state}{reason}")
    if mark["dirty"] and mark["not_before"] is not None:
        return Wait(rule="parked", words=f"parked after {mark['tries']} failures", until=mark["not_before"])
    if lane.snoozed_until is not None:
        return Wait(rule="snoozed", words=lane.snooze_reason or "the lane was told to wait", until=lane.snoozed_until)
    if mode == "propose" and mark["dirty"]:
        return Wait(rule="proposal", words="it is proposed, and sent once somebody approves: tidegate approve")
    if mark["dirty"] and mark["priority"] <= Priority.INVENTORY_CRITICAL:
        return Wait(rule="turn", words="it goes at once, before numbers that changed less")
    if mark["dirty"]:
        return Wait(rule="turn", words="it waits for its turn")
    return Wait(rule="no_change", words="it is told when the stock changes next")


def _told(row: Row, cell: str) -> Told:
    return Told(
        command=public_id("cmd", cell, row["command_id"]),
        quantity=row["quantity"],
        state=row["state"],
        at=row["finished_at"] or time_of(row["command_id"]),
        entries=_entries(row),
    )


def _order(row: Row, cell: str) -> SkuOrder:
    return SkuOrder(
        order_id=public_id("ord", cell, row["order_id"]),
        **{name: row[name] for name in ("number", "channel", "units", "order_state", "payment_state", "placed_at")},
    )


def _reservation(row: Row, cell: str) -> SkuReservation:
    return SkuReservation(
        reservation_id=public_id("res", cell, row["reservation_id"]),
        **{name: row[name] for name in ("reference", "state", "location", "units", "due_at")},
    )


def _counters(row: Row) -> dict[str, int]:
    return {name: value for name, value in _ledger(row).items() if isinstance(value, int)}


def _ledger(row: Row) -> dict[str, int | str]:
    """Return what a number was made of, and why it was sent at once if it was."""
    ledger = row["ledger"]
    if ledger is None:
        return {}
    return msgspec.json.decode(ledger, type=dict[str, int | str]) if isinstance(ledger, str) else dict(ledger)


def _entries(row: Row) -> int | None:
    return _counters(row).get("entries")
