"""What a person says about stock becomes a posting, or a reason why not."""

from __future__ import annotations

import pytest

from tidegate.inventory.adjust import ASIDE, REASONS, UNITS_MAX, Adjustment, Aside, decide_adjustment
from tidegate.inventory.decide import Refusal
from tidegate.inventory.ledger import Counters
from tidegate.kernel.ids import new_id

ITEM, PLACE = new_id(), new_id()


def wanted(units: int, reason: str = "correction", *, is_aside: bool = False) -> Adjustment:
    return Adjustment(key="k", item_id=ITEM, location_id=PLACE, units=units, reason=reason, is_aside=is_aside)


def level(on_hand: int = 10, unavailable: int = 0, committed: int = 0) -> Counters:
    return Counters(on_hand, unavailable, committed, 0, 1)


@pytest.mark.parametrize(
    ("reason", "units", "kind"),
    [
        ("received", 3, "receive"),
        ("returned", 3, "return_receive"),
        ("found", 1, "adjust"),
        ("lost", -10, "adjust"),
        ("scrapped", -1, "adjust"),
        ("counted", -4, "count"),
        ("correction", 5, "adjust"),
    ],
)
def test_a_reason_has_its_kind(reason: str, units: int, kind: str) -> None:
    decided = decide_adjustment(wanted(units, reason), level(), {})
    assert isinstance(decided, Aside)
    assert (decided.posting.kind, decided.posting.on_hand_delta, decided.posting.unavailable_delta) == (kind, units, 0)
    assert decided.posting.cause_key == "adjust:k"


@pytest.mark.parametrize(
    ("wish", "standing", "aside", "code"),
    [
        (wanted(0), level(), {}, "units_invalid"),
        (wanted(UNITS_MAX + 1), level(), {}, "units_invalid"),
        (wanted(UNITS_MAX), level(on_hand=1), {}, "too_many"),
        (wanted(-11), level(), {}, "below_zero"),
        (wanted(-1), level(on_hand=-3), {}, "below_zero"),
        (wanted(-1, "received"), level(), {}, "reason_contradicts"),
        (wanted(1, "lost"), level(), {}, "reason_contradicts"),
        (wanted(1, "because"), level(), {}, "reason_unknown"),
        (wanted(1, "lost", is_aside=True), level(), {}, "reason_unknown"),
        (wanted(11, "damaged", is_aside=True), level(), {}, "not_on_hand"),
        (wanted(3, "damaged", is_aside=True), level(unavailable=8), {"other": 8}, "not_on_hand"),
        (wanted(-2, "damaged", is_aside=True), level(unavailable=3), {"damaged": 1, "other": 2}, "not_set_aside"),
    ],
)
def test_what_makes_no_sense_is_refused(wish: Adjustment, standing: Counters, aside: dict[str, int], code: str) -> None:
    decided = decide_adjustment(wish, standing, aside)
    assert isinstance(decided, Refusal)
    assert decided.code == code
    assert decided.words
    assert decided.hint


def test_a_count_may_mend_what_went_below_zero() -> None:
    """Facts always post, so a level may stand below zero; what people add mends it step by step."""
    decided = decide_adjustment(wanted(2, "counted"), level(on_hand=-5), {})
    assert isinstance(decided, Aside)


def test_committed_units_do_not_keep_a_count_from_posting() -> None:
    """A shelf that holds fewer than what was promised is a fact: it is posted, and shows as oversold."""
    assert isinstance(decide_adjustment(wanted(-9, "counted"), level(committed=8), {}), Aside)


@pytest.mark.parametrize("state", ASIDE)
def test_units_are_set_aside_and_taken_back(state: str) -> None:
    there = decide_adjustment(wanted(4, state, is_aside=True), level(), {})
    back = decide_adjustment(wanted(-4, state, is_aside=True), level(unavailable=4), {state: 4})
    assert isinstance(there, Aside)
    assert isinstance(back, Aside)
    assert (there.posting.unavailable_delta, there.posting.on_hand_delta, there.reason) == (4, 0, state)
    assert back.posting.unavailable_delta == -4


def test_reasons_and_states_are_apart() -> None:
    assert not set(REASONS) & set(ASIDE)
