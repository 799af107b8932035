"""Budgets: how many calls a platform allows, as the platform itself counts them, and what its answers say about it.

A connector declares one of these (`Connector.budget`); the engine keeps the count . Limits are those
of the platform for the whole account; the setting `share` of a connection says how much of them is ours. All times are
seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tidegate.sdk.http import Response


@dataclass(frozen=True)
class TokenBucket:
    """A bucket of `capacity` tokens, refilled by `per_second`. A leaky bucket is the same thing seen from its other end."""

    capacity: float
    per_second: float
    source: str = ""
    """Where the vendor says so."""


@dataclass(frozen=True)
class CostBucket:
    """A bucket of points, as GraphQL platforms have it.

    A call must be able to pay what it asks for (`charge`), and gets back what it did not cost (`BudgetReading.cost`).
    Capacity and restore rate are learnt from the answers.
    """

    capacity: float
    per_second: float
    source: str = ""


@dataclass(frozen=True)
class FixedWindow:
    """At most `limit` in each window of `seconds`.

    When their windows begin is not known before an answer says it (`BudgetReading.reset_seconds`); until then no stretch of
    that length holds more.
    """

    limit: float
    seconds: float
    source: str = ""


@dataclass(frozen=True)
class SlidingWindow:
    """At most `limit` in any stretch of `seconds`."""

    limit: float
    seconds: float
    source: str = ""


@dataclass(frozen=True)
class BurstSteady:
    """Two windows at once: a short one for bursts, a long one for the steady rate."""

    burst: float
    burst_seconds: float
    steady: float
    steady_seconds: float
    source: str = ""


@dataclass(frozen=True)
class DailyQuota:
    """At most `limit` per day, counted anew at `resets` (HH:MM) in the time zone `zone`."""

    limit: float
    resets: str = "00:00"
    zone: str = "UTC"
    source: str = ""


@dataclass(frozen=True)
class Concurrency:
    """At most `limit` calls at the same time."""

    limit: int
    source: str = ""


@dataclass(frozen=True)
class Adaptive:
    """Calls at the same time, where no limit is published.

    It begins with `start`; more while answers stay fast, fewer when they slow down, fail or are refused; never below
    `floor`, never above `ceiling`.
    """

    start: int
    floor: int
    ceiling: int
    source: str = ""


SimpleBudget = (
    TokenBucket | CostBucket | FixedWindow | SlidingWindow | BurstSteady | DailyQuota | Concurrency | Adaptive
)


@dataclass(frozen=True)
class PerOperation:
    """Each operation has a budget of its own. `CommandSpec`, `Feed` and `Shown` name theirs in `operation`."""

    operations: Mapping[str, SimpleBudget]
    default: SimpleBudget | None = None
    """Of an operation that is not listed, each its own; None: such an operation is not limited here."""
    source: str = ""


@dataclass(frozen=True)
class All:
    """Every one of these budgets counts: a call waits for the slowest."""

    budgets: tuple[SimpleBudget | PerOperation, ...]
    source: str = ""

    def __init__(self, *budgets: SimpleBudget | PerOperation, source: str = "") -> None:
        """Take the budgets one after the other."""
        object.__setattr__(self, "budgets", budgets)
        object.__setattr__(self, "source", source or next((each.source for each in budgets if each.source), ""))


Budget = SimpleBudget | PerOperation | All


@dataclass(frozen=True, kw_only=True)
class BudgetReading:
    """What one answer says about the platform's own count. None: it does not say."""

    left: float | None = None
    """What was left when the request was counted, that request included."""
    limit: float | None = None
    """Capacity of the bucket, or calls per window."""
    per_second: float | None = None
    """How fast a bucket fills."""
    reset_seconds: float | None = None
    """Until the window begins anew, at the latest: a header in whole seconds may mean up to one more."""
    reset_slack: float = 1.0
    """By how much it may begin earlier than that; less than 1 where the platform tells fractions of seconds."""
    cost: float | None = None
    """What this request really cost, of the charge that it asked for."""
    window_seconds: float | None = None
    """Length of the window that this is about, where a budget has several."""
    operation: str | None = None
    """The operation that this is about, where it is not the one of the call."""
    is_shared: bool = False
    """Whether it is about the budget of all operations, where the call's own has one too."""


BudgetReader = Callable[[Response], "BudgetReading | tuple[BudgetReading, ...] | None"]
"""Reads an answer, whatever its status; pure, and never raises for what it cannot read."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a budget comes to over time: what plans and checks count with."""

    burst: float
    """The dearest thing that can be paid for at once; infinite where only calls at the same time are counted."""
    per_second: float
    """What it allows in the long run; infinite where it does not limit that."""
    operations: Mapping[str, Speed] = field(default_factory=dict)
    """Where an operation has a slower one of its own."""

    def of(self, operation: str) -> Speed:
        """Return the speed of one operation."""
        return self.operations.get(operation, self)


DEFAULT_BUDGET = TokenBucket(capacity=10, per_second=10)
"""Of a connector that declares none."""
_UNLIMITED = Speed(burst=math.inf, per_second=math.inf)
DAY_SECONDS = 86_400.0


def speed_of(budget: Budget) -> Speed:
    """Return burst and long-run speed of a budget."""
    match budget:
        case TokenBucket() | CostBucket():
            return Speed(burst=budget.capacity, per_second=budget.per_second)
        case FixedWindow() | SlidingWindow():
            return Speed(burst=budget.limit, per_second=budget.limit / budget.seconds)
        case BurstSteady():
            steady = budget.steady / budget.steady_seconds
            return Speed(burst=budget.burst, per_second=min(budget.burst / budget.burst_seconds, steady))
        case DailyQuota():
            return Speed(burst=budget.limit, per_second=budget.limit / DAY_SECONDS)
        case Concurrency() | Adaptive():
            return _UNLIMITED
        case PerOperation():
            own = {name: speed_of(each) for name, each in budget.operations.items()}
            rest = _UNLIMITED if budget.default is None else speed_of(budget.default)
            return Speed(burst=rest.burst, per_second=rest.per_second, operations=own)
        case All():
            return _slowest([speed_of(each) for each in budget.budgets])


def _slowest(speeds: list[Speed]) -> Speed:
    names = {name for speed in speeds for name in speed.operations}
    return Speed(
        burst=min((speed.burst for speed in speeds), default=math.inf),
        per_second=min((speed.per_second for speed in speeds), default=math.inf),
        operations={
            name: Speed(
                burst=min(speed.of(name).burst for speed in speeds),
                per_second=min(speed.of(name).per_second for speed in speeds),
            )
            for name in names
        },
    )
