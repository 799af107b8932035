"""Decide a batch of requests about reservations, pure: one after the other, as if each had come alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from tidegate.inventory.ledger import Posting
from tidegate.inventory.reserve import (
    Bill,
    Ending,
    Hold,
    ReservationState,
    Shelf,
    Standing,
    count_sellable,
    end_postings,
    hold_postings,
    sum_demand,
    take,
)

CLAIM_WAIT = timedelta(hours=24)
"""How long the units of a claim stand committed for an order that does not come."""
Asked = tuple[tuple[str, int], ...]
"""(SKU, quantity) per line, as it was asked for."""


class Shortage(msgspec.Struct, frozen=True, kw_only=True):
    """A line that could not be held."""

    sku: str
    wanted: int
    available: int
    """How many could have been held, were it the only line."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing was done. `code` is stable, words are not."""

    code: str
    words: str
    hint: str
    shortages: tuple[Shortage, ...] = ()


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """A reservation as a request left it."""

    reservation_id: UUID
    state: ReservationState
    due_at: datetime
    """When it expires; of a claim whose order is not known yet: when it is waited for no longer."""
    awaits_order: bool = False
    is_new: bool = False
    """Whether this request made it."""


Result = Reservation | Refusal


class Reserve(msgspec.Struct, frozen=True, gc=False):
    """Hold units for a while: all lines, or nothing."""

    lines: Asked
    bills: tuple[Bill, ...]
    """Of each line."""
    seconds: int
    actor: str
    location_id: UUID | None = None
    """None: wherever there is some."""
    reference: str | None = None
    """The caller's own name of it. Asked for again while it is held, it is the same reservation."""


class Release(msgspec.Struct, frozen=True, gc=False):
    """Give back what a reservation holds."""

    reservation_id: UUID
    actor: str


class Claim(msgspec.Struct, frozen=True, gc=False):
    """The order is there or on its way: what is held is its own."""

    reservation_id: UUID
    actor: str
    connection_id: UUID | None = None
    order_reference: str | None = None
    """The order's number or id in that channel; None: the order will name the reservation."""


Ask = Reserve | Release | Claim


class Held(msgspec.Struct, frozen=True, gc=False):
    """A held reservation that carries a name of its caller's."""

    reservation_id: UUID
    asked: Asked
    location_id: UUID | None
    due_at: datetime


class Made(msgspec.Struct, frozen=True, gc=False):
    """A reservation that was granted."""

    reservation_id: UUID
    ask: Reserve
    holds: tuple[Hold, ...]
    due_at: datetime


@dataclass(slots=True)
class Situation:
    """What the database holds of everything that a batch touches; its levels are locked. Changed while it is decided."""

    now: datetime
    shelves: dict[UUID, Shelf]
    standing: dict[UUID, Standing] = field(default_factory=dict)
    """Reservations that are named or due."""
    references: dict[str, Held] = field(default_factory=dict)
    orders: Mapping[tuple[UUID, str], UUID] = field(default_factory=dict)
    """(channel, number or id there) -> an order that is known and no draft."""


@dataclass(slots=True)
class Decided:
    """What a batch changes, and what each request is answered."""

    results: list[Result] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    ended: dict[UUID, Ending] = field(default_factory=dict)
    """How each is left: one that goes two steps in a batch is stored once."""
    postings: list[Posting] = field(default_factory=list)
    """In the order in which they happened."""


def decide(situation: Situation, asks: Iterable[Ask], make_id: Callable[[], UUID]) -> Decided:
    """Let what is due expire, then decide the requests in order. Each sees what those before it left. Pure."""
    return _Decider(situation, make_id).run(asks)


class _Decider:
    """One batch being decided. Not reused."""

    def __init__(self, situation: Situation, make_id: Callable[[], UUID]) -> None:
        self._situation = situation
        self._make_id = make_id
        self._decided = Decided()

    def run(self, asks: Iterable[Ask]) -> Decided:
        now = self._situation.now
        for standing in list(self._situation.standing.values()):
            if standing.is_live and standing.due_at <= now:
                is_claim = standing.state is ReservationState.CLAIMED
                state = ReservationState.CLAIMED if is_claim else ReservationState.EXPIRED
                self._end(standing, Ending(standing.reservation_id, state))
        for name in [name for name, held in self._situation.references.items() if held.due_at <= now]:
            del self._situation.references[name]
        for ask in asks:
            if isinstance(ask, Reserve):
                result = self._reserve(ask)
            elif isinstance(ask, Release):
                result = self._release(ask)
            else:
                result = self._claim(ask)
            self._decided.results.append(result)
        return self._decided

    def _reserve(self, ask: Reserve) -> Result:
        situation = self._situation
        if ask.reference is not None and (held := situation.references.get(ask.reference)) is not None:
            if (held.asked, held.location_id) == (ask.lines, ask.location_id):
                return Reservation(held.reservation_id, ReservationState.HELD, held.due_at)
            return Refusal(
                code="reference_in_use",
                words=f"a reservation called {ask.reference!r} holds something else",
                hint="release it first, or choose another reference",
            )
        demand = sum_demand([(bill, line[1]) for bill, line in zip(ask.bills, ask.lines, strict=True)])
        holds = take(situation.shelves, demand, ask.location_id)
        if holds is None:
            return self._short(ask)
        reservation_id, due_at = self._make_id(), situation.now + timedelta(seconds=ask.seconds)
        self._decided.made.append(Made(reservation_id, ask, holds, due_at))
        self._decided.postings += hold_postings(reservation_id, holds)
        if ask.reference is not None:
            situation.references[ask.reference] = Held(reservation_id, ask.lines, ask.location_id, due_at)
        return Reservation(reservation_id, ReservationState.HELD, due_at, is_new=True)

    def _short(self, ask: Reserve) -> Refusal:
        """Say of each line that could not be held alone how many could; of all, where only their sum is too much."""
        lines = [
            Shortage(sku=sku, wanted=quantity, available=count_sellable(self._situation.shelves, bill, ask.location_id))
            for (sku, quantity), bill in zip(ask.lines, ask.bills, strict=True)
        ]
        short = [line for line in lines if line.available < line.wanted] or lines
        said = ", ".join(f"{line.sku}: {line.wanted} wanted, {line.available} available" for line in short[:3])
        more = f" and {len(short) - 3} more" if len(short) > 3 else ""
        return Refusal(
            code="insufficient_stock",
            words=f"there is not enough: {said}{more}",
            hint="nothing was held; ask for what is available, or leave the line out",
            shortages=tuple(short),
        )

    def _release(self, ask: Release) -> Result:
        standing = self._situation.standing.get(ask.reservation_id)
        if standing is None:
            return _UNKNOWN
        if standing.state is ReservationState.CLAIMED and not standing.awaits_order:
            return Refusal(
                code="reservation_claimed",
                words="an order has it",
                hint="its units come back when the order is cancelled",
            )
        if standing.is_live:
            is_claim = standing.state is ReservationState.CLAIMED
            state = ReservationState.CLAIMED if is_claim else ReservationState.RELEASED
            standing = self._end(standing, Ending(ask.reservation_id, state, actor=ask.actor))
        return _as_result(standing)

    def _claim(self, ask: Claim) -> Result:
        standing = self._situation.standing.get(ask.reservation_id)
        if standing is None:
            return _UNKNOWN
        named = (ask.connection_id, ask.order_reference) if ask.connection_id and ask.order_reference else None
        order_id = self._situation.orders.get(named) if named is not None else None
        if standing.state is ReservationState.HELD:
            waits = order_id is None
            ending = Ending(
                ask.reservation_id,
                ReservationState.CLAIMED,
                awaits_order=waits,
                order_id=order_id,
                connection_id=ask.connection_id,
                order_reference=ask.order_reference,
                due_at=self._situation.now + CLAIM_WAIT if waits else None,
                actor=ask.actor,
            )
            return _as_result(self._end(standing, ending))
        if standing.state is ReservationState.CLAIMED:
            same = named == (standing.connection_id, standing.order_reference) or order_id == standing.order_id
            if named is None or same:
                return _as_result(standing)
            return Refusal(
                code="reservation_claimed",
                words="it was claimed for another order",
                hint="look at it: it says for which",
            )
        if standing.state is ReservationState.EXPIRED:
            return Refusal(
                code="reservation_expired",
                words=f"it expired at {standing.due_at:%Y-%m-%d %H:%M:%S} UTC, and its units are free again",
                hint="reserve again: what is left then is yours",
            )
        return Refusal(
            code="reservation_released", words="it was released, and its units are free again", hint="reserve again"
        )

    def _end(self, standing: Standing, ending: Ending) -> Standing:
        """Note an ending and give the shelves back what is free now; return what stands then."""
        before = self._decided.ended.get(ending.reservation_id)
        self._decided.ended[ending.reservation_id] = _after(before, ending) if before is not None else ending
        self._decided.postings += end_postings(standing, ending)
        if not ending.awaits_order:  # an order that is known stands committed by itself
            for hold in standing.holds:
                shelf = self._situation.shelves[hold.item_id]
                if hold.location_id in shelf.free:
                    shelf.free[hold.location_id] += hold.units
                    shelf.cap += hold.units
        if standing.reference is not None and standing.state is ReservationState.HELD:
            self._situation.references.pop(standing.reference, None)
        after = msgspec.structs.replace(
            standing,
            state=ending.state,
            awaits_order=ending.awaits_order,
            order_id=ending.order_id or standing.order_id,
            connection_id=ending.connection_id or standing.connection_id,
            order_reference=ending.order_reference or standing.order_reference,
            due_at=ending.due_at or standing.due_at,
            holds=standing.holds if ending.awaits_order else (),
        )
        self._situation.standing[standing.reservation_id] = after
        return after


_UNKNOWN = Refusal(
    code="reservation_unknown",
    words="there is no such reservation",
    hint="tidegate stock reservations lists them; those that ended long ago are forgotten",
)


def _after(first: Ending, second: Ending) -> Ending:
    """Return two steps of one reservation as one."""
    return msgspec.structs.replace(
        second,
        order_id=second.order_id or first.order_id,
        connection_id=second.connection_id or first.connection_id,
        order_reference=second.order_reference or first.order_reference,
        due_at=second.due_at or first.due_at,
        actor=first.actor,
    )


def _as_result(standing: Standing) -> Reservation:
    return Reservation(standing.reservation_id, standing.state, standing.due_at, standing.awaits_order)
