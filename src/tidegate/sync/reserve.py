"""The strands in reserve: called when there is work for more than one, sent away when there is not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import structlog

from tidegate.sync.strength import Strength

log = structlog.get_logger()


class Reserve:
    """What the strands of one process tell each other about their load. Looks at nothing by itself while it is not wanted."""

    def __init__(self, strength: Strength, stop: asyncio.Event) -> None:
        """Begin with the reserve at rest. Once `stop` is set and `close` was called, nobody is called any more."""
        self._strength = strength
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._called = asyncio.Event()
        self.dismissed = asyncio.Event()
        """Set while the reserve is not wanted."""
        self.dismissed.set()

    async def called(self) -> bool:
        """Wait until the reserve is wanted; return False when the process stops instead."""
        await self._called.wait()
        return not self._stop.is_set()

    async def close(self) -> None:
        """Wait for `stop`; then let those go who work, and those who wait."""
        await self._stop.wait()
        self._set_timer(None)
        self.dismissed.set()
        self._called.set()

    def claimed(self, strand: int, events: int) -> None:
        """See `Strength.claimed`."""
        self._strength.claimed(strand, events, self._loop.time())
        self._follow()

    def left(self, strand: int) -> None:
        """See `Strength.left`."""
        self._strength.left(strand)

    @contextlib.contextmanager
    def in_hand(self) -> Iterator[None]:
        """Have the reserve called, and kept, while what is done in this block takes long."""
        timer: asyncio.TimerHandle | None = None

        def watch() -> None:
            nonlocal timer
            timer = self._loop.call_later(self._strength.slow_seconds, tell)

        def tell() -> None:
            self._strength.slow(self._loop.time())
            self._follow()
            watch()

        watch()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    def _follow(self) -> None:
        """Call the reserve if it is wanted and was not called."""
        if self._strength.is_reserve_wanted and self.dismissed.is_set() and not self._stop.is_set():
            log.debug("apply.reserve_called")
            self.dismissed.clear()
            self._called.set()
            self._look()

    def _look(self) -> None:
        wait = self._strength.look(self._loop.time())
        self._set_timer(wait)
        if wait is None:
            log.debug("apply.reserve_dismissed")
            self._called.clear()
            self.dismissed.set()

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._look) if seconds is not None else None
