"""How long somebody who fails to sign in waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tidegate.web.lockout import BY_ADDRESS, BY_NAME

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@given(st.integers(0, 200))
def test_more_failures_never_cost_less_and_never_more_than_the_most(failures: int) -> None:
    for lockout in (BY_ADDRESS, BY_NAME):
        one, more = lockout.wait_seconds(failures, NOW, NOW), lockout.wait_seconds(failures + 1, NOW, NOW)
        assert 0 <= one <= more <= lockout.most_seconds
        assert (one == 0) == (failures <= lockout.free)


def test_waiting_and_forgetting_open_the_door_again() -> None:
    waited = NOW + timedelta(seconds=BY_ADDRESS.wait_seconds(9, NOW, NOW))
    long_after = NOW + BY_ADDRESS.forget_after

    assert BY_ADDRESS.wait_seconds(9, NOW, waited) == 0
    assert BY_ADDRESS.wait_seconds(200, NOW, long_after) == 0
    assert BY_ADDRESS.count(200, NOW, long_after) == 1
    assert BY_ADDRESS.count(9, NOW, waited) == 10
