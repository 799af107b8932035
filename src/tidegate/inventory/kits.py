"""Articles that are made of others: how many can be sold follows from what there is of the parts. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class PartStock(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What there is of a part, over all active locations."""

    units: int
    """So many are in one kit."""
    available: int
    """Nobody was promised these; below zero when more was sold than there is."""
    withheld: int = 0
    """Of these, safety stock and units that are gone from a channel unexplained."""
    is_counted: bool = True
    """Whether it was ever counted."""
    is_shared: bool = False
    """Whether its units may be shared out among channels by themselves: then a kit cannot sell them as well."""

    @property
    def kits(self) -> int:
        """For how many kits it lasts; below zero where it lacks."""
        return (self.available - self.withheld) // self.units


def kits_of(parts: Iterable[PartStock]) -> int:
    """Return how many kits can be sold: the fewest that any part lasts for, none where a part is shared out.

    Below zero where a part lacks: so many kits, at least, are too many.
    """
    found = list(parts)
    fewest = min(part.kits for part in found)
    return min(fewest, 0) if any(part.is_shared for part in found) else fewest
