"""Orders that hold units which nobody has: which ones lack how many, and when what is on its way covers them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple

BY_POLICY = "policy"
"""Who decided, where nobody was asked."""


class Receipt(NamedTuple):
    """Units that are on their way."""

    expected_on: date | None
    """None: nobody knows when; no order is promised these."""
    units: int


def short_of(missing: int, orders: Iterable[Any]) -> list[tuple[Any, int]]:
    """Return (order, units that it lacks) of orders, newest first, that hold the `missing` units: whoever came first is served.

    An order has `units`: how many it waits for.
    """
    left, found = missing, []
    for order in orders:
        if left <= 0:
            break
        lacks = min(left, order["units"])
        left -= lacks
        found.append((order, lacks))
    return found


def promised_on(missing: int, lacks: Sequence[int], receipts: Iterable[Receipt]) -> list[date | None]:
    """Return for each order when everything is there that it and all older ones lack; None: what is on its way does not cover it.

    `lacks` are what orders lack of the `missing` units, newest first; units that lack beyond them are those of older orders.
    """
    dated = sorted((receipt for receipt in receipts if receipt.expected_on is not None), key=lambda each: str(each[0]))
    found: list[date | None] = []
    need = missing
    for units in lacks:
        covered, day = 0, None
        for receipt in dated:
            covered += receipt.units
            if covered >= need:
                day = receipt.expected_on
                break
        found.append(day)
        need -= units
    return found
