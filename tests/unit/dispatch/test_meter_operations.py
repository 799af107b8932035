"""Budgets of single operations: one that was never called fills too."""

from __future__ import annotations

from tidegate.dispatch.meter import Rule
from tidegate.sdk.budgets import All, PerOperation, TokenBucket

RULE = Rule(All(PerOperation({}, default=TokenBucket(capacity=10, per_second=5))))


def test_an_operation_that_was_never_called_does_not_wait_for_ever() -> None:
    """Empty when the lane begins, as everything that is not known; full when it had the time to fill."""
    meter = RULE.start(100.0)

    assert RULE.wait(meter, 1.0, "refunds.create", 100.0) == 0.2
    assert RULE.wait(meter, 1.0, "refunds.create", 100.2) == 0.0
    assert RULE.wait(meter, 10.0, "refunds.create", 101.0) == 1.0
    assert RULE.wait(meter, 10.0, "refunds.create", 500.0) == 0.0


def test_what_one_operation_used_is_not_missing_in_another() -> None:
    """Each counts for itself, from the same beginning."""
    meter, _ = RULE.take(RULE.start(100.0), 10.0, "events.list", 102.0)

    assert RULE.wait(meter, 1.0, "events.list", 102.0) > 0.0
    assert RULE.wait(meter, 1.0, "refunds.create", 102.0) == 0.0


def test_a_restart_begins_empty_again() -> None:
    """What was called before another lane took over is not known of an operation that is not stored."""
    meter = RULE.resume(None, age_seconds=0.0, now=200.0)

    assert RULE.wait(meter, 1.0, "refunds.create", 200.0) == 0.2
