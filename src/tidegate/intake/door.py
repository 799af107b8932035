"""The door process: listens, hands requests to the lanes, keeps the directory fresh, drains when told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from typing import Any

import asyncpg
import structlog

from tidegate.eventlog.records import NewEvent
from tidegate.intake import answers, metrics
from tidegate.intake.answers import Answer, Renderer
from tidegate.intake.directory import Directory, Endpoint
from tidegate.intake.lane import CommitLane, sqlstate_of
from tidegate.intake.protocol import DoorProtocol, listen_options
from tidegate.intake.quota import TenantQuota
from tidegate.intake.receive import receive
from tidegate.intake.settings import Settings, read_settings
from tidegate.intake.statements import CONNECTIONS_CHANGED, COUNT_REFUSALS
from tidegate.kernel.clock import seconds_to_beat
from tidegate.kernel.errors import IntakeError, InvariantError
from tidegate.store.connections import DATABASE_ERRORS, DirectConnection
from tidegate.store.context import Context
from tidegate.store.notify import Notifier
from tidegate.vault.keys import KeyRing

log = structlog.get_logger("intake.door")

FLUSH_SECONDS = 5.0
"""How often refusals are written down."""
IDLE_SECONDS = 10.0
"""How often the watch goes round while no connection is open; the next one wakes it."""
SESSION = {"lock_timeout": "1000ms", "enable_seqscan": "off"}
"""A lane waits for another one's rows for milliseconds; longer means that something hangs. Its statements are planned
once, perhaps while the tables are empty: only the way through the indexes is right at every size."""


async def serve(context: Context, stop: asyncio.Event) -> None:
    """Take deliveries in until `stop` is set, then answer what is in hand and return.

    Raises OSError when the port is taken. A database that is away is no error: deliveries are answered 503 meanwhile.
    """
    door = DoorProcess(context, read_settings(context.options))
    try:
        await door.start()
        await door.run_until(stop)
    finally:
        await door.drain()


class Delivery:
    """A genuine delivery that waits for its commit, and the request that it came with."""

    __slots__ = ("_door", "_request", "connector", "event", "read_at")

    def __init__(self, door: DoorProcess, request: DoorProtocol, event: NewEvent, connector: str) -> None:
        """Tie an event to its request."""
        self._door = door
        self._request: DoorProtocol | None = request
        self.event = event
        self.connector = connector
        self.read_at = request.read_at

    def stored(self, now: float) -> None:
        """Answer 2xx: the event is on disk. Too late, when a 503 went out before."""
        request, self._request = self._request, None
        if request is not None:
            metrics.SECONDS.observe(now - self.read_at)
            request.answer(answers.STORED)

    def not_stored(self) -> None:
        """Answer 503, once."""
        request, self._request = self._request, None
        if request is not None:
            self._door.answer_unavailable(request)


class DoorProcess:
    """One door. Implements `protocol.Door` for its connections."""

    def __init__(self, context: Context, settings: Settings) -> None:
        """Prepare; nothing is opened yet."""
        self.settings = settings
        self.protocols: set[DoorProtocol] = set()
        self.buffered_bytes = 0
        self.monotonic = time.monotonic
        self._clock = context.clock
        self._access = context.access
        self._name = f"door-{context.index}-{secrets.token_hex(3)}"
        self._directory = Directory(
            context.connectors, KeyRing(context.keys), cell=context.cell, body_bytes_max=settings.body_bytes_max
        )
        self._notifier = Notifier(self._connect)
        self._lanes = [
            CommitLane(f"{self._name}.{number}", self._connect, settings, self.monotonic, self._notifier.say)
            for number in range(settings.lanes)
        ]
        self._quota = TenantQuota(settings.tenant_per_second)
        self._renderer = Renderer()
        self._unavailable = answers.unavailable(settings.retry_after_seconds)
        self._refusals: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self._server: asyncio.Server | None = None
        self._draining = False
        self._is_stale = False
        self._occupied = asyncio.Event()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    # --- life ------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Reach for the database, then listen; a database that is away delays this by `start_seconds` at most.

        So a door that joins others on one port takes no request before it can store it. Raises OSError when the port
        is taken by something else.
        """
        self._renderer.tick(self._clock.now().timestamp())
        self._notifier.start()
        self._tasks = [asyncio.create_task(lane.run()) for lane in self._lanes]
        self._tasks += [asyncio.create_task(self._watch()), asyncio.create_task(self._keep_directory())]
        until = self.monotonic() + self.settings.start_seconds
        while not self._is_ready() and self.monotonic() < until:  # noqa: ASYNC110 - several conditions, once
            await asyncio.sleep(0.01)
        self._server = await asyncio.get_running_loop().create_server(
            self._accept, self.settings.host, self.settings.port, **listen_options()
        )
        log.info("door.opened", port=self.port, host=self.settings.host)

    async def run_until(self, stop: asyncio.Event) -> None:
        """Return when `stop` is set. Raises what ended one of the door's tasks: a bug, the process must be replaced."""
        stopped = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([stopped, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        for task in () if self._draining else done - {stopped}:
            task.result()
            raise InvariantError("a task of the door ended by itself")

    async def drain(self) -> None:
        """Stop listening, answer what is in hand, write the counters down, close. At most `drain_seconds`."""
        self._draining = True
        self._occupied.set()
        if self._server is not None:
            self._server.close()
        until = self.monotonic() + self.settings.drain_seconds
        while self.protocols and self.monotonic() < until:
            for protocol in list(self.protocols):
                protocol.drain()
            await asyncio.sleep(0.01)
        for lane in self._lanes:
            lane.stop()
        self._changed.set()
        _, pending = await asyncio.wait(self._tasks, timeout=max(0.1, until - self.monotonic()))
        for task in pending:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._notifier.close()
        for protocol in list(self.protocols):
            protocol.close()
        log.info("door.closed", count=len(pending))

    def _accept(self) -> DoorProtocol:
        self._occupied.set()
        return DoorProtocol(self)

    async def _watch(self) -> None:
        """Enforce all deadlines, ten times a second while anybody is there: cheaper than a timer per request."""
        while not (self._draining and not self.protocols):
            now = self.monotonic()
            self._renderer.tick(self._clock.now().timestamp())
            for lane in self._lanes:
                lane.watch(now)
            for protocol in list(self.protocols):
                protocol.enforce(now)
            is_there = self.protocols or self._draining or any(lane.is_busy for lane in self._lanes)
            if is_there or self._occupied.is_set():  # set: somebody is just coming in, and not counted yet
                self._occupied.clear()
                await asyncio.sleep(self.settings.watch_seconds)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._occupied.wait()

    # --- requests --------------------------------------------------------------------------------------------------
    def find(self, target: bytes) -> Endpoint | None:
        """See `protocol.Door`."""
        return self._directory.find(target)

    def render(self, answer: Answer, *, closes: bool) -> bytes:
        """See `protocol.Door`."""
        return self._renderer.render(answer, closes=closes)

    def count_refusal(self, code: str) -> None:
        """See `protocol.Door`."""
        self._refusals[code] += 1
        metrics.REFUSED.labels(code).inc()

    def answer_unavailable(self, request: DoorProtocol) -> None:
        """Answer 503: not stored, come again."""
        metrics.UNAVAILABLE.inc()
        request.answer(self._unavailable)

    def receive(self, request: DoorProtocol) -> None:
        """See `protocol.Door`. A delivery that verifies goes to the lane of its ordering key."""
        endpoint = request.endpoint
        if endpoint is None:
            self._answer_page(request)
            return
        if not self._directory.is_loaded:
            self.answer_unavailable(request)
            return
        try:
            event = receive(endpoint, request.headers, request.body, self._clock.now().timestamp())
        except IntakeError as error:
            self.count_refusal(error.code)
            if error.status == answers.UNAUTHORISED.status:
                request.answer(answers.UNAUTHORISED)
            else:
                log.error("delivery.unverifiable", connection_id=endpoint.connection_id, code=error.code)
                self.answer_unavailable(request)
        except Exception:
            log.exception("delivery.broke", connection_id=endpoint.connection_id)
            self.answer_unavailable(request)
        else:
            if event is None:
                request.answer(answers.PONG)
            else:
                self._admit(Delivery(self, request, event, endpoint.connector))

    def _admit(self, delivery: Delivery) -> None:
        if self._quota.admits(delivery.event.tenant_id, delivery.read_at):
            self._lanes[delivery.event.slot % len(self._lanes)].put(delivery)
        else:
            self.count_refusal("quota")
            delivery.not_stored()

    def _answer_page(self, request: DoorProtocol) -> None:
        if request.method != b"GET" or request.target not in {b"/healthz", b"/readyz"}:
            request.answer(answers.NOT_FOUND)
        elif request.target == b"/healthz":
            request.answer(answers.HEALTHY)
        elif self._is_ready():
            request.answer(answers.READY)
        else:
            request.answer(self._unavailable)

    def _is_ready(self) -> bool:
        database_answers = not self._is_stale and all(lane.is_up for lane in self._lanes)
        return not self._draining and self._directory.is_loaded and database_answers

    # --- database --------------------------------------------------------------------------------------------------
    async def _connect(self) -> DirectConnection:
        settings = self._access.server_settings(self._name) | SESSION
        return await asyncpg.connect(
            self._access.dsn, timeout=self.settings.connect_seconds, server_settings=settings, command_timeout=None
        )

    async def _keep_directory(self) -> None:
        """Read connections and secrets again and again, and write refusals down, on a connection of its own."""
        connection: DirectConnection | None = None
        flushed_at = self.monotonic()
        while not self._draining:
            self._changed.clear()
            try:
                async with asyncio.timeout(self.settings.connect_seconds * 2):
                    if connection is None:
                        connection = await self._connect()
                        await connection.add_listener(CONNECTIONS_CHANGED, self._on_change)
                    await self._directory.refresh(connection, self._clock.now().date())
                    if self.monotonic() - flushed_at >= FLUSH_SECONDS:
                        await self._flush(connection)
                        flushed_at = self.monotonic()
                if self._is_stale:
                    log.info("directory.recovered")
                self._is_stale = False
            except DATABASE_ERRORS as error:
                if not self._is_stale:
                    log.warning("directory.stale", error_class=type(error).__name__, sqlstate=sqlstate_of(error))
                self._is_stale = True
                if connection is not None:
                    connection.terminate()
                connection = None
            await self._pause(
                seconds_to_beat(self.settings.refresh_seconds, self.monotonic()) if self._directory.is_loaded else 0.2
            )
        if connection is not None:
            await self._close(connection)

    async def _close(self, connection: DirectConnection) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._flush(connection)
                await connection.close()
        except DATABASE_ERRORS:
            connection.terminate()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _flush(self, connection: DirectConnection) -> None:
        counts, self._refusals = self._refusals, Counter()
        if not counts:
            return
        try:
            await connection.execute(COUNT_REFUSALS, list(counts), list(counts.values()), self._name)
        except BaseException:
            self._refusals.update(counts)
            raise

    def _on_change(self, *_: Any) -> None:
        self._changed.set()
