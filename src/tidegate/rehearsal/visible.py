"""How long until a sale in one channel is to be seen in the others. Pure.

A channel shows a sale of another one as soon as the number that it was told leaves room for it: told number <= first
number - its own sales so far - the others' sales up to and including this one. Its own sales are taken off although the
number may not know of them yet, so what is called visible surely is. A channel that shows 0, told so or sold out by itself, has
nothing left to sell and shows every sale.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tidegate.rehearsal.records import ShownSet, Sold, Units


class Visible(msgspec.Struct, frozen=True, kw_only=True):
    """One sale as one other channel sees it."""

    sku: str
    target: str
    sold_at: float
    seen_at: float | None
    """None: never."""


def see_sales(sold: Sequence[Sold], sets: Sequence[ShownSet], shown_first: Mapping[str, Units]) -> tuple[Visible, ...]:
    """Return for every sale and every other channel that sells the article when it was seen there, by time of sale."""
    sales: dict[str, list[tuple[float, str, int]]] = defaultdict(list)
    for order in sold:
        for sku, units in order.lines.items():
            sales[sku].append((order.at, order.channel, units))
    told: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for one in sets:
        told[one.channel, one.sku].append((one.at, one.value))
    found = [
        visible
        for sku, of_sku in sales.items()
        for target, first in shown_first.items()
        if sku in first
        for visible in _see(sku, target, sorted(of_sku), sorted(told[target, sku]), first[sku])
    ]
    return tuple(sorted(found, key=lambda visible: visible.sold_at))


def _see(
    sku: str, target: str, sales: Sequence[tuple[float, str, int]], told: Sequence[tuple[float, int]], first: int
) -> Iterable[Visible]:
    """Walk over what the channel was told and sold itself; each number shows the others' sales that it leaves room for."""
    others: list[tuple[float, int]] = []
    units_of_others = 0
    for at, channel, units in sales:
        if channel != target:
            units_of_others += units
            others.append((at, units_of_others))
    changes = sorted(
        [(at, _OWN_SALE, units) for at, channel, units in sales if channel == target]
        + [(at, _TOLD, value) for at, value in told]
    )
    place = own_units = 0
    shown = first
    for at, what, units in changes:
        while (
            shown <= 0 and place < len(others) and others[place][0] < at
        ):  # sold elsewhere while nothing is shown here
            yield Visible(sku=sku, target=target, sold_at=others[place][0], seen_at=others[place][0])
            place += 1
        if what == _OWN_SALE:
            own_units += units
            shown -= units
            known = 0
        else:
            shown = units
            known = first - units - own_units
        while place < len(others) and others[place][0] <= at and (others[place][1] <= known or shown <= 0):
            yield Visible(sku=sku, target=target, sold_at=others[place][0], seen_at=at)
            place += 1
    for at, _ in others[place:]:
        yield Visible(sku=sku, target=target, sold_at=at, seen_at=at if shown <= 0 else None)


_OWN_SALE, _TOLD = 0, 1
"""A sale of the same moment comes first: the number may know of it."""


def right_after(
    sold: Sequence[Sold],
    sets: Sequence[ShownSet],
    shown_first: Mapping[str, Units],
    untold: Mapping[tuple[str, str], float | None],
) -> list[tuple[str, float]]:
    """Return for each article of orders that no webhook told of: its SKU, and the seconds until all other channels were right.

    `untold`: (channel, order) -> when it was applied; None: never. A channel is right when its number leaves room for all that
    the others sold until then, or was told after the order was applied and leaves room for the sales up to it: where people go on
    buying, other sales may be missing in it by then. What never gets right takes for ever.
    """
    found: list[tuple[str, float]] = []
    for order in sold:
        place = (order.channel, order.order)
        if place not in untold:
            continue
        for sku in order.lines:
            moments = [
                _right_at(sku, target, order, untold[place], sold, sets, first[sku])
                for target, first in shown_first.items()
                if target != order.channel and sku in first
            ]
            found.append((sku, max(moments, default=order.at) - order.at))
    return found


def _right_at(
    sku: str,
    target: str,
    order: Sold,
    applied_at: float | None,
    sold: Sequence[Sold],
    sets: Sequence[ShownSet],
    first: int,
) -> float:
    sales = sorted((one.at, one.channel == target, one.lines[sku]) for one in sold if sku in one.lines)
    told = [(one.at, _TOLD, one.value) for one in sets if one.channel == target and one.sku == sku]
    changes = sorted([(at, _OWN_SALE, units) for at, is_own, units in sales if is_own] + told)
    up_to_it = sum(units for at, is_own, units in sales if not is_own and at <= order.at)
    shown, own_units = first, 0
    for at, what, units in changes:
        if what == _OWN_SALE:
            own_units += units
            shown -= units
        else:
            shown = units
        if at < order.at:
            continue
        others = sum(units for sold_at, is_own, units in sales if not is_own and sold_at <= at)
        known = first - shown - own_units if what == _TOLD else 0
        is_after = applied_at is not None and at >= applied_at
        if shown <= 0 or known >= others or (is_after and known >= up_to_it):
            return at
    return order.at if shown <= 0 else math.inf


def oldest_unseen(visible: Sequence[Visible], until: float) -> list[tuple[float, float]]:
    """Return over time, once a second, the age of the oldest sale that some channel does not show yet."""
    if not visible:
        return []
    ends: list[tuple[float, float]] = [
        (one.sold_at, one.seen_at if one.seen_at is not None else until) for one in visible
    ]
    begin = ends[0][0]
    ages: list[tuple[float, float]] = []
    moment = begin
    open_sales: list[tuple[float, float]] = []
    place = 0
    while moment <= until:
        while place < len(ends) and ends[place][0] <= moment:
            open_sales.append(ends[place])
            place += 1
        open_sales = [one for one in open_sales if one[1] > moment]
        ages.append((moment, moment - open_sales[0][0] if open_sales else 0.0))
        moment += 1.0
    return ages
