"""Token buckets: whatever is asked when, nobody gets more than the burst and the rate (SECURITY G6)."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.web.buckets import Buckets

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A machine with other work is slow, not wrong."""
STEPS = st.lists(st.floats(0, 5, allow_nan=False), max_size=60)


@CALM
@given(STEPS, st.floats(0.1, 50), st.integers(1, 20))
def test_never_more_than_burst_and_rate(steps: list[float], per_second: float, burst: int) -> None:
    buckets, now, granted = Buckets(per_second=per_second, burst=burst, callers_max=10), 0.0, 0
    for step in steps:
        now += step
        granted += buckets.take("a", now).allowed
        assert granted <= burst + now * per_second + 1e-6


@CALM
@given(STEPS, st.floats(0.1, 50), st.integers(1, 20))
def test_whoever_waits_as_told_is_let_in(steps: list[float], per_second: float, burst: int) -> None:
    buckets, now = Buckets(per_second=per_second, burst=burst, callers_max=10), 0.0
    for step in steps:
        now += step
        grant = buckets.take("a", now)
        if not grant.allowed:
            now += grant.retry_after_seconds
            assert buckets.take("a", now).allowed


def test_looking_takes_nothing_and_callers_do_not_share() -> None:
    buckets = Buckets(per_second=1, burst=1, callers_max=10)
    assert buckets.look("a", 0).allowed
    assert buckets.take("a", 0).allowed
    assert not buckets.look("a", 0).allowed
    assert buckets.take("b", 0).allowed


def test_callers_that_were_silent_longest_are_forgotten() -> None:
    buckets = Buckets(per_second=1, burst=1, callers_max=2)
    for caller in ("a", "b", "a", "c"):
        buckets.take(caller, 0)
    assert not buckets.look("a", 0).allowed
    assert buckets.look("b", 0).allowed
