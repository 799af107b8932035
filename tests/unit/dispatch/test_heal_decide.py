"""What becomes of a difference, and what is guessed of its cause."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config.records import Healing
from tidegate.dispatch.drift_decide import Cause, Finding, Seen, StockFacts, decide_stock
from tidegate.dispatch.heal_decide import (
    HEALABLE,
    HEALS_MAX,
    HealState,
    Known,
    decide_heal,
    entry_kind,
    guess,
    is_too_much,
)
from tidegate.sdk.connector import ShownField


def finding(cause: Cause = Cause.CHANGED_THERE, field: ShownField = ShownField.STOCK, **values: Any) -> Finding:
    numbers = {"owner_value": Decimal(7), "other_value": Decimal(3), **values}
    return Finding(field=field, place="wh-1", owner="tidegate", other="shop", cause=cause, **numbers)


def known(heal: HealState = "", heals: int = 0, **values: Any) -> Known:
    fields = {"owner_value": Decimal(7), "other_value": Decimal(3), "cause": "changed_there", "in_flight": False}
    return Known(**{**fields, "heal": heal, "heals": heals, **values})


KNOWN = st.none() | st.builds(
    known,
    st.sampled_from(get_args(HealState)),
    st.integers(0, 5),
    in_flight=st.booleans(),
    cause=st.sampled_from(list(Cause)),
)
FINDINGS = st.builds(finding, st.sampled_from(list(Cause)), st.sampled_from(list(ShownField)), in_flight=st.booleans())


@given(FINDINGS, KNOWN, st.sampled_from(get_args(Healing)))
def test_only_what_telling_mends_is_told_and_only_by_policy(
    found: Finding, before: Known | None, policy: Healing
) -> None:
    state = decide_heal(found, before, policy)

    if state == "due":
        assert (policy, found.in_flight, found.field) == ("auto", False, ShownField.STOCK)
        assert found.cause in HEALABLE
        assert before is None or before.heals < HEALS_MAX
    if not found.in_flight and policy == "report":
        assert state == ""
    if state == "waits" and not found.in_flight:
        assert policy == "approve"


@given(FINDINGS, KNOWN)
def test_what_nobody_can_tell_yet_is_no_news(found: Finding, before: Known | None) -> None:
    kind = entry_kind(found, before)

    assert kind is None or not found.in_flight
    if before is not None and not before.in_flight:
        assert kind != "found"


def test_the_story_tells_a_difference_once_and_again_when_it_is_another_one() -> None:
    found = finding()

    assert entry_kind(found, None) == "found"
    assert entry_kind(found, known()) is None
    assert entry_kind(finding(other_value=Decimal(2)), known()) == "changed"
    assert entry_kind(found, known(in_flight=True)) == "found"


@pytest.mark.parametrize(
    ("before", "told_before", "follows", "cause"),
    [
        (None, None, False, Cause.CHANGED_THERE),
        (None, 3, False, Cause.LOST_PUSH),
        (None, 5, True, Cause.MISSED_EVENT),
        (known("healing", 1), None, False, Cause.CHANGED_THERE),
        (known("healing", 2), 3, True, Cause.OTHER_APP),
    ],
)
def test_causes_are_guessed(before: Known | None, told_before: int | None, follows: bool, cause: Cause) -> None:
    assert guess(finding(), before, told_before=told_before, follows_sales=follows).cause is cause


def test_a_known_cause_is_not_guessed_at() -> None:
    assert guess(finding(Cause.PUSH_FAILED), None, told_before=3, follows_sales=True).cause is Cause.PUSH_FAILED


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 5))
def test_a_tolerance_never_hides_that_one_side_has_none(shown: int, ours: int, tolerance: int) -> None:
    seen = Seen(value=Decimal(shown), observed_at=datetime(2026, 11, 28, tzinfo=UTC))
    facts = StockFacts(
        channel="shop", place="", seen=seen, is_bound=True, ours=ours, mode="live", was_told=True, tolerance=tolerance
    )
    result = decide_stock(facts, None)

    if (shown == 0) != (ours == 0):
        assert result is not None
    elif abs(shown - ours) <= tolerance:
        assert result is None
    else:
        assert result is not None


def test_too_many_differences_or_too_much_missing_is_too_much() -> None:
    assert not is_too_much(10, 10, 10)
    assert is_too_much(11, 0, 10)
    assert is_too_much(1, 11, 10)
