"""Nodes that come and go while calls are in flight: lanes move, nothing is left in doubt, nothing is doubled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from tests.dispatchbed import Bed, place, stock_world, until

from tidegate.kernel.ids import new_id, slot_of
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.sdk.testing.hostile_faults import Fault
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        server.world.unique_references = False
        stock_world(server.world, [("A", 0)])
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    """The ERP's lane moves to the second node: odd slots go to the higher of two node ids."""
    made = Bed(database, owner_pool, remote.base_url)
    while slot_of(made.tenant_id, str(made.erp)) % 2 == 0:
        made.erp = new_id()
    await made.create()
    await made.article("A", on_hand=1000)
    return made


async def test_a_lane_finishes_its_calls_before_it_moves(bed: Bed, remote: HostileServer) -> None:
    connector = build_connector(feed_interval=timedelta(hours=1))
    remote.put_faults(Fault(kind="delay_reply", seconds=4.5, method="POST", path="/api/erp/orders", times=4))
    orders = [await bed.order(place(remote.world, ("A", 1))) for _ in range(4)]
    async with bed.running(connector=connector):
        await until(lambda: remote.world.faults_used.get("delay_reply") == 4)
        async with bed.running(connector=connector) as (second,):
            orders.append(await bed.order(place(remote.world, ("A", 1))))
            await until(bed.is_settled)
            await until(lambda: bed.erp in second._lanes)

    assert remote.world.effects["order.create"] == {order.reference: 1 for order in orders}
    purposes = await bed.pool.fetch("SELECT DISTINCT purpose FROM attempt")
    assert [row["purpose"] for row in purposes] == ["send"]


async def test_nodes_come_and_go(bed: Bed, remote: HostileServer) -> None:
    orders = []

    async def sell() -> None:
        for _ in range(60):
            orders.append(await bed.order(place(remote.world, ("A", 1))))
            await asyncio.sleep(0.05)

    async with bed.running():
        seller = asyncio.create_task(sell())
        for _ in range(4):
            async with bed.running():
                await asyncio.sleep(0.4)
        await seller
        await until(bed.is_settled)

    assert remote.world.effects["order.create"] == {order.reference: 1 for order in orders}
    assert (await bed.mark("A"))["acked_quantity"] == 1000
    await bed.check_evidence()
