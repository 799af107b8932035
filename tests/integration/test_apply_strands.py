"""Strands in reserve come when much waits and go when it does not; nothing is lost, doubled or left lying at either change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import pytest_asyncio
from tests.applybed import Bed, make_bed, order_event
from tests.dispatchbed import until

from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.settings import SETTINGS, Settings
from tidegate.sync.worker import serve

pytestmark = pytest.mark.asyncio
QUICK = replace(SETTINGS, batch_events_max=40, large_claim_events=20, calm_seconds=0.3, slow_poll_seconds=600.0)
"""The look at what came without a word is out of the way: what is found must have been found by a change of slots."""
HOLDERS = "SELECT count(DISTINCT node_id) FROM slot WHERE role = 'apply' AND node_id IS NOT NULL"
HELD = "SELECT count(*) FROM slot s JOIN node n USING (node_id, role) WHERE s.role = 'apply'"


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool) -> Bed:
    return await make_bed(database, owner_pool)


@asynccontextmanager
async def serving(bed: Bed, settings: Settings, processes: int = 1) -> AsyncIterator[None]:
    stop = asyncio.Event()
    workers = [asyncio.create_task(serve(bed.context(index + 1), stop, settings)) for index in range(processes)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*workers)


async def put_in(bed: Bed, numbers: range, sku: str = "A") -> None:
    await bed.append([("shop_a", order_event(str(number), [(sku, 1)])) for number in numbers])


async def is_applied(bed: Bed, count: int) -> bool:
    return bool(await bed.outcomes() == {"applied": count})


async def held_by(bed: Bed, nodes: int) -> bool:
    """Whether so many nodes share all slots."""
    return bool(await bed.pool.fetchval(HOLDERS) == nodes and await bed.pool.fetchval(HELD) == 1024)


async def test_a_backlog_brings_them_and_calm_sends_them_away(bed: Bed) -> None:
    async with serving(bed, QUICK):
        await until(lambda: held_by(bed, 1))
        await put_in(bed, range(20))
        await until(lambda: is_applied(bed, 20))
        assert await held_by(bed, 1), "one claim of a poll's size calls nobody"
        await put_in(bed, range(20, 600))
        await until(lambda: held_by(bed, 3))
        await until(lambda: is_applied(bed, 600))
        await until(lambda: held_by(bed, 1))
    assert await bed.pool.fetchval("SELECT count(*) FROM node") == 0
    await bed.check_books()


async def test_what_comes_while_slots_change_hands_waits_for_nobody(bed: Bed) -> None:
    """Two processes, all their strands coming and going under a steady stream: no event needs the look every few seconds."""
    async with serving(bed, replace(QUICK, calm_seconds=0.05), processes=2):
        done = 0
        for _ in range(6):
            await put_in(bed, range(done, done + 200))
            await until(lambda count=done + 200: is_applied(bed, count))  # type: ignore[misc]
            for number in range(done + 200, done + 220):
                await put_in(bed, range(number, number + 1))
            done += 220
            await until(lambda count=done: is_applied(bed, count))  # type: ignore[misc]
    assert (await bed.level("A"))[1] == done
    await bed.check_books()


async def test_a_batch_that_waits_for_a_lock_holds_up_its_own_slots_only(bed: Bed) -> None:
    """The others take the rest of the slots over once it has taken long."""
    await put_in(bed, range(1))
    async with serving(bed, replace(QUICK, slow_batch_seconds=0.1, lease_seconds=60.0)):
        await until(lambda: is_applied(bed, 1))
        async with bed.pool.acquire() as locker, locker.transaction():
            await locker.execute('SELECT FROM "order" FOR UPDATE')
            await bed.append([("shop_a", order_event("0", [("A", 2)], revision=2))])
            await until(lambda: held_by(bed, 3))
            await put_in(bed, range(1, 61), "B")
            await until(lambda: bed.pool.fetchval("SELECT count(*) > 20 FROM event_outcome"))
        await until(lambda: is_applied(bed, 62))
    assert (await bed.level("A"))[1] == 2
    assert (await bed.level("B"))[1] == 60
    await bed.check_books()


async def test_a_process_that_stops_with_its_reserve_at_work_leaves_nothing_behind(bed: Bed) -> None:
    await put_in(bed, range(300))
    async with serving(bed, QUICK):
        await until(lambda: held_by(bed, 3))
    assert await bed.pool.fetchval("SELECT count(*) FROM node") == 0
    async with serving(bed, QUICK):
        await until(lambda: is_applied(bed, 300))
    await bed.check_books()
