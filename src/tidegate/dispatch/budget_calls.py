# ruff: noqa: ARG002 - every part of a budget is asked the same questions
"""Calls at the same time, pure: a fixed number of them, or one that follows how the other side copes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum

import msgspec
from msgspec.structs import replace

from tidegate.dispatch.budget_buckets import EPSILON, NEVER, Look
from tidegate.sdk.budgets import Adaptive, BudgetReading, Concurrency

DECREASE_REFUSED = 0.6
"""What is left of the limit after a sign of overload."""
FAILING_SHARE = 0.25
"""A failure says nothing about how many calls there are, unless so many of the newest answers are failures."""
FAILING_SMOOTHING = 0.03
"""Weight of one answer in that share: ten failures in a row reach it; one in ten at random all but never does."""
DECREASE_SLOW = 0.85
"""What is left of it when answers have become slow."""
SLOW_FACTOR = 2.0
"""Answers that take so many times as long as the quickest ones of their kind are slow ..."""
SLOW_SECONDS = 0.05
"""... unless that is no more than this."""
SMOOTHING = 0.2
BASE_SECONDS = 60.0
"""The quickest answer of the last one to two stretches of this length is what answers are compared with."""
CUT_SECONDS_MIN = 0.1
"""Failures that come together count once."""


TAKEN_SHARE_MAX = 2 / 3
"""Of the places nobody else is believed to take more."""
TRY_SECONDS = 60.0
"""After so long one place more is tried again that a refusal took away."""


class Sign(Enum):
    """What an answer says about the other side."""

    FINE = "fine"
    REFUSED = "refused"
    """Overload: 429, a 503 that says when to come again, or no answer in time."""
    FAILING = "failing"
    """Another 5xx, or a broken connection: its cause may be anything."""


class Flights(msgspec.Struct, frozen=True, kw_only=True, tag="flights"):
    """At most `limit` calls at the same time."""

    declared: tuple[float]
    limit: int
    flights: int = 0
    taken: float = 0.0
    stray: int = 0
    """Calls of an earlier owner that may still run until `stray_until`."""
    stray_until: float = 0.0
    changed_at: float = NEVER
    """When a refusal last took a place away, or one was tried again: somebody else runs calls there, too."""

    @classmethod
    def build(cls, rule: Concurrency, share: float) -> Flights:
        """Return it with no call under way."""
        limit = max(1, math.floor(rule.limit * share + EPSILON))
        return cls(declared=(float(limit),), limit=limit)

    def wait(self, charge: float, now: float, floor_share: float) -> float:
        """Return 0 while another call may be begun. Nothing is kept back: a place is free again with the next answer."""
        strays = self.stray if now < self.stray_until else 0
        if self.flights + strays < self.limit:
            return 0.0
        return self.stray_until - now if strays and self.flights < self.limit else math.inf

    def take(self, charge: float, now: float) -> Flights:
        """Return it with one call more."""
        state = self
        if self.limit < self.declared[0] and now - self.changed_at >= TRY_SECONDS:
            state = replace(self, limit=self.limit + 1, changed_at=now)
        return replace(state, flights=self.flights + 1, taken=self.taken + 1.0)

    def end(self, charge: float, cost: float, now: float) -> Flights:
        """Return it with one call less."""
        return replace(self, flights=max(0, self.flights - 1))

    def read(self, reading: BudgetReading, unseen: float, since: float, now: float) -> Flights:
        """Return it unchanged: headers tell of calls per time."""
        return self

    def drain(self, seconds: float, now: float) -> Flights:
        """Return it with a place less: somebody else runs calls there. The wait is kept elsewhere."""
        if now - self.changed_at < CUT_SECONDS_MIN:
            return self
        floor = max(1, math.ceil(self.declared[0] * (1 - TAKEN_SHARE_MAX) - EPSILON))
        return replace(self, limit=max(floor, self.limit - 1), changed_at=now)

    def shifted(self, seconds: float) -> Flights:
        """Return the same state on a clock that shows `seconds` more."""
        return replace(self, stray_until=self.stray_until + seconds, changed_at=self.changed_at + seconds)

    def adopted(self, fresh: Flights, stray_seconds: float, now: float) -> Flights:
        """Return this stored state under the rule of `fresh`."""
        until = max(now, self.stray_until)
        strays = self.flights + (self.stray if self.stray_until > now else 0)
        kept = replace(fresh, stray=strays, stray_until=max(until, now + stray_seconds))
        return replace(kept, limit=self.limit, changed_at=self.changed_at) if self.declared == fresh.declared else kept

    def look(self, now: float) -> Look:
        """Return what it shows."""
        left = max(0, self.limit - self.flights)
        return Look(rule=f"{self.limit} at the same time", left=left, limit=self.limit, full_seconds=0.0)


class Base(msgspec.Struct, frozen=True, array_like=True):
    """The quickest answers of one operation, in seconds."""

    before: float
    now: float
    since: float


class Aimd(msgspec.Struct, frozen=True, kw_only=True, tag="aimd"):
    """Calls at the same time: additive increase while answers are fast, multiplicative decrease when they are not.

    Single failures change nothing: a platform that fails one call in twenty, however few there are, is not helped by fewer.
    """

    declared: tuple[float, float, float]
    """Start, floor and ceiling."""
    limit: float
    flights: int = 0
    taken: float = 0.0
    slowness: float = 1.0
    """Smoothed: how many times as long as the quickest ones the answers take."""
    failing: float = 0.0
    """Smoothed: which share of the answers are failures."""
    cut_at: float = NEVER
    """Last decrease."""
    bases: Mapping[str, Base] = {}
    """By operation: some answers take longer by nature."""
    stray: int = 0
    """Calls of an earlier owner that may still run until `stray_until`."""
    stray_until: float = 0.0

    @classmethod
    def build(cls, rule: Adaptive, share: float) -> Aimd:
        """Return it at its start."""
        floor = max(1.0, rule.floor * 1.0)
        ceiling = max(floor, math.floor(rule.ceiling * share))
        start = min(max(floor, rule.start * share), ceiling)
        return cls(declared=(start, floor, ceiling), limit=start)

    def wait(self, charge: float, now: float, floor_share: float) -> float:
        """Return 0 while another call may be begun, else how long until one has ended; infinite: until an answer."""
        limit = math.floor(self.limit + EPSILON)
        strays = self.stray if now < self.stray_until else 0
        if self.flights + strays < limit:
            return 0.0
        return self.stray_until - now if strays and self.flights < limit else math.inf

    def take(self, charge: float, now: float) -> Aimd:
        """Return it with one call more."""
        return replace(self, flights=self.flights + 1, taken=self.taken + 1.0)

    def end(self, charge: float, cost: float, now: float) -> Aimd:
        """Return it with one call less."""
        return replace(self, flights=max(0, self.flights - 1))

    def answered(self, seconds: float, sign: Sign, operation: str, now: float) -> Aimd:
        """Return it after a request took `seconds` and came out like this."""
        _, floor, ceiling = self.declared
        if sign is Sign.REFUSED:
            return self._cut(DECREASE_REFUSED, floor, seconds, now)
        failing = self.failing + FAILING_SMOOTHING * ((sign is Sign.FAILING) - self.failing)
        if sign is Sign.FAILING:
            state = replace(self, failing=failing)
            return state._cut(DECREASE_REFUSED, floor, seconds, now) if failing > FAILING_SHARE else state
        base = self._base(operation, seconds, now)
        best = min(base.before, base.now)
        slowness = self.slowness + SMOOTHING * (seconds / max(best, 1e-6) - self.slowness)
        state = replace(self, failing=failing, slowness=slowness, bases={**self.bases, operation: base})
        if slowness > SLOW_FACTOR and seconds > best + SLOW_SECONDS:
            return state._cut(DECREASE_SLOW, floor, seconds, now)
        if self.flights >= math.floor(self.limit + EPSILON) and slowness <= SLOW_FACTOR:
            return replace(state, limit=min(ceiling, self.limit + 1.0 / max(1.0, self.limit)))
        return state

    def _cut(self, factor: float, floor: float, seconds: float, now: float) -> Aimd:
        """Return it with a lower limit; what was under way before the last decrease says nothing new."""
        if now - seconds < self.cut_at or now - self.cut_at < CUT_SECONDS_MIN:
            return self
        return replace(self, limit=max(floor, self.limit * factor), cut_at=now, slowness=1.0)

    def _base(self, operation: str, seconds: float, now: float) -> Base:
        base = self.bases.get(operation)
        if base is None:
            return Base(seconds, seconds, now)
        if now - base.since >= BASE_SECONDS:
            return Base(base.now, seconds, now)
        return Base(base.before, min(base.now, seconds), base.since)

    def read(self, reading: BudgetReading, unseen: float, since: float, now: float) -> Aimd:
        """Return it unchanged: headers tell of calls per time."""
        return self

    def drain(self, seconds: float, now: float) -> Aimd:
        """Return it unchanged; `answered` has seen the refusal."""
        return self

    def shifted(self, seconds: float) -> Aimd:
        """Return the same state on a clock that shows `seconds` more."""
        bases = {name: Base(base.before, base.now, base.since + seconds) for name, base in self.bases.items()}
        return replace(self, cut_at=self.cut_at + seconds, bases=bases, stray_until=self.stray_until + seconds)

    def adopted(self, fresh: Aimd, stray_seconds: float, now: float) -> Aimd:
        """Return this stored state under the rule of `fresh`."""
        _, floor, ceiling = fresh.declared
        strays = self.flights + (self.stray if self.stray_until > now else 0)
        return replace(
            fresh,
            limit=min(max(self.limit, floor), ceiling),
            bases=self.bases,
            stray=strays,
            stray_until=max(now + stray_seconds, self.stray_until),
        )

    def look(self, now: float) -> Look:
        """Return what it shows."""
        limit = math.floor(self.limit + EPSILON)
        name = f"{limit} at the same time, adapted to how it copes"
        return Look(rule=name, left=max(0, limit - self.flights), limit=limit, full_seconds=0.0)
