"""Platforms that count by rules of their own, and a lane that sends to them: for the laws of budgets.

The platforms below know nothing of the meters: each is the rule as its vendor words it, on the platform's own clock.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tidegate.dispatch.meter import Rule, Ticket, pack
from tidegate.sdk.budgets import Budget, BudgetReading

SLACK = 1e-6
"""What adding floats may come to."""


class Platform(Protocol):
    """Counts what arrives."""

    violations: int

    def arrive(self, at: float, asked: float, cost: float, operation: str) -> BudgetReading | None:
        """Count a request; the reading is what its answer will say."""
        ...

    def leave(self, at: float, asked: float, cost: float) -> None:
        """The request is carried out."""
        ...


@dataclass
class BucketPlatform:
    """Points that refill; a request must be able to pay what it asks for, and gets back what it did not cost."""

    capacity: float
    per_second: float
    level: float | None = None
    at: float = 0.0
    violations: int = 0
    spent: float = 0.0

    def _fill(self, at: float) -> float:
        level = self.capacity if self.level is None else self.level
        self.level = min(self.capacity, level + max(0.0, at - self.at) * self.per_second)
        self.at = max(at, self.at)
        return self.level

    def arrive(self, at: float, asked: float, cost: float, operation: str) -> BudgetReading | None:
        level = self._fill(at)
        asked = min(asked, self.capacity)
        self.violations += level + SLACK < asked
        self.level = level - asked
        self.spent += min(cost, asked)
        return BudgetReading(left=self.level, limit=self.capacity, per_second=self.per_second)

    def leave(self, at: float, asked: float, cost: float) -> None:
        asked = min(asked, self.capacity)
        self.level = min(self.capacity, self._fill(at) + asked - min(cost, asked))


@dataclass
class SlidingPlatform:
    """At most `limit` in any stretch of `seconds`, both ends included."""

    limit: float
    seconds: float
    arrivals: list[tuple[float, float]] = field(default_factory=list)
    foreign: list[tuple[float, float]] = field(default_factory=list)
    violations: int = 0
    tells: bool = True

    def used(self, at: float) -> float:
        both = itertools.chain(self.arrivals, self.foreign)
        return sum(cost for when, cost in both if at - self.seconds <= when <= at)

    def arrive(self, at: float, asked: float, cost: float, operation: str) -> BudgetReading | None:
        self.arrivals.append((at, min(cost, self.limit)))
        ours = sum(cost for when, cost in self.arrivals if at - self.seconds <= when <= at)
        self.violations += ours > self.limit + SLACK
        return BudgetReading(left=max(0.0, self.limit - self.used(at))) if self.tells else None

    def leave(self, at: float, asked: float, cost: float) -> None:
        return None


@dataclass
class FixedPlatform:
    """At most `limit` in each window of `seconds`, the first of which began at `offset`."""

    limit: float
    seconds: float
    offset: float
    tells: bool = True
    whole_seconds: bool = True
    counts: dict[int, float] = field(default_factory=dict)
    violations: int = 0

    def arrive(self, at: float, asked: float, cost: float, operation: str) -> BudgetReading | None:
        index = math.floor((at - self.offset) / self.seconds)
        self.counts[index] = self.counts.get(index, 0.0) + min(cost, self.limit)
        self.violations += self.counts[index] > self.limit + SLACK
        if not self.tells:
            return None
        left = max(0.0, self.limit - self.counts[index])
        until = self.offset + (index + 1) * self.seconds - at
        if self.whole_seconds:
            return BudgetReading(left=left, limit=self.limit, reset_seconds=math.floor(until) + 1.0)
        return BudgetReading(left=left, limit=self.limit, reset_seconds=until + 0.001, reset_slack=0.002)

    def leave(self, at: float, asked: float, cost: float) -> None:
        return None


@dataclass
class TogetherPlatform:
    """At most `limit` requests at the same time."""

    limit: int
    running: int = 0
    most: int = 0
    violations: int = 0

    def arrive(self, at: float, asked: float, cost: float, operation: str) -> BudgetReading | None:
        self.running += 1
        self.most = max(self.most, self.running)
        self.violations += self.running > self.limit
        return None

    def leave(self, at: float, asked: float, cost: float) -> None:
        self.running -= 1


@dataclass
class EachPlatform:
    """Every operation, or every rule, counted apart."""

    of: Callable[[str], list[Platform]]

    @property
    def violations(self) -> int:
        return sum(each.violations for each in self.known)

    @violations.setter
    def violations(self, value: int) -> None: ...

    known: list[Platform] = field(default_factory=list)
    running: dict[str, list[Platform]] = field(default_factory=dict)

    def arrive(self, at: float, asked: float, cost: float, operation: str) -> BudgetReading | None:
        if operation not in self.running:
            self.running[operation] = self.of(operation)
            self.known += [each for each in self.running[operation] if each not in self.known]
        readings = [each.arrive(at, asked, cost, operation) for each in self.running[operation]]
        return next((each for each in readings if each is not None), None)

    def leave(self, at: float, asked: float, cost: float) -> None:
        return None


@dataclass(order=True)
class Event:
    """Something that happens later."""

    at: float
    number: int
    act: Callable[[], None] = field(compare=False)


class Lane:
    """A lane in simulated time: one meter, calls in flight, a stored state, restarts."""

    def __init__(self, budget: Budget, platform: Platform, *, share: float = 1.0, wall: float = 0.0) -> None:
        self.platform = platform
        self.now = 1000.0
        """Real time."""
        self.rule = Rule(budget, share=share, wall=wall)
        self.meter = self.rule.start(self.now)
        self.stored: str | None = None
        self.stored_at = self.now
        self.begun = 0
        self.charged = 0.0
        self._events: list[Event] = []
        self._numbers = itertools.count()
        self._life = 0

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, Event(self.now + seconds, next(self._numbers), act))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.run_to(self.now + seconds)

    def run_to(self, moment: float) -> None:
        while self._events and self._events[0].at <= moment:
            event = heapq.heappop(self._events)
            self.now = event.at
            event.act()
        self.now = moment

    def next_event(self) -> float | None:
        """Return when a call in flight arrives or ends."""
        return self._events[0].at if self._events else None

    def wait(self, charge: float, operation: str = "", *, floor: float = 0.0, clock_error: float = 0.0) -> float:
        return self.rule.wait(self.meter, charge, operation, self.now - clock_error, floor_share=floor)

    def send(
        self,
        charge: float,
        *,
        operation: str = "",
        cost: float | None = None,
        there: float = 0.0,
        back: float = 0.0,
        clock_error: float = 0.0,
    ) -> None:
        """Take, store, and let the request arrive after `there`, its answer `back` later."""
        ticket = self.take(charge, operation, clock_error=clock_error)
        self.store()
        paid = charge if cost is None else cost
        life = self._life
        answer: list[BudgetReading | None] = []

        def arrive() -> None:
            answer.append(self.platform.arrive(self.now, charge, paid, operation))

        def leave() -> None:
            self.platform.leave(self.now, charge, paid)
            if life == self._life:
                self.answered(ticket, answer[0], paid)

        self._later(there, arrive)
        self._later(there + back, leave)

    def take(self, charge: float, operation: str, *, clock_error: float = 0.0) -> Ticket:
        self.meter, ticket = self.rule.take(self.meter, charge, operation, self.now - clock_error)
        self.begun += 1
        self.charged += charge
        return ticket

    def answered(self, ticket: Ticket, reading: BudgetReading | None, cost: float) -> None:
        if reading is not None:
            self.meter = self.rule.correct(self.meter, ticket, reading, self.now)
        self.meter = self.rule.end(self.meter, ticket, self.now, cost=cost)

    def refund(self, charge: float, operation: str = "") -> None:
        """Take and give back without sending."""
        ticket = self.take(charge, operation)
        self.meter = self.rule.refund(self.meter, ticket, self.now)

    def store(self) -> None:
        self.stored, self.stored_at = pack(self.meter, self.now), self.now

    def crash(self, down: float, clock_jump: float = 0.0) -> None:
        """Lose the process; another one goes on after `down` with a clock that jumped backwards meanwhile."""
        self._life += 1
        self.advance(down)
        age = self.now - self.stored_at - clock_jump
        self.meter = self.rule.resume(self.stored, age_seconds=age, now=self.now)
