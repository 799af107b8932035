"""Urgent work goes first inside a process too: what is not urgent lets it by before it takes to the database.

The lanes of a process share one event loop, and with the other processes the disk and the processors. A call with many
stock numbers is a large transaction; begun a moment later it costs nobody anything, begun in front of a payment it makes
the payment wait.
"""

from __future__ import annotations

import asyncio
import contextlib

WAIT_SECONDS_MAX = 0.05
"""How long other work waits at most before each of its steps, however much is urgent: it goes on, a little slower."""


class Urgency:
    """How many urgent calls are being begun in this process. Shared by its lanes."""

    def __init__(self) -> None:
        """Start with none."""
        self._count = 0
        self._is_clear = asyncio.Event()
        self._is_clear.set()

    def enter(self) -> None:
        """Note that an urgent call is being begun."""
        self._count += 1
        self._is_clear.clear()

    def leave(self) -> None:
        """Note that one that entered is on its way, or is not begun."""
        self._count -= 1
        if not self._count:
            self._is_clear.set()

    async def let_by(self) -> None:
        """Wait until no urgent call is being begun, at most `WAIT_SECONDS_MAX`."""
        if self._count:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_SECONDS_MAX):
                    await self._is_clear.wait()
