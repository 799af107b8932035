"""Pace, pure: an allowance for retries and a breaker per connection. What a platform allows is counted in `meter`.

Times are seconds of one monotonic clock. Every function returns a new state, so a restart can resume from a stored one.
"""

from __future__ import annotations

import msgspec

_EPSILON = 1e-9
"""What rounding may take away."""


# --- the breaker -----------------------------------------------------------------------------------------------------
class Breaker(msgspec.Struct, frozen=True):
    """Failures of whole calls in a row, and until when the lane is parked for them."""

    failures: int = 0
    open_until: float = 0.0

    def is_tripped(self, limit: int) -> bool:
        """Return whether the other side counts as down. Then one call at a time probes it."""
        return self.failures >= limit


def note_failure(state: Breaker, now: float, *, limit: int, open_seconds: float) -> Breaker:
    """Return the breaker after a call failed as a whole: from `limit` on it stays open for `open_seconds`."""
    failures = state.failures + 1
    return Breaker(failures, now + open_seconds if failures >= limit else state.open_until)


CLOSED = Breaker()
"""The breaker after any answer that shows the other side at work."""
