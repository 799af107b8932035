"""What is not urgent lets urgent work by, for a bounded time."""

from __future__ import annotations

import asyncio

import pytest

from tidegate.dispatch.urgency import Urgency

pytestmark = pytest.mark.asyncio


async def test_nothing_waits_where_nothing_is_urgent() -> None:
    urgency = Urgency()
    await urgency.let_by()
    urgency.enter()
    urgency.leave()
    await urgency.let_by()


async def test_others_go_on_when_the_last_urgent_call_is_on_its_way() -> None:
    urgency = Urgency()
    urgency.enter()
    urgency.enter()
    waiting = asyncio.create_task(urgency.let_by())
    await asyncio.sleep(0)
    urgency.leave()
    await asyncio.sleep(0)
    assert not waiting.done()

    urgency.leave()
    await waiting


async def test_others_are_not_held_up_for_ever() -> None:
    urgency = Urgency()
    urgency.enter()
    async with asyncio.timeout(100):
        for _ in range(3):
            await urgency.let_by()
