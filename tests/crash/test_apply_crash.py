"""Processes that apply events die and freeze: the culprit is found, its neighbours are applied, nothing counts twice."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.applybed import Bed, make_bed, order_event
from tests.dispatchbed import until
from tests.integration.test_calling_off import POLICY as CALLS_OFF
from tests.integration.test_relocations import make_places
from tests.walkbed import APPLY, BREAKS_FOLD, ENDS_PROCESS, Child, Crew, running_crew

from tidegate.eventlog.replay import replay
from tidegate.kernel.ids import slot_of
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = [pytest.mark.asyncio, pytest.mark.crash]
DEATHS_MAX = 8
"""Two until the slot runs one event at a time, three of the event alone; the rest is for what was in hand beside it."""
EXIT_BUG = 70
HAS_SLOTS = "SELECT count(*) > 0 FROM slot WHERE node_id IN (SELECT node_id FROM node WHERE pid = $1)"

Story = list[tuple[str, dict[str, Any]]]


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool) -> Bed:
    return await make_bed(database, owner_pool)


@pytest_asyncio.fixture
async def crew(database: Database, short_dir: Path) -> AsyncIterator[Crew]:
    async with running_crew(database, short_dir, connectors="DEADLY_CONNECTOR") as running:
        yield running


def orders(numbers: list[str]) -> Story:
    return [("shop_a", order_event(number, [("A", 1)])) for number in numbers]


def in_slot_of(bed: Bed, number: str) -> list[str]:
    """Return four other order numbers of the same slot: they wait behind each other."""
    slot = slot_of(bed.tenant_id, f"order:{number}")
    others = (f"n{index}" for index in itertools.count())
    return list(itertools.islice((o for o in others if slot_of(bed.tenant_id, f"order:{o}") == slot), 4))


async def is_empty(bed: Bed) -> bool:
    return not await bed.pool.fetchval("SELECT count(*) FROM event_queue")


async def keep_running(bed: Bed, crew: Crew, processes: int) -> int:
    """Keep apply processes running, as the supervisor does, until the queue is empty; return how many of them died."""
    deaths = 0
    children: list[Child] = [await crew.start("apply") for _ in range(processes)]
    async with asyncio.timeout(300):
        while not await is_empty(bed):
            for place, child in enumerate(children):
                if not child.runs:
                    deaths += 1
                    assert child.process.returncode in (-signal.SIGKILL, EXIT_BUG), crew.report()
                    assert deaths <= DEATHS_MAX, crew.report()
                    children[place] = await crew.start("apply")
            await asyncio.sleep(0.02)
    return deaths


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("marker", [ENDS_PROCESS, BREAKS_FOLD])
async def test_an_event_that_ends_its_process_is_found_and_quarantined_alone(
    bed: Bed, crew: Crew, marker: str, processes: int
) -> None:
    """It stands in the middle of its slot, and the other slots are full as well: nobody is blamed but the culprit."""
    poison = order_event("poison", [("A", 1)])
    poison["order"]["customer"]["first_name"] = marker
    beside = in_slot_of(bed, "poison")
    elsewhere = [str(number) for number in range(30)]
    await bed.append([*orders(beside[:2] + elsewhere[:15]), ("shop_a", poison), *orders(elsewhere[15:] + beside[2:])])

    deaths = await keep_running(bed, crew, processes)

    assert deaths >= 3, "as many as it takes until it is given up; whoever took other slots meanwhile may come on top"
    assert await bed.outcomes() == {"applied": 34, "quarantined": 1}
    parked = await bed.pool.fetchrow("SELECT kind, code, reason FROM event_parked")
    assert parked is not None
    assert tuple(parked) == ("quarantined", "crashes_worker", "3 processes ended while they worked on it")
    assert (await bed.level("A"))[1] == 34
    assert await bed.pool.fetchval("SELECT count(*) FROM event_crash") == 0, "a replay is tried as often again"
    await bed.check_books()


async def test_a_quarantined_culprit_is_applied_when_its_mapper_is_mended(
    bed: Bed, database: Database, short_dir: Path
) -> None:
    poison = order_event("poison", [("A", 1)])
    poison["order"]["customer"]["first_name"] = ENDS_PROCESS
    (event_id,) = await bed.append([("shop_a", poison)])
    async with running_crew(database, short_dir / "old", connectors="DEADLY_CONNECTOR") as crew:
        await keep_running(bed, crew, 1)
    async with bed.pool.acquire() as conn:
        assert await replay(conn, bed.tenant_id, [event_id]) == 1

    async with running_crew(database, short_dir / "mended") as crew:
        assert await keep_running(bed, crew, 1) == 0

    assert await bed.pool.fetchval("SELECT outcome FROM event_outcome WHERE run = 1") == "applied"
    assert await bed.pool.fetchval("SELECT count(*) FROM event_parked") == 0
    assert (await bed.level("A"))[1] == 1


@pytest.mark.parametrize("point", ["begin", "before_commit"])
async def test_a_frozen_process_comes_back_to_find_its_batch_done_by_another(bed: Bed, crew: Crew, point: str) -> None:
    """Whoever takes its slots over ends its sessions, so that nothing stays locked, whatever it was in the middle of."""
    zombie = await crew.start("apply", freeze_at=f"apply.t2.{point}:1")
    await until(lambda: bed.pool.fetchval("SELECT count(*) = $1 FROM node WHERE role = 'apply'", APPLY.strands))
    await bed.append(orders([str(number) for number in range(40)]))
    await until(lambda: zombie.is_frozen)

    second = await crew.start("apply")
    await until(lambda: is_empty(bed))
    done = await bed.snapshot()
    zombie.send(signal.SIGCONT)
    await until(lambda: "apply.database_away" in crew.log(zombie))

    await until(lambda: bed.pool.fetchval(HAS_SLOTS, zombie.pid))
    assert await bed.snapshot() == done
    assert await bed.outcomes() == {"applied": 40}
    await bed.append(orders([str(number) for number in range(40, 80)]))
    await until(lambda: is_empty(bed))
    await second.drain()
    await zombie.drain()
    assert (await bed.level("A"))[1] == 80
    assert await bed.outcomes() == {"applied": 80}
    await bed.check_books()


async def test_orders_whose_move_dies_before_its_commit_move_once_with_the_next_process(
    database: Database, owner_pool: Pool, short_dir: Path
) -> None:
    bed = await make_places(database, owner_pool, main={"A": 2}, store={"A": 9})
    await bed.append([("shop_a", order_event(number, [("A", 2)])) for number in ("1", "2", "3")])
    async with running_crew(database, short_dir) as crew:
        doomed = await crew.start("apply", crash_at="relocation.stored:1")
        async with asyncio.timeout(60):
            assert await doomed.process.wait() == -signal.SIGKILL, crew.report()
        assert not await bed.pool.fetchval("SELECT count(*) FROM oversold_order")
        await keep_running(bed, crew, 2)

    assert await bed.pool.fetchval("SELECT count(*) FROM oversold_order") == 2
    assert await bed.pool.fetch("SELECT item_id FROM stock_balance WHERE available < 0") == []
    await bed.check_books()


async def test_a_call_off_that_dies_before_its_commit_is_made_once_with_the_next_process(
    database: Database, owner_pool: Pool, short_dir: Path
) -> None:
    bed = await make_bed(database, owner_pool, config=CALLS_OFF)
    await bed.append([("shop_a", order_event(number, [("A", 2)])) for number in ("1", "2")])
    async with running_crew(database, short_dir) as crew:
        doomed = await crew.start("apply", crash_at="calling_off.stored:1")
        async with asyncio.timeout(60):
            assert await doomed.process.wait() == -signal.SIGKILL, crew.report()
        assert not await bed.pool.fetchval("SELECT count(*) FROM command WHERE kind = 'order.cancel'")
        await keep_running(bed, crew, 2)

    asked = await bed.pool.fetchval(
        "SELECT array_agg(state) FROM command WHERE kind = 'order.cancel' AND connection_id = $1",
        bed.connections["shop_a"],
    )
    assert asked == ["pending", "pending"]
    assert not await bed.pool.fetchval(
        "SELECT count(*) FROM command WHERE kind = 'order.create' AND state <> 'cancelled'"
    )
    await bed.check_books()
