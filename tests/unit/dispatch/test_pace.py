"""How often a side that is down is asked whether it is back."""

from __future__ import annotations

from tidegate.commerce.states import CommandState
from tidegate.dispatch.budget_book import Book
from tidegate.dispatch.decide import Decision, LaneEffect
from tidegate.dispatch.host import Host
from tidegate.dispatch.pace import Pace
from tidegate.dispatch.settings import DEFAULTS
from tidegate.kernel.clock import SystemClock
from tidegate.sdk.testing.hostile_connector import CONNECTOR

HOURS = 8
FAILED = Decision(state=CommandState.PENDING, lane=LaneEffect.FAILING)


def probes_of_one_process(lanes: int) -> int:
    """Return how many calls the lanes of a process make to a host that answers nothing, in so many hours."""
    host, calls, now = Host("erp:443"), 0, 0.0
    paces = [Pace(CONNECTOR, DEFAULTS, Book(CONNECTOR, SystemClock()), now, host=host) for _ in range(lanes)]
    while now < HOURS * 3600:
        for pace in paces:
            if pace.pause_left(now) <= 0 and pace.calls_max():
                calls += 1
                pace.note([FAILED], "", now)
        now += 0.25
    return calls


def test_a_host_that_is_down_is_asked_twice_a_minute_by_each_process_however_many_lanes_it_has() -> None:
    """Between two probes lie half a second to a minute, so P processes ask at most about 2 P times a minute."""
    for lanes in (1, 4):
        calls = probes_of_one_process(lanes)

        assert calls <= HOURS * 60 * 2.2 + 30, "with what it took to find out, and the first, shorter pauses"
        assert calls >= HOURS * 60, "and it is not forgotten"
