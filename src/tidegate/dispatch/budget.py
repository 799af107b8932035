"""Pace, pure: a token bucket per connection, an allowance for retries, a breaker. They say how long to wait, never sleep.

Times are seconds of one monotonic clock. Every function returns a new state, so a restart can resume from a stored one.
"""

from __future__ import annotations

import msgspec

from tidegate.sdk.budgets import Budget, TokenBucket, speed_of

_BURST_MAX = 1000.0
_EPSILON = 1e-9
"""Tokens that rounding may take away."""


class Tokens(msgspec.Struct, frozen=True):
    """What was left in a bucket at a moment."""

    tokens: float
    at: float


def bucket_of(budget: Budget) -> TokenBucket:
    """Return a bucket that stays within a budget, as long as lanes count with buckets only."""
    if isinstance(budget, TokenBucket):
        return budget
    speed = speed_of(budget)
    own = list(speed.operations.values())
    burst = min([speed.burst, *(each.burst for each in own), _BURST_MAX])
    per_second = min([speed.per_second, *(each.per_second for each in own), _BURST_MAX])
    return TokenBucket(capacity=max(1.0, burst / 2), per_second=per_second / 2)


def refill(state: Tokens, bucket: TokenBucket, now: float) -> Tokens:
    """Return the state at `now`; a clock that went back adds nothing."""
    if now <= state.at:
        return state
    return Tokens(min(bucket.capacity, state.tokens + (now - state.at) * bucket.per_second), now)


def price(charge: float, bucket: TokenBucket) -> float:
    """Return what is really taken for `charge`: a call dearer than the whole bucket costs the whole bucket."""
    return min(charge, bucket.capacity)


def wait_seconds(state: Tokens, bucket: TokenBucket, charge: float, now: float, *, floor: float = 0.0) -> float:
    """Return how long until `charge` can be taken and `floor` tokens are left; 0 when it can be taken now."""
    cost = price(charge, bucket)
    needed = cost + min(floor, bucket.capacity - cost)
    missing = needed - refill(state, bucket, now).tokens
    return 0.0 if missing <= _EPSILON else missing / bucket.per_second


def take(state: Tokens, bucket: TokenBucket, charge: float, now: float) -> Tokens:
    """Return the state after `charge`. Ask `wait_seconds` first: a bucket never goes below empty."""
    full = refill(state, bucket, now)
    return Tokens(max(0.0, full.tokens - price(charge, bucket)), full.at)


def refund(state: Tokens, bucket: TokenBucket, charge: float) -> Tokens:
    """Return the state with an unused `charge` given back."""
    return Tokens(min(bucket.capacity, state.tokens + price(charge, bucket)), state.at)


def resume(bucket: TokenBucket, stored: float | None, age_seconds: float, now: float) -> Tokens:
    """Return the state from `stored` tokens of `age_seconds` ago; unknown starts empty, never full.

    A stored debt (two clocks differ by a little) stays a debt.
    """
    if stored is None:
        return Tokens(0.0, now)
    return refill(Tokens(min(bucket.capacity, stored), now - max(0.0, age_seconds)), bucket, now)


def drain(state: Tokens, now: float) -> Tokens:
    """Return an empty bucket: the other side said that there is nothing left."""
    return Tokens(0.0, max(now, state.at))


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
