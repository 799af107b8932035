"""What another interval of looks would cost and bring. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tidegate.kernel.ids import new_id
from tidegate.monitor.sync_view import LastLook, LookView, suggest


@dataclass(frozen=True)
class Case:
    interval: float
    differences: int
    reading: float
    says: str


def view(case: Case) -> LookView:
    last = LastLook(
        run_id=new_id(),
        state="done",
        finished_at=None,
        calls=10,
        articles=1000,
        missing=0,
        differences=case.differences,
        healed=0,
        heal_waits=0,
        reading_seconds=case.reading,
        error=None,
    )
    return LookView(
        connection="shop",
        is_scheduled=True,
        due_at=None,
        interval_seconds=case.interval,
        paused_at=None,
        paused_until=None,
        paused_by=None,
        under_way=None,
        last=last,
        differences=case.differences,
        oldest=None,
        waiting=0,
    )


@pytest.mark.parametrize(
    "case",
    [
        Case(900, 50, 10, "`every: 5m` would find such within 5 minutes for 2880 calls a day instead of 960"),
        Case(900, 0, 10, "`every: 60m` would cost 240 calls a day instead of 960"),
        Case(12_000, 50, 1200, "reading takes 20 minutes"),
        Case(900, 5, 10, ""),
        Case(3600, 0, 10, ""),
        Case(300, 50, 10, ""),
    ],
)
def test_it_says_what_the_other_interval_costs(case: Case) -> None:
    found = suggest(view(case)) or ""
    assert case.says in found
    assert bool(case.says) == bool(found)
