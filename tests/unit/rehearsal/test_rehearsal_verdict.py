"""The figures of a rehearsal, from books that were written by hand."""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

import msgspec
import pytest

from tidegate.rehearsal.bound import Bulk, count_bound, count_naive, count_stock_bound
from tidegate.rehearsal.collect import busiest, compare_counts, count_stock_calls, read_sold, use_while
from tidegate.rehearsal.control import Sandbox
from tidegate.rehearsal.plan import HOT_SKU
from tidegate.rehearsal.platforms import Simulated
from tidegate.rehearsal.records import Booked, Books, Fulfilled, Paid, Shipped, ShownSet, Side, Sold
from tidegate.rehearsal.verdict import find_oversales, judge, percentile, wrong_numbers
from tidegate.rehearsal.visible import oldest_unseen, right_after, see_sales

BULK = Bulk(numbers_per_call={"shop": 250, "web": 100}, calls_per_order=3)


def sold(order: str, at: float, channel: str = "shop", **lines: int) -> Sold:
    return Sold(channel=channel, order=order, at=at, lines=lines or {"A": 1})


def booked(order: str, at: float, **lines: int) -> Booked:
    return Booked(reference=f"ord_{order}", at=at, lines=lines or {"A": 1})


def books(**changes: Any) -> Books:
    """Two orders that arrived, of an article of which there are ten."""
    whole = Books(
        began_at=100.0,
        ended_at=110.0,
        settled_at=115.0,
        sold=(sold("1", 101.0), sold("2", 102.0, "web")),
        booked=(booked("1", 101.5), booked("2", 104.0)),
        orders_of={"ord_1": ("shop", "1"), "ord_2": ("web", "2"), "ord_9": ("web", "9")},
        stock={"A": 10, "B": 5},
        shown_first={"shop": {"A": 10, "B": 5}, "web": {"A": 10, "B": 5}},
        shown_last={"shop": {"A": 8, "B": 5}, "web": {"A": 8, "B": 5}},
        sets=(
            ShownSet(channel="web", sku="A", at=101.4, value=9),
            ShownSet(channel="shop", sku="A", at=103.0, value=8),
        ),
        deliveries=2,
    )
    return msgspec.structs.replace(whole, **changes)


def verdict(of: Books) -> Side:
    return judge(of, BULK, freshness_seconds=1.0, conservation_imbalance=0, stock_calls=2)


def test_a_good_day() -> None:
    """Everything arrived once, and every number is right."""
    side = verdict(books())
    assert side.is_clean
    assert (side.orders, side.lost, side.doubled, side.oversold, side.stock_wrong) == (2, 0, 0, 0, 0)
    assert (side.drained_s, side.settled_s) == (0.0, 5.0), "the last change was made before the last shopper left"
    assert (side.p50_ms, side.p99_ms) == (500.0, 2000.0)
    assert (side.visible_p50_ms, side.visible_p99_ms, side.not_visible) == (400.0, 1000.0, 0)


@pytest.mark.parametrize(
    ("changes", "figure", "number"),
    [
        ({"booked": (booked("1", 101.5),)}, "lost", 1),
        ({"booked": (booked("1", 101.5), booked("2", 104.0), booked("2", 105.0))}, "doubled", 1),
        ({"booked": (booked("1", 101.5), booked("2", 104.0), booked("9", 105.0))}, "doubled", 1),
        ({"booked": (booked("1", 101.5), booked("2", 104.0), booked("unknown", 105.0))}, "doubled", 1),
        ({"booked": (booked("1", 101.5), booked("2", 104.0, A=2))}, "wrong_lines", 1),
        ({"stock": {"A": 1, "B": 5}}, "oversold", 1),
        ({"shown_last": {"shop": {"A": 9, "B": 5}, "web": {"A": 8, "B": 5}}}, "stock_wrong", 1),
        ({"shipped": (Shipped(reference="ord_1", tracking="T", at=1.0),)}, "lost", 1),
        ({"fulfilled": (Fulfilled(channel="shop", order="1", tracking="", at=1.0),)}, "doubled", 1),
    ],
)
def test_what_is_wrong_is_counted(changes: Any, figure: str, number: int) -> None:
    """Each kind of damage in its own figure, and the day is not clean."""
    side = verdict(books(**changes))
    assert getattr(side, figure) == number
    assert not side.is_clean


def test_what_is_wrong_is_named() -> None:
    """So that one knows where to look."""
    side = verdict(books(booked=(booked("1", 101.5),), shown_last={"shop": {"A": 9, "B": 5}, "web": {"A": 8, "B": 5}}))
    assert side.examples == ("shop shows 9 of A, right is 8", "order 2 of web is not in the ERP")


def test_what_never_settled_is_not_clean() -> None:
    """Although nothing is missing."""
    side = verdict(books(settled_at=None))
    assert (side.drained_s, side.settled_s) == (None, None)
    assert not side.is_clean


def test_units_that_were_withheld_on_purpose_are_not_wrong() -> None:
    """A channel that was told two less at first is right when it shows two less at the end, and never below zero."""
    first = {"shop": {"A": 8, "B": 0}, "web": {"A": 10, "B": 5}}
    last = {"shop": {"A": 6, "B": 0}, "web": {"A": 8, "B": 5}}
    assert wrong_numbers(books(shown_first=first, shown_last=last)) == {}


def test_a_shown_number_below_zero_is_as_zero() -> None:
    """Where a channel does not enforce its stock."""
    many = tuple(sold(str(n), 101.0) for n in range(12))
    last = {"shop": {"A": -2, "B": 5}, "web": {"A": 0, "B": 5}}
    assert wrong_numbers(books(sold=many, shown_last=last)) == {}


# --- visible -------------------------------------------------------------------------------------------------------
def test_a_number_that_knows_of_own_sales_only_shows_nothing() -> None:
    """10, one sold here and one there: being told 9 may be about our own sale."""
    sales = (sold("1", 1.0, "shop"), sold("2", 2.0, "web"))
    first = {"web": {"A": 10}}
    early = see_sales(sales, [ShownSet(channel="web", sku="A", at=3.0, value=9)], first)
    assert [one.seen_at for one in early] == [None]
    late = see_sales(sales, [ShownSet(channel="web", sku="A", at=3.0, value=8)], first)
    assert [one.seen_at for one in late] == [3.0]


def test_a_channel_that_shows_nothing_left_shows_every_sale() -> None:
    """More than was there was sold elsewhere."""
    sales = tuple(sold(str(n), float(n), "shop") for n in range(1, 6))
    seen = see_sales(sales, [ShownSet(channel="web", sku="A", at=9.0, value=0)], {"web": {"A": 3}})
    assert [one.seen_at for one in seen] == [9.0] * 5


def test_a_sale_after_the_number_is_not_in_it() -> None:
    """A number cannot know the future."""
    seen = see_sales((sold("1", 5.0),), [ShownSet(channel="web", sku="A", at=4.0, value=2)], {"web": {"A": 3}})
    assert [one.seen_at for one in seen] == [None]


def test_a_late_sale_makes_the_percentile_worse_not_better() -> None:
    """What was never seen counts as for ever."""
    side = verdict(books(sets=()))
    assert (side.visible_p50_ms, side.not_visible) == (None, 2)


def test_the_oldest_unseen_sale_grows_until_it_is_seen() -> None:
    """Once a second."""
    sales = (sold("1", 10.0),)
    seen = see_sales(sales, [ShownSet(channel="web", sku="A", at=13.5, value=9)], {"web": {"A": 10}})
    assert oldest_unseen(seen, 16.0) == [
        (10.0, 0.0),
        (11.0, 1.0),
        (12.0, 2.0),
        (13.0, 3.0),
        (14.0, 0.0),
        (15.0, 0.0),
        (16.0, 0.0),
    ]


# --- calls ---------------------------------------------------------------------------------------------------------
def test_the_fewest_calls() -> None:
    """One per channel and window in which others sold, as full as it can be; three per order; one per shipment."""
    sales = (sold("1", 1.1, A=1, B=1), sold("2", 1.9, A=1), sold("3", 2.1, "web"))
    assert count_stock_bound(sales, BULK, 1.0) == 2
    assert count_stock_bound(sales, Bulk(numbers_per_call={"shop": 1, "web": 1}, calls_per_order=3), 1.0) == 3
    assert count_bound(sales, 2, BULK, 1.0) == 2 + 9 + 2
    assert count_stock_bound((), BULK, 1.0) == 0


def test_one_call_per_event() -> None:
    """Each line to each other channel, and what comes twice is done twice."""
    sales = (sold("1", 1.0, A=1, B=1), sold("2", 1.0, "web"))
    assert count_naive(sales, 1, BULK, deliveries=2) == 3 + 6 + 1
    assert count_naive(sales, 1, BULK, deliveries=4) == 18 + 1


def test_counts_are_those_of_the_play() -> None:
    """What was called before the doors opened does not count."""
    before = {"shop": raw(calls={"search x": {"200": 5}, "set": {"200": 1}}, violations=1)}
    after = {"shop": raw(calls={"search x": {"200": 9}, "set": {"200": 3, "throttled": 2}}, violations=3, used=80.0)}
    simulated = {"shop": Simulated(kind="x", stock_operations=("set",))}
    found = compare_counts(before, after, simulated, {"shop": [10, 11, 12]}, 5)
    calls = found["shop"]
    assert (calls.total, calls.writes, calls.answers_429, calls.violations) == (8, 4, 2, 2)
    assert calls.by_kind == {"search x": 4, "set": 4}
    assert (calls.busiest_per_second, calls.limit_per_second, calls.budget_use) == (8.0, 100.0, pytest.approx(80 / 300))
    assert count_stock_calls(found, simulated) == 4


def raw(*, calls: Any, violations: int, used: float = 0.0) -> Any:
    seconds = [{"second": 11, "used": used, "refused": 0}, {"second": 2, "used": 999.0, "refused": 0}]
    total = sum(sum(outcomes.values()) for outcomes in calls.values())
    limit = {"violations": violations, "per_second": 100.0, "eaten": 0.0, "used": used, "seconds": seconds}
    return {"calls": {"total": total, "by_operation": calls}, "limits": {"points": limit}}


def test_budget_use_is_of_stretches_in_which_work_waited() -> None:
    """A single look that found something waiting proves nothing, and what was saved up is used when the wait ends."""
    assert use_while({1: 50.0}, frozenset(), 100.0) is None
    assert use_while({1: 50.0}, frozenset({1, 2}), 100.0) is None
    assert use_while({1: 50.0, 2: 95.0, 3: 100.0, 4: 0.0}, frozenset({1, 2, 3, 4}), 100.0) == 0.4875
    assert use_while({1: 500.0, 2: 0.0, 3: 0.0, 4: 270.0, 5: 30.0}, frozenset({1, 2, 3}), 100.0) == 0.9
    assert use_while({1: 0.0, 4: 200.0, 9: 0.0, 12: 100.0}, frozenset({1, 2, 3, 7, 9, 10, 11}), 100.0) == 0.5
    assert use_while({4: 900.0}, frozenset({1, 2, 3}), 100.0) == 1.0
    assert busiest({}) == 0.0
    assert busiest(dict.fromkeys(range(20), 7.0)) == 7.0


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.0), (0.99, 4.0), (1.0, 4.0)])
def test_percentiles_are_values_that_were_measured(share: float, value: float) -> None:
    """Nearest rank."""
    assert percentile([4.0, 1.0, 2.0, 3.0], share) == value
    assert percentile([], share) is None


def test_an_oversale_says_where_and_for_how_long() -> None:
    """What was sold after the last unit had gone, by who sold it; a sale that takes the last units and more counts in part."""
    hot = (
        sold("1", 101.0, HOT=2),
        sold("2", 102.0, "web", HOT=2),
        sold("3", 103.5, "web", HOT=1),
        sold("4", 105.0, "shop", HOT=2),
    )
    (one,) = find_oversales(books(sold=hot, stock={"HOT": 3}))
    assert (one.sku, one.units, one.by_channel) == ("HOT", 4, {"shop": 2, "web": 2})
    assert (one.gone_at, one.last_at) == (2.0, 5.0)
    assert find_oversales(books(sold=hot, stock={"HOT": 7})) == ()


def test_what_nobody_ever_had_is_oversold_from_the_first_sale_on() -> None:
    """Nothing on the shelf."""
    (one,) = find_oversales(books(sold=(sold("1", 101.0, GHOST=1),), stock={}))
    assert (one.units, one.gone_at, one.last_at) == (1, 0.0, 1.0)


def test_a_channel_that_sold_out_by_itself_shows_every_sale() -> None:
    """It was never told a number, and shows nothing any more: what others sell from then on is seen at once."""
    sales = (sold("1", 101.0, "web", HOT=1), sold("2", 102.0, "shop", HOT=2), sold("3", 105.0, "web", HOT=1))
    found = see_sales(sales, (), {"shop": {"HOT": 2}})
    assert [(one.sold_at, one.seen_at) for one in found] == [(101.0, 102.0), (105.0, 105.0)]


def test_a_channel_that_is_filled_up_again_has_to_be_told_again() -> None:
    """Nothing is seen for ever."""
    sales = (sold("1", 101.0, "shop", HOT=2), sold("2", 104.0, "web", HOT=1))
    told = (ShownSet(channel="shop", sku="HOT", at=103.0, value=1),)
    found = see_sales(sales, told, {"shop": {"HOT": 2}})
    assert [(one.sold_at, one.seen_at) for one in found] == [(104.0, None)]


def test_orders_of_which_no_webhook_told_are_measured_apart() -> None:
    """From the sale until the last channel shows it, per article; one that is never shown takes for ever."""
    sales = (sold("1", 101.0, "shop", **{HOT_SKU: 1, "A": 1}), sold("2", 102.0, "web", A=1))
    first = {name: {HOT_SKU: 5, "A": 10} for name in ("shop", "web", "pos")}
    told = (
        ShownSet(channel="web", sku=HOT_SKU, at=104.0, value=4),
        ShownSet(channel="pos", sku=HOT_SKU, at=107.5, value=4),
        *(ShownSet(channel=name, sku="A", at=109.0, value=8) for name in first),
    )
    of = books(sold=sales, sets=told, shown_first=first, untold={("shop", "1"): 103.0}, reconcile_cycle_s=900.0)
    side = verdict(of)
    assert (side.untold, side.hot_right_p50_s, side.hot_right_p95_s, side.all_right_max_s) == (1, 6.5, 6.5, 8.0)
    assert side.reconcile_cycle_s == 900.0

    never = verdict(msgspec.structs.replace(of, sets=told[:1]))
    assert (never.hot_right_p95_s, never.all_right_max_s) == (None, None)
    calm = verdict(msgspec.structs.replace(of, untold=None))
    assert (calm.untold, calm.all_right_max_s, calm.reconcile_cycle_s) == (None, None, None)


@pytest.mark.parametrize(
    ("told", "applied_at", "seconds"),
    [
        ([(2.5, 9), (9.0, 8)], 8.0, 8.0),
        ([(2.5, 9), (9.0, 8)], None, 8.0),
        ([(1.5, 9), (2.5, 8)], 8.0, 0.5),
        ([(2.5, 9), (8.5, 9)], 8.0, 7.5),
        ([(2.5, 9)], 8.0, math.inf),
        ([(2.5, 0)], None, 1.5),
    ],
    ids=["another-sale-is-not-it", "all-are-in-it", "found-before-it-is-read", "told-after", "never", "nothing-left"],
)
def test_a_number_that_knows_of_another_sale_is_not_right(
    told: list[tuple[float, int]], applied_at: float | None, seconds: float
) -> None:
    """One sale that nobody told of at 1.0, one that was told at 2.0: 9 of 10 is right only where it was told after both."""
    sales = (sold("1", 1.0, "shop"), sold("2", 2.0, "shop"))
    sets = [ShownSet(channel="web", sku="A", at=at, value=value) for at, value in told]
    assert right_after(sales, sets, {"web": {"A": 10}}, {("shop", "1"): applied_at}) == [("A", seconds)]


def paid(order: str, channel: str = "shop", *, captures: int = 1, refunds: int = 0) -> Paid:
    return Paid(channel=channel, order=order, captured=990 * min(1, captures), captures=captures, refunds=refunds)


@pytest.mark.parametrize(
    ("payments", "figures"),
    [
        (None, (None, None, None, None)),
        ((paid("1"), paid("2", "web", captures=0)), (1, 0, 0, 0)),
        ((paid("1", captures=0), paid("2", "web")), (1, 0, 0, 1)),
        ((paid("1", captures=3, refunds=2), paid("2", "web")), (2, 2, 1, 0)),
    ],
    ids=["no-flow", "only-what-left", "owing", "twice"],
)
def test_money_is_judged_by_what_left_and_what_was_taken(
    payments: tuple[Paid, ...] | None, figures: tuple[int | None, ...]
) -> None:
    """Order 1 was shipped."""
    shipped = (Shipped(reference="ord_1", tracking="T", at=104.0),)
    fulfilled = (Fulfilled(channel="shop", order="1", tracking="T", at=105.0),)

    side = verdict(books(paid=payments, shipped=shipped, fulfilled=fulfilled))

    assert (side.captured, side.captured_twice, side.refunded_twice, side.shipped_without_capture) == figures
    assert side.is_clean == (sum(one or 0 for one in figures[1:]) == 0)
    assert any("money not taken" in words for words in side.examples) == bool(figures[3])


def test_drained_is_the_last_change_in_any_book() -> None:
    """A number that is told once more and was shown already changes nothing; an order, a shipment, another number do."""
    again = ShownSet(channel="shop", sku="A", at=114.0, value=8, changed=False)
    assert verdict(books(sets=(again,))).drained_s == 0.0
    assert verdict(books(sets=(msgspec.structs.replace(again, changed=True),))).drained_s == 4.0
    assert verdict(books(booked=(booked("1", 101.5), booked("2", 112.5)))).drained_s == 2.5
    told = Fulfilled(channel="shop", order="1", tracking="T", at=113.0)
    assert verdict(books(fulfilled=(told,))).drained_s == 3.0
    assert verdict(books(paid=())).drained_s == 5.0, "no book says when money was taken"


async def _read(orders: dict[str, Any]) -> list[Fulfilled]:
    class Shop:
        async def pages(self, _platform: str, part: str) -> dict[str, Any]:
            assert part == "orders"
            return orders

    return (await read_sold(cast("Sandbox", Shop()), "shop"))[1]


def test_a_shipment_is_told_when_the_channels_books_say_so() -> None:
    """Not at the beginning of time: then nothing that waits for its shipment to be told would count as not drained."""
    line = {"sku": "A", "quantity": 2, "shipped": 1, "shipped_at": 103.5}
    other = {"sku": "B", "quantity": 1, "shipped": 0, "shipped_at": None}
    order = {
        "id": "1",
        "placed_at": 101.0,
        "is_cancelled": False,
        "lines": [line, other, {**line, "shipped_at": 107.0}],
    }

    (told,) = asyncio.run(_read({"1": order}))

    assert (told.order, told.at) == ("1", 107.0)
