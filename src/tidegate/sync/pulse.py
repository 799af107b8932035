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
from tidegate.sync.expiry import expire_due

DUE_SECONDS_MIN = 0.2
"""What becomes due within this time is looked at together."""


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

    A database that is away wakes everybody: strands know what to do. Between the beats it looks when a reservation is due.
    """
    due_in: float | None = None
    while not stop.is_set():
        wait = seconds_to_beat(seconds, asyncio.get_running_loop().time())
        if due_in is not None:
            wait = min(wait, max(due_in, DUE_SECONDS_MIN))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await stop.wait()
        try:
            await refresh()
            due_in = await look(pool, strands)
        except DATABASE_ERRORS:
            for strand in strands:
                strand.wake()


async def look(pool: Pool, strands: Sequence[Sleeper]) -> float | None:
    """Look once, and return in how many seconds the next reservation is due; None when there is none.

    Raises what asyncpg raises.
    """
    row = await pool.fetchrow(statements.PULSE)
    if row is None:
        return None
    due_in: float | None = row["due_in"]
    if due_in is not None and due_in <= 0:
        await expire_due(pool)
    if row["is_parked_due"]:
        slots = sorted({slot for strand in strands for slot in strand.held_slots()})
        if await pool.execute(statements.WAKE_PARKED, slots) != "INSERT 0 0":
            for strand in strands:
                strand.wake()
            return due_in
    for strand in strands:
        strand.feel(row["server"], row["last_seq"])
    return due_in
