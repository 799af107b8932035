"""Serving orders from another location: which ones go where, when a location has not what is promised there. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from tidegate.inventory.ledger import Counters, Entry, LevelKey


class Need(NamedTuple):
    """Units that a line of an order waits for, where it stands."""

    line_id: UUID
    item_id: UUID
    location_id: UUID
    units: int


class Standing(NamedTuple):
    """An order with all that it waits for."""

    order_id: UUID
    needs: tuple[Need, ...]


class Relocation(NamedTuple):
    """An order that leaves from another location from now on, as a whole."""

    order_id: UUID
    location_id: UUID
    lacks: tuple[tuple[LevelKey, int], ...]
    """What it was to have, and nobody had there: (level, units)."""


def short_levels(entries: Iterable[Entry], levels: Mapping[LevelKey, Counters]) -> dict[LevelKey, int]:
    """Return level -> units that are promised and not there, of levels that a sale among the entries took from."""
    sold = {entry.posting.key() for entry in entries if entry.committed_delta > 0}
    short = {}
    for key in sorted(sold):
        level = levels[key]
        available = level.on_hand - level.unavailable - level.committed - level.reserved
        if available < 0:
            short[key] = -available
    return short


def items_moved(entries: Iterable[Entry]) -> set[UUID]:
    """Return the items of which entries, besides sales, changed what is available somewhere: what lacks at one level may be at another now."""
    return {
        entry.posting.item_id
        for entry in entries
        if entry.committed_delta <= 0
        and entry.posting.on_hand_delta != entry.unavailable_delta + entry.committed_delta + entry.reserved_delta
    }


def still_short(
    stored: Mapping[LevelKey, int],
    items: Collection[UUID],
    levels: Mapping[LevelKey, Counters],
    active: Collection[LevelKey],
) -> dict[LevelKey, int]:
    """Return level -> units that are promised and not there, of items: as `stored`, but for `levels`, which are newer."""
    found = {key: units for key, units in stored.items() if key not in levels}
    for key, level in levels.items():
        units = level.committed + level.reserved + level.unavailable - level.on_hand
        if key[0] in items and key in active and units > 0:
            found[key] = units
    return found


def relocate(
    short: Mapping[LevelKey, int],
    orders: Sequence[Standing],
    sellable: Mapping[LevelKey, int],
    places: Collection[UUID],
) -> list[Relocation]:
    """Return which of the orders, newest first, move, until their locations have what is left there.

    An order moves as a whole, to one place that has enough of all that it waits for, or it stays: no parcel is split.
    `sellable`: units that a level may be promised beyond what it is promised. Of several places that with the most left over.
    """
    left, free = dict(short), dict(sellable)
    moves = []
    for order in orders:
        lacks = _lacks(order, left)
        if not lacks:
            continue
        spare = {place: _spare(order, place, free) for place in places}
        fitting = {place: units for place, units in spare.items() if units is not None}
        if not fitting:
            continue
        goal = min(fitting, key=lambda place: (-fitting[place], place))
        for need in order.needs:
            if need.location_id == goal:
                continue
            home = (need.item_id, need.location_id)
            free[need.item_id, goal] -= need.units
            if home in left:
                left[home] -= need.units
        moves.append(Relocation(order.order_id, goal, lacks))
    return moves


def _lacks(order: Standing, left: Mapping[LevelKey, int]) -> tuple[tuple[LevelKey, int], ...]:
    held: dict[LevelKey, int] = {}
    for need in order.needs:
        key = (need.item_id, need.location_id)
        held[key] = held.get(key, 0) + need.units
    return tuple((key, min(units, left[key])) for key, units in sorted(held.items()) if left.get(key, 0) > 0)


def _spare(order: Standing, place: UUID, free: Mapping[LevelKey, int]) -> int | None:
    """Return the units that are left over where the order takes all that it waits for from a place; None: it has too little."""
    wanted: dict[UUID, int] = {}
    for need in order.needs:
        if need.location_id != place:
            wanted[need.item_id] = wanted.get(need.item_id, 0) + need.units
    spare = {item_id: free.get((item_id, place), 0) - units for item_id, units in wanted.items()}
    return min(spare.values()) if spare and min(spare.values()) >= 0 else None
