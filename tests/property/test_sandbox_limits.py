"""The sandbox's limits against the written rule: replayed with exact fractions, from nothing but what arrived when."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.sandbox.limits import Bucket, InFlight, report

TICK = Fraction(1, 64)
"""Times are multiples of it, so that floats are exact."""
requests = st.lists(st.tuples(st.integers(0, 256), st.integers(1, 64)), max_size=60)


def written_rule(capacity: int, rate: int, share: Fraction, arrivals: list[tuple[int, int]]) -> list[bool]:
    """A bucket holds `capacity`, gets `rate` a second less what the other app takes; a request passes if it is paid for."""
    level, at, passed = Fraction(capacity), Fraction(0), []
    for wait, cost in arrivals:
        now = at + wait * TICK
        level = min(Fraction(capacity), level + (now - at) * rate * (1 - share))
        at = now
        passed.append(level >= cost)
        level -= cost if passed[-1] else 0
    return passed


@given(st.integers(1, 64), st.integers(1, 64), st.sampled_from([Fraction(0), Fraction(1, 4), Fraction(1)]), requests)
def test_a_bucket_lets_through_what_the_rule_lets_through(
    capacity: int, rate: int, share: Fraction, arrivals: list[tuple[int, int]]
) -> None:
    """Admitted and refused, one by one, and counted exactly."""
    bucket = Bucket(capacity, rate, now=0.0)
    bucket.eat(float(share), 0.0)
    now, passed = 0.0, []
    for wait, cost in arrivals:
        now += float(wait * TICK)
        passed.append(bucket.take(cost, now) == 0.0)

    assert passed == written_rule(capacity, rate, share, arrivals)
    told = report(bucket, now, seconds=3600)
    assert (told.admitted, told.violations) == (sum(passed), len(passed) - sum(passed))
    assert told.used == sum(cost for (_, cost), ok in zip(arrivals, passed, strict=True) if ok)
    assert sum(second.used for second in told.seconds) == told.used
    assert sum(second.refused for second in told.seconds) == told.violations


@given(st.integers(1, 64), st.integers(1, 64), requests)
def test_no_window_holds_more_than_the_rule_allows(capacity: int, rate: int, arrivals: list[tuple[int, int]]) -> None:
    """Between any two moments at most capacity + rate x time was admitted."""
    bucket, now, admitted = Bucket(capacity, rate, now=0.0), 0.0, []
    for wait, cost in arrivals:
        now += float(wait * TICK)
        if bucket.take(cost, now) == 0.0:
            admitted.append((now, cost))
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            used = sum(cost for _, cost in admitted[first : last + 1])
            assert used <= capacity + rate * (admitted[last][0] - admitted[first][0])


@given(st.integers(1, 64), st.integers(1, 64), requests)
def test_who_waits_as_told_is_let_through(capacity: int, rate: int, arrivals: list[tuple[int, int]]) -> None:
    """The wait that a refusal names is enough."""
    bucket, now = Bucket(capacity, rate, now=0.0), 0.0
    for pause, cost in arrivals:
        now += float(pause * TICK)
        wait = bucket.take(cost, now)
        assert (wait == float("inf")) == (cost > capacity)
        if 0.0 < wait < float("inf"):
            now += wait * (1 + 1e-12)
            assert bucket.take(cost, now) == 0.0


@given(st.integers(1, 8), st.lists(st.booleans(), max_size=60))
def test_a_host_runs_so_many_at_once(limit: int, steps: list[bool]) -> None:
    """Who comes when all places are taken is refused, and counted."""
    host, running, refused = InFlight(limit), 0, 0
    for is_arrival in steps:
        if is_arrival:
            entered = host.enter(0.0)
            assert entered is (running < limit)
            running, refused = running + entered, refused + (not entered)
        elif running:
            host.leave()
            running -= 1
    assert (host.running, host.meter.violations) == (running, refused)
    assert host.most <= limit


@pytest.mark.parametrize(("asked", "needed"), [(10.0, 4.0), (10.0, 10.0)])
def test_what_was_not_needed_comes_back(asked: float, needed: float) -> None:
    """The charge is what was asked for, corrected to what it was."""
    bucket = Bucket(20, 1, now=0.0)
    assert bucket.take(asked, 0.0) == 0.0
    bucket.give_back(asked - needed, 0.0)
    assert bucket.level(0.0) == 20 - needed
    assert report(bucket, 0.0).used == needed
