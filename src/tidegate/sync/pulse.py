"""One small look per process and a few seconds at what may have come without a word: idle strands need no look of their own.

Notifications wake strands at once. What a lost one would have said is found here: the queue can only have got something
when its sequence went on, or parked events when the time of one has come.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from tidegate.kernel.clock import seconds_to_beat
from tidegate.store.connections import DATABASE_ERRORS, Pool
from tidegate.sync import statements


class Sleeper(Protocol):
    """A strand as the pulse sees it."""

    def held_slots(self) -> set[int]:
        """Return the slots that it holds now."""
        ...

    def feel(self, server: str, last_seq: int) -> None:
        """Wake up if there may be something to do: `last_seq` is the queue's newest place on `server`."""
        ...

    def wake(self) -> None:
        """Wake up."""
        ...


async def beat(
    pool: Pool,
    strands: Sequence[Sleeper],
    seconds: float,
    stop: asyncio.Event,
    *,
    refresh: Callable[[], Awaitable[None]],
) -> None:
    """Look every so many `seconds` until `stop` is set, and `refresh` what is known of the tenants.

    A database that is away wakes everybody: strands know what to do.
    """
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds_to_beat(seconds, asyncio.get_running_loop().time())):
                await stop.wait()
        try:
            await refresh()
            await look(pool, strands)
        except DATABASE_ERRORS:
            for strand in strands:
                strand.wake()


async def look(pool: Pool, strands: Sequence[Sleeper]) -> None:
    """Look once. Raises what asyncpg raises."""
    row = await pool.fetchrow(statements.PULSE)
    if row is None:
        return
    if row["is_parked_due"]:
        slots = sorted({slot for strand in strands for slot in strand.held_slots()})
        if await pool.execute(statements.WAKE_PARKED, slots) != "INSERT 0 0":
            for strand in strands:
                strand.wake()
            return
    for strand in strands:
        strand.feel(row["server"], row["last_seq"])
