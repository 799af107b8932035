"""How few calls could have done it, and how many one call per event takes. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from tidegate.rehearsal.records import Sold


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    """What one call can carry, by channel, and what one order costs."""

    numbers_per_call: Mapping[str, int]
    """Channel -> stock numbers that one of its calls takes."""
    calls_per_order: int
    """Requests without which the ERP has no order."""


def count_stock_bound(sold: Sequence[Sold], bulk: Bulk, freshness_seconds: float) -> int:
    """Return the fewest calls that tell every channel of the others' sales, no number older than the window.

    Per channel and window: the articles that others sold in it, in calls as full as the channel takes them.
    """
    touched: dict[tuple[str, int], set[str]] = defaultdict(set)
    for order in sold:
        window = int(order.at // freshness_seconds)
        for channel in bulk.numbers_per_call:
            if channel != order.channel:
                touched[channel, window] |= order.lines.keys()
    return sum(_parts(len(skus), bulk.numbers_per_call[channel]) for (channel, _), skus in touched.items())


def count_bound(sold: Sequence[Sold], shipments: int, bulk: Bulk, freshness_seconds: float) -> int:
    """Return the fewest calls for everything: stock numbers, orders, and one per shipment."""
    stock = count_stock_bound(sold, bulk, freshness_seconds)
    return stock + len(sold) * bulk.calls_per_order + shipments


def count_naive(sold: Sequence[Sold], shipments: int, bulk: Bulk, deliveries: int) -> int:
    """Return the calls of one call per event: each line of each delivery to each other channel, and the order.

    A delivery that comes twice is worked off twice; what is not delivered costs nothing.
    """
    share = deliveries / len(sold) if sold and deliveries else 1.0
    channels = len(bulk.numbers_per_call)
    lines = sum(len(order.lines) * (channels - (order.channel in bulk.numbers_per_call)) for order in sold)
    return round((lines + len(sold) * bulk.calls_per_order) * share) + shipments


def _parts(number: int, size: int) -> int:
    return -(-number // max(size, 1))
