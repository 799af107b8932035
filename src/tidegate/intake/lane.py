"""A commit lane: one connection to the database that stores what waits, a batch at a time (group commit).

One statement is in flight per lane, so a batch is whatever arrived while the last one was being committed: large when
the disk is slow, small when nothing is going on. A delivery is answered 2xx after its commit and never before. A
commit whose answer does not come in time is unknown: the sender gets a 503 and repeats, and the dedupe key absorbs it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import asyncpg
import structlog

from tidegate.eventlog.append import append_webhooks, wake_up_of
from tidegate.eventlog.records import AppendResult, NewEvent
from tidegate.eventlog.statements import EVENT_QUEUED
from tidegate.intake import metrics
from tidegate.intake.settings import Settings
from tidegate.kernel import crashpoint
from tidegate.kernel.retry import full_jitter
from tidegate.store.connections import DATABASE_ERRORS, DirectConnection

log = structlog.get_logger("intake.lane")

RECONNECT_BASE_SECONDS = 0.05
_BAD_DATA = ("22", "23")
_SERIALIZATION = frozenset(("40001", "40P01"))
_RETRIES_MAX = 3


class Waiting(Protocol):
    """A delivery that waits for its commit."""

    @property
    def event(self) -> NewEvent:
        """What is stored."""

    @property
    def connector(self) -> str:
        """Whose delivery it is, for the counters."""

    @property
    def read_at(self) -> float:
        """When the request was whole (monotonic)."""

    def stored(self, now: float) -> None:
        """Answer 2xx."""

    def not_stored(self) -> None:
        """Answer 503; does nothing when it was answered."""


class CommitLane:
    """Takes deliveries and stores them; `run` is its task, `watch` its deadline."""

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[DirectConnection]],
        settings: Settings,
        monotonic: Callable[[], float],
        say: Callable[[str, str], None],
    ) -> None:
        """Prepare; the database is not touched before `run`. `name` is unique among all lanes of all doors.

        `say` sends a wake-up: channel and payload.
        """
        self._name = name
        self._connect = connect
        self._settings = settings
        self._monotonic = monotonic
        self._say = say
        self._waiting: deque[Waiting] = deque()
        self._in_flight: Sequence[Waiting] = ()
        self._started_at = 0.0
        self._connection: DirectConnection | None = None
        self._generation = 0
        self._failures = 0
        self._wake = asyncio.Event()
        self._stopping = False

    @property
    def is_up(self) -> bool:
        """Whether the database answered last time."""
        return self._connection is not None

    def put(self, waiting: Waiting) -> None:
        """Take a delivery; it is answered at once with 503 while the database is away or when too many wait."""
        if self._failures or len(self._waiting) >= self._settings.waiting_max:
            waiting.not_stored()
            return
        self._waiting.append(waiting)
        self._wake.set()

    @property
    def is_busy(self) -> bool:
        """Whether anything waits or is being stored: its deadlines have to be watched."""
        return bool(self._waiting or self._in_flight)

    def watch(self, now: float) -> None:
        """Answer what is overdue, and throw the connection away when a commit takes too long."""
        latest = now - self._settings.answer_seconds
        while self._waiting and self._waiting[0].read_at < latest:
            self._waiting.popleft().not_stored()
        for waiting in self._in_flight:
            if waiting.read_at < latest:
                waiting.not_stored()
        if self._in_flight and now - self._started_at > self._settings.commit_seconds:
            self._give_up()

    def stop(self) -> None:
        """End `run` when nothing waits any more."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Connect, store, connect again when it breaks; until `stop`."""
        try:
            while not (self._stopping and not self._waiting):
                if self._connection is None:
                    await self._open()
                elif self._waiting:
                    await self._store_next(self._connection)
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            self._refuse_all()
            if self._connection is not None:
                self._connection.terminate()

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._settings.connect_seconds):
                connection = await self._connect()
        except DATABASE_ERRORS as error:
            if not self._failures:
                log.warning("lane.down", node=self._name, error_class=type(error).__name__, sqlstate=sqlstate_of(error))
            self._failures += 1
            self._refuse_all()
            pause = full_jitter(
                self._failures,
                base_seconds=RECONNECT_BASE_SECONDS,
                cap_seconds=self._settings.reconnect_seconds_max,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped(), pause)
            return
        if self._failures:
            log.info("lane.recovered", node=self._name, retries=self._failures)
        self._generation += 1
        self._failures = 0
        self._connection = connection

    async def _stopped(self) -> None:
        while not self._stopping:
            self._wake.clear()
            await self._wake.wait()

    async def _store_next(self, connection: DirectConnection) -> None:
        waiting = self._waiting
        count = min(len(waiting), self._settings.batch_max)
        batch = [waiting.popleft() for _ in range(count)]
        self._in_flight = batch
        try:
            await self._store(connection, batch)
        except DATABASE_ERRORS as error:
            self._failed(connection, error)
        finally:
            for left in self._in_flight:
                left.not_stored()
            self._in_flight = ()

    async def _store(self, connection: DirectConnection, batch: Sequence[Waiting]) -> None:
        """Store a batch; one that the database refuses for its data is halved until the culprit stands alone."""
        events = [waiting.event for waiting in batch]
        for retries_left in range(_RETRIES_MAX, -1, -1):
            self._started_at = self._monotonic()
            try:
                crashpoint.reach("door.t1.before")
                writer = f"{self._name}.{self._generation}"
                result = await append_webhooks(connection, events, writer=writer, notifies=False)
                crashpoint.reach("door.t1.committed")
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                state = sqlstate_of(error)
                if state in _SERIALIZATION and retries_left:
                    continue
                if not (state.startswith(_BAD_DATA) or isinstance(error, ValueError)):
                    raise
                await self._store_halves(connection, batch, state)
            else:
                self._answer(batch, result)
            return

    async def _store_halves(self, connection: DirectConnection, batch: Sequence[Waiting], state: str) -> None:
        if len(batch) == 1:
            event = batch[0].event
            log.error("event.unstorable", event_id=event.event_id, connection_id=event.connection_id, sqlstate=state)
            batch[0].not_stored()
            return
        middle = len(batch) // 2
        await self._store(connection, batch[:middle])
        await self._store(connection, batch[middle:])

    def _answer(self, batch: Sequence[Waiting], result: AppendResult) -> None:
        now = self._monotonic()
        for waiting in batch:
            waiting.stored(now)
        for connector, count in Counter([waiting.connector for waiting in batch]).items():
            metrics.RECEIVED.labels(connector).inc(count)
        if result.fresh:
            self._say(EVENT_QUEUED, wake_up_of([waiting.event for waiting in batch]))
        if result.duplicates:
            repeated = Counter(w.connector for w in batch if w.event.event_id not in result.fresh)
            for connector, count in repeated.items():
                metrics.DUPLICATE.labels(connector).inc(count)

    def _failed(self, connection: DirectConnection, error: Exception) -> None:
        """Say what happened; a connection that broke is opened anew, one that only refused is kept."""
        log.warning("batch.failed", node=self._name, error_class=type(error).__name__, sqlstate=sqlstate_of(error))
        if not isinstance(error, asyncpg.PostgresError) or connection.is_closed():
            connection.terminate()
        if connection.is_closed():
            self._connection = None

    def _give_up(self) -> None:
        """The commit hangs: whether it happened is unknown. Nothing is waited for, not even a goodbye."""
        log.warning("commit.overdue", node=self._name, count=len(self._in_flight))
        for waiting in self._in_flight:
            waiting.not_stored()
        self._in_flight = ()
        if self._connection is not None:
            self._connection.terminate()

    def _refuse_all(self) -> None:
        while self._waiting:
            self._waiting.popleft().not_stored()


def sqlstate_of(error: BaseException) -> str:
    """Return the SQLSTATE of an error, '' when it has none."""
    return getattr(error, "sqlstate", None) or ""
