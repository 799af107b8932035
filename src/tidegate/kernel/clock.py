"""Time is injected, so that tests own it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Where Unix time begins."""


def seconds_to_beat(period: float, now: float) -> float:
    """Return the seconds until the next multiple of `period` on the machine's monotonic clock: 2 % to 102 % of `period`.

    What looks around now and then in case nobody tells it anything waits for this. All processes of a machine then wake
    together: its processor once, and not one after the other, which costs several times as much.
    """
    left = period - now % period
    return left if left > period * 0.02 else left + period


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """Return the wall clock as an aware UTC datetime."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back; for leases, deadlines and rates."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the wall clock as an aware UTC datetime."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()
