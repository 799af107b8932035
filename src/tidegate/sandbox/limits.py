"""Limits as platforms keep them, with an exact count of what broke them. Pure: the time is handed in.

A limit is charged when a request arrives. What it refuses is a violation, and is counted here by the limit itself: no server
can forget to.
"""

from __future__ import annotations

import math
from collections import deque

import msgspec

SECONDS_KEPT = 3600
"""How many seconds of use a meter remembers."""


class Second(msgspec.Struct):
    """What was used in one second, in the limit's own unit (requests or points)."""

    second: int
    used: float = 0.0
    refused: int = 0


class Meter:
    """Counts what a limit let through and what it refused, in all and per second."""

    def __init__(self) -> None:
        self.admitted = 0
        self.used = 0.0
        self.violations = 0
        self.seconds: deque[Second] = deque(maxlen=SECONDS_KEPT)

    def admit(self, now: float, cost: float) -> None:
        """Count one request that was let through."""
        self.admitted += 1
        self.correct(now, cost)

    def correct(self, now: float, cost: float) -> None:
        """Count `cost` more; less, where it is negative."""
        self.used += cost
        self._second(now).used += cost

    def refuse(self, now: float) -> None:
        """Count one violation."""
        self.violations += 1
        self._second(now).refused += 1

    def _second(self, now: float) -> Second:
        second = int(now)
        if not self.seconds or self.seconds[-1].second != second:
            self.seconds.append(Second(second))
        return self.seconds[-1]


class Bucket:
    """A bucket of `capacity` points that fills with `per_second`: Shopify's points, Stripe's requests.

    `eaten` is the share of what flows in that another app takes, all the time.
    """

    def __init__(self, capacity: float, per_second: float, *, now: float) -> None:
        if capacity <= 0 or per_second <= 0:
            raise ValueError("a bucket has a capacity and a rate")
        self.capacity = float(capacity)
        self.per_second = float(per_second)
        self.meter = Meter()
        self._eaten = 0.0
        self._level = float(capacity)
        self._at = now

    @property
    def eaten(self) -> float:
        """Share of the rate that another app takes, 0 to 1."""
        return self._eaten

    def eat(self, share: float, now: float) -> None:
        """Let another app take this share from now on."""
        if not 0.0 <= share <= 1.0:
            raise ValueError("a share is between 0 and 1")
        self.level(now)
        self._eaten = share

    def level(self, now: float) -> float:
        """Return what is in it now."""
        if now > self._at:
            self._level = min(self.capacity, self._level + (now - self._at) * self.per_second * (1.0 - self._eaten))
            self._at = now
        return self._level

    def take(self, cost: float, now: float) -> float:
        """Take `cost` and return 0, or refuse and return for how many seconds it is too early (inf: for ever).

        A refused request takes nothing.
        """
        level = self.level(now)
        if level + _ROUNDING >= cost:
            self._level = level - cost
            self.meter.admit(now, cost)
            return 0.0
        self.meter.refuse(now)
        rate = self.per_second * (1.0 - self._eaten)
        return (cost - level) / rate if rate > 0 and cost <= self.capacity else float("inf")

    def give_back(self, cost: float, now: float) -> None:
        """Give back what was asked for and not needed."""
        self._level = min(self.capacity, self.level(now) + cost)
        self.meter.correct(now, -cost)


_ROUNDING = 1e-9
"""What adding floats may lose: nobody is refused for it."""


class InFlight:
    """At most `limit` requests at once: a host that has so many workers."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("at least one at once")
        self.limit = limit
        self.meter = Meter()
        self.running = 0
        self.most = 0
        self._eaten = 0.0

    @property
    def eaten(self) -> float:
        """Share of the places that another app takes, 0 to 1."""
        return self._eaten

    @property
    def left_by_others(self) -> int:
        """Places that the other app leaves."""
        return self.limit - math.ceil(self.limit * self._eaten - _ROUNDING)

    def eat(self, share: float, now: float) -> None:  # noqa: ARG002 - as a bucket's
        """Let another app take this share of the places from now on; one call at a time finds a place all the same."""
        if not 0.0 <= share <= 1.0:
            raise ValueError("a share is between 0 and 1")
        self._eaten = share

    def enter(self, now: float) -> bool:
        """Take a place; False, and a violation, when all are taken."""
        if self.running >= max(1, self.left_by_others):
            self.meter.refuse(now)
            return False
        self.running += 1
        self.most = max(self.most, self.running)
        self.meter.admit(now, 1.0)
        return True

    def leave(self) -> None:
        """Give the place back."""
        self.running -= 1


class LimitReport(msgspec.Struct):
    """What a limit saw. `used` and `per_second` are in its own unit; `level` is what is left now."""

    admitted: int
    used: float
    violations: int
    capacity: float
    level: float
    per_second: float | None
    eaten: float
    seconds: list[Second]


def report(limit: Bucket | InFlight, now: float, *, seconds: int = 0) -> LimitReport:
    """Return what `limit` saw, with the last so many seconds."""
    meter = limit.meter
    last = list(meter.seconds)[-seconds:] if seconds else []
    if isinstance(limit, Bucket):
        rate, eaten = limit.per_second, limit.eaten
        return LimitReport(
            meter.admitted, meter.used, meter.violations, limit.capacity, limit.level(now), rate, eaten, last
        )
    left = float(max(0, max(1, limit.left_by_others) - limit.running))
    return LimitReport(meter.admitted, meter.used, meter.violations, float(limit.limit), left, None, limit.eaten, last)
