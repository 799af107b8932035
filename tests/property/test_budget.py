"""Retries stay within their share, and the breaker opens and closes. For budgets see test_budget_models."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.dispatch import budget
from tidegate.dispatch.retries import RetryBudget


@given(
    st.lists(st.tuples(st.sampled_from(["send", "retry", "served"]), st.floats(0, 20)), max_size=300),
    st.integers(0, 12),
)
def test_retries_stay_within_a_tenth_of_each_minute(steps: list[tuple[str, float]], always: int) -> None:
    """In any 60 s: retries in vain <= 10 % of the first sends of these 60 s, or what is always allowed, or what was served."""
    budget_of_retries, now = RetryBudget(share=0.1, always=always), 0.0
    sent: list[float] = []
    retried: list[float] = []
    served: list[float] = []
    for step, pause in steps:
        now += pause
        if step == "send":
            budget_of_retries.note_first(now)
            sent.append(now)
        elif budget_of_retries.wait_seconds(now) <= 0:
            budget_of_retries.note_retry(now)
            if step == "served":
                budget_of_retries.pay_back(now)
                served.append(now)
                continue
            retried.append(now)
            firsts = sum(at > now - 60 for at in sent)
            helped = sum(at > now - 60 for at in served)
            assert sum(at > now - 60 for at in retried) <= max(always, 0.1 * firsts + 1e-6, helped)


@given(st.floats(0.6, 1.0), st.randoms(use_true_random=False))
def test_retries_flow_while_most_are_served(share: float, chance: random.Random) -> None:
    """What waits to be tried again after a bad minute is gone soon, although nothing is sent for the first time."""
    budget_of_retries, tried, served = RetryBudget(share=0.1, always=12), 0, 0.0
    while tried < 500:
        assert budget_of_retries.wait_seconds(10.0) <= 0, tried
        count = chance.randint(1, 12)
        budget_of_retries.note_retry(10.0, count)
        tried, before = tried + count, int(served)
        served += share * count
        budget_of_retries.pay_back(10.0, int(served) - before)


@given(st.floats(0.0, 0.4))
def test_retries_are_scarce_where_most_are_in_vain(share: float) -> None:
    budget_of_retries, tried, served = RetryBudget(share=0.1, always=12), 0, 0.0
    while budget_of_retries.wait_seconds(10.0) <= 0:
        budget_of_retries.note_retry(10.0)
        before, tried = int(served), tried + 1
        served += share
        budget_of_retries.pay_back(10.0, int(served) - before)
    assert tried <= 40


@given(st.lists(st.tuples(st.integers(1, 16), st.integers(0, 16), st.floats(0, 20)), max_size=80), st.integers(1, 20))
def test_calls_of_several_stay_within_it_and_leave_room(calls: list[tuple[int, int, float]], always: int) -> None:
    """A call carries half of what is left at most, and at least one: what fails as a whole is not the last for a minute."""
    budget_of_retries, now = RetryBudget(share=0.1, always=always), 0.0
    vain: list[tuple[float, int]] = []
    helped: list[tuple[float, int]] = []
    for size, good, pause in calls:
        now += pause
        room = budget_of_retries.room(now)
        assert (room > 0) == (budget_of_retries.wait_seconds(now) <= 0)
        count = min(size, room)
        if not count:
            continue
        budget_of_retries.note_retry(now, count)
        served = min(good, count)
        budget_of_retries.pay_back(now, served)
        vain.append((now, count - served))
        helped.append((now, served))
        lately = [sum(n for at, n in some if at > now - 60) for some in (vain, helped)]
        assert lately[0] <= max(always, lately[1])


@given(st.integers(1, 12), st.lists(st.floats(0, 5), max_size=60))
def test_a_retry_is_allowed_after_the_wait_that_was_told(always: int, pauses: list[float]) -> None:
    """Nobody waits for ever: after the wait a retry is allowed, also when nothing else was sent."""
    budget_of_retries, now = RetryBudget(share=0.1, always=always), 0.0
    for pause in pauses:
        now += pause
        wait = budget_of_retries.wait_seconds(now)
        assert 0 <= wait <= 60 + 1e-9
        now += wait
        assert budget_of_retries.wait_seconds(now) <= 0.001
        budget_of_retries.note_retry(now)


@pytest.mark.parametrize(("failures", "is_open"), [(1, False), (4, False), (5, True), (9, True)])
def test_breaker_opens_at_its_limit_and_closes_with_an_answer(failures: int, is_open: bool) -> None:
    state = budget.CLOSED
    for _ in range(failures):
        state = budget.note_failure(state, 10.0, limit=5, open_seconds=3.0)

    assert state.is_tripped(5) is is_open
    assert state.open_until == (13.0 if is_open else 0.0)
    assert not budget.CLOSED.is_tripped(5)
