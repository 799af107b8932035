"""The budget is never exceeded: in no window, over restarts, with two owners in turns, with clocks that differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.dispatch import budget
from tidegate.dispatch.budget import Tokens
from tidegate.dispatch.retries import RetryBudget
from tidegate.sdk.connector import TokenBucket

buckets = st.builds(
    TokenBucket,
    capacity=st.floats(1.0, 100.0),
    per_second=st.floats(0.1, 50.0),
)
waits = st.floats(0.0, 30.0)
charges = st.floats(0.1, 120.0)


def assert_never_exceeded(bucket: TokenBucket, sends: list[tuple[float, float]]) -> None:
    """Sum of costs in every window [a, b] of sends is within capacity + rate * (b - a)."""
    for first in range(len(sends)):
        spent = 0.0
        for at, cost in sends[first:]:
            spent += cost
            allowed = bucket.capacity + bucket.per_second * (at - sends[first][0])
            assert spent <= allowed * (1 + 1e-9) + 1e-6


@given(buckets, st.lists(st.tuples(waits, charges), max_size=40))
def test_no_window_holds_more_than_the_bucket_allows(bucket: TokenBucket, steps: list[tuple[float, float]]) -> None:
    now, state, sends = 100.0, budget.resume(bucket, None, 0.0, 100.0), []
    for wait, charge in steps:
        now += wait
        if budget.wait_seconds(state, bucket, charge, now) == 0.0:
            state = budget.take(state, bucket, charge, now)
            sends.append((now, budget.price(charge, bucket)))
        assert -1e-9 <= state.tokens <= bucket.capacity
    assert_never_exceeded(bucket, sends)


@given(buckets, st.lists(st.tuples(waits, charges, st.sampled_from(["go", "crash", "crash_before_send"])), max_size=40))
def test_restart_goes_on_from_what_was_stored(bucket: TokenBucket, steps: list[tuple[float, float, str]]) -> None:
    """The charge is stored before the send, so a crash in between costs tokens and never gives any."""
    now, stored, stored_at = 0.0, 0.0, 0.0
    state, sends = budget.resume(bucket, None, 0.0, now), []
    for wait, charge, fate in steps:
        now += wait
        if budget.wait_seconds(state, bucket, charge, now) == 0.0:
            state = budget.take(state, bucket, charge, now)
            stored, stored_at = state.tokens, now
            if fate != "crash_before_send":
                sends.append((now, budget.price(charge, bucket)))
        if fate != "go":
            state = budget.resume(bucket, stored, now - stored_at, now + 1000.0)  # another clock
            state = Tokens(state.tokens, now)
    assert_never_exceeded(bucket, sends)


@given(buckets, charges, st.floats(0.0, 1.0), waits)
def test_the_wait_is_exactly_long_enough(bucket: TokenBucket, charge: float, share: float, later: float) -> None:
    """A wait of w means: not before w, and then at once. The floor never asks for more than the bucket holds."""
    state = Tokens(bucket.capacity * share, 0.0)
    floor = bucket.capacity * 0.2
    wait = budget.wait_seconds(state, bucket, charge, 0.0, floor=floor)

    assert wait <= bucket.capacity / bucket.per_second + 1e-6
    assert budget.wait_seconds(state, bucket, charge, wait * (1 + 1e-9) + 1e-6, floor=floor) == 0.0
    if wait > 1e-3:
        assert budget.wait_seconds(state, bucket, charge, wait * 0.99 - 1e-6, floor=floor) > 0.0


@given(buckets, st.floats(-50.0, 200.0), st.floats(-10.0, 1e6))
def test_resume_never_gives_more_than_the_bucket(bucket: TokenBucket, stored: float, age: float) -> None:
    state = budget.resume(bucket, stored, age, 5.0)

    assert state.tokens <= bucket.capacity
    assert state.tokens <= max(stored, stored + max(0.0, age) * bucket.per_second) + 1e-6


def test_unknown_starts_empty() -> None:
    bucket = TokenBucket(capacity=10, per_second=1)

    assert budget.resume(bucket, None, 1e9, 0.0).tokens == 0.0


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
        assert 0 <= wait <= 60
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
