"""Faults fire at the asked rate, for the same things again under the same seed."""

from __future__ import annotations

import math

import pytest

from tidegate.sandbox.faults import CallFault, FaultProfile, Faults

CALLS = 20_000


@pytest.mark.parametrize("fault", list(CallFault))
@pytest.mark.parametrize("share", [0.02, 0.3])
def test_a_call_is_hit_at_the_asked_rate(fault: CallFault, share: float) -> None:
    """Within five standard deviations, for every fault."""
    faults = Faults(11, "shop", FaultProfile(**{fault.value: share}))
    hits = sum(faults.call(number) is fault for number in range(CALLS))
    assert abs(hits - share * CALLS) < 5 * math.sqrt(CALLS * share * (1 - share))
    assert faults.fired == {fault.value: hits}


@pytest.mark.parametrize("fault", ["dropped", "duplicated", "reordered", "delayed"])
def test_a_delivery_is_hit_at_the_asked_rate(fault: str) -> None:
    """Within five standard deviations, for every fault."""
    faults = Faults(11, "shop", FaultProfile(**{fault: 0.1}))
    hits = sum(fault in faults.delivery(number).faults for number in range(CALLS))
    assert abs(hits - 0.1 * CALLS) < 5 * math.sqrt(CALLS * 0.09)


def test_nothing_is_hit_unless_it_is_asked_for() -> None:
    """The profile that says nothing does nothing."""
    faults = Faults(1, "shop")
    assert [faults.call(number) for number in range(100)] == [None] * 100
    assert all(faults.delivery(number).copies == (0.0,) for number in range(100))
    assert faults.fired == {}


def test_a_seed_repeats_and_another_does_not() -> None:
    """What is hit depends on seed, platform and number only."""
    profile = FaultProfile(broken=0.5, dropped=0.5)

    def drawn(seed: int, platform: str) -> list[object]:
        faults = Faults(seed, platform, profile)
        return [(faults.call(number), faults.delivery(number)) for number in range(200)]

    assert drawn(3, "shop") == drawn(3, "shop")
    assert drawn(3, "shop") != drawn(4, "shop")
    assert drawn(3, "shop") != drawn(3, "other")


def test_one_fault_more_does_not_move_the_others() -> None:
    """Which deliveries are dropped stays the same when others are doubled."""
    alone, beside = Faults(5, "a", FaultProfile(dropped=0.2)), Faults(5, "a", FaultProfile(dropped=0.2, duplicated=0.5))
    for number in range(500):
        assert (alone.delivery(number).copies == ()) == (beside.delivery(number).copies == ())


def test_overtaking_is_bounded() -> None:
    """A delivery is held back for at most what the profile says."""
    faults = Faults(2, "a", FaultProfile(reordered=1.0, reordered_seconds=0.5, delayed=1.0, delayed_seconds=2.0))
    waits = [faults.delivery(number).copies[0] for number in range(200)]
    assert min(waits) >= 2.0
    assert max(waits) <= 2.5
    assert len(set(waits)) > 150


def test_of_an_untold_order_no_delivery_ever_leaves() -> None:
    """Whatever its number; about one order in ten, and what is about no order leaves."""
    faults = Faults(4, "a", FaultProfile(untold=0.1))
    silent = [order for order in map(str, range(CALLS)) if not faults.delivery(1, order).copies]
    assert abs(len(silent) - 0.1 * CALLS) < 5 * math.sqrt(CALLS * 0.09)
    assert all(faults.delivery(number, silent[0]).faults == ("untold",) for number in range(50))
    assert all(faults.delivery(number).copies for number in range(50))
