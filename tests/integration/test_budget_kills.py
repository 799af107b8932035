"""I14b, G10: nodes share a budget, and kill -9 in the middle of their calls makes no window hold more than it may.

The nodes are processes of their own; the platform is a real HTTP server here that only notes when requests arrive.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from tests.dispatchbed import Bed, place, stock_world, until
from tests.dispatchchild import LIMIT, SECONDS

from tidegate.sdk.testing.hostile import HostileServer
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role

pytestmark = pytest.mark.asyncio
KILLS = 8


class CountingServer(HostileServer):
    """Notes each request when it arrives, but for those that open a session."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[float] = []

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith(("/api/erp/", "/api/shop/")):
            self.arrivals.append(asyncio.get_running_loop().time())
        return await super()._handle(request)


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[CountingServer]:
    async with CountingServer() as server:
        stock_world(server.world, [("A", 0)])
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: CountingServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    await made.article("A", on_hand=1000)
    return made


def fullest_of(arrivals: list[float]) -> int:
    """Return how many arrived in the fullest window."""
    return max((sum(first <= at <= first + SECONDS for at in arrivals) for first in arrivals), default=0)


async def start_node(database: Database) -> asyncio.subprocess.Process:
    dsn = database.access(Role.DISPATCH).dsn
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.dispatchchild", dsn)


async def test_no_window_holds_more_although_nodes_are_killed(
    bed: Bed, remote: CountingServer, database: Database
) -> None:
    await bed.pool.execute("UPDATE connection SET state = 'disabled' WHERE connection_id = $1", bed.shop)  # one lane
    for _ in range(KILLS * LIMIT * 3):
        await bed.order(place(remote.world, ("A", 1)))
    nodes = [await start_node(database), await start_node(database)]
    try:
        for number in range(KILLS):
            count = len(remote.arrivals)
            await until(lambda: len(remote.arrivals) >= count + LIMIT // 2)  # noqa: B023
            for node in nodes if number % 3 == 2 else nodes[number % 2 :][:1]:  # one in turn, at times all
                node.kill()
                await node.wait()
            nodes = [node for node in nodes if node.returncode is None]
            nodes += [await start_node(database) for _ in range(2 - len(nodes))]
        await until(
            lambda: fullest_of(remote.arrivals) >= LIMIT - 1, seconds=60
        )  # the budget holds them, and they use it
    finally:
        for node in nodes:
            node.kill()
            await node.wait()

    arrivals = sorted(remote.arrivals)
    assert len(arrivals) >= KILLS * LIMIT // 2
    assert fullest_of(arrivals) <= LIMIT
