"""Which marks cannot wait for company once the stock has changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from tidegate.commerce.significance import Quiet, is_significant
from tidegate.inventory.ledger import Counters, LevelKey


class Mark(NamedTuple):
    """That a channel is to be told the number of an item, locked."""

    connection_id: UUID
    item_id: UUID
    quiet: Quiet | None
    """Up to which numbers of available units it can wait for company; None: nothing is known to have arrived there."""


class Stock(NamedTuple):
    """Levels that are locked, and what is available of their items."""

    levels: dict[LevelKey, Counters]
    available: dict[UUID, int]
    """Item -> units at all active locations together."""
    counted: set[LevelKey]
    """The levels that are at active locations."""


def quiet_of(lowest: int | None, highest: int | None) -> Quiet | None:
    """Return the bounds that a mark holds; None where it holds none."""
    return Quiet(lowest, highest) if lowest is not None and highest is not None else None


def urgent_marks(
    marks: Iterable[Mark], available: Mapping[UUID, int], changes: Mapping[UUID, int]
) -> list[tuple[UUID, UUID]]:
    """Return (channel, item) of the marks whose number cannot wait, after what is available changed by `changes`."""
    return [
        (mark.connection_id, mark.item_id)
        for mark in marks
        if (change := changes.get(mark.item_id)) is not None
        for before in (available[mark.item_id],)
        if is_significant(before, before + change, mark.quiet)
    ]
