"""Keys that are pressed in a terminal, one by one, without Enter. Nothing where there is no terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator


async def pressed_keys() -> AsyncIterator[str]:
    """Yield each key; ends at once where standard input is no terminal. The terminal is put back at the end."""
    if not sys.stdin.isatty():
        return
    keys: asyncio.Queue[str] = asyncio.Queue()
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    with _single_keys(descriptor):
        loop.add_reader(descriptor, lambda: keys.put_nowait(os.read(descriptor, 1).decode(errors="replace")))
        try:
            while True:
                yield (await keys.get()).lower()
        finally:
            loop.remove_reader(descriptor)


@contextlib.contextmanager
def _single_keys(descriptor: int) -> Iterator[None]:
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
