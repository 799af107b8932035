"""When the strands in reserve are called, and when they are sent away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.sync.strength import Strength

LARGE, CALM = 64, 30.0


def strength() -> Strength:
    return Strength(large=LARGE, large_in_a_row=2, slow_seconds=0.5, calm_seconds=CALM)


def test_events_that_come_one_by_one_are_the_business_of_one_strand() -> None:
    state = strength()
    for second in range(100):
        state.claimed(0, LARGE - 1, float(second))
    assert not state.is_reserve_wanted
    assert state.look(100.0) is None


def test_one_page_of_a_poll_calls_nobody_and_a_backlog_does() -> None:
    state = strength()
    state.claimed(0, 500, 0.0)
    state.claimed(0, 0, 0.1)
    state.claimed(0, 500, 5.0)
    assert not state.is_reserve_wanted
    state.claimed(0, LARGE, 5.1)
    assert state.is_reserve_wanted


def test_large_claims_of_two_strands_are_not_two_in_a_row_of_one() -> None:
    state = strength()
    state.claimed(0, LARGE, 0.0)
    state.claimed(1, LARGE, 0.0)
    assert not state.is_reserve_wanted


def test_a_batch_that_hangs_calls_the_others() -> None:
    state = strength()
    state.claimed(0, 1, 0.0)
    state.slow(0.5)
    assert state.is_reserve_wanted
    assert state.look(0.5) == CALM


def test_what_all_claim_together_keeps_them_and_calm_sends_them_away() -> None:
    state = strength()
    for _ in range(2):
        state.claimed(0, LARGE, 0.0)
    for second in range(60):
        for strand in range(3):
            state.claimed(strand, LARGE // 6 + 1, float(second))
    assert state.look(60.0) == 59.0 + CALM - 60.0
    for strand in range(3):
        state.claimed(strand, 1, 61.0)
    assert state.look(59.0 + CALM) is None
    assert not state.is_reserve_wanted


def test_who_left_is_not_counted_any_more() -> None:
    state = strength()
    for _ in range(2):
        state.claimed(0, LARGE, 0.0)
    state.claimed(1, LARGE, 0.0)
    state.left(1)
    state.claimed(0, 1, 10.0)
    assert state.look(10.0) == CALM - 10.0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 500), st.integers(0, 40)), max_size=60))
def test_they_come_only_for_much_and_go_only_after_calm(steps: list[tuple[int, int, int]]) -> None:
    """Whatever is claimed: two large claims of one strand bring them at once, and nothing sends them away within the calm."""
    state = strength()
    now, busy_at = 0.0, float("-inf")
    newest: dict[int, int] = {}
    before: dict[int, int] = {}
    for strand, events, pause in steps:
        now += pause
        was_wanted = state.is_reserve_wanted
        left = state.look(now)
        if was_wanted and not state.is_reserve_wanted:
            assert now - busy_at >= CALM
        elif was_wanted:
            assert left is not None
            assert 0 < left <= CALM
        was_wanted = state.is_reserve_wanted
        state.claimed(strand, events, now)
        is_second = events >= LARGE and before.get(strand, 0) >= LARGE
        assert state.is_reserve_wanted == (was_wanted or is_second)
        before[strand] = newest[strand] = events
        if sum(newest.values()) * 2 >= LARGE:
            busy_at = now
