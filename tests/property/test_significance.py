"""Which changes go at once: the rules as a person reads them, and as a database compares them, are the same."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.commerce.significance import Quiet, Rule, describe, describe_rule, is_significant, judge, quiet

numbers = st.integers(-20, 400)
rules = st.builds(
    Rule,
    low=st.integers(0, 30),
    percent=st.none() | st.integers(1, 150),
    units=st.none() | st.integers(1, 60),
    fast_seconds=st.none() | st.floats(1, 1000),
)
lasting = st.none() | st.floats(0, 2000)


@given(rules, numbers, numbers, lasting)
@example(Rule(low=0, percent=1), 1, 2, None)
@example(Rule(low=5, percent=None), 6, 5, None)
@example(Rule(low=5), 0, 3, None)
def test_the_bounds_let_wait_exactly_what_the_rules_let_wait(
    rule: Rule, told: int, now: int, lasts: float | None
) -> None:
    bounds = quiet(rule, told, lasts_seconds=lasts)

    waits = judge(rule, told, now, lasts_seconds=lasts) is None

    assert (bounds.lowest <= max(0, now) <= bounds.highest) == waits


@given(rules, numbers, numbers, lasting, st.integers(0, 50))
def test_what_crosses_zero_never_waits_and_what_stays_never_hurries(
    rule: Rule, told: int, now: int, lasts: float | None, withheld: int
) -> None:
    reason = judge(rule, told, now, withheld=withheld, lasts_seconds=lasts)

    if (told > 0) != (now > 0):
        assert reason == ("safety" if withheld else "zero")
    if max(0, told) == max(0, now):
        assert reason is None
    if reason is not None:
        assert describe(reason) != reason, "it has words"


@given(rules, st.integers(1, 400), st.lists(st.integers(-40, 40), max_size=12))
def test_small_changes_count_together(rule: Rule, told: int, steps: list[int]) -> None:
    """Whatever the steps, what is judged is where they lead from what the channel was told."""
    bounds = quiet(rule, told)
    number, hurried = told, False
    for step in steps:
        before, number = number, number + step
        hurried |= is_significant(before, number, bounds)
        if abs(number - told) >= (rule.units or 10_000) or number <= 0:
            assert hurried


@given(rules, numbers, numbers, st.integers(0, 50))
def test_the_nearer_a_change_the_longer_it_may_wait(rule: Rule, told: int, now: int, nearer: int) -> None:
    bounds = quiet(rule, told)
    between = now + nearer if now < told else now - nearer
    if min(told, now) <= between <= max(told, now) and not is_significant(told, now, bounds):
        assert not is_significant(told, between, bounds)


@given(numbers, numbers)
def test_where_nothing_is_known_to_have_arrived_only_fewer_units_hurry(before: int, after: int) -> None:
    """A whole catalogue that is counted for the first time is not urgent."""
    assert is_significant(before, after, None) == (after < before and judge(Rule(), before, after) is not None)
    if after > before:
        assert not is_significant(before, after, None)


@pytest.mark.parametrize(
    ("told", "now", "reason"),
    [(100, 81, None), (100, 80, "percent"), (100, 121, "percent"), (100, 120, "percent"), (100, 119, None),
     (6, 5, "low"), (3, 2, "low"), (5, 90, "low"), (1, 0, "zero"), (0, 1, "zero"), (0, -4, None), (-4, 0, None)],
)  # fmt: skip
def test_numbers_worked_out_by_hand(told: int, now: int, reason: str | None) -> None:
    assert judge(Rule(), told, now) == reason


def test_what_sells_fast_hurries_whatever_the_change() -> None:
    assert judge(Rule(), 500, 499, lasts_seconds=60) == "fast"
    assert quiet(Rule(), 500, lasts_seconds=60) == Quiet(500, 500)
    assert judge(Rule(fast_seconds=None), 500, 499, lasts_seconds=60) is None


def test_a_rule_is_told_in_words() -> None:
    assert describe_rule(Rule(low=0, percent=None, fast_seconds=None)) == "what crosses zero or the units withheld"
    assert "changes of 20 % and more" in describe_rule(Rule())
