"""When a child that died is started again. Pure."""

from collections.abc import Sequence

RESTART_SECONDS_FIRST = 0.1
RESTART_SECONDS_MAX = 10.0
STABLE_SECONDS = 30.0
"""A child that lived this long starts with a clean record."""
CRASH_LOOP_DEATHS = 5
"""Deaths within `CRASH_LOOP_SECONDS` that are reported as a crash loop."""
CRASH_LOOP_SECONDS = 60.0


def plan_restart_seconds(early_deaths: int, lived_seconds: float = 0.0) -> float:
    """Seconds to wait after the n-th death in a row that came early: 0.1, 0.2, 0.4 ... 10, less the time that it lived.

    So a process that does not start begins ever more rarely, and one that others kill is back at once.
    """
    planned = min(RESTART_SECONDS_FIRST * 2.0 ** min(early_deaths - 1, 20), RESTART_SECONDS_MAX)
    return max(RESTART_SECONDS_FIRST, planned - lived_seconds)


def is_crash_looping(deaths_at: Sequence[float], now: float) -> bool:
    """Whether the deaths (seconds on a monotonic clock) come too fast to be accidents."""
    return sum(1 for died_at in deaths_at if now - died_at <= CRASH_LOOP_SECONDS) >= CRASH_LOOP_DEATHS
