"""What a call costs in the end: what its answers tell, else the requests that it made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tidegate.dispatch.budget_book import Book
from tidegate.sdk.budgets import Adaptive, BudgetReading, TokenBucket
from tidegate.sdk.http import Response
from tidegate.sdk.testing.hostile_connector import CONNECTOR

FINE = Response(status=200, headers={}, body=b"{}")


class StillClock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return datetime(2026, 11, 27, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


def spend(book: Book, clock: StillClock, *, charge: float, requests: int) -> float:
    """Make a call and return what it took of the budget in the last minute."""
    watch = book.watch(book.take(charge, "", clock.seconds))
    for _ in range(requests):
        watch.asked()
        watch.answered(FINE)
    watch.finish()
    watch.finish()
    return book.usage(clock.seconds).used_last_minute


@pytest.mark.parametrize(("charge", "requests", "cost"), [(1, 1, 1), (1, 5, 5), (3, 2, 3), (3, 3, 3), (3, 7, 7)])
@pytest.mark.parametrize(
    "budget",
    [TokenBucket(capacity=50, per_second=1), Adaptive(start=2, floor=1, ceiling=4)],
    ids=["bucket", "adaptive"],
)
def test_a_call_that_makes_more_requests_than_its_charge_pays_for_costs_each_of_them(
    budget: TokenBucket | Adaptive, charge: float, requests: int, cost: float
) -> None:
    clock = StillClock()
    book = Book(replace(CONNECTOR, budget=budget, read_budget=None), clock)
    clock.seconds += 60.0
    before = book.usage(clock.seconds).left

    assert spend(book, clock, charge=charge, requests=requests) == cost
    if isinstance(budget, TokenBucket):
        assert before - book.usage(clock.seconds).left == cost


def test_what_the_platform_tells_counts_more_than_the_number_of_requests() -> None:
    clock = StillClock()
    connector = replace(
        CONNECTOR, budget=TokenBucket(capacity=50, per_second=1), read_budget=lambda _: BudgetReading(cost=0.5)
    )
    book = Book(connector, clock)
    clock.seconds += 60.0
    before = book.usage(clock.seconds).left

    spend(book, clock, charge=1, requests=4)

    assert before - book.usage(clock.seconds).left == 2.0
