"""Which marks cannot wait for company once the stock has changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from tidegate.commerce.significance import Quiet, is_significant
from tidegate.inventory.ledger import Counters, LevelKey


class Part(NamedTuple):
    """What a kit is made of: so many units of an item."""

    item_id: UUID
    units: int


class Mark(NamedTuple):
    """That a channel is to be told the number of an item, locked."""

    connection_id: UUID
    item_id: UUID
    quiet: Quiet | None
    """Up to which numbers of available units it can wait for company; None: nothing is known to have arrived there."""
    part: Part | None = None
    """Of a kit: the part that may have changed. The bounds count kits."""

    @property
    def changed(self) -> UUID:
        """The item whose stock changed."""
        return self.item_id if self.part is None else self.part.item_id


class Stock(NamedTuple):
    """Levels that are locked, and what is available of their items."""

    levels: dict[LevelKey, Counters]
    available: dict[UUID, int]
    """Item -> units at all active locations together."""
    counted: set[LevelKey]
    """The levels that are at active locations."""
    is_order_awaited: bool = False
    """Whether claims wait for orders, as of the locks. Only T2 asks."""


def quiet_of(lowest: int | None, highest: int | None) -> Quiet | None:
    """Return the bounds that a mark holds; None where it holds none."""
    return Quiet(lowest, highest) if lowest is not None and highest is not None else None


def part_of(item_id: UUID | None, units: int | None) -> Part | None:
    """Return the part that a mark of a kit is locked for; None for a mark of the item itself."""
    return Part(item_id, units) if item_id is not None and units is not None else None


def urgent_marks(
    marks: Iterable[Mark], available: Mapping[UUID, int], changes: Mapping[UUID, int]
) -> list[tuple[UUID, UUID]]:
    """Return (channel, item) of the marks whose number cannot wait, after what is available changed by `changes`."""
    late = {
        (mark.connection_id, mark.item_id): None
        for mark in marks
        if (change := changes.get(mark.changed)) is not None
        for before in (available[mark.changed],)
        if _cannot_wait(mark, before, before + change)
    }
    return list(late)


def _cannot_wait(mark: Mark, before: int, after: int) -> bool:
    """Of a kit, a part says only how many there are at most: it counts where that bound crosses the ones that can wait."""
    if mark.part is None or mark.quiet is None:
        return is_significant(before, after, mark.quiet)
    lowest, highest = mark.quiet
    most_before, most = before // mark.part.units, after // mark.part.units
    return most < min(lowest, most_before) or most_before <= highest < most
