"""I14b: in no window of the platform's own rule is more sent than it allows, whatever happens; and nothing is wasted."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from tests.budgetbed import (
    BucketPlatform,
    EachPlatform,
    FixedPlatform,
    Lane,
    Platform,
    SlidingPlatform,
    TogetherPlatform,
)

from tidegate.sdk.budgets import (
    All,
    BurstSteady,
    Concurrency,
    CostBucket,
    FixedWindow,
    PerOperation,
    SlidingWindow,
    TokenBucket,
)

pauses = st.one_of(st.just(0.0), st.floats(0.0, 3.0), st.floats(0.0, 40.0))
delays = st.floats(0.0, 0.9)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("pause"), pauses),
        st.tuples(st.just("send"), st.floats(0.2, 30.0), st.floats(0.0, 1.0), delays, delays, st.floats(0.0, 20.0)),
        st.tuples(st.just("rush"), st.integers(1, 30), st.floats(0.2, 5.0), delays, delays, delays),
        st.tuples(st.just("refund"), st.floats(0.2, 30.0)),
        st.tuples(st.just("crash"), st.floats(0.0, 4.0), st.one_of(st.just(0.0), st.floats(0.0, 100.0))),
        st.tuples(st.just("forget"), st.floats(0.0, 2.0)),
        st.tuples(st.just("drain"), st.floats(0.0, 10.0)),
    ),
    max_size=25,
)


def rush(lane: Lane, operation: str, count: int, charge: float, late: list[float]) -> None:
    """Send as soon as it may be, one after the other, some of them slow on their way."""
    for number in range(count):
        wait = lane.wait(charge, operation)
        if wait > 200.0 and lane.next_event() is None:
            return
        lane.run_to(min(lane.now + wait, lane.next_event() or math.inf))
        if lane.wait(charge, operation) == 0.0:
            there, back = late[number % len(late)], late[(number + 1) % len(late)]
            lane.send(charge, operation=operation, there=there, back=back)


def walk(lane: Lane, what: list[tuple[object, ...]], operations: tuple[str, ...] = ("",)) -> None:
    """Do all of it, and let what is in flight arrive. The budget is full in the beginning."""
    lane.advance(120.0)
    for index, (name, *values) in enumerate(what):
        operation = operations[index % len(operations)]
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        match name:
            case "pause":
                lane.advance(numbers[0])
            case "send":
                charge, part, there, back, error = numbers
                if lane.wait(charge, operation, clock_error=error) == 0.0:
                    cost = charge * part if isinstance(lane.platform, BucketPlatform) else charge
                    lane.send(charge, operation=operation, cost=cost, there=there, back=back, clock_error=error)
            case "rush":
                rush(lane, operation, int(numbers[0]), numbers[1], numbers[2:])
            case "refund":
                if lane.wait(numbers[0], operation) == 0.0:
                    lane.refund(numbers[0], operation)
            case "crash":
                lane.crash(numbers[0], clock_jump=numbers[1])
            case "forget":
                lane.advance(2.0)
                lane.stored = None
                lane.crash(numbers[0])
            case "drain":
                lane.meter = lane.rule.drain(lane.meter, numbers[0], operation, lane.now)
    lane.advance(10.0)


@given(st.floats(1.0, 12.0), st.floats(0.5, 12.0), steps)
def test_a_bucket_is_never_overdrawn(capacity: float, rate: float, what: list[tuple[object, ...]]) -> None:
    platform = BucketPlatform(capacity, rate)
    walk(Lane(CostBucket(capacity, rate), platform), what)
    assert platform.violations == 0


@given(st.floats(1.0, 20.0), st.floats(0.3, 8.0), st.booleans(), steps)
def test_no_stretch_of_a_sliding_window_holds_more(
    limit: float, seconds: float, tells: bool, what: list[tuple[object, ...]]
) -> None:
    platform = SlidingPlatform(limit, seconds, tells=tells)
    walk(Lane(SlidingWindow(limit, seconds), platform), what)
    assert platform.violations == 0


@given(st.floats(1.0, 20.0), st.floats(0.3, 8.0), st.floats(0.0, 8.0), st.booleans(), st.booleans(), steps)
def test_no_fixed_window_holds_more_at_any_alignment(
    limit: float, seconds: float, offset: float, tells: bool, whole: bool, what: list[tuple[object, ...]]
) -> None:
    platform = FixedPlatform(limit, seconds, offset, tells=tells, whole_seconds=whole)
    walk(Lane(FixedWindow(limit, seconds), platform), what)
    assert platform.violations == 0


@given(st.integers(1, 8), steps)
def test_no_more_calls_run_at_the_same_time(limit: int, what: list[tuple[object, ...]]) -> None:
    platform = TogetherPlatform(limit)
    walk(Lane(Concurrency(limit), platform), what)
    assert platform.violations == 0


@given(st.floats(0.0, 60.0), st.floats(0.0, 60.0), steps)
def test_burst_and_steady_hold_both(first: float, second: float, what: list[tuple[object, ...]]) -> None:
    burst, steady = FixedPlatform(3, 1, first), FixedPlatform(60, 60, second)
    platform = EachPlatform(lambda _: [burst, steady])
    walk(Lane(BurstSteady(3, 1, 60, 60), platform), what)
    assert platform.violations == 0


@given(st.floats(0.0, 30.0), steps)
def test_every_operation_and_the_whole_hold(offset: float, what: list[tuple[object, ...]]) -> None:
    """As with Stripe or Amazon: buckets by operation under a limit for all."""
    whole = SlidingPlatform(12, 1, tells=False)
    listed = BucketPlatform(4, 0.5)
    other = {name: SlidingPlatform(5, 1, tells=False) for name in ("b", "c")}
    table: dict[str, list[Platform]] = {"a": [whole, listed], "b": [whole, other["b"]], "c": [whole, other["c"]]}
    platform = EachPlatform(lambda operation: table[operation])
    budget = All(SlidingWindow(12, 1), PerOperation({"a": TokenBucket(4, 0.5)}, default=SlidingWindow(5, 1)))
    lane = Lane(budget, platform)
    lane.advance(offset)
    walk(lane, what, operations=("a", "b", "c"))
    assert platform.violations == 0
