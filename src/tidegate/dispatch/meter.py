"""What is left of a connection's budget, pure: how long to wait, what a call took, what its answer tells, what is stored.

A meter is a value. All times are seconds of the lane's monotonic clock; a stored meter has them relative to the moment at
which it was stored. `wait` never sleeps, it says how long; infinite means: until a call in flight has ended.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import assert_never

import msgspec
from msgspec.structs import replace

from tidegate.dispatch.budget_buckets import Bucket
from tidegate.dispatch.budget_calls import Aimd, Flights, Sign
from tidegate.dispatch.budget_windows import Day, Window
from tidegate.sdk.budgets import (
    DAY_SECONDS,
    Adaptive,
    All,
    Budget,
    BudgetReading,
    BurstSteady,
    Concurrency,
    CostBucket,
    DailyQuota,
    FixedWindow,
    PerOperation,
    SimpleBudget,
    SlidingWindow,
    TokenBucket,
)

Part = Bucket | Window | Day | Flights | Aimd
OnePart = TokenBucket | CostBucket | FixedWindow | SlidingWindow | DailyQuota | Concurrency | Adaptive
VERSION = 1
FLIGHT_SECONDS = 2.0
"""How long after a process is gone the last bytes that it sent may still arrive."""
SLICE_SECONDS = 10.0
"""Use is remembered in slices of this length, for the figure of the last minute."""
MINUTE_SECONDS = 60.0
OPERATIONS_MAX = 500
"""Operations with a count of their own; a connector's manifest names fewer."""


class Ticket(msgspec.Struct, frozen=True):
    """One call's charge, from `take` to `end`."""

    charge: float
    operation: str
    at: float
    marks: tuple[float, ...]
    """Per part: what was taken, itself included, without what was under way then."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a meter shows at a moment, for people and for alerts."""

    rule: str
    """The part that has the smallest share left, in words."""
    left: float
    limit: float
    used_last_minute: float
    """Charge of the calls begun in the last minute."""
    full_seconds: float
    """Until the whole budget is there again when nothing more is sent."""
    operation: str = ""
    """The operation whose own budget it is, '' for all."""

    @property
    def share_left(self) -> float:
        """Return what is left, from 0 to 1."""
        return min(1.0, self.left / self.limit) if self.limit > 0 else 1.0


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """The count of one connection's calls against its budget."""

    shared: tuple[Part, ...]
    """Parts that every call passes."""
    own: Mapping[str, tuple[Part, ...]] = {}
    """Parts of single operations, as far as they were used."""
    blocked: Mapping[str, float] = {}
    """Operations that were refused -> until when they wait."""
    used: tuple[tuple[float, float], ...] = ()
    """(beginning of a slice of time, charge), the newest last."""
    began: float = 0.0
    """Since when an operation that was never called could have been: its budget was empty then."""
    version: int = VERSION


class Rule:
    """A budget as one lane counts it. Its functions take a meter and return the next one; it never changes itself."""

    def __init__(self, budget: Budget, *, share: float = 1.0, wall: float = 0.0) -> None:
        """`share` of the budget is ours, from 0 to 1. `wall` is Unix time minus the lane's clock, for daily quotas."""
        self._share = share
        self._wall = wall
        budgets = budget.budgets if isinstance(budget, All) else (budget,)
        self._shared = tuple(one for each in budgets if not isinstance(each, PerOperation) for one in _simple(each))
        self._operations = tuple(each for each in budgets if isinstance(each, PerOperation))

    def start(self, now: float) -> Meter:
        """Return a meter of which nothing is known: empty."""
        return Meter(shared=self._empty(self._shared, now), began=now)

    def own(self, meter: Meter, operation: str, now: float) -> tuple[Part, ...]:
        """Return the parts that count this operation alone; one that was never called fills since the meter began."""
        found = meter.own.get(operation)
        if found is not None:
            return found
        return self._empty(self._of(operation), min(meter.began, now))

    def _of(self, operation: str) -> tuple[OnePart, ...]:
        found = (each.operations.get(operation, each.default) for each in self._operations)
        return tuple(one for each in found if each is not None for one in _simple(each))

    def _empty(self, rules: tuple[OnePart, ...], now: float) -> tuple[Part, ...]:
        return tuple(_build(each, self._share, now, self._wall) for each in rules)

    def is_own(self, operation: str) -> bool:
        """Return whether the operation has a budget of its own."""
        return bool(self._of(operation))

    def wait(self, meter: Meter, charge: float, operation: str, now: float, *, floor_share: float = 0.0) -> float:
        """Return the seconds until `charge` may be taken with `floor_share` of the budget left; 0: now."""
        blocked = meter.blocked.get(operation, -math.inf) - now
        return max(
            0.0,
            blocked,
            self.wait_shared(meter, charge, now, floor_share=floor_share),
            _wait(self.own(meter, operation, now), charge, now, floor_share),
        )

    def wait_shared(self, meter: Meter, charge: float, now: float, *, floor_share: float = 0.0) -> float:
        """Return the wait that is not the operation's own: calls of other operations have it too."""
        return _wait(meter.shared, charge, now, floor_share)

    def take(self, meter: Meter, charge: float, operation: str, now: float) -> tuple[Meter, Ticket]:
        """Return the meter after a call's charge, and what to end the call with. Ask `wait` first."""
        before = self.own(meter, operation, now)
        shared = tuple(part.take(charge, now) for part in meter.shared)
        own = tuple(part.take(charge, now) for part in before)
        marks = tuple(_mark(part, charge) for part in (*shared, *own))
        owns = {**meter.own, operation: own} if own and len(meter.own) < OPERATIONS_MAX else meter.own
        used = _use(meter.used, charge, now)
        return replace(meter, shared=shared, own=owns, used=used), Ticket(charge, operation, now, marks)

    def end(self, meter: Meter, ticket: Ticket, now: float, *, cost: float | None = None) -> Meter:
        """Return the meter after a call that really cost `cost`; None: its charge, 0: it was never sent."""
        paid = ticket.charge if cost is None else max(0.0, cost)
        shared = tuple(part.end(ticket.charge, paid, now) for part in meter.shared)
        found = meter.own.get(ticket.operation)
        used = _use(meter.used, paid - ticket.charge, now)
        if found is None:
            return replace(meter, shared=shared, used=used)
        own = tuple(part.end(ticket.charge, paid, now) for part in found)
        return replace(meter, shared=shared, own={**meter.own, ticket.operation: own}, used=used)

    def raise_to(self, meter: Meter, ticket: Ticket, charge: float, now: float) -> tuple[Meter, Ticket]:
        """Return the meter after a call turned out dearer than its charge, and the ticket that ends it.

        It was we who used that, and nobody else: an answer that counts it already tells nothing of others.
        """
        extra = charge - ticket.charge
        if extra <= 0:
            return meter, ticket
        own = meter.own.get(ticket.operation, ())
        every = [part.take(extra, now) if isinstance(part, Bucket) else part for part in (*meter.shared, *own)]
        marks = list(ticket.marks)
        for index, part in enumerate(every):
            if isinstance(part, Bucket):
                marks[index] += part.price(extra)
        count = len(meter.shared)
        owns = {**meter.own, ticket.operation: tuple(every[count:])} if own else meter.own
        used = _use(meter.used, extra, now)
        raised = replace(meter, shared=tuple(every[:count]), own=owns, used=used)
        return raised, replace(ticket, charge=charge, marks=tuple(marks))

    def refund(self, meter: Meter, ticket: Ticket, now: float) -> Meter:
        """Return the meter with the whole charge given back: nothing was sent."""
        return self.end(meter, ticket, now, cost=0.0)

    def correct(
        self,
        meter: Meter,
        ticket: Ticket,
        reading: BudgetReading,
        now: float,
        *,
        to_come: float = 0.0,
        asked_at: float | None = None,
    ) -> Meter:
        """Return the meter as the answer to a call corrects it. Of its charge, `to_come` is for requests still to be made.

        `asked_at` is when the request left; None: with its charge.
        """
        operation = ticket.operation if reading.operation is None else reading.operation
        own = meter.own.get(operation, ())
        count = len(meter.shared)
        parts: list[Part] = [*meter.shared, *own]
        index = _about(parts, count, reading)
        if index is None:
            return meter
        part = parts[index]
        if index < count or operation == ticket.operation:
            unseen = part.taken - ticket.marks[index] + to_come
        else:
            unseen = part.flying if isinstance(part, Bucket | Window | Day) else 0.0
        parts[index] = part.read(_fitting(part, reading), max(0.0, unseen), max(ticket.at, asked_at or ticket.at), now)
        owns = {**meter.own, operation: tuple(parts[count:])} if own else meter.own
        return replace(meter, shared=tuple(parts[:count]), own=owns)

    def answered(self, meter: Meter, ticket: Ticket, seconds: float, sign: Sign, now: float) -> Meter:
        """Return the meter after a request took `seconds` and came out like `sign`: what adapts adapts."""
        if not any(isinstance(part, Aimd) for part in meter.shared):
            return meter
        shared = tuple(
            part.answered(seconds, sign, ticket.operation, now) if isinstance(part, Aimd) else part
            for part in meter.shared
        )
        return replace(meter, shared=shared)

    def drain(self, meter: Meter, seconds: float, operation: str, now: float) -> Meter:
        """Return the meter after a refusal: nothing is left for `seconds`, of the operation's own budget if it has one."""
        own = self.own(meter, operation, now)
        if not own:
            return replace(meter, shared=tuple(part.drain(seconds, now) for part in meter.shared))
        until = max(meter.blocked.get(operation, now), now + seconds)
        blocked = {name: end for name, end in meter.blocked.items() if end > now} | {operation: until}
        owns = {**meter.own, operation: tuple(part.drain(seconds, now) for part in own)}
        return replace(meter, own=owns, blocked=blocked)

    def resume(self, stored: bytes | str | None, *, age_seconds: float, now: float) -> Meter:
        """Return the meter that was stored `age_seconds` ago; what is unknown or counted otherwise starts empty."""
        fresh = self.start(now)
        if stored is None:
            return fresh
        try:
            found = msgspec.json.decode(stored, type=Meter)
        except (msgspec.DecodeError, ValueError):
            return fresh
        if found.version != VERSION:
            return fresh
        age = max(0.0, age_seconds)
        old = _shifted(found, now - age)
        stray = max(0.0, FLIGHT_SECONDS - age)
        own = {}
        for operation, parts in old.own.items():
            empty = self._empty(self._of(operation), now)
            if empty:
                own[operation] = _adopt(parts, empty, stray, now)
        shared = _adopt(old.shared, fresh.shared, stray, now)
        blocked = {name: until for name, until in old.blocked.items() if until > now}
        return replace(fresh, shared=shared, own=own, blocked=blocked, used=old.used)

    def usage(self, meter: Meter, now: float) -> Usage:
        """Return what the part shows of which the smallest share is left; a limit of calls at the same time comes last."""
        looks = [(part.look(now), "", isinstance(part, Flights | Aimd)) for part in meter.shared]
        for operation, parts in meter.own.items():
            looks += [(part.look(now), operation, isinstance(part, Flights | Aimd)) for part in parts]
        used = sum(charge for start, charge in meter.used if now - start < MINUTE_SECONDS)
        if not looks:
            return Usage(rule="no limit", left=0.0, limit=0.0, used_last_minute=max(0.0, used), full_seconds=0.0)
        look, operation, _ = min(looks, key=lambda each: (each[2], each[0].left / each[0].limit))
        return Usage(
            rule=look.rule,
            left=look.left,
            limit=look.limit,
            used_last_minute=max(0.0, used),
            full_seconds=max(each.full_seconds for each, _, _ in looks),
            operation=operation,
        )


def usage_of(stored: str | bytes | None, age_seconds: float) -> Usage | None:
    """Return what a meter that was stored `age_seconds` ago shows now; None where nothing is known.

    What was under way when it was stored is believed to have ended soon after: a later call would have stored it again.
    """
    if stored is None:
        return None
    try:
        found = msgspec.json.decode(stored, type=Meter)
    except msgspec.DecodeError:
        return None
    shared = tuple(_adopt_one(part, _grounded(part), FLIGHT_SECONDS, 0.0) for part in found.shared)
    own = {
        name: tuple(_adopt_one(part, _grounded(part), FLIGHT_SECONDS, 0.0) for part in parts)
        for name, parts in found.own.items()
    }
    return Rule(All()).usage(replace(found, shared=shared, own=own), max(0.0, age_seconds))


def has_flights(meter: Meter) -> bool:
    """Return whether a window counts calls that are under way."""
    every = (*meter.shared, *(part for parts in meter.own.values() for part in parts))
    return any(isinstance(part, Window) and part.flying > 0 for part in every)


def _grounded(part: Part) -> Part:
    """Return a part with no call under way."""
    return replace(part, flights=0) if isinstance(part, Flights | Aimd) else replace(part, flying=0.0)


def pack(meter: Meter, now: float) -> str:
    """Return a meter as it is stored: JSON, with times relative to now."""
    return msgspec.json.encode(_shifted(meter, -now)).decode()


def _simple(budget: SimpleBudget) -> tuple[OnePart, ...]:
    if isinstance(budget, BurstSteady):
        return (
            FixedWindow(budget.burst, budget.burst_seconds, budget.source),
            FixedWindow(budget.steady, budget.steady_seconds, budget.source),
        )
    return (budget,)


def _build(rule: OnePart, share: float, now: float, wall: float) -> Part:
    match rule:
        case TokenBucket() | CostBucket():
            return Bucket.build(rule, share, now)
        case FixedWindow() | SlidingWindow():
            return Window.build(rule, share, now)
        case DailyQuota():
            return Day.build(rule, share, now, wall)
        case Concurrency():
            return Flights.build(rule, share)
        case Adaptive():
            return Aimd.build(rule, share)
        case _:
            assert_never(rule)


def _wait(parts: Sequence[Part], charge: float, now: float, floor_share: float) -> float:
    return max((part.wait(charge, now, floor_share) for part in parts), default=0.0)


def _mark(part: Part, charge: float) -> float:
    if isinstance(part, Bucket | Window | Day):
        return part.taken - (part.flying - part.price(charge))
    return part.taken


def _use(used: tuple[tuple[float, float], ...], charge: float, now: float) -> tuple[tuple[float, float], ...]:
    if used and now - used[-1][0] < SLICE_SECONDS:
        return (*used[:-1], (used[-1][0], used[-1][1] + charge))
    return (*(each for each in used if now - each[0] < MINUTE_SECONDS), (now, charge))


def _about(parts: Sequence[Part], count: int, reading: BudgetReading) -> int | None:
    """Return the part that a reading is about: by the length of its window, else the call's own before the shared ones."""
    own_first: list[int] = [*(() if reading.is_shared else range(count, len(parts))), *range(count)]
    if reading.window_seconds is not None:
        for index in own_first:
            if _is_of(parts[index], reading.window_seconds):
                return index
    counting = [index for index in own_first if isinstance(parts[index], Bucket | Window)]
    days = [index for index in own_first if isinstance(parts[index], Day)]
    return next(iter([*counting, *days]), None)


def _is_of(part: Part, seconds: float) -> bool:
    if isinstance(part, Day):
        return seconds == DAY_SECONDS
    return isinstance(part, Window) and abs(part.seconds - seconds) <= part.seconds / 100


def _fitting(part: Part, reading: BudgetReading) -> BudgetReading:
    """Return what a reading means for a part: of a window of another length only what is left counts."""
    if reading.window_seconds is None or _is_of(part, reading.window_seconds):
        return reading
    return BudgetReading(left=reading.left)


def _shifted(meter: Meter, seconds: float) -> Meter:
    return replace(
        meter,
        shared=tuple(part.shifted(seconds) for part in meter.shared),
        own={name: tuple(part.shifted(seconds) for part in parts) for name, parts in meter.own.items()},
        blocked={name: until + seconds for name, until in meter.blocked.items()},
        used=tuple((start + seconds, charge) for start, charge in meter.used),
    )


def _adopt(old: Sequence[Part], fresh: Sequence[Part], stray_seconds: float, now: float) -> tuple[Part, ...]:
    """Return the stored parts under the rules of today; a part that was counted otherwise starts empty."""
    known = list(old)
    adopted: list[Part] = []
    for part in fresh:
        same = next((each for each in known if _is_same(each, part)), None)
        if same is None:
            adopted.append(part)
            continue
        known.remove(same)
        adopted.append(_adopt_one(same, part, stray_seconds, now))
    return tuple(adopted)


def _is_same(old: Part, fresh: Part) -> bool:
    """Return whether a stored part is the one that is counted now, perhaps with another limit."""
    if isinstance(old, Window) and isinstance(fresh, Window):
        return old.declared[1] == fresh.declared[1]
    return type(old) is type(fresh)


def _adopt_one(old: Part, fresh: Part, stray_seconds: float, now: float) -> Part:
    match old, fresh:
        case (Bucket(), Bucket()):
            return old.adopted(fresh, stray_seconds, now)
        case (Window(), Window()):
            return old.adopted(fresh, stray_seconds, now)
        case (Day(), Day()):
            return old.adopted(fresh, stray_seconds, now)
        case (Flights(), Flights()):
            return old.adopted(fresh, stray_seconds, now)
        case (Aimd(), Aimd()):
            return old.adopted(fresh, stray_seconds, now)
        case _:
            return fresh
