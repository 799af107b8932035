# ruff: noqa: ARG002 - every part of a budget is asked the same questions
"""Buckets, pure: tokens or points that refill. Times are seconds of one monotonic clock.

A charge is taken before its request leaves, and the platform takes it somewhere before the answer. Until then its bucket
may be fuller than ours and waste what flows in; so ours never counts on more than the capacity without what is under way.
"""

from __future__ import annotations

import math

import msgspec
from msgspec.structs import replace

from tidegate.sdk.budgets import BudgetReading, CostBucket, TokenBucket

EPSILON = 1e-9
"""What rounding may take away."""
NEVER = -1e12
"""A moment that was never."""


READ_SECONDS_MIN = 0.05
"""Answers that come closer together tell nothing about a rate."""
EATEN_SECONDS_MIN = 0.25
"""A surplus that was there at once is not believed to go on at that pace: it counts as that of so long at least."""
STRAY_SECONDS_MIN = 6.0
"""How long after a process is gone the other side may still come to what it sent, where it counts when it comes to it: a busy
one lets requests lie. Caution costs a bucket little: only so much less fits in."""
EATEN_SECONDS_MAX = 20.0
"""For how long after the last answer others are believed to go on: a lane that hears nothing must not starve of it."""
EATEN_GAIN = 0.3
EATEN_MIN = 1e-6
"""Of the rate: less is nobody. However little somebody takes, a lane that spends all it believes in is refused for it."""
EATEN_SHARE_MAX = 0.95
"""Others are never believed to use more: it goes on, and an answer tells."""
REFUSED_GAIN = 0.12
"""By how much of our rate we go back after a refusal, where answers do not tell what is left: somebody else takes some."""
REFUSED_SECONDS_MIN = 1.0
"""Refusals that come closer together count once."""
UNTOLD_SHARE_MIN = 0.4
"""Of the rate that we keep, however often we are refused, where only refusals tell what others take."""
REGAIN_PER_SECOND = 0.0003
"""Of the rate, by which it is tried again whether others still take as much."""
GUARD_SECONDS = 0.25
"""What flows in for so long is left alone where answers tell what is left: they tell of a moment between question and answer."""
SHARED_SHARE = 0.02
"""Of the bucket, left alone while others use it too: what they take between two answers."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a part of a budget shows at a moment."""

    rule: str
    """What it is, for people."""
    left: float
    limit: float
    full_seconds: float
    """Until everything is there again, when nothing more is sent; 0 when it is."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True, tag="bucket"):
    """A token or cost bucket."""

    declared: tuple[float, float]
    """Capacity and tokens per second as declared, our share of them."""
    capacity: float
    per_second: float
    share: float = 1.0
    learns: bool = False
    """Whether answers may change capacity and refill, and tell that there is more than we know."""
    tokens: float = 0.0
    at: float = 0.0
    taken: float = 0.0
    """All that was ever taken; only differences count."""
    flying: float = 0.0
    """Taken for calls that are not answered yet."""
    stray: float = 0.0
    """What an earlier owner had under way; it may arrive until `stray_until`."""
    stray_until: float = 0.0
    eaten: float = 0.0
    """Tokens per second that others seem to use, as far as answers tell."""
    read_at: float = NEVER
    """When an answer last told what was left."""
    refused_at: float = NEVER
    """When a refusal last made us go back."""
    regained_at: float = NEVER
    """Since when the rate is as it is; where only refusals tell, it grows again with the time."""

    @classmethod
    def build(cls, rule: TokenBucket | CostBucket, share: float, now: float) -> Bucket:
        """Return an empty bucket."""
        ours = (max(1.0, rule.capacity * share), rule.per_second * share)
        learns = isinstance(rule, CostBucket)
        return cls(declared=ours, capacity=ours[0], per_second=ours[1], share=share, learns=learns, at=now)

    def level(self, now: float) -> float:
        """Return the tokens at `now`; a clock that went back adds nothing."""
        tokens, at = self.tokens, self.at
        if self.stray and at < self.stray_until:
            until = min(now, self.stray_until)
            tokens = self._fill(tokens, at, until, self.capacity - self.flying - self.stray)
            at = max(at, until)
        return self._fill(tokens, at, now, self.capacity - self.flying)

    def _fill(self, tokens: float, since: float, until: float, cap: float) -> float:
        if until <= since:
            return tokens
        eaten = self.eaten * min(max(0.0, self.read_at + EATEN_SECONDS_MAX - since), until - since)
        return min(max(tokens, cap), tokens + (until - since) * self.per_second - eaten)

    def _seconds_for(self, missing: float, since: float) -> float:
        """Return how long it takes from `since` on until so many tokens have flowed in."""
        slow = max(0.0, self.read_at + EATEN_SECONDS_MAX - since) if self.eaten else 0.0
        pace = self.per_second - self.eaten
        return missing / pace if missing <= slow * pace else slow + (missing - slow * pace) / self.per_second

    def price(self, charge: float) -> float:
        """Return what is really taken for `charge`: a call dearer than the whole bucket costs the whole bucket."""
        return min(charge, self.capacity)

    def wait(self, charge: float, now: float, floor_share: float) -> float:
        """Return how long until `charge` can be taken and the floor is left; infinite: until a call in flight ends."""
        price = self.price(charge)
        cap = self.capacity - self.flying
        if price > cap + EPSILON:
            return math.inf
        spare = max(floor_share, SHARED_SHARE if self.eaten > 0 else 0.0) * self.capacity
        guard = GUARD_SECONDS * self.per_second if self.learns else 0.0
        needed = price + min(max(spare, guard), cap - price)
        missing = needed - self.level(now)
        if missing <= EPSILON:
            return 0.0
        if self.stray and needed > cap - self.stray and now < self.stray_until:
            return self._wait_behind_strays(needed, now)
        return self._seconds_for(missing, max(now, self.at))

    def _wait_behind_strays(self, needed: float, now: float) -> float:
        then = self.level(self.stray_until)
        return self.stray_until - now + self._seconds_for(max(0.0, needed - then), self.stray_until)

    def take(self, charge: float, now: float) -> Bucket:
        """Return the bucket after `charge`. Ask `wait` first."""
        price = self.price(charge)
        return replace(
            self._regained(now),
            tokens=self.level(now) - price,
            at=max(now, self.at),
            taken=self.taken + price,
            flying=self.flying + price,
        )

    def end(self, charge: float, cost: float, now: float) -> Bucket:
        """Return the bucket after a call of `charge` came to an end that cost `cost`; 0: it was never sent."""
        price, paid = self.price(charge), min(cost, self.capacity)
        flying = max(0.0, self.flying - price)
        flying = flying if flying > EPSILON else 0.0
        tokens = self.level(now) + price - paid
        if price > paid:
            tokens = min(tokens, self.capacity - flying - (self.stray if now < self.stray_until else 0.0))
        return replace(self, tokens=tokens, at=max(now, self.at), flying=flying)

    def read(self, reading: BudgetReading, unseen: float, since: float, now: float) -> Bucket:
        """Return the bucket as an answer corrects it.

        `unseen` bounds what we took and the answer may not have counted yet; it was asked for at `since`.
        """
        tokens, at = self.level(now), max(now, self.at)
        capacity, per_second, eaten = self.capacity, self.per_second, self.eaten
        if self.learns and reading.limit is not None and reading.limit >= 1:
            capacity = max(1.0, reading.limit * self.share)
        if reading.per_second is not None and reading.per_second > 0:
            per_second = reading.per_second * self.share
        if reading.left is not None:
            at_least = reading.left - unseen
            at_most = reading.left + max(0.0, now - since) * per_second / self.share
            eaten = self._eaten(max(tokens - at_most, min(0.0, tokens - at_least)), per_second, now)
            if tokens > at_most or (self.learns and tokens < at_least):
                tokens = at_least
        cap = capacity - self.flying - (self.stray if now < self.stray_until else 0.0)
        read_at = now if reading.left is not None and now - self.read_at >= READ_SECONDS_MIN else self.read_at
        return replace(
            self,
            tokens=min(tokens, max(cap, 0.0)),
            at=at,
            capacity=capacity,
            per_second=per_second,
            eaten=min(eaten, EATEN_SHARE_MAX * per_second),
            read_at=read_at,
        )

    def _eaten(self, surplus: float, per_second: float, now: float) -> float:
        """Return what others use per second, after we believed in `surplus` tokens that were not there (or the reverse)."""
        seconds = now - self.read_at
        if self.read_at == NEVER or (seconds < READ_SECONDS_MIN and surplus <= 0):
            return self.eaten
        change = EATEN_GAIN * surplus / max(seconds, EATEN_SECONDS_MIN)
        found = min(max(0.0, self.eaten + change), EATEN_SHARE_MAX * per_second)
        return found if found > EATEN_MIN * per_second else 0.0

    def drain(self, seconds: float, now: float) -> Bucket:
        """Return it empty: the other side said that there is nothing left. `seconds` are waited for elsewhere.

        We count every call of ours, so somebody else takes some. Where answers tell how much is left, they say more than
        this; where they do not, we go back by a part of the rate and come again slowly.
        """
        state = replace(self, tokens=min(0.0, self.level(now)), at=max(now, self.at))
        if self.read_at != NEVER or now - self.refused_at < REFUSED_SECONDS_MIN:
            return state
        slower = max((1.0 - REFUSED_GAIN) * self.per_second, UNTOLD_SHARE_MIN * self.declared[1])
        return replace(state, per_second=min(self.per_second, slower), refused_at=now, regained_at=now)

    def _regained(self, now: float) -> Bucket:
        """Return it with what we dare to take again, where only refusals tell what others take."""
        if self.read_at != NEVER or self.per_second >= self.declared[1] or now <= self.regained_at:
            return self
        more = REGAIN_PER_SECOND * self.declared[1] * (now - self.regained_at)
        return replace(
            self,
            tokens=self.level(now),
            at=max(now, self.at),
            per_second=min(self.declared[1], self.per_second + more),
            regained_at=now,
        )

    def shifted(self, seconds: float) -> Bucket:
        """Return the same state on a clock that shows `seconds` more."""
        read_at = self.read_at if self.read_at == NEVER else self.read_at + seconds
        return replace(
            self,
            at=self.at + seconds,
            stray_until=self.stray_until + seconds,
            read_at=read_at,
            refused_at=self.refused_at + seconds,
            regained_at=self.regained_at + seconds,
        )

    def adopted(self, fresh: Bucket, stray_seconds: float, now: float) -> Bucket:
        """Return this stored state under the rule of `fresh`; what was under way may arrive for `stray_seconds` more."""
        is_same = self.declared == fresh.declared and self.learns == fresh.learns
        rule = self if is_same else fresh
        strays = self.flying + (self.stray if self.stray_until > now else 0.0)
        return replace(
            fresh,
            capacity=rule.capacity,
            per_second=rule.per_second,
            tokens=min(self.level(now), rule.capacity - strays),
            at=now,
            stray=strays,
            eaten=min(self.eaten, EATEN_SHARE_MAX * rule.per_second),
            read_at=self.read_at,
            refused_at=self.refused_at,
            regained_at=self.regained_at,
            stray_until=max(now + max(stray_seconds, STRAY_SECONDS_MIN), self.stray_until),
        )

    def look(self, now: float) -> Look:
        """Return what it shows."""
        left = max(0.0, self.level(now))
        missing = max(0.0, self.capacity - left)
        name = f"{self.capacity:g} at once, {self.per_second:g} per second"
        return Look(rule=name, left=left, limit=self.capacity, full_seconds=missing / self.per_second)
