"""Derived states."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.commerce.states import FulfillmentState, derive_fulfillment_state

UNFULFILLED, PARTLY, FULFILLED = (
    FulfillmentState.UNFULFILLED,
    FulfillmentState.PARTIALLY_FULFILLED,
    FulfillmentState.FULFILLED,
)
line = st.tuples(st.integers(0, 20), st.integers(0, 25))


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([], UNFULFILLED),
        ([(2, 0)], UNFULFILLED),
        ([(2, 1)], PARTLY),
        ([(2, 2)], FULFILLED),
        ([(2, 2), (1, 0)], PARTLY),
        ([(2, 2), (0, 0)], FULFILLED),
        ([(0, 0)], UNFULFILLED),
        ([(0, 3)], UNFULFILLED),
        ([(1, 3), (2, 0)], PARTLY),
        ([(1, 3), (2, 2)], FULFILLED),
    ],
)
def test_states_worked_out_by_hand(lines: list[tuple[int, int]], state: FulfillmentState) -> None:
    assert derive_fulfillment_state(lines) == state


@given(st.lists(line, max_size=6))
def test_the_state_says_how_much_is_still_open(lines: list[tuple[int, int]]) -> None:
    state = derive_fulfillment_state(lines)
    is_open = any(shipped < current for current, shipped in lines)
    has_begun = any(min(current, shipped) > 0 for current, shipped in lines)

    assert state == (UNFULFILLED if not has_begun else PARTLY if is_open else FULFILLED)
