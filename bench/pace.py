"""How fast a lane decides, and how much of a budget it uses: `python -m bench.pace`. Pure, in simulated time, no database.

The heaviest model here is a limit for all, one per operation in windows with many entries, and a quota per day. Decisions
are counted beside a loop that only adds numbers, so that a slow machine shows itself. Use is measured with ten times the
work that the budget allows, answers that take up to 80 ms, and a restart every ten seconds; the platforms count for
themselves and apart from the meters. Prints one JSON line.
"""

from __future__ import annotations

import heapq
import json
import math
import random
import time
from collections.abc import Callable

from tidegate.dispatch.meter import Meter, Rule, Ticket, pack
from tidegate.sdk.budgets import All, Budget, CostBucket, DailyQuota, FixedWindow, PerOperation, SlidingWindow

DECISIONS = 20_000
SIMULATED_SECONDS = 300.0
RESTART_SECONDS = 10.0
HEAVIEST = All(
    SlidingWindow(2000, 10),
    PerOperation({}, default=SlidingWindow(1500, 10)),
    DailyQuota(1_000_000),
)


def measure_decisions() -> float:
    """Return decisions per second of the heaviest model: wait, take, end."""
    rule = Rule(HEAVIEST)
    now = 1000.0
    meter = rule.start(now)
    now += 20.0
    began = time.perf_counter()
    for _ in range(DECISIONS):
        wait = rule.wait(meter, 1.0, "a", now)
        if math.isfinite(wait):
            now += wait
        meter, ticket = rule.take(meter, 1.0, "a", now)
        meter = rule.end(meter, ticket, now)
        now += 0.001
    return DECISIONS / (time.perf_counter() - began)


def measure_bare() -> float:
    """Return rounds per second of a loop that adds a number, as the yardstick of the machine."""
    began = time.perf_counter()
    tokens = 0.0
    for number in range(DECISIONS * 50):
        tokens = min(2000.0, tokens + 0.001) - (number % 2)
    return DECISIONS * 50 / (time.perf_counter() - began)


def measure_use(budget: Budget, allowed: float, judge: Callable[[list[float]], int], seed: int) -> tuple[float, int]:
    """Return the share of what the budget allows that was used, and how often the platform's own rule was broken."""
    chance = random.Random(seed)
    rule = Rule(budget)
    now = 0.0
    meter = rule.start(now)
    arrivals: list[float] = []
    answers: list[tuple[float, int, Ticket]] = []
    stored, stored_at, restart_at, number = pack(meter, now), now, RESTART_SECONDS, 0
    while now < SIMULATED_SECONDS:
        if now >= restart_at:
            meter = rule.resume(stored, age_seconds=now - stored_at, now=now)
            answers, restart_at = [], restart_at + RESTART_SECONDS
        wait = rule.wait(meter, 1.0, "", now)
        ended = answers[0][0] if answers else math.inf
        if wait > 0 or len(answers) >= 16:
            now = min(now + wait if len(answers) < 16 else math.inf, ended, restart_at)
            meter = _end(rule, meter, answers, now)
            if not answers:  # a lane that rests stores what has ended
                stored, stored_at = pack(meter, now), now
            continue
        meter, ticket = rule.take(meter, 1.0, "", now)
        stored, stored_at = pack(meter, now), now
        there, back = chance.uniform(0.0, 0.04), chance.uniform(0.0, 0.04)
        arrivals.append(now + there)
        number += 1
        heapq.heappush(answers, (now + there + back, number, ticket))
    return len(arrivals) / allowed, judge(sorted(arrivals))


def _end(rule: Rule, meter: Meter, answers: list[tuple[float, int, Ticket]], now: float) -> Meter:
    while answers and answers[0][0] <= now:
        _, _, ticket = heapq.heappop(answers)
        meter = rule.end(meter, ticket, now)
    return meter


def judge_bucket(capacity: float, per_second: float) -> Callable[[list[float]], int]:
    """Return what counts how often a bucket was overdrawn."""

    def judge(arrivals: list[float]) -> int:
        level, at, broken = capacity, 0.0, 0
        for moment in arrivals:
            level, at = min(capacity, level + (moment - at) * per_second) - 1.0, moment
            broken += level < -1e-6
        return broken

    return judge


def judge_window(limit: int, seconds: float) -> Callable[[list[float]], int]:
    """Return what counts the stretches that hold more than they may, at any alignment."""
    return lambda arrivals: sum(
        arrivals[index] - arrivals[index - limit] <= seconds for index in range(limit, len(arrivals))
    )


def main() -> None:
    """Measure, and print one JSON line."""
    cases = [
        (CostBucket(40, 20), 20 * SIMULATED_SECONDS, judge_bucket(40, 20)),
        (FixedWindow(150, 30), 150 * (SIMULATED_SECONDS / 30 - 1), judge_window(150, 30)),
        (SlidingWindow(190, 10), 190 * (SIMULATED_SECONDS / 10 - 1), judge_window(190, 10)),
        (SlidingWindow(25, 1), 25 * (SIMULATED_SECONDS - 1), judge_window(25, 1)),
    ]
    found = [measure_use(budget, allowed, judge, seed) for seed, (budget, allowed, judge) in enumerate(cases)]
    result = {
        "decisions_per_s": round(measure_decisions()),
        "bare_loop_per_s": round(measure_bare()),
        "utilisation": round(min(use for use, _ in found), 4),
        "utilisation_by_model": {
            str(case[0]).partition(", source")[0] + ")": round(use, 4)
            for case, (use, _) in zip(cases, found, strict=True)
        },
        "violations": sum(broken for _, broken in found),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
