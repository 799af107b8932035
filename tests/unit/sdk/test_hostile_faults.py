"""The fault plan strikes as told, and random plans of one seed alike."""

from typing import Any

import pytest

from tidegate.sdk.testing.hostile_faults import Fault, FaultPlan, Faults

CALLS = [("POST", "/api/erp/orders", f'{{"reference":"ord_{number}"}}') for number in range(400)]


def kinds(faults: Faults, calls: list[tuple[str, str, str]]) -> list[str]:
    plan = FaultPlan(faults)
    return [fault.kind if (fault := plan.choose(*call)) else "-" for call in calls]


def test_a_rule_skips_strikes_and_is_used_up() -> None:
    faults = Faults(rules=[Fault(kind="reset", skip=2, times=3)])

    assert kinds(faults, CALLS[:8]) == ["-", "-", "reset", "reset", "reset", "-", "-", "-"]


@pytest.mark.parametrize(
    ("rule", "struck"),
    [
        ({"method": "PUT"}, 0),
        ({"path": "/api/shop/*"}, 0),
        ({"path": "/api/*/orders"}, 5),
        ({"contains": "ord_3"}, 1),
        ({"method": "POST", "path": "/api/erp/orders"}, 5),
    ],
)
def test_a_rule_strikes_what_it_means(rule: dict[str, Any], struck: int) -> None:
    faults = Faults(rules=[Fault(kind="reset", times=None, **rule)])

    assert kinds(faults, CALLS[:5]).count("reset") == struck


def test_rules_go_before_chance_and_the_first_one_wins() -> None:
    faults = Faults(rules=[Fault(kind="reset"), Fault(kind="lie", times=None)], random={"delay": 1.0})

    assert kinds(faults, CALLS[:3]) == ["reset", "lie", "lie"]


def test_equal_seeds_give_equal_faults_in_about_the_wanted_share() -> None:
    faults = Faults(random={"lose_reply": 0.3, "reset": 0.2}, seed=7)

    first, again = kinds(faults, CALLS), kinds(faults, CALLS)
    other = kinds(Faults(random=faults.random, seed=8), CALLS)

    assert first == again
    assert first != other
    assert 90 <= first.count("lose_reply") <= 150
    assert 50 <= first.count("reset") <= 110


def test_a_write_cannot_meet_a_stale_read() -> None:
    assert set(kinds(Faults(random={"stale_read": 1.0}), CALLS)) == {"-"}
