"""Waits of a schedule of retries."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tidegate.connectors.standard_webhooks import RETRIES
from tidegate.kernel.retry import SCHEDULE_JITTER, scheduled_wait


@given(st.lists(st.floats(0.001, 1e6, allow_nan=False), max_size=12), st.integers(0, 20), st.integers(0, 2**32))
def test_a_step_is_never_shorter_than_it_says_and_the_last_one_is_the_end(
    steps: list[float], index: int, seed: int
) -> None:
    wait = scheduled_wait(steps, index, rng=Random(seed))

    if index >= len(steps):
        assert wait is None
    else:
        assert wait is not None
        assert steps[index] <= wait <= steps[index] * (1 + SCHEDULE_JITTER) * (1 + 1e-12)


def test_signed_events_follow_the_steps_of_the_specification_and_two_more_near_its_beginning() -> None:
    """Standard Webhooks 1.0.0: ten tries, the first at once."""
    seconds = [int(wait.total_seconds()) for wait in RETRIES]

    assert seconds == [5, 15, 60, 300, 1800, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24))]
