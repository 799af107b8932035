"""Sends webhooks as a platform does: signed per attempt, with its own time-out and retry schedule, and the faults of the world.

A schedule's waits are divided by the world's time scale. What waits is bounded; what does not fit is counted as `overflowed`.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable, Mapping

import aiohttp
import msgspec

from tidegate.kernel.clock import Clock
from tidegate.sandbox.faults import Faults
from tidegate.sandbox.loopback import LoopbackResolver, NotLoopback, reachable

WAITING_MAX = 100_000
AT_ONCE = 64
LOG_KEPT = 20_000
ANSWER_BYTES_MAX = 65_536

_log = logging.getLogger(__name__)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """How a platform delivers. `retries` are the waits before the second, third, ... attempt, in seconds."""

    retries: tuple[float, ...] = ()
    timeout_seconds: float
    connect_seconds: float | None = None
    accepted: frozenset[int] = frozenset(range(200, 300))


class Delivery(msgspec.Struct, kw_only=True):
    """One webhook for one address. `make_headers` is called per attempt (1, 2, ...) with the wall clock's seconds.

    `group` is what counts failures in a row: a subscription. `order` is the order's id that it tells of, '' where that is
    none. `is_wanted` is asked before each attempt.
    """

    url: str
    topic: str
    body: bytes
    make_headers: Callable[[int, float], Mapping[str, str]]
    group: str = ""
    order: str = ""
    is_wanted: Callable[[], bool] = lambda: True


class Sent(msgspec.Struct):
    """One attempt, for the log: `status` is 0 where no answer came."""

    at: float
    number: int
    attempt: int
    topic: str
    status: int
    seconds: float


class SenderReport(msgspec.Struct):
    """What was sent. `accepted` counts deliveries that were taken, `given_up` those that never were."""

    deliveries: int
    attempts: int
    accepted: int
    given_up: int
    dropped: int
    duplicated: int
    withdrawn: int
    overflowed: int
    waiting: int


class Sender:
    """Delivers for one platform. Start it with `open`, end it with `close`; what waits then is forgotten."""

    def __init__(
        self,
        faults: Faults,
        clock: Clock,
        *,
        time_scale: float = 1.0,
        routes: Mapping[str, str] | None = None,
        on_failures: Callable[[str, int], None] | None = None,
    ) -> None:
        """`on_failures(group, in_a_row)` is told of each failed attempt."""
        self.schedule = Schedule(timeout_seconds=5.0)
        self.on_failures = on_failures
        self.log: deque[Sent] = deque(maxlen=LOG_KEPT)
        self.untold: set[str] = set()
        """Orders of which nobody is ever told."""
        self._faults, self._clock, self._routes = faults, clock, dict(routes or {})
        self._time_scale = time_scale
        self._session: aiohttp.ClientSession | None = None
        self._heap: list[tuple[float, int, int, int, Delivery]] = []
        self._failures: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wakeup = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._numbers = 0
        self._entries = 0
        self._report = SenderReport(0, 0, 0, 0, 0, 0, 0, 0, 0)

    async def open(self) -> None:
        """Begin to send."""
        connector = aiohttp.TCPConnector(limit=AT_ONCE, resolver=LoopbackResolver(), use_dns_cache=False)
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers={"User-Agent"}
        )
        self._loop_task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop at once."""
        tasks = [*self._tasks, *([self._loop_task] if self._loop_task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def send(self, delivery: Delivery) -> None:
        """Send it, as soon as the faults let it go."""
        self._numbers += 1
        number = self._numbers
        self._report.deliveries += 1
        plan = self._faults.delivery(number, delivery.order)
        if "untold" in plan.faults:
            self.untold.add(delivery.order)
        self._report.dropped += not plan.copies
        self._report.duplicated += len(plan.copies) > 1
        for wait in plan.copies:
            self._push(wait, number, 1, delivery)

    def check(self, url: str) -> None:
        """Raise NotLoopback where `url` cannot be reached from here."""
        reachable(url, self._routes)

    def report(self) -> SenderReport:
        """Return what was sent so far."""
        self._report.waiting = len(self._heap) + len(self._tasks)
        return self._report

    def _push(self, wait: float, number: int, attempt: int, delivery: Delivery) -> None:
        if len(self._heap) >= WAITING_MAX:
            self._report.overflowed += 1
            return
        self._entries += 1
        heapq.heappush(self._heap, (self._clock.monotonic() + wait, self._entries, number, attempt, delivery))
        self._wakeup.set()

    async def _run(self) -> None:
        while True:
            self._wakeup.clear()
            now = self._clock.monotonic()
            while self._heap and len(self._tasks) < AT_ONCE and self._heap[0][0] <= now:
                _, _, number, attempt, delivery = heapq.heappop(self._heap)
                task = asyncio.create_task(self._attempt(number, attempt, delivery))
                self._tasks.add(task)
                task.add_done_callback(self._done)
            due = self._heap[0][0] - now if self._heap and len(self._tasks) < AT_ONCE else None
            try:
                async with asyncio.timeout(due):  # `wait_for` of Python 3.11 can swallow the cancellation of `close`
                    await self._wakeup.wait()
            except TimeoutError:
                continue

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wakeup.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a delivery ended with %s", type(error).__name__)

    async def _attempt(self, number: int, attempt: int, delivery: Delivery) -> None:
        if not delivery.is_wanted():
            self._report.withdrawn += 1
            return
        started, at = self._clock.monotonic(), self._clock.now().timestamp()
        status = await self._post(delivery, delivery.make_headers(attempt, at))
        self._report.attempts += 1
        self.log.append(Sent(at, number, attempt, delivery.topic, status, self._clock.monotonic() - started))
        if status in self.schedule.accepted:
            self._report.accepted += 1
            self._failures.pop(delivery.group, None)
            return
        in_a_row = self._failures[delivery.group] = self._failures.get(delivery.group, 0) + 1
        if attempt <= len(self.schedule.retries):
            self._push(self.schedule.retries[attempt - 1] / self._time_scale, number, attempt + 1, delivery)
        else:
            self._report.given_up += 1
        if self.on_failures is not None:
            self.on_failures(delivery.group, in_a_row)

    async def _post(self, delivery: Delivery, headers: Mapping[str, str]) -> int:
        """Return the answer's status, 0 where there was none in time."""
        if self._session is None:
            raise RuntimeError("the sender is not open")
        timeout = aiohttp.ClientTimeout(total=self.schedule.timeout_seconds, sock_connect=self.schedule.connect_seconds)
        try:
            url = reachable(delivery.url, self._routes)
            async with self._session.post(
                url, data=delivery.body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                await response.content.read(ANSWER_BYTES_MAX)
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError, NotLoopback):
            return 0
