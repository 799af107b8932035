"""Retries stay within their share, and the breaker opens and closes. For budgets see test_budget_models."""

from __future__ import annotations

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
    """In any 60 s: retries that were not served <= 10 % of the first sends of these 60 s, or what is always allowed."""
    budget_of_retries, now = RetryBudget(share=0.1, always=always), 0.0
    sent: list[float] = []
    retried: list[float] = []
    for step, pause in steps:
        now += pause
        if step == "send":
            budget_of_retries.note_first(now)
            sent.append(now)
        elif budget_of_retries.wait_seconds(now) <= 0:
            budget_of_retries.note_retry(now)
            if step == "served":
                budget_of_retries.pay_back()
                continue
            retried.append(now)
            firsts = sum(at > now - 60 for at in sent)
            assert sum(at > now - 60 for at in retried) <= max(always, 0.1 * firsts + 1e-6)


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
