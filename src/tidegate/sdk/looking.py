"""Looking at a system when it is connected: what it is, and all of its articles, at a pace that leaves its budget to others.

The lanes of the same connection may be at work meanwhile and count for themselves. So no more than half of the budget is
used here, by what each answer says is left. Waits are told to a `sleep` that is given.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from tidegate.kernel.clock import Clock
from tidegate.kernel.errors import RateLimitedError
from tidegate.sdk.budgets import Budget, BudgetReading, speed_of
from tidegate.sdk.connector import Connector, Inspection, Variant
from tidegate.sdk.http import ANSWERS, Api, Response

T = TypeVar("T")

KEPT_SHARE = 0.5
"""Of the budget, for the lanes of the connection."""
REFUSALS_MAX = 5
"""Refusals in a row after which it is given up."""
REFUSED_SECONDS_MAX = 60.0
"""A refusal that asks for more is told to the operator instead of being waited for."""
REFUSED_SECONDS = 2.0
"""How long to wait after a refusal that names no time."""


class Pace:
    """What reads outside of a lane may take of a budget. Times are seconds of a monotonic clock. No I/O."""

    def __init__(self, budget: Budget, now: float) -> None:
        """Begin with the kept share alone, because nothing is known."""
        speed = speed_of(budget)
        self._limit, self._per_second = speed.burst, speed.per_second
        self._left, self._at = self._limit * KEPT_SHARE, now

    def answered(self, reading: BudgetReading, now: float) -> None:
        """Note what an answer says of the platform's own count."""
        self._limit = reading.limit or self._limit
        self._per_second = reading.per_second or self._per_second
        self._left, self._at = self._now(now) if reading.left is None else reading.left, now

    def take(self, charge: float, now: float) -> None:
        """Note a read; what its answers say corrects it."""
        self._left, self._at = self._now(now) - charge, now

    def wait(self, charge: float, now: float) -> float:
        """Return the seconds until a read of this charge may begin; 0: now."""
        if math.isinf(self._limit) or math.isinf(self._per_second) or self._per_second <= 0:
            return 0.0
        wanted = min(self._limit, charge + self._limit * KEPT_SHARE)
        return max(0.0, (wanted - self._now(now)) / self._per_second)

    def _now(self, now: float) -> float:
        if math.isinf(self._limit) or math.isinf(self._per_second):
            return self._left
        return min(self._limit, self._left + max(0.0, now - self._at) * self._per_second)


async def look_at(
    connector: Connector,
    api: Api,
    *,
    clock: Clock,
    sleep: Callable[[float], Awaitable[None]],
    report: Callable[[int], None] | None = None,
) -> Inspection:
    """Return what is there, with all articles, each once. Reads only; safe to repeat.

    `report` is told how many articles were read, after each page of many. A refusal for rate is waited for. Raises
    what the connector raises.
    """
    pace = Pace(connector.budget, clock.monotonic())

    def note(response: Response) -> None:
        if connector.read_budget is None:
            return
        told = connector.read_budget(response)
        for reading in told if isinstance(told, tuple) else (told,):
            if reading is not None:
                pace.answered(reading, clock.monotonic())

    async def patiently(read: Callable[[], Awaitable[T]], charge: float) -> T:
        for tries_left in reversed(range(REFUSALS_MAX)):
            wait = pace.wait(charge, clock.monotonic()) if charge else 0.0
            if wait > 0:
                await sleep(wait)
            pace.take(charge, clock.monotonic())
            token = ANSWERS.set(note)
            try:
                return await read()
            except RateLimitedError as error:
                refused = error.wait_seconds or REFUSED_SECONDS
                if not tries_left or refused > REFUSED_SECONDS_MAX:
                    raise
            finally:
                ANSWERS.reset(token)
            await sleep(refused)
        raise AssertionError("the last try returns or raises")

    inspection = await patiently(lambda: connector.inspect(api), 0.0)
    articles = connector.articles
    if articles is None:
        return inspection
    found: dict[str, Variant] = {}
    cursor = ""
    while True:
        place = cursor
        page = await patiently(lambda: articles.read(api, place), articles.charge)  # noqa: B023 - awaited at once
        found.update((one.external_id, one) for one in page.variants)
        if not page.has_more:
            return msgspec.structs.replace(inspection, variants=tuple(found.values()))
        if report is not None:
            report(len(found))
        cursor = page.cursor
        if page.wait_seconds > 0:
            await sleep(page.wait_seconds)
