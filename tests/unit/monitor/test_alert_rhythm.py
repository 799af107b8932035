"""What is usual, hour by hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tidegate.monitor.alerts.rhythm import DAY, HOUR, expect, usual_rate

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def days(count: int, of_hour: int = 60) -> dict[datetime, int]:
    """Every hour of the last days alike."""
    return {NOW - HOUR * back: of_hour for back in range(1, 24 * count + 1)}


def test_the_same_every_day_is_usual() -> None:
    counts = days(10)

    assert usual_rate(counts, NOW, known_from=min(counts)) == 60


def test_newer_days_weigh_more() -> None:
    counts = {NOW - DAY * back: (100 if back == 1 else 10) for back in range(1, 4)}

    rate = usual_rate(counts, NOW, known_from=NOW - DAY * 3)

    assert rate == pytest.approx(10 + 0.4 * 90)


def test_a_quiet_sunday_is_usual_on_a_sunday() -> None:
    counts = {NOW - DAY * back: (0 if back == 7 else 50) for back in range(1, 15)}

    assert usual_rate(counts, NOW, known_from=NOW - DAY * 14) == 0


def test_the_first_days_all_hours_count_alike() -> None:
    counts = {NOW - HOUR * back: back for back in range(1, 5)}

    assert usual_rate(counts, NOW, known_from=NOW - HOUR * 4) == 2.5
    assert usual_rate(counts, NOW, known_from=NOW - HOUR * 2) is None


def test_what_is_missed_grows_with_the_silence() -> None:
    counts = days(8, of_hour=30)

    assert expect(counts, NOW + timedelta(minutes=10), NOW + timedelta(minutes=20), known_from=min(counts)) == 5
    assert expect(counts, NOW, NOW + timedelta(minutes=30), known_from=min(counts)) == 15
    assert expect({}, NOW, NOW + HOUR, known_from=NOW) is None


def test_hours_that_nobody_knows_are_no_zeros() -> None:
    """Known from: what was before it was not counted, and is no hour without arrivals."""
    counts = {NOW - DAY: 10, NOW - DAY * 2: 10}

    assert usual_rate(counts, NOW, known_from=NOW - DAY * 2) == 10
