"""A dead child is started again quickly, then ever more slowly, and a crash loop is told apart."""

from tidegate.kernel import crashpoint
from tidegate.runtime.children import child_environment
from tidegate.runtime.restart import (
    CRASH_LOOP_DEATHS,
    CRASH_LOOP_SECONDS,
    RESTART_SECONDS_MAX,
    is_crash_looping,
    plan_restart_seconds,
)


def test_the_first_restart_is_fast_and_the_wait_is_bounded() -> None:
    waits = [plan_restart_seconds(deaths) for deaths in range(1, 60)]

    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits == sorted(waits)
    assert waits[-1] == RESTART_SECONDS_MAX


def test_one_that_others_kill_is_back_at_once_and_one_that_does_not_start_begins_ever_more_rarely() -> None:
    """What is bounded is how often it begins: the time that it lived is part of the wait."""
    assert plan_restart_seconds(20, 9.0) == 1.0
    assert plan_restart_seconds(20, 12.0) == 0.1
    assert plan_restart_seconds(20, 0.5) == 9.5
    assert plan_restart_seconds(1, 5.0) == 0.1


def test_only_deaths_in_quick_succession_are_a_crash_loop() -> None:
    quick = [100.0 + number for number in range(CRASH_LOOP_DEATHS)]
    spread = [100.0 + number * CRASH_LOOP_SECONDS for number in range(CRASH_LOOP_DEATHS)]

    assert is_crash_looping(quick, now=105.0)
    assert not is_crash_looping(quick[1:], now=105.0)
    assert not is_crash_looping(spread, now=spread[-1])
    assert not is_crash_looping(quick, now=105.0 + CRASH_LOOP_SECONDS)


def test_children_see_no_database_address_and_crash_on_purpose_only_once() -> None:
    ours = {
        "PATH": "/bin",
        "TIDEGATE_DATABASE_URL": "postgresql://u:p@h/d",
        "TIDEGATE_DATABASE_URL_DOOR": "postgresql://u:p@h/d",
        crashpoint.VARIABLE: "apply.t2.begin",
    }

    assert child_environment(ours, is_restart=False) == {"PATH": "/bin", crashpoint.VARIABLE: "apply.t2.begin"}
    assert child_environment(ours, is_restart=True) == {"PATH": "/bin"}
