"""Who may work at the same time in one process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Turns:
    """Batches run side by side; an event under suspicion runs alone.

    When a process vanishes, everything that it was working on is blamed. An event that is suspected of ending processes
    must therefore have no company, or its company would be found guilty with it.
    """

    def __init__(self) -> None:
        """Start with nobody working."""
        self._entrance = asyncio.Lock()
        self._batches = 0
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Work beside others that do so; wait while somebody works alone."""
        async with self._entrance:
            self._batches += 1
            self._is_empty.clear()
        try:
            yield
        finally:
            self._batches -= 1
            if not self._batches:
                self._is_empty.set()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Work while nobody else does; wait until they have finished."""
        async with self._entrance:
            await self._is_empty.wait()
            yield
