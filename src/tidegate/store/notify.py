"""Wake-ups that go out after the transaction they tell of.

PostgreSQL orders notifications: a transaction that sends one holds a lock of the whole server until its commit is on disk.
So the durable transactions of hot paths carry none, or each would wait for the disk alone, on all machines together. What
they would have said goes out right after their commit, over a session whose own commits wait for no disk. Whoever is killed
in between says nothing: every listener looks by itself every few seconds as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import structlog

from tidegate.store.connections import DATABASE_ERRORS, DirectConnection

log = structlog.get_logger()

SAY = "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS said(channel, payload)"
SAID_MAX = 500
"""More wake-ups than this wait only while the database is away; whoever listens looks by itself when it is back."""
RETRY_SECONDS = 0.5
REST_SECONDS = 0.005
"""Between two sends: every one wakes each session that listens, on its server and in its process."""
CLOSE_SECONDS = 1.0


class Notifier:
    """Sends wake-ups of one process, those together that came up while the last ones were on their way.

    An async context manager, between `start` and `close`.
    """

    def __init__(self, connect: Callable[[], Awaitable[DirectConnection]]) -> None:
        """Prepare; nothing is opened yet. `connect` opens a session of its own."""
        self._connect = connect
        self._connection: DirectConnection | None = None
        self._said: dict[tuple[str, str], None] = {}
        self._wake = asyncio.Event()
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """See `start`."""
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `close`."""
        await self.close()

    def start(self) -> None:
        """Begin to send, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name="notifier")

    async def close(self) -> None:
        """Send what is left, for `CLOSE_SECONDS` at most, and end."""
        self._is_closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=CLOSE_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            self._connection.terminate()

    def say(self, channel: str, payload: str) -> None:
        """Send a wake-up soon. Equal ones that still wait count once."""
        if len(self._said) < SAID_MAX:
            self._said[channel, payload] = None
            self._wake.set()

    async def _run(self) -> None:
        is_away = False
        while self._said or not self._is_closing:
            if not self._said:
                self._wake.clear()
                await self._wake.wait()
                continue
            said, self._said = self._said, {}
            try:
                await self._send(list(said))
                is_away = False
                if not self._is_closing:
                    await asyncio.sleep(REST_SECONDS)
            except DATABASE_ERRORS as error:
                self._said = {**said, **self._said}
                if not is_away:
                    log.warning("notifier.away", error_class=type(error).__name__)
                is_away = True
                if self._connection is not None:
                    self._connection.terminate()
                self._connection = None
                await asyncio.sleep(RETRY_SECONDS)

    async def _send(self, said: list[tuple[str, str]]) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            await self._connection.execute("SET synchronous_commit = off")
        await self._connection.execute(SAY, [channel for channel, _ in said], [payload for _, payload in said])
