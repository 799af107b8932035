"""Keys that are presented at the same time are looked up together: one statement at a time, and nothing is remembered.

While a look-up runs, what comes waits and shares the next one. So each key is read after it was presented, and one that was
revoked before that is refused, in every process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

ReadKeys = Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, Any]]]
"""Returns the rows of keys by id, as they are now."""


class KeyFinder:
    """Looks keys up for one process."""

    def __init__(self, read: ReadKeys) -> None:
        """Nobody waits yet."""
        self._read = read
        self._waiting: list[tuple[UUID, asyncio.Future[Any]]] = []
        self._running: asyncio.Task[None] | None = None

    async def find(self, key_id: UUID) -> Any:
        """Return the row of a key as it is now, None when there is no such key. Raises what `read` raises."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((key_id, answer))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                await self._answer(waiting)
        finally:
            self._running = None

    async def _answer(self, waiting: Sequence[tuple[UUID, asyncio.Future[Any]]]) -> None:
        try:
            rows = await self._read(sorted({key_id for key_id, _ in waiting}))
        except Exception as error:
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
            return
        for key_id, answer in waiting:
            if not answer.done():
                answer.set_result(rows.get(key_id))
