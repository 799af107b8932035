"""From the books of all platforms to the figures of the report. Asks nobody what he believes; pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tidegate.rehearsal.bound import Bulk, count_bound, count_naive, count_stock_bound
from tidegate.rehearsal.plan import HOT_SKU
from tidegate.rehearsal.records import Books, Oversale, Paid, Side, Stage, Units
from tidegate.rehearsal.visible import Visible, oldest_unseen, right_after, see_sales

EXAMPLES_MAX = 5
Order = tuple[str, str]
"""Channel and id there."""


def judge(books: Books, bulk: Bulk, *, freshness_seconds: float, conservation_imbalance: int, stock_calls: int) -> Side:
    """Return the figures of one side."""
    sold = {(order.channel, order.order): order for order in books.sold}
    lost, doubled, wrong_lines = _compare_orders(books)
    lost_shipments, doubled_shipments = _compare_shipments(books)
    oversales = find_oversales(books)
    wrong = wrong_numbers(books)
    visible = see_sales(books.sold, books.sets, books.shown_first)
    seen = [one.seen_at - one.sold_at for one in visible if one.seen_at is not None]
    never = len(visible) - len(seen)
    until = books.settled_at if books.settled_at is not None else max([books.ended_at, *(s.at for s in books.sets)])
    latencies = list(order_latencies(books))
    captures = len(paid_shipments(books))
    right = right_after(books.sold, books.sets, books.shown_first, books.untold or {})
    hot_right = [seconds for sku, seconds in right if sku == HOT_SKU]
    return Side(
        orders=len(sold),
        lost=lost + lost_shipments,
        doubled=doubled + doubled_shipments,
        oversold=sum(one.units for one in oversales),
        oversales=oversales,
        captured=None if books.paid is None else sum(one.captured > 0 for one in books.paid),
        captured_twice=None if books.paid is None else sum(max(0, one.captures - 1) for one in books.paid),
        refunded_twice=None if books.paid is None else sum(max(0, one.refunds - 1) for one in books.paid),
        shipped_without_capture=None if books.paid is None else sum(one.captured == 0 for one in paid_shipments(books)),
        withdrawals=books.withdrawals if books.shared else None,
        stranded=find_stranded(books) if books.shared else None,
        untold=None if books.untold is None else len(books.untold),
        hot_right_p50_s=_seconds(percentile(hot_right, 0.50)),
        hot_right_p95_s=_seconds(percentile(hot_right, 0.95)),
        all_right_max_s=_seconds(max((seconds for _, seconds in right), default=None)),
        reconcile_cycle_s=None if books.untold is None else books.reconcile_cycle_s,
        bound=books.bound,
        bound_of_stock=_share(books.bound, books.stock.get(HOT_SKU, 0)),
        wrong_lines=wrong_lines,
        conservation_imbalance=conservation_imbalance,
        stock_wrong=len(wrong),
        examples=_examples(books, wrong),
        drained_s=_since_last_order(books, drained_at(books)),
        settled_s=_since_last_order(books, books.settled_at),
        answers_429=sum(calls.answers_429 for calls in books.calls.values()),
        violations=sum(calls.violations for calls in books.calls.values()),
        budget_use=_least(calls.budget_use for calls in books.calls.values()),
        calls=sum(calls.total for calls in books.calls.values()),
        calls_lower_bound=captures + count_bound(books.sold, len(books.shipped), bulk, freshness_seconds),
        calls_naive=captures + count_naive(books.sold, len(books.shipped), bulk, books.deliveries),
        stock_calls=stock_calls,
        stock_calls_lower_bound=count_stock_bound(books.sold, bulk, freshness_seconds),
        p50_ms=_ms(percentile(latencies, 0.50)),
        p99_ms=_ms(percentile(latencies, 0.99)),
        # a sale that never became visible is as late as the whole wait: it must not make the figure better
        visible_p50_ms=_ms(percentile([*seen, *([math.inf] * never)], 0.50)),
        visible_p99_ms=_ms(percentile([*seen, *([math.inf] * never)], 0.99)),
        oldest_not_visible_s=round(max((age for _, age in oldest_unseen(visible, until)), default=0.0), 1),
        not_visible=never,
    )


def drained_at(books: Books) -> float | None:
    """Return when the books of all platforms were last changed by us; None: it was not settled in time.

    A number told once more for safety, which was shown already, changes nothing. When money was taken is in no book: where
    there are payments it is the moment at which nothing was open any more.
    """
    if books.settled_at is None or books.paid is not None:
        return books.settled_at
    told = [one.at for one in books.sets if one.changed]
    arrived = [one.at for one in books.booked] + [one.at for one in books.fulfilled]
    return max([books.ended_at, *told, *arrived])


def _since_last_order(books: Books, moment: float | None) -> float | None:
    return None if moment is None else round(max(0.0, moment - books.ended_at), 1)


def _share(bound: int | None, stock: int) -> float | None:
    return None if bound is None or not stock else round(bound / stock, 4)


def paid_shipments(books: Books) -> list[Paid]:
    """Return the payments of orders that the warehouse shipped."""
    shipped = {books.orders_of.get(shipment.reference) for shipment in books.shipped}
    return [one for one in books.paid or () if (one.channel, one.order) in shipped]


def _examples(books: Books, wrong: Mapping[tuple[str, str], tuple[int, int]]) -> tuple[str, ...]:
    """Return the first numbers that are wrong, and the first orders that the ERP does not have."""
    numbers = [
        f"{channel} shows {shown} of {sku}, right is {right}"
        for (channel, sku), (shown, right) in sorted(wrong.items())
    ]
    arrived = {books.orders_of.get(sale.reference) for sale in books.booked}
    missing = [
        f"order {sold.order} of {sold.channel} is not in the ERP"
        for sold in books.sold
        if (sold.channel, sold.order) not in arrived
    ]
    owing = [
        f"order {one.order} of {one.channel} was shipped, and its money not taken"
        for one in paid_shipments(books)
        if not one.captured
    ]
    return (*numbers[:EXAMPLES_MAX], *missing[:EXAMPLES_MAX], *owing[:EXAMPLES_MAX])


def order_latencies(books: Books) -> Iterable[float]:
    """Yield for every order that is in the ERP the seconds from the sale to its first booking there."""
    first: dict[Order, float] = {}
    for sale in books.booked:
        order = books.orders_of.get(sale.reference)
        if order is not None:
            first[order] = min(sale.at, first.get(order, sale.at))
    for sold in books.sold:
        at = first.get((sold.channel, sold.order))
        if at is not None:
            yield max(0.0, at - sold.at)


def find_oversales(books: Books) -> tuple[Oversale, ...]:
    """Return what was sold that nobody has: of which article, in which channel, and for how long. The most units first."""
    sales: dict[str, list[tuple[float, str, int]]] = defaultdict(list)
    for order in books.sold:
        for sku, units in order.lines.items():
            sales[sku].append((order.at, order.channel, units))
    found = [_oversale(sku, sorted(of_sku), books.stock.get(sku, 0), books.began_at) for sku, of_sku in sales.items()]
    return tuple(sorted((one for one in found if one is not None), key=lambda one: (-one.units, one.sku)))


def _oversale(sku: str, sales: Sequence[tuple[float, str, int]], left: int, began_at: float) -> Oversale | None:
    by_channel: Counter[str] = Counter()
    gone_at = began_at
    for at, channel, units in sales:
        if left > 0:
            gone_at = at
        if units > left:
            by_channel[channel] += units - left
            last_at = at
        left = max(0, left - units)
    if not by_channel:
        return None
    return Oversale(
        sku=sku,
        units=by_channel.total(),
        by_channel=dict(sorted(by_channel.items())),
        gone_at=round(gone_at - began_at, 1),
        last_at=round(last_at - began_at, 1),
    )


def wrong_numbers(books: Books) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (channel, SKU) -> (shown, right) where a channel shows another number than the books say.

    Right is what is left, less what the channel was not told of at first (units withheld on purpose), never below zero.
    """
    sold: Counter[str] = Counter()
    for order in books.sold:
        sold.update(order.lines)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for channel, shown in books.shown_last.items():
        for sku, number in shown.items():
            first = books.shown_first.get(channel, {}).get(sku)
            if first is None or sku in books.shared:
                continue
            right = max(0, first - sold[sku])
            if max(0, number) != right and (sku not in books.buffered or number > right):
                found[channel, sku] = (number, right)
    return found


def find_stranded(books: Books) -> int:
    """Return the units that are left of shared articles and that no channel shows."""
    sold: Counter[str] = Counter()
    for order in books.sold:
        sold.update(order.lines)
    shown: Counter[str] = Counter()
    for numbers in books.shown_last.values():
        shown.update({sku: max(0, number) for sku, number in numbers.items()})
    return sum(max(0, books.stock.get(sku, 0) - sold[sku] - shown[sku]) for sku in books.shared)


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value that `share` of the values do not exceed (nearest rank); None when there are none."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def measure_stage(name: str, seconds: Sequence[float]) -> Stage | None:
    """Return the percentiles of one part of the way; None when nothing went there."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return Stage(
        name=name,
        count=len(ordered),
        p50_ms=_ms(percentile(ordered, 0.50)) or 0.0,
        p99_ms=_ms(percentile(ordered, 0.99)) or 0.0,
        max_ms=_ms(ordered[-1]) or 0.0,
    )


def visible_of(books: Books) -> tuple[Visible, ...]:
    """Return when each sale was seen in the other channels."""
    return see_sales(books.sold, books.sets, books.shown_first)


def _compare_orders(books: Books) -> tuple[int, int, int]:
    """Return orders that the ERP does not have, sales too many, and sales with other lines."""
    sales: dict[Order, list[Units]] = defaultdict(list)
    strangers = 0
    known = {(order.channel, order.order) for order in books.sold}
    for sale in books.booked:
        order = books.orders_of.get(sale.reference)
        if order is None or order not in known:
            strangers += 1
        else:
            sales[order].append(sale.lines)
    lost = wrong = 0
    for sold in books.sold:
        found = sales.get((sold.channel, sold.order))
        if not found:
            lost += 1
        elif dict(found[0]) != dict(sold.lines):
            wrong += 1
    return lost, strangers + sum(len(found) - 1 for found in sales.values()), wrong


def _compare_shipments(books: Books) -> tuple[int, int]:
    """Return shipments that the channel does not have, and fulfillments too many."""
    shipped: Counter[Order] = Counter(
        order for shipment in books.shipped if (order := books.orders_of.get(shipment.reference)) is not None
    )
    fulfilled: Counter[Order] = Counter((one.channel, one.order) for one in books.fulfilled)
    lost = sum(max(0, count - fulfilled[order]) for order, count in shipped.items())
    return lost, sum(max(0, count - shipped[order]) for order, count in fulfilled.items())


def _ms(seconds: float | None) -> float | None:
    if seconds is None or math.isinf(seconds):
        return None
    return round(seconds * 1000, 1)


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None or math.isinf(seconds) else round(seconds, 1)


def _least(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(min(known), 3) if known else None


def count_by(mapping: Mapping[str, int], words: Sequence[str]) -> int:
    """Return the sum of the counts whose name holds one of the words."""
    return sum(count for name, count in mapping.items() if any(word in name for word in words))
