"""What every system believes can be sold of each article, where they differ, and since when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SYSTEMS = ("shop_a", "shop_b", "erp", "ledger")
"""In the order of the columns; the ledger is Tidegate's."""

Numbers = Mapping[str, Mapping[str, int] | None]
"""System -> SKU -> pieces that can be sold; None for a system that does not answer."""


@dataclass(frozen=True)
class Row:
    """One article: a number of each system in the order of SYSTEMS, None where it is not known."""

    sku: str
    numbers: tuple[int | None, ...]
    odd: frozenset[int]
    """Positions of the numbers that differ from what most say."""
    differs_seconds: float | None
    """How long the systems have differed, as far as was seen; None when they agree."""


class Differences:
    """Remembers since when the systems differ on an article."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self.longest_seconds = 0.0
        self.longest_sku = ""

    def compare(self, skus: Sequence[str], numbers: Numbers, now: float) -> list[Row]:
        """Return a row for every SKU as it is at the moment `now` (monotonic seconds)."""
        return [self._row(sku, [_number(numbers.get(system), sku) for system in SYSTEMS], now) for sku in skus]

    def _row(self, sku: str, numbers: list[int | None], now: float) -> Row:
        odd = find_odd(numbers)
        if odd:
            self._since.setdefault(sku, now)
        elif None not in numbers:
            self._since.pop(sku, None)
        since = self._since.get(sku)
        if since is not None and now - since > self.longest_seconds:
            self.longest_seconds, self.longest_sku = now - since, sku
        return Row(sku, tuple(numbers), frozenset(odd), None if since is None else now - since)


def find_odd(numbers: Sequence[int | None]) -> set[int]:
    """Return the positions of the known numbers that are not what most systems say.

    Below zero nothing can be sold, in no system: it counts as zero. When no number has a majority, the ledger's
    (the last one) is what Tidegate knows, and the others have not heard of it yet.
    """
    sellable = [None if number is None else max(0, number) for number in numbers]
    counted = Counter(number for number in sellable if number is not None)
    if len(counted) < 2:
        return set()
    most = max(counted.values())
    common = [number for number in reversed(sellable) if number is not None and counted[number] == most]
    return {place for place, number in enumerate(sellable) if number is not None and number != common[0]}


def _number(numbers: Mapping[str, int] | None, sku: str) -> int | None:
    return None if numbers is None else numbers.get(sku)
