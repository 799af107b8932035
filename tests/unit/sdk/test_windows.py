"""Closed windows: where they end, and that parts of one leave nothing out. Pure."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.sdk.windows import SETTLE, closed_window, parse_window, split_window, window_text

HOUR, STEP = timedelta(hours=1), timedelta(minutes=15)
MOMENTS = st.integers(1_770_000_000, 1_900_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(MOMENTS)
def test_a_window_is_closed_and_the_next_one_overlaps_it(now: datetime) -> None:
    since, until = parse_window(closed_window(now, HOUR, STEP))
    assert now - SETTLE - STEP < until <= now - SETTLE
    assert until - since == HOUR
    following = parse_window(closed_window(now + STEP, HOUR, STEP))
    assert following == (since + STEP, until + STEP)


@given(MOMENTS, st.integers(1, 10_000), st.integers(1, 200))
def test_parts_of_a_window_hold_each_moment_once(since: datetime, seconds: int, parts: int) -> None:
    since = since.replace(microsecond=0)
    found = [parse_window(one) for one in split_window(window_text(since, since + timedelta(seconds=seconds)), parts)]
    assert (found[0][0], found[-1][1]) == (since, since + timedelta(seconds=seconds))
    assert all(first[1] == second[0] for first, second in itertools.pairwise(found))
    assert len(found) == min(parts, seconds)


@pytest.mark.parametrize(
    "text", ["", "x/y", "2026-01-01T00:00:00/2026-01-01T01:00:00", "2026-01-01T01:00:00Z/2026-01-01T01:00:00Z"]
)
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"window|isoformat"):
        parse_window(text)
