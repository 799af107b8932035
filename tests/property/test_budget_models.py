"""I14b: in no window of the platform's own rule is more sent than it allows, whatever happens; and nothing is wasted."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
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

from tidegate.dispatch.budget_book import Book
from tidegate.dispatch.budget_buckets import Bucket
from tidegate.dispatch.budget_calls import Sign
from tidegate.dispatch.meter import Rule, Ticket, pack, usage_of
from tidegate.kernel.clock import SystemClock
from tidegate.sandbox.limits import Bucket as PlatformBucket
from tidegate.sandbox.limits import InFlight
from tidegate.sdk.budgets import (
    Adaptive,
    All,
    Budget,
    BudgetReading,
    BurstSteady,
    Concurrency,
    CostBucket,
    DailyQuota,
    FixedWindow,
    PerOperation,
    SlidingWindow,
    TokenBucket,
)
from tidegate.sdk.testing.hostile_connector import build_connector

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
@settings(deadline=None)
def test_a_bucket_is_never_overdrawn(capacity: float, rate: float, what: list[tuple[object, ...]]) -> None:
    platform = BucketPlatform(capacity, rate)
    walk(Lane(CostBucket(capacity, rate), platform), what)
    assert platform.violations == 0


@given(st.floats(1.0, 20.0), st.floats(0.3, 8.0), st.booleans(), steps)
@settings(deadline=None)
def test_no_stretch_of_a_sliding_window_holds_more(
    limit: float, seconds: float, tells: bool, what: list[tuple[object, ...]]
) -> None:
    platform = SlidingPlatform(limit, seconds, tells=tells)
    walk(Lane(SlidingWindow(limit, seconds), platform), what)
    assert platform.violations == 0


@given(st.floats(1.0, 20.0), st.floats(0.3, 8.0), st.floats(0.0, 8.0), st.booleans(), st.booleans(), steps)
@settings(deadline=None)
def test_no_fixed_window_holds_more_at_any_alignment(
    limit: float, seconds: float, offset: float, tells: bool, whole: bool, what: list[tuple[object, ...]]
) -> None:
    platform = FixedPlatform(limit, seconds, offset, tells=tells, whole_seconds=whole)
    walk(Lane(FixedWindow(limit, seconds), platform), what)
    assert platform.violations == 0


@given(st.integers(1, 8), steps)
@settings(deadline=None)
def test_no_more_calls_run_at_the_same_time(limit: int, what: list[tuple[object, ...]]) -> None:
    platform = TogetherPlatform(limit)
    walk(Lane(Concurrency(limit), platform), what)
    assert platform.violations == 0


@given(st.integers(1, 8), steps)
@settings(deadline=None)
def test_calls_of_a_process_that_is_gone_count_where_the_limit_adapts(
    limit: int, what: list[tuple[object, ...]]
) -> None:
    """After kill -9 the host may still work on what was sent: the next process does not come on top of it."""
    platform = TogetherPlatform(limit)
    walk(Lane(Adaptive(start=limit, floor=limit, ceiling=limit), platform), what)
    assert platform.violations == 0


@given(st.floats(0.0, 60.0), st.floats(0.0, 60.0), steps)
@settings(deadline=None)
def test_burst_and_steady_hold_both(first: float, second: float, what: list[tuple[object, ...]]) -> None:
    burst, steady = FixedPlatform(3, 1, first), FixedPlatform(60, 60, second)
    platform = EachPlatform(lambda _: [burst, steady])
    walk(Lane(BurstSteady(3, 1, 60, 60), platform), what)
    assert platform.violations == 0


@given(st.floats(0.0, 30.0), steps)
@settings(deadline=None)
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


def both_windows() -> Platform:
    each: list[Platform] = [FixedPlatform(3, 1, 0.3), FixedPlatform(60, 60, 7)]
    return EachPlatform(lambda _: each)


# --- nothing is wasted ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("floor", [0.0, 0.2])
@pytest.mark.parametrize(
    ("budget", "make", "per_second"),
    [
        (TokenBucket(40, 20), lambda: BucketPlatform(40, 20), 20.0),
        (CostBucket(1000, 100), lambda: BucketPlatform(1000, 100), 100.0),
        (SlidingWindow(50, 5), lambda: SlidingPlatform(50, 5, tells=False), 10.0),
        (FixedWindow(50, 5), lambda: FixedPlatform(50, 5, 1.7), 10.0),
        (FixedWindow(50, 5), lambda: FixedPlatform(50, 5, 1.7, tells=False), 10.0),
        (BurstSteady(3, 1, 60, 60), both_windows, 1.0),
    ],
)
def test_waiting_work_uses_what_there_is(
    budget: Budget, make: Callable[[], Platform], per_second: float, floor: float
) -> None:
    """G10: at least 95 % of the budget is used while work waits, also by work that leaves a floor to urgent calls."""
    platform = make()
    lane = Lane(budget, platform)
    lane.advance(60.0)
    start, begun, seconds = lane.now, lane.begun, 300.0
    while lane.now < start + seconds:
        wait = lane.wait(1.0, floor=floor)
        if wait == 0.0:
            lane.send(1.0, there=0.01, back=0.01)
        else:
            lane.run_to(min(lane.now + wait, lane.next_event() or math.inf, start + seconds))
    assert platform.violations == 0
    assert (lane.begun - begun) / (per_second * seconds) >= 0.95


@given(
    st.sampled_from([TokenBucket(5, 2), FixedWindow(5, 4), SlidingWindow(5, 4)]), st.lists(st.floats(0, 3), max_size=30)
)
def test_a_wait_is_as_long_as_it_must_be(budget: TokenBucket | SlidingWindow, pauses: list[float]) -> None:
    """After the told wait it may be sent, and a little before that it would break the rule."""
    lane = Lane(budget, SlidingPlatform(1e9, 1, tells=False))
    lane.advance(10.0)
    sent: list[float] = []
    for pause in pauses:
        lane.advance(pause)
        wait = lane.wait(1.0)
        if wait > 0.01:
            early = [*sent, lane.now + wait - 0.01]
            assert is_broken(budget, early)
        lane.advance(wait)
        assert lane.wait(1.0) == pytest.approx(0.0, abs=1e-6)
        lane.send(1.0)
        lane.run_to(lane.now)
        sent.append(lane.now)
        assert not is_broken(budget, sent)


def is_broken(budget: TokenBucket | SlidingWindow | FixedWindow, sent: list[float]) -> bool:
    """Whether some stretch of time holds more than the rule allows."""
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            count, span = last - first + 1, sent[last] - sent[first]
            if isinstance(budget, TokenBucket):
                if count > budget.capacity + budget.per_second * span + 1e-6:
                    return True
            elif span <= budget.seconds and count > budget.limit:
                return True
    return False


@given(st.floats(0.0, 0.6), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_what_others_use_is_seen_and_allowed_for(share: float, seed: int) -> None:
    """An app beside us eats a part of the bucket: once that is known hardly a call is refused, and what is left is used."""
    chance = random.Random(seed)
    platform = BucketPlatform(1000, 100)
    lane = Lane(CostBucket(1000, 100), platform)
    lane.advance(1.0)
    sent = refused = 0
    for step in range(20_000):
        platform.level = max(0.0, platform._fill(lane.now) - 100 * share * 0.005 * chance.uniform(0.5, 1.5))
        if lane.wait(10.0) == 0.0:
            before = platform.violations
            lane.send(10.0)
            lane.run_to(lane.now)
            if platform.violations > before:  # a refused request takes nothing
                platform.level += 10.0
                refused += step >= 4000
            sent += step >= 4000
        lane.advance(0.005)
    assert refused <= 0.005 * sent
    assert sent * 10 >= 0.95 * 100 * (1 - share) * 80


@given(
    st.lists(
        st.tuples(st.floats(0.0, 3.0), st.lists(st.floats(0.0, 700.0), min_size=1, max_size=3)), min_size=1, max_size=30
    ),
    st.floats(0.001, 0.3),
)
def test_what_a_call_costs_beyond_its_charge_is_ours_and_nobody_elses(
    calls: list[tuple[float, list[float]]], seconds: float
) -> None:
    """G10: a call makes requests that nobody charged. It is taken for an app beside us by none of the answers that count it."""
    platform = BucketPlatform(2000, 100, at=0.0)
    rule = Rule(CostBucket(1000, 100))
    meter, now = rule.start(-100.0), 0.0
    for pause, costs in calls:
        now += pause
        meter, ticket = rule.take(meter, 11.0, "", now)
        paid = 0.0
        for cost in costs:
            now += seconds + max(0.0, cost - platform._fill(now + seconds)) / 100  # more than there is would be refused
            reading = platform.arrive(now, cost, cost, "")
            assert reading is not None
            reading = BudgetReading(left=float(int(max(0.0, reading.left or 0.0))), limit=2000, per_second=100)
            paid += cost
            meter, ticket = rule.raise_to(meter, ticket, paid, now)
            meter = rule.correct(meter, ticket, reading, now, to_come=ticket.charge - paid)
        meter = rule.end(meter, ticket, now, cost=paid)
    now += 25.0
    assert rule.wait(meter, 1000.0, "", now) == 0.0
    (bucket,) = meter.shared
    assert isinstance(bucket, Bucket)
    assert bucket.eaten <= 5.0


@given(
    st.floats(120.0, 600.0),
    st.lists(
        st.tuples(st.floats(0.0, 2.0), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4), st.floats(0.0, 0.4)),
        min_size=1,
        max_size=20,
    ),
)
def test_a_call_of_several_requests_within_its_charge_is_never_refused(
    capacity: float, calls: list[tuple[float, list[float], float]]
) -> None:
    """G10: a stock call of Shopify reads what is stale and tries again. One was refused when its charge was that of one request."""
    platform = BucketPlatform(capacity, 100)
    rule = Rule(CostBucket(capacity, 100))
    meter, now = rule.start(0.0), 0.0
    charge = 100.0
    for pause, shares, seconds in calls:
        now += pause
        now += rule.wait(meter, charge, "", now)
        meter, ticket = rule.take(meter, charge, "", now)
        paid = 0.0
        for share in shares:
            now += seconds
            cost = charge * share / len(shares)
            reading = platform.arrive(now, cost, cost, "")
            assert reading is not None
            paid += cost
            meter, ticket = rule.raise_to(meter, ticket, paid, now)
            meter = rule.correct(meter, ticket, reading, now, to_come=ticket.charge - paid)
        meter = rule.end(meter, ticket, now, cost=paid)
    assert platform.violations == 0
    assert isinstance(meter.shared[0], Bucket)
    assert meter.shared[0].eaten <= 1.0


def test_others_are_not_believed_in_for_ever() -> None:
    """A lane that hears nothing more gets the whole rate again: a wrong belief must not starve it."""
    rule = Rule(CostBucket(1000, 100))
    meter = rule.start(0.0)
    for number in range(40):  # each answer says that half of what flowed in is gone
        now = 0.5 * number
        meter, ticket = rule.take(meter, 0.0, "", now)
        left = BudgetReading(left=max(0.0, 10.0 - number), limit=1000, per_second=100)
        meter = rule.end(rule.correct(meter, ticket, left, now), ticket, now, cost=0.0)
    assert rule.wait(meter, 600.0, "", now) < 40.0
    assert rule.wait(meter, 600.0, "", now + rule.wait(meter, 600.0, "", now)) == pytest.approx(0.0, abs=1e-6)


# --- a stored meter ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "stored", ["", "{}", "[]", "null", '{"version":99,"shared":[]}', '{"shared":[{"type":"x"}]}', "\x00"]
)
def test_what_cannot_be_read_starts_empty(stored: str) -> None:
    rule = Rule(TokenBucket(10, 1))
    assert rule.wait(rule.resume(stored, age_seconds=1e9, now=0.0), 5.0, "", 0.0) == pytest.approx(5.0)


def test_a_changed_limit_keeps_what_was_spent_and_another_model_starts_empty() -> None:
    small, large, other = Rule(SlidingWindow(10, 60)), Rule(SlidingWindow(20, 60)), Rule(TokenBucket(10, 1))
    meter = small.start(-100.0)
    for _ in range(8):
        meter, ticket = small.take(meter, 1.0, "", 0.0)
        meter = small.end(meter, ticket, 0.0)
    stored = pack(meter, 0.0)
    resumed = large.resume(stored, age_seconds=1.0, now=5.0)
    assert large.usage(resumed, 5.0).left == pytest.approx(12.0)
    assert other.usage(other.resume(stored, age_seconds=1.0, now=5.0), 5.0).left == 0.0


def test_a_limit_that_was_learnt_is_kept_until_another_one_is_declared() -> None:
    rule = Rule(CostBucket(1000, 100), share=0.5)
    meter, ticket = rule.take(rule.start(0.0), 10.0, "", 1.0)
    meter = rule.correct(meter, ticket, BudgetReading(left=1900, limit=2000, per_second=200), 1.1)
    meter = rule.end(meter, ticket, 1.1, cost=4.0)
    again = rule.resume(pack(meter, 1.1), age_seconds=0.0, now=50.0)
    assert rule.usage(again, 50.0).limit == 1000.0
    changed = Rule(CostBucket(1000, 50), share=0.5)
    assert changed.usage(changed.resume(pack(meter, 1.1), age_seconds=0.0, now=50.0), 50.0).limit == 500.0


def test_a_day_begins_anew_in_its_zone_and_late_calls_count_twice() -> None:
    new_york = datetime(2026, 11, 27, 4, 59, tzinfo=UTC).timestamp()  # one minute before midnight there
    rule = Rule(DailyQuota(10, "00:00", "America/New_York"), wall=new_york)
    meter = rule.start(-86_340.0)
    for moment in (-7200.0, 50.0, 62.0):
        meter, ticket = rule.take(meter, 3.0, "", moment)
        meter = rule.end(meter, ticket, moment)
    assert rule.wait(meter, 2.0, "", 65.0) == pytest.approx(25.0, abs=0.1)
    assert rule.usage(meter, 91.0).left == pytest.approx(4.0)


def test_only_the_refused_operation_rests() -> None:
    rule = Rule(PerOperation({"a": TokenBucket(5, 1), "b": TokenBucket(5, 1)}))
    meter = rule.start(0.0)
    meter, _ = rule.take(meter, 0.0, "a", 0.0)
    meter, _ = rule.take(meter, 0.0, "b", 0.0)
    meter = rule.drain(meter, 30.0, "a", 10.0)
    assert rule.wait(meter, 1.0, "a", 10.0) == pytest.approx(30.0)
    assert rule.wait(meter, 1.0, "b", 10.0) == 0.0
    later = rule.resume(pack(meter, 10.0), age_seconds=5.0, now=100.0)
    assert rule.wait(later, 1.0, "a", 100.0) == pytest.approx(25.0)


@given(st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_an_adaptive_limit_finds_what_a_host_can_do(workers: int, seed: int) -> None:
    """A host of so many workers, and slower beyond them: the limit settles near their number and within its bounds."""
    chance = random.Random(seed)
    rule = Rule(Adaptive(start=2, floor=1, ceiling=16))
    meter, now = rule.start(0.0), 0.0
    running: list[tuple[float, int, Ticket, float]] = []
    carried = 0
    while now < 60.0:
        if rule.wait(meter, 1.0, "", now) == 0.0:
            meter, ticket = rule.take(meter, 1.0, "", now)
            took = 0.1 * max(1.0, (len(running) + 1) / workers) * chance.uniform(0.95, 1.05)
            heapq.heappush(running, (now + took, carried + len(running), ticket, took))
            assert len(running) <= 16
            continue
        now, _, ticket, took = heapq.heappop(running)
        meter = rule.answered(meter, ticket, took, Sign.FINE, now)
        meter = rule.end(meter, ticket, now)
        carried += 1
    assert carried >= 0.7 * min(workers, 16) * 10 * 60
    assert rule.usage(meter, now).limit <= 3.0 * workers + 2.0


@given(st.floats(0.0, 0.1), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_an_adaptive_limit_bears_failures_at_random(share: float, seed: int) -> None:
    """A platform that fails up to every tenth call, however many there are, keeps what it copes with (RELIABILITY 2f)."""
    chance = random.Random(seed)
    rule = Rule(Adaptive(start=8, floor=2, ceiling=8))
    meter, running, limits = rule.start(0.0), deque[Ticket](), []
    for number in range(1500):
        now = number * 0.02
        while rule.wait(meter, 1.0, "", now) == 0.0:
            meter, ticket = rule.take(meter, 1.0, "", now)
            running.append(ticket)
        sign = Sign.FAILING if chance.random() < share else Sign.FINE
        meter = rule.answered(meter, running[0], 0.1, sign, now)
        meter = rule.end(meter, running.popleft(), now)
        limits.append(rule.usage(meter, now).limit)
    assert sum(limits) / len(limits) >= 7.0


@given(st.lists(st.sampled_from(list(Sign)), max_size=200), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_an_adaptive_limit_reacts_to_overload_at_once(before: list[Sign], later: int) -> None:
    """Whatever was before: a sign of overload lowers the limit, down to the floor and not below; nothing lifts it over its ceiling."""
    rule = Rule(Adaptive(start=8, floor=2, ceiling=16))
    meter, now = rule.start(0.0), 0.0
    for sign in before:
        now += 1.0
        meter, ticket = rule.take(meter, 1.0, "", now)
        meter = rule.end(rule.answered(meter, ticket, 0.1, sign, now + 0.5), ticket, now + 0.5)
        assert 2.0 <= rule.usage(meter, now).limit <= 16.0
    now += 1.0 + later
    limit = rule.usage(meter, now).limit
    meter, ticket = rule.take(meter, 1.0, "", now)
    meter = rule.answered(meter, ticket, 0.1, Sign.REFUSED, now + 0.5)
    assert rule.usage(meter, now).limit < limit or limit == 2.0


def test_an_adaptive_limit_falls_with_failures_and_never_below_its_floor() -> None:
    rule = Rule(Adaptive(start=8, floor=2, ceiling=16))
    meter = rule.start(0.0)
    for number in range(20):
        meter, ticket = rule.take(meter, 1.0, "", float(number))
        meter = rule.answered(meter, ticket, 0.1, Sign.FAILING, number + 0.5)
        meter = rule.end(meter, ticket, number + 0.5)
    assert rule.usage(meter, 20.0).limit == 2.0


def test_a_share_bounds_us_and_what_was_spent_stays_spent() -> None:
    book = Book(replace(build_connector(), budget=SlidingWindow(100, 60)), SystemClock())
    book.meter = book.rule.start(-100.0)
    now = SystemClock().monotonic()
    for _ in range(30):
        book.end(book.take(1.0, "", now), now)
    book.set_share(0.4)
    assert book.usage(now).limit == 40.0
    assert book.usage(now).left == pytest.approx(10.0)


@given(st.floats(0.1, 0.5), st.floats(5.0, 20.0), st.floats(5.0, 12.0), st.floats(0.02, 0.3))
@settings(max_examples=10)
def test_where_only_refusals_tell_that_others_take_some_they_stay_rare(
    eaten: float, capacity: float, rate: float, answer_seconds: float
) -> None:
    """R36: another app takes a part of a bucket that tells nothing. In half an hour of constant work at most one call in 200 is
    refused, and most of what is left is used; when the other app is gone, all of it is ours again."""
    rule, platform = Rule(TokenBucket(capacity, rate)), PlatformBucket(capacity, rate, now=0.0)
    platform.eat(eaten, 0.0)
    meter, now, sent, used_late = rule.start(0.0), 0.0, 0, 0
    while now < 1800.0:
        wait = rule.wait(meter, 1.0, "", now)
        if wait > 0:
            now += min(wait, 1.0) if math.isfinite(wait) else answer_seconds
            continue
        meter, ticket = rule.take(meter, 1.0, "", now)
        sent += 1
        refusal = platform.take(1.0, now)
        meter = rule.end(meter, ticket, now)
        if refusal:
            meter = rule.drain(meter, 1.0, "", now)
            now += 1.0
    assert platform.meter.violations <= max(3, sent / 200)
    assert platform.meter.admitted >= 0.8 * rate * (1 - eaten) * 1800
    platform.eat(0.0, now)
    for _ in range(2000):  # a call a second: it is tried again, step by step
        now += 1.0
        meter, ticket = rule.take(meter, 1.0, "", now)
        meter = rule.end(meter, ticket, now)
    began = now
    while now < began + 60.0:
        wait = rule.wait(meter, 1.0, "", now)
        if wait > 0:
            now += wait
            continue
        meter, ticket = rule.take(meter, 1.0, "", now)
        meter = rule.end(meter, ticket, now)
        used_late += 1
    assert used_late >= 0.99 * 60.0 * rate


def test_places_that_others_take_are_left_to_them_and_tried_again_one_by_one() -> None:
    """R36: of eight calls at once another app takes three: eight refusals in ten minutes, not three of every eight calls."""
    rule, host = Rule(Concurrency(8)), InFlight(8)
    host.eat(3 / 8, 0.0)
    meter, now, sent = rule.start(0.0), 0.0, 0
    running: list[tuple[float, int, Ticket, bool]] = []
    while now < 600.0:
        if rule.wait(meter, 1.0, "", now) == 0.0:
            meter, ticket = rule.take(meter, 1.0, "", now)
            sent += 1
            entered = host.enter(now)
            heapq.heappush(running, (now + (0.2 if entered else 0.01), sent, ticket, entered))
            continue
        now, _, ticket, entered = heapq.heappop(running)
        meter = rule.end(meter, ticket, now)
        if entered:
            host.leave()
        else:
            meter = rule.drain(meter, 0.5, "", now)
            now += 0.5
    assert 3 <= host.meter.violations <= sent / 200
    assert host.most == 5
    host.eat(0.0, now)
    while running:
        now, _, ticket, entered = heapq.heappop(running)
        meter = rule.end(meter, ticket, now)
    for _ in range(200):
        now += 2.0
        meter, ticket = rule.take(meter, 1.0, "", now)
        meter = rule.end(meter, ticket, now)
    assert rule.usage(meter, now).left == 8


@given(
    st.sampled_from((TokenBucket(10, 2), CostBucket(10, 2), FixedWindow(10, 5), SlidingWindow(10, 5))),
    st.floats(0.1, 10.0),
    st.floats(60.0, 10_000.0),
)
def test_what_was_under_way_when_it_was_stored_is_not_missing_for_ever(
    budget: Budget, charge: float, later: float
) -> None:
    """A lane stores before it calls, and not again when it rests: what is shown a minute later is the whole budget."""
    rule = Rule(budget)
    meter, _ = rule.take(rule.start(-100.0), charge, "", 0.0)
    stored = pack(meter, 0.0)
    now, then = usage_of(stored, 0.0), usage_of(stored, later)
    assert now is not None
    assert then is not None
    assert (then.left, then.limit, then.used_last_minute) == (10.0, 10.0, 0.0)
    assert now.left < 10.0
