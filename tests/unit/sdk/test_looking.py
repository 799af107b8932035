"""Looking at a system leaves half of its budget to others, waits for refusals, and tells each article once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.kernel.errors import RateLimitedError, TransientError
from tidegate.sdk.budgets import Adaptive, BudgetReading, CostBucket
from tidegate.sdk.connector import Articles, ArticlesPage, Inspection, Location, Variant
from tidegate.sdk.http import Api
from tidegate.sdk.looking import REFUSALS_MAX, Pace, look_at
from tidegate.sdk.testing.hostile_connector import CONNECTOR


class StepClock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 27, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


async def inspect(_api: Api) -> Inspection:
    return Inspection(
        external_account="a",
        account_name="a",
        version="1",
        locations=(Location(external_id="1", name="x"),),
        variants=(),
    )


def page(*ids: int, cursor: str = "", wait: float = 0.0) -> ArticlesPage:
    variants = tuple(Variant(external_id=str(one), sku=f"S{one}", title="") for one in ids)
    return ArticlesPage(variants=variants, cursor=cursor, has_more=bool(cursor), wait_seconds=wait)


def look(answers: list[ArticlesPage | Exception], clock: StepClock, budget: Any = None) -> Inspection:
    async def read(_api: Api, cursor: str) -> ArticlesPage:
        asked.append(cursor)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    asked: list[str] = []
    connector = replace(
        CONNECTOR,
        inspect=inspect,
        articles=Articles(read=read, charge=10),
        budget=budget or Adaptive(start=1, floor=1, ceiling=1),
        read_budget=None,
    )
    api: Any = None
    return asyncio.run(look_at(connector, api, clock=clock, sleep=clock.sleep))


def test_every_article_is_told_once_and_waits_are_kept() -> None:
    clock = StepClock()

    found = look([page(1, 2, cursor="a", wait=3.0), page(cursor="b"), page(2, 3)], clock)

    assert [one.external_id for one in found.variants] == ["1", "2", "3"]
    assert clock.slept == [3.0]


def test_a_refusal_is_waited_for_and_the_same_page_is_asked_for_again() -> None:
    clock = StepClock()

    found = look([RateLimitedError(wait_seconds=7.0), page(1, cursor="a"), RateLimitedError(), page(2)], clock)

    assert len(found.variants) == 2
    assert clock.slept == [7.0, 2.0]


def test_what_is_refused_again_and_again_or_for_long_is_told() -> None:
    with pytest.raises(RateLimitedError):
        look([RateLimitedError(wait_seconds=1.0) for _ in range(REFUSALS_MAX)], StepClock())
    with pytest.raises(RateLimitedError):
        look([RateLimitedError(wait_seconds=3600.0)], StepClock())
    with pytest.raises(TransientError):
        look([TransientError("gone")], StepClock())


def test_a_budget_of_which_nothing_is_known_is_waited_for() -> None:
    clock = StepClock()

    look([page(1, cursor="a"), page(2)], clock, CostBucket(capacity=100, per_second=5))

    assert clock.slept == [2.0, 2.0], "10 points at 5 a second, over the half that is kept"


@given(
    limit=st.floats(50, 5000),
    per_second=st.floats(1, 500),
    charge=st.floats(0.5, 1000),
    others=st.lists(st.floats(0, 1), max_size=30),
    tells=st.booleans(),
)
def test_half_of_the_budget_stays_and_the_bucket_never_runs_over(
    limit: float, per_second: float, charge: float, others: list[float], tells: bool
) -> None:
    """The platform's own count, kept here apart, never goes below nothing, whatever others take of their half."""
    charge = min(charge, limit / 2)
    pace, now = Pace(CostBucket(capacity=limit, per_second=per_second), 0.0), 0.0
    theirs = limit / 2  # what nothing is known of may be half empty
    for share in others:
        wait = pace.wait(charge, now)
        now += wait
        theirs = min(limit, theirs + wait * per_second)
        assert theirs >= charge - 1e-6
        pace.take(charge, now)
        theirs -= charge
        if tells:
            theirs -= min(theirs, share * limit / 2)
            pace.answered(BudgetReading(left=theirs, limit=limit, per_second=per_second), now)
