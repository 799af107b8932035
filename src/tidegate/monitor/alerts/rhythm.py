"""What usually comes, hour by hour: the measure for silence and for spikes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
DAYS_MAX = 28
"""How far back days are looked at."""
WEIGHT = 0.4
"""Of the newest day in the moving average of the same hour."""
WEEK_DAYS = 7
HOURS_MIN = 3
"""Full hours that must be known before anything can be called usual."""
DAYS_MIN = 2
"""Days of the same hour that must be known before the hours of the day are told apart."""


def usual_rate(counts: Mapping[datetime, int], hour: datetime, *, known_from: datetime) -> float | None:
    """Return how many arrivals an hour usually has, None when too little is known.

    `counts` maps the beginning of an hour to its arrivals; an hour that is absent had none. It is the average of the same
    hour of earlier days, newer days weighing more, and no more than a week ago once that is known, so that a shop's quiet
    Sunday is usual on a Sunday. The first days all full hours so far count alike.
    """
    same = [hour - DAY * back for back in range(DAYS_MAX, 0, -1)]
    known = [counts.get(moment, 0) for moment in same if moment >= known_from]
    if len(known) < DAYS_MIN:
        return _mean_of_all(counts, hour, known_from)
    average = float(known[0])
    for count in known[1:]:
        average += WEIGHT * (count - average)
    if len(known) >= WEEK_DAYS:
        return min(average, float(known[-WEEK_DAYS]))
    return average


def expect(counts: Mapping[datetime, int], since: datetime, until: datetime, *, known_from: datetime) -> float | None:
    """Return how many arrivals would usually have come between two moments, None when too little is known."""
    total = 0.0
    hour = since.replace(minute=0, second=0, microsecond=0)
    while hour < until:
        # What came in the silent time itself says nothing about what is usual: the rate is that of the days before.
        rate = usual_rate(counts, hour, known_from=known_from)
        if rate is None:
            return None
        overlap = min(until, hour + HOUR) - max(since, hour)
        total += rate * max(0.0, overlap / HOUR)
        hour += HOUR
    return total


def _mean_of_all(counts: Mapping[datetime, int], hour: datetime, known_from: datetime) -> float | None:
    hours = int((hour - known_from) / HOUR)
    if hours < HOURS_MIN:
        return None
    return sum(count for moment, count in counts.items() if known_from <= moment < hour) / hours
