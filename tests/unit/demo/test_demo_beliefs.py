from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from demo.beliefs import Differences, find_odd
from demo.trails import KEPT_MAX, Trail, Trails

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def seconds_after_noon(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("numbers", "odd"),
    [
        ((5, 5, 5, 5), set()),
        ((4, 5, 5, 5), {0}),
        ((4, 5, 5, 4), {1, 2}),
        ((4, 4, 5, 4), {2}),
        ((3, 4, 5, 5), {0, 1}),
        ((1, 2, 3, 4), {0, 1, 2}),
        ((0, 0, -2, -2), set()),
        ((5, 5, None, 5), set()),
        ((4, 5, None, 5), {0}),
        ((4, 5, 5, None), {0}),
        ((None, None, None, None), set()),
    ],
)
def test_odd_is_what_most_do_not_say_and_in_a_tie_what_the_ledger_does_not(
    numbers: tuple[int | None, ...], odd: set[int]
) -> None:
    assert find_odd(numbers) == odd


def test_a_difference_has_an_age_until_all_agree_again() -> None:
    differences = Differences()
    same = {"shop_a": {"MUG": 5}, "shop_b": {"MUG": 5}, "erp": {"MUG": 5}, "ledger": {"MUG": 5}}
    sold = {**same, "shop_a": {"MUG": 4}}

    ages = [
        differences.compare(["MUG"], numbers, now)[0].differs_seconds
        for now, numbers in ((0.0, same), (1.0, sold), (3.5, sold), (4.0, same), (5.0, sold))
    ]

    assert ages == [None, 0.0, 2.5, None, 0.0]
    assert (differences.longest_seconds, differences.longest_sku) == (2.5, "MUG")


def test_a_system_that_does_not_answer_neither_begins_nor_ends_a_difference() -> None:
    differences = Differences()
    numbers = {"shop_a": {"MUG": 4}, "shop_b": {"MUG": 5}, "erp": {"MUG": 5}, "ledger": {"MUG": 5}}
    differences.compare(["MUG"], numbers, 0.0)

    (row,) = differences.compare(["MUG"], {**numbers, "shop_a": None}, 2.0)

    assert row.numbers == (None, 5, 5, 5)
    assert row.odd == frozenset()
    assert row.differs_seconds == 2.0


def test_a_trail_is_put_together_in_any_order_and_keeps_first_arrivals() -> None:
    trails = Trails()
    trails.mark("A", "sold", seconds_after_noon(1))
    trails.mark("A", "placed", NOON, "shop_a")
    trails.mark("A", "shipped", seconds_after_noon(5))
    trails.mark("A", "shipped", seconds_after_noon(9))

    newest = trails.newest()

    assert newest == Trail("A", "shop_a", NOON, seconds_after_noon(1), seconds_after_noon(5), None)
    assert [newest.after(stop) for stop in ("sold", "shipped", "fulfilled")] == [1.0, 5.0, None]
    assert trails.newest_complete() is None


def test_the_newest_order_and_the_newest_complete_one_are_found() -> None:
    trails = Trails()
    for place, code in enumerate(("A", "B", "C")):
        trails.mark(code, "placed", seconds_after_noon(place), "shop_b")
    for code in ("A", "B"):
        trails.mark(code, "shipped", seconds_after_noon(9))
        trails.mark(code, "fulfilled", seconds_after_noon(10))

    newest, complete = trails.newest(), trails.newest_complete()

    assert newest is not None
    assert complete is not None
    assert (newest.code, complete.code) == ("C", "B")


def test_old_trails_are_let_go() -> None:
    trails = Trails()
    for number in range(KEPT_MAX + 1):
        trails.mark(str(number), "sold", NOON)
    trails.mark("0", "placed", NOON, "shop_a")

    newest = trails.newest()

    assert newest is not None
    assert newest.sold is None
