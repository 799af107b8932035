"""Looks at systems in the background, now and then, so that a slow one never holds up the display."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
PATIENCE_SECONDS = 8.0
"""After so long a number is not what a system believes, but what it believed."""
REASON_MAX = 90


class Look(Generic[T]):
    """Reads one system every few seconds in a thread and keeps what it said last."""

    def __init__(self, name: str, read: Callable[[], T], every_seconds: float) -> None:
        self.name = name
        self._read = read
        self._every_seconds = every_seconds
        self._stop = threading.Event()
        self._latest: T | None = None
        self._answered = time.monotonic()
        self._error = ""
        self._thread = threading.Thread(target=self._work, name=f"look-{name}", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._answered = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a read that is under way may still end."""
        self._stop.set()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the end of a read that is under way."""
        self._thread.join(timeout_seconds)

    @property
    def last(self) -> T | None:
        """What the system said last, however old; None before its first answer."""
        return self._latest

    @property
    def current(self) -> T | None:
        """What the system says; None while it does not answer."""
        return None if self.trouble else self._latest

    @property
    def trouble(self) -> str:
        """Why there is no answer; '' when there is one."""
        if self._error:
            return self._error
        silent_seconds = time.monotonic() - self._answered
        return f"no answer for {silent_seconds:.0f} s" if silent_seconds > PATIENCE_SECONDS else ""

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self._latest = self._read()
            except Exception as error:  # shown in place of the numbers: one system must not end the show
                self._error = describe(error)
            else:
                self._error, self._answered = "", time.monotonic()
            self._stop.wait(self._every_seconds)


def describe(error: BaseException) -> str:
    """Return an error in one short line."""
    text = " ".join(str(error).split())
    if "refused" in text.lower():
        return "nobody listens there: connection refused"
    return (text or type(error).__name__)[:REASON_MAX]
