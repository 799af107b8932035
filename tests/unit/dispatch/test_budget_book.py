"""What a call costs in the end: what its answers tell, else the requests that it made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tidegate.dispatch.budget_book import Book
from tidegate.kernel.errors import OutcomeUnknownError
from tidegate.sdk.budgets import Adaptive, BudgetReading, CostBucket, TokenBucket
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


def told(left: float, cost: float) -> Response:
    return Response(status=200, headers={"left": str(left), "cost": str(cost)}, body=b"{}")


def priced_book(clock: StillClock) -> Book:
    """A book of points, full, whose platform tells what is left and what a request cost."""

    def read(response: Response) -> BudgetReading | None:
        if "left" not in response.headers:
            return None
        return BudgetReading(left=float(response.headers["left"]), cost=float(response.headers["cost"]))

    book = Book(replace(CONNECTOR, budget=CostBucket(capacity=1000, per_second=100), read_budget=read), clock)
    clock.seconds += 60.0
    return book


def test_what_a_request_without_an_answer_cost_is_not_given_back() -> None:
    """It may have been carried out: what was answered before it says nothing of it, and the next answer tells."""
    clock = StillClock()
    book = priced_book(clock)
    watch = book.watch(book.take(500, "", clock.seconds))
    watch.asked()
    watch.answered(told(990, 10))
    watch.asked()
    watch.failed(OutcomeUnknownError("no answer", code="connection_lost"))
    watch.finish()

    assert book.usage(clock.seconds).left == 500

    assert book.wait(100, "", clock.seconds) == 0
    spend_told(book, clock, left=970)
    assert book.usage(clock.seconds).left == 970


def spend_told(book: Book, clock: StillClock, *, left: float) -> None:
    watch = book.watch(book.take(10, "", clock.seconds))
    watch.asked()
    watch.answered(told(left, 10))
    watch.finish()


def test_what_flowed_in_before_a_request_left_is_no_slack_of_its_answer() -> None:
    """The answer to a late request of a long call is believed as closely as that of a short one."""
    clock = StillClock()
    book = priced_book(clock)
    watch = book.watch(book.take(500, "", clock.seconds))
    watch.asked()
    watch.answered(told(990, 10))
    clock.seconds += 4.0
    watch.asked()
    watch.answered(told(450, 490))
    watch.finish()

    assert book.usage(clock.seconds).left == 450


def test_a_quarter_of_a_second_is_left_alone_where_answers_tell_what_is_left() -> None:
    clock = StillClock()
    book = priced_book(clock)
    book.take(500, "", clock.seconds)

    assert book.wait(475, "", clock.seconds) == 0
    assert book.wait(480, "", clock.seconds) == pytest.approx(0.0)  # with all of it in flight there is nothing to leave
    spent = priced_book(clock)
    spent.end(spent.take(500, "", clock.seconds), clock.seconds)

    assert spent.wait(475, "", clock.seconds) == 0
    assert spent.wait(480, "", clock.seconds) == pytest.approx(0.05)
