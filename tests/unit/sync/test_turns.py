"""An event under suspicion has no company in its process; batches do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from tidegate.sync.turns import Turns

pytestmark = pytest.mark.asyncio


class Worker:
    """Enters, and stays until it is let go."""

    def __init__(self, enter: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self.is_in = False
        self._leave = asyncio.Event()
        self._task = asyncio.create_task(self._work(enter))

    async def _work(self, enter: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        async with enter():
            self.is_in = True
            await self._leave.wait()
        self.is_in = False

    async def leave(self) -> None:
        self._leave.set()
        await self._task


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_batches_run_side_by_side() -> None:
    turns = Turns()
    first, second = Worker(turns.together), Worker(turns.together)
    await settle()

    assert (first.is_in, second.is_in) == (True, True)
    await first.leave()
    await second.leave()


async def test_who_is_alone_waits_for_the_others_and_keeps_them_out() -> None:
    turns = Turns()
    batch = Worker(turns.together)
    await settle()
    alone, late = Worker(turns.alone), Worker(turns.together)
    await settle()
    assert (batch.is_in, alone.is_in, late.is_in) == (True, False, False)

    await batch.leave()
    await settle()
    assert (alone.is_in, late.is_in) == (True, False)

    await alone.leave()
    await settle()
    assert late.is_in
    await late.leave()


async def test_two_that_want_to_be_alone_take_turns() -> None:
    turns = Turns()
    first, second = Worker(turns.alone), Worker(turns.alone)
    await settle()
    assert (first.is_in, second.is_in) == (True, False)

    await first.leave()
    await settle()

    assert second.is_in
    await second.leave()


async def test_a_failure_inside_lets_the_others_in() -> None:
    turns = Turns()
    for enter in (turns.together, turns.alone):
        with pytest.raises(ValueError, match="inside"):
            async with enter():
                raise ValueError("inside")

    async with asyncio.timeout(100), turns.alone():
        pass
