"""The demo's keys: read one by one in a real terminal, and what each of them does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from demo.hands import Hands

from tidegate.kernel.errors import TransientError

ROOT = Path(__file__).parents[3]
READER = """
import asyncio
from demo.keys import pressed_keys

async def main():
    print("ready", flush=True)
    async for key in pressed_keys():
        print("got", key, flush=True)
        if key == "q":
            break

asyncio.run(main())
print("end", flush=True)
"""


class Play:
    """Notes what is done to it."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.is_over = False
        self.is_away = False

    def end_shopping(self) -> None:
        self.is_over = True

    def kill(self, role: str) -> int | None:
        self.done.append(role)
        return None if role == "postgres" else 7

    async def kill_naive(self) -> int | None:
        if self.is_away:
            raise TransientError("the naive script did not start", code="sandbox_away")
        self.done.append("naive")
        return 8

    async def drop_webhooks(self, share: float, seconds: float) -> None:
        self.done.append((share, seconds))


async def typed(text: str) -> AsyncIterator[str]:
    for key in text:
        yield key


def played(text: str, *, is_open: bool = True, is_away: bool = False) -> tuple[Play, list[str], list[str]]:
    play, said, stopped = Play(), list[str](), list[str]()
    play.is_away = is_away
    hands = Hands(play, said.append, lambda: stopped.append("stopped"))
    hands.is_open = is_open
    asyncio.run(hands.obey(typed(text)))
    return play, said, stopped


def test_each_key_breaks_something_and_says_what() -> None:
    """One role after the other; a process that is not there just now is said, too."""
    play, said, _ = played("kkkkkndx")
    assert play.done == ["dispatch", "apply", "door", "postgres", "dispatch", "naive", (0.3, 15.0)]
    assert said[0] == "kill -9 dispatch (pid 7)"
    assert said[3] == "there is no postgres just now"
    assert "30% of the shops' webhooks" in said[-1]


def test_q_ends_shopping_once_and_before_the_doors_open_everything() -> None:
    """No other key does anything before."""
    play, said, stopped = played("qq")
    assert (play.is_over, len(said), stopped) == (True, 1, [])
    play, said, stopped = played("kndq", is_open=False)
    assert (play.done, play.is_over, said, stopped) == ([], False, [], ["stopped"])


def test_ctrl_c_is_q_first_and_the_end_the_second_time() -> None:
    """So that nobody loses the comparison of the books by a reflex."""
    play, stopped = Play(), list[str]()
    hands = Hands(play, lambda _: None, lambda: stopped.append("stopped"))
    hands.is_open = True
    hands.interrupt()
    assert (play.is_over, stopped) == (True, [])
    hands.interrupt()
    assert stopped == ["stopped"]


def test_what_cannot_be_done_is_said_and_the_next_key_counts() -> None:
    """A script that does not come back ends no demo."""
    play, said, _ = played("nk", is_away=True)
    assert said[0].startswith("that did not work")
    assert play.done == ["dispatch"]


def test_keys_are_read_one_by_one_in_a_terminal_which_is_put_back() -> None:
    """Without Enter, capitals as small letters, and what was pressed before is not echoed into the picture."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    reader = subprocess.Popen([sys.executable, "-c", READER], stdin=slave, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 100
        while termios.tcgetattr(slave)[3] & termios.ICANON:
            assert time.monotonic() < deadline, "the terminal still waits for Enter"
            time.sleep(0.01)
        os.write(master, b"kDq")
        assert reader.stdout.read().split() == b"got k got d got q end".split()
        assert reader.wait(20) == 0
        assert termios.tcgetattr(slave)[3] == before[3]
        assert not select.select([master], [], [], 0)[0], os.read(master, 100)
    finally:
        with contextlib.suppress(ProcessLookupError):
            reader.kill()
        with reader:
            pass
        for descriptor in (master, slave):
            os.close(descriptor)


@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, subprocess.PIPE])
def test_where_there_is_no_terminal_there_are_no_keys(stdin: int) -> None:
    """It ends at once, and nothing fails."""
    ran = subprocess.run(
        [sys.executable, "-c", READER], stdin=stdin, capture_output=True, cwd=ROOT, timeout=200, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, b"ready\nend\n")
