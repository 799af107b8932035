"""Looks that nobody asked for come at the same moments in all processes of a machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.kernel.clock import seconds_to_beat


@given(period=st.floats(0.1, 60), now=st.floats(0, 1e8))
def test_the_next_beat_is_on_the_grid_and_never_at_once(period: float, now: float) -> None:
    wait = seconds_to_beat(period, now)
    beats = (now + wait) / period

    assert period * 0.019 < wait <= period * 1.021
    assert beats == pytest.approx(round(beats), abs=1e-6)


def test_processes_that_began_at_different_times_beat_together() -> None:
    assert 100.4 + seconds_to_beat(3.0, 100.4) == pytest.approx(101.7 + seconds_to_beat(3.0, 101.7)) == 102.0
