"""I14b for quotas per day: no day of the platform's own zone holds more than it may, and each new one is whole again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.budgetbed import Lane

from tidegate.dispatch.budget_windows import CLOCK_MARGIN_SECONDS, next_reset
from tidegate.dispatch.meter import Rule, pack
from tidegate.sdk.budgets import DAY_SECONDS, BudgetReading, DailyQuota

BEGAN = 1000.0
"""The lane's clock when it begins."""
CHANGES = (
    ("America/New_York", "2026-03-08"), ("America/New_York", "2026-11-01"),
    ("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"),
    ("Asia/Beirut", "2026-03-29"),  # this day has no midnight
    ("America/Havana", "2026-11-01"),  # this one has two
    ("Australia/Lord_Howe", "2026-04-05"),  # by half an hour
    ("UTC", "2026-11-27"),
)  # fmt: skip
"""Zones, and nights on which their clocks change."""


@dataclass
class DayPlatform:
    """At most `limit` per day of its zone, which begins at `hour`; others of the account may use some of it."""

    limit: float
    zone: ZoneInfo
    hour: int
    wall: float
    tells: bool
    counts: dict[date, float] = field(default_factory=dict)
    violations: int = 0

    def day_of(self, at: float) -> date:
        there = datetime.fromtimestamp(at + self.wall, UTC).astimezone(self.zone).replace(tzinfo=None)
        return (there - timedelta(hours=self.hour)).date()

    def eat(self, at: float, cost: float) -> None:
        """Another app uses some of what is left."""
        day = self.day_of(at)
        self.counts[day] = min(self.limit, self.counts.get(day, 0.0) + cost)

    def arrive(self, at: float, asked: float, cost: float, operation: str) -> BudgetReading | None:
        day = self.day_of(at)
        self.counts[day] = self.counts.get(day, 0.0) + cost
        self.violations += self.counts[day] > self.limit + 1e-6
        left = max(0.0, self.limit - self.counts[day])
        return BudgetReading(left=left, limit=self.limit, window_seconds=DAY_SECONDS) if self.tells else None

    def leave(self, at: float, asked: float, cost: float) -> None:
        return None


def begin(
    zone: str, night: str, hour: int, hours_before: float, limit: float, *, tells: bool
) -> tuple[Lane, DayPlatform]:
    there = ZoneInfo(zone)
    start = datetime.fromisoformat(night).replace(hour=12, tzinfo=there).timestamp() - hours_before * 3600
    platform = DayPlatform(limit, there, hour, start - BEGAN, tells)
    return Lane(DailyQuota(limit, f"{hour:02d}:00", zone), platform, wall=start - BEGAN), platform


late = st.floats(0.0, 50.0)
walks = st.lists(
    st.one_of(
        st.tuples(st.just("pause"), st.one_of(st.floats(0.0, 120.0), st.floats(0.0, 30 * 3600.0))),
        st.tuples(st.just("rush"), st.integers(1, 12), late, st.floats(0.0, 25.0)),
        st.tuples(st.just("to_reset"), st.floats(-60.0, 60.0)),
        st.tuples(st.just("crash"), st.floats(0.0, 300.0)),
        st.tuples(st.just("forget"), st.floats(0.0, 300.0)),
    ),
    max_size=20,
)  # fmt: skip
places = st.sampled_from(CHANGES)
hours = st.sampled_from((0, 6, 17, 23))


def walk(lane: Lane, what: list[tuple[object, ...]]) -> None:
    platform = lane.platform
    assert isinstance(platform, DayPlatform)
    for name, *values in what:
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        match name:
            case "pause":
                lane.advance(numbers[0])
            case "rush":
                count, delay, error = numbers
                for _ in range(int(count)):
                    if lane.wait(1.0, clock_error=error) == 0.0:
                        lane.send(1.0, there=delay, back=delay / 2, clock_error=error)
            case "to_reset":
                reset = next_reset(lane.now + platform.wall, f"{platform.hour:02d}:00", platform.zone.key)
                lane.run_to(max(lane.now, reset - platform.wall + numbers[0]))
            case "crash":
                lane.crash(numbers[0])
            case "forget":
                lane.advance(200.0)  # what is on its way arrives: nobody can know of it
                lane.stored = None
                lane.crash(numbers[0])
    lane.advance(200.0)


@given(places, hours, st.floats(0.0, 40.0), st.integers(3, 30), st.booleans(), walks)
@settings(deadline=None, max_examples=150)
def test_no_day_of_the_platform_holds_more(
    place: tuple[str, str], hour: int, before: float, limit: int, tells: bool, what: list[tuple[object, ...]]
) -> None:
    """Calls that are late, clocks that are behind, kills and restarts, on nights on which the clocks change."""
    lane, platform = begin(*place, hour, before, float(limit), tells=tells)
    lane.advance(1.0)
    # An account of which nothing is known is believed to be used by others as far as the day has gone.
    kept = [step for step in what if step[0] != "forget"]
    walk(lane, kept)
    assert platform.violations == 0


@given(places, hours, st.floats(0.0, 40.0), st.integers(3, 30), walks)
@settings(deadline=None, max_examples=100)
def test_a_new_day_is_whole_again(
    place: tuple[str, str], hour: int, before: float, limit: int, what: list[tuple[object, ...]]
) -> None:
    """Whatever happened, even with everything forgotten: one quiet day later the next one holds all of it."""
    lane, platform = begin(*place, hour, before, float(limit), tells=False)
    walk(lane, what)
    lane.advance(26 * 3600.0)
    reset = next_reset(lane.now + platform.wall, f"{hour:02d}:00", place[0]) - platform.wall
    lane.run_to(reset + CLOCK_MARGIN_SECONDS + 1.0)
    assert lane.rule.usage(lane.meter, lane.now).left == pytest.approx(limit)
    assert lane.wait(float(limit)) == 0.0


@given(places, hours, st.floats(0.0, 40.0), st.integers(5, 30), st.integers(1, 30), st.floats(0.0, 300.0))
@settings(deadline=None, max_examples=100)
def test_what_others_use_is_learnt_from_an_answer_and_survives_a_restart(
    place: tuple[str, str], hour: int, before: float, limit: int, eaten: int, down: float
) -> None:
    """Another app of the account used some: after one answer no more is sent than is left, by the next process either."""
    lane, platform = begin(*place, hour, before, float(limit), tells=True)
    reset = next_reset(lane.now + platform.wall, f"{hour:02d}:00", place[0]) - platform.wall
    lane.run_to(reset + 2 * CLOCK_MARGIN_SECONDS + 1.0)  # answers speak of this day for certain
    platform.eat(lane.now, min(eaten, limit - 1))
    lane.send(1.0, there=0.1, back=0.1)
    lane.advance(1.0)
    left = limit - min(eaten, limit - 1) - 1
    assert lane.rule.usage(lane.meter, lane.now).left == pytest.approx(left)
    lane.store()
    lane.crash(down)
    sent = 0
    while lane.wait(1.0) == 0.0:
        lane.send(1.0)
        lane.advance(0.1)
        sent += 1
    assert sent == left
    assert platform.violations == 0
    assert lane.wait(1.0) >= 20 * 3600 - 400  # and the wait is until their day ends


@pytest.mark.parametrize(
    ("zone", "before", "hours"),
    [
        ("America/New_York", "2026-03-08T05:00:00+00:00", 23),  # midnight to midnight on the short day
        ("America/New_York", "2026-11-01T04:00:00+00:00", 25),
        ("Asia/Beirut", "2026-03-28T22:00:00+00:00", 23),  # it begins at one o'clock: there is no midnight
        ("America/Havana", "2026-11-01T04:00:00+00:00", 25),  # and of two midnights the first one counts
        ("Australia/Lord_Howe", "2026-04-04T13:00:00+00:00", 24.5),
    ],
)
def test_days_on_which_the_clocks_change_have_their_own_length(zone: str, before: str, hours: float) -> None:
    began = datetime.fromisoformat(before).timestamp()
    assert next_reset(began - 1.0, "00:00", zone) == began
    assert next_reset(began, "00:00", zone) - began == hours * 3600
    day = Rule(DailyQuota(10, "00:00", zone), wall=began)
    meter = day.resume(pack(day.start(1.0), 1.0), age_seconds=0.0, now=1.0)
    assert day.wait(day.drain(meter, 5.0, "", 1.0), 10.0, "", 1.0) <= hours * 3600 + CLOCK_MARGIN_SECONDS
