"""How long somebody who fails to sign in has to wait. Pure.

The first failures cost nothing, then each one doubles the wait. Failures count per name and address, and more leniently
per name alone: so a stranger cannot try for ever from many addresses, and cannot keep the owner out for long either.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Lockout:
    """How failures are punished."""

    free: int
    """So many failures cost nothing."""
    first_seconds: float
    """What the next one costs; each further one costs twice the one before."""
    most_seconds: float
    forget_after: timedelta = timedelta(hours=24)
    """Failures that are so long ago count no more."""

    def wait_seconds(self, failures: int, last_at: datetime, now: datetime) -> float:
        """Return how long the next try has to wait; 0 when it may be made now. `failures` >= 0."""
        over = failures - self.free
        if over <= 0 or now - last_at >= self.forget_after:
            return 0.0
        pause = min(self.most_seconds, self.first_seconds * float(1 << min(over - 1, 30)))
        return max(0.0, pause - (now - last_at).total_seconds())

    def count(self, failures: int, last_at: datetime, now: datetime) -> int:
        """Return the number of failures after one more."""
        return 1 if now - last_at >= self.forget_after else failures + 1


BY_ADDRESS = Lockout(free=5, first_seconds=5, most_seconds=900)
BY_NAME = Lockout(free=30, first_seconds=5, most_seconds=60)
