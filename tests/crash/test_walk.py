"""The whole walk with real processes: whichever step a process dies at, everything arrives, once, and all books agree.

Two shops and an ERP that makes doubles of what it is told twice; every webhook is delivered twice. With one process of
each role and with two, a process kills itself at each crash point while orders, cancels, shipments and stock numbers are
on their way. What a case leaves behind, the next one goes on with.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.conftest import fresh_database, short_folder
from tests.walkbed import Child
from tests.walkworld import CHANNELS, Walk, running_walk

from tidegate.runtime.postgres import EmbeddedPostgres

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.crash]
SOURCE = Path(__file__).parents[2] / "src" / "tidegate"
TESTS = Path(__file__).parents[1]
PASSES = {
    "door.t1.before": (2, 1),
    "door.t1.committed": (1, 2),
    "apply.t2.begin": (2, 1),
    "apply.t2.before_commit": (1, 2),
    "apply.t2.committed": (2, 1),
    "dispatch.t2s.written": (2, 3),
    "dispatch.t2s.committed": (1, 2),
    "dispatch.call.answered": (3, 1),
    "dispatch.t3.written": (1, 3),
    "dispatch.t3.committed": (4, 2),
    "dispatch.feed.read": (3, 4),
    "dispatch.feed.stored": (2, 3),
}
"""Point -> the pass at which a process dies, with one process of each role and with two."""
HAS_SLOTS = """
SELECT count(*) > 0 FROM slot JOIN node USING (node_id) WHERE pid = $1
"""


class Staff:
    """The processes that work: so many of each role."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self._working: dict[str, list[Child]] = {"door": [], "apply": [], "dispatch": []}

    async def resize(self, count: int, *, vacancy: str = "") -> None:
        """Have `count` processes of each role, one less of the role with the vacancy."""
        for role, children in self._working.items():
            wanted = count - (role == vacancy)
            while len(children) > wanted:
                await children.pop().drain()
            while len(children) < wanted:
                children.append(await self.walk.crew.start(role))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def staff(postgres: EmbeddedPostgres) -> AsyncIterator[Staff]:
    """The world, its first numbers told, one process of each role."""
    with short_folder() as folder:
        async with fresh_database(postgres) as database, running_walk(database, folder) as walk:
            made = Staff(walk)
            await made.resize(1)
            await walk.settle()
            await walk.check()
            yield made


@pytest.fixture(scope="module", params=[1, 2], ids=["one", "two"])
def processes(request: pytest.FixtureRequest) -> int:
    """Of each role."""
    return int(request.param)


@pytest.mark.parametrize("point", PASSES)
async def test_a_process_that_dies_on_the_way_loses_and_doubles_nothing(
    staff: Staff, processes: int, point: str
) -> None:
    walk, role = staff.walk, point.partition(".")[0]
    await staff.resize(processes, vacancy=role)
    doomed = await walk.crew.start(role, crash_at=f"{point}:{PASSES[point][processes - 1]}")
    if processes == 2 and role != "door":
        await until_it_works(walk, doomed)
    walk.happen()
    delivering = [asyncio.create_task(walk.deliver())]
    await until_it_is_dead(walk, doomed, delivering)

    if processes == 1:
        await staff.resize(1)
    await asyncio.gather(*delivering)
    await walk.settle()

    assert doomed.process.returncode == -signal.SIGKILL
    await walk.check()


async def until_it_works(walk: Walk, child: Child) -> None:
    """Wait until a process has slots, beside another one."""
    async with asyncio.timeout(200):
        while not await walk.pool.fetchval(HAS_SLOTS, child.pid):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.02)


async def until_it_is_dead(walk: Walk, child: Child, delivering: list[asyncio.Task[None]]) -> None:
    """Wait until a process has killed itself; as long as it lives, people go on buying."""
    async with asyncio.timeout(200):
        while child.runs:
            try:
                async with asyncio.timeout(1.0):
                    await child.process.wait()
            except TimeoutError:
                for name in CHANNELS:
                    walk.buy(name)
                delivering.append(asyncio.create_task(walk.deliver()))


async def test_every_crash_point_of_the_source_is_crossed() -> None:
    """On this walk, or in a test of its own."""
    found = {name for path in SOURCE.rglob("*.py") for name in re.findall(r'\breach\(\s*"([^"]+)"\)', path.read_text())}

    elsewhere = "".join(path.read_text() for path in TESTS.rglob("test_*.py") if path.name != Path(__file__).name)

    assert PASSES.keys() <= found
    assert {point for point in found - PASSES.keys() if f'"{point}' not in elsewhere} == set()
