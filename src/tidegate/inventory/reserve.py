"""Reservations, pure: which requests get their units, from where, and what each step of a reservation posts.

Facts always post, promises are guarded: units are only held where they are free, so that what is reserved never takes what
is committed, unavailable or kept as safety stock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import msgspec

from tidegate.inventory.ledger import Posting

Bill = Sequence[tuple[UUID, int]]
"""(item, units of it in one of the variant), sorted by item."""


class ReservationState(StrEnum):
    """`held` becomes one of the others, once; those are final."""

    HELD = "held"
    CLAIMED = "claimed"
    RELEASED = "released"
    EXPIRED = "expired"


class Hold(NamedTuple):
    """Units of one item at one location that a reservation holds."""

    item_id: UUID
    location_id: UUID
    units: int


class Standing(msgspec.Struct, frozen=True, gc=False):
    """A reservation that holds units now, as the database has it."""

    reservation_id: UUID
    state: ReservationState
    awaits_order: bool
    due_at: datetime
    holds: tuple[Hold, ...]
    reference: str | None = None
    connection_id: UUID | None = None
    order_reference: str | None = None
    order_id: UUID | None = None

    @property
    def is_live(self) -> bool:
        """Whether its units are still counted, as reserved or as committed."""
        return self.state is ReservationState.HELD or self.awaits_order


class Shelf(msgspec.Struct, gc=False):
    """What can still be promised of one item, while a batch is decided."""

    free: dict[UUID, int]
    """Location -> units that are available there beyond its safety stock. The order of its keys is the order of choice."""
    cap: int
    """Units over all locations. Less than the sum where units are known to be sold and nobody knows from where."""

    def left(self, location_id: UUID | None) -> int:
        """Return how many units can be held, at one location or anywhere."""
        if location_id is not None:
            return max(0, min(self.free.get(location_id, 0), self.cap))
        left = 0
        for units in self.free.values():
            if units > 0:
                left += units
        return max(0, min(left, self.cap))

    def choose(self, units: int, location_id: UUID | None) -> list[tuple[UUID, int]]:
        """Return where to take units that are left: all from one place where one has them, else from the fewest."""
        if location_id is not None:
            return [(location_id, units)]
        for place, free in self.free.items():
            if free >= units:
                return [(place, units)]
        chosen = []
        for place, free in sorted(self.free.items(), key=lambda each: -each[1]):  # stable: equals keep their order
            part = min(units, free)
            if part > 0:
                chosen.append((place, part))
                units -= part
        return chosen


def sum_demand(lines: Iterable[tuple[Bill, int]]) -> dict[UUID, int]:
    """Return units per item that lines of (bill, quantity) need in all, sorted by item: two bundles may share a part."""
    demand: dict[UUID, int] = {}
    for bill, quantity in lines:
        for item_id, per_unit in bill:
            demand[item_id] = demand.get(item_id, 0) + per_unit * quantity
    return demand if len(demand) == 1 else dict(sorted(demand.items()))


def take(
    shelves: Mapping[UUID, Shelf], demand: Mapping[UUID, int], location_id: UUID | None
) -> tuple[Hold, ...] | None:
    """Take everything that is demanded off the shelves and return the holds, or take nothing and return None."""
    for item_id, units in demand.items():
        shelf = shelves.get(item_id)
        if shelf is None or shelf.left(location_id) < units:
            return None
    holds = []
    for item_id, units in demand.items():
        shelf = shelves[item_id]
        for place, part in shelf.choose(units, location_id):
            shelf.free[place] -= part
            holds.append(Hold(item_id, place, part))
        shelf.cap -= units
    return tuple(holds)


def count_sellable(shelves: Mapping[UUID, Shelf], bill: Bill, location_id: UUID | None) -> int:
    """Return how many of a variant could be held now."""
    counts = [shelves[item].left(location_id) // units if item in shelves else 0 for item, units in bill]
    return min(counts, default=0)


def hold_postings(reservation_id: UUID, holds: Iterable[Hold]) -> list[Posting]:
    """Return what a new reservation posts."""
    return [
        Posting(
            hold.item_id, hold.location_id, "reserve", f"reserve:{reservation_id}:{place}",
            reserved_delta=hold.units, reservation_id=reservation_id,
        )
        for place, hold in enumerate(holds)
    ]  # fmt: skip


class Ending(msgspec.Struct, frozen=True, gc=False):
    """How a reservation stops holding, or goes on as a claim that waits for its order."""

    reservation_id: UUID
    state: ReservationState
    awaits_order: bool = False
    order_id: UUID | None = None
    connection_id: UUID | None = None
    order_reference: str | None = None
    due_at: datetime | None = None
    """When a claim waits for its order no longer."""
    actor: str = "tidegate"


def end_postings(standing: Standing, ending: Ending) -> list[Posting]:
    """Return what it posts that a standing reservation ends, or is claimed before its order is known.

    Held units leave `reserved`. Where the order is known its own lines stand committed; where it is not, the claim stands
    committed in its place, until the order comes or is waited for no longer.
    """
    kind = _KINDS[ending.state]
    postings = []
    for place, hold in enumerate(standing.holds):  # all of a step post together, so its place names it
        reserved, committed, name = -hold.units, 0, kind
        if standing.state is not ReservationState.HELD:
            reserved, committed, name = 0, -hold.units, "release"
        elif ending.awaits_order:
            committed = hold.units
        step = "settled" if standing.awaits_order else name
        postings.append(
            Posting(
                hold.item_id, hold.location_id, name, f"{step}:{standing.reservation_id}:{place}",
                committed_delta=committed, reserved_delta=reserved, reservation_id=standing.reservation_id,
            )
        )  # fmt: skip
    return postings


_KINDS = {
    ReservationState.CLAIMED: "claim",
    ReservationState.RELEASED: "release",
    ReservationState.EXPIRED: "reserve_expire",
}


class Claimant(msgspec.Struct, frozen=True, gc=False):
    """An order that T2 has just seen, and what it says about reservations."""

    order_id: UUID
    connection_id: UUID
    names: frozenset[str]
    """Its number and its id in the channel."""
    reservation_ids: frozenset[UUID]
    references: frozenset[str]
    """Callers' own names of reservations that the order carries."""
    items: frozenset[UUID]
    """Items that its lines are made of."""
    stands: bool
    """Whether its lines stand committed."""


def claims_of(claimants: Iterable[Claimant], standing: Iterable[Standing]) -> list[tuple[Standing, Ending]]:
    """Return which standing reservations the orders claim. The first order that names one has it.

    A held one is claimed by an order that stands, names it, and has an item of it. A claim that waits is over as soon as
    its order is seen, whatever the order is.
    """
    left = {each.reservation_id: each for each in standing if each.is_live}
    claimed = []
    for order in claimants:
        for each in list(left.values()):
            is_named = each.reservation_id in order.reservation_ids or each.reference in order.references
            is_awaited = (
                each.awaits_order and each.connection_id == order.connection_id and each.order_reference in order.names
            )
            shares = any(hold.item_id in order.items for hold in each.holds)
            if (each.awaits_order and (is_named or is_awaited)) or (is_named and order.stands and shares):
                del left[each.reservation_id]
                ending = Ending(each.reservation_id, ReservationState.CLAIMED, order_id=order.order_id)
                claimed.append((each, ending))
    return claimed
