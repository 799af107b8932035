"""What changes between planning and sending, and what commits later than it was waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from tests.dispatchbed import QUIET, Bed, place, stock_world, until

from tidegate.commerce.commands import CommandKind
from tidegate.dispatch import calls, t2s
from tidegate.dispatch.records import OpenCall
from tidegate.dispatch.window import load_window
from tidegate.kernel.ids import new_id
from tidegate.sdk.connector import FeedItem
from tidegate.sdk.http import Api
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.statements import REQUEST_FETCHES

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        server.world.unique_references = False
        stock_world(server.world, [("A", 0), ("B", 0)])
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    await made.article("A", on_hand=1000)
    return made


@pytest.mark.parametrize(
    ("column", "value"), [("order_state", "on_hold"), ("payment_state", "refunded"), ("payment_state", "voided")]
)
async def test_an_order_that_is_not_released_any_more_does_not_leave(
    bed: Bed, remote: HostileServer, column: str, value: str
) -> None:
    """The ERP would ship goods that nobody pays for."""
    order = await bed.order(place(remote.world, ("A", 1)))
    await bed.pool.execute(f'UPDATE "order" SET {column} = $1', value)  # a later event; it plans nothing

    async with bed.running():
        await until(bed.is_settled)

    (command,) = await bed.commands_of(order.order_id)
    assert (command["state"], command["code"]) == ("cancelled", "not_released")
    assert value in command["reason"]
    assert not remote.world.erp_orders


async def test_news_that_come_while_a_fetch_is_under_way_are_fetched(bed: Bed, remote: HostileServer) -> None:
    order = place(remote.world, ("A", 1))
    key = (bed.tenant_id, [bed.shop], ["order"], [order["order_id"]])
    reads = 0

    async def fetch(api: Api, external_id: str) -> FeedItem | None:
        nonlocal reads
        reads += 1
        item = await QUIET.fetch["order"](api, external_id)
        if reads == 1:  # the order changes now: T2 applies its thin event before this answer is stored
            await bed.pool.execute(REQUEST_FETCHES, *key, [new_id()], [0.0], [100], 100)
        return item

    await bed.pool.execute(REQUEST_FETCHES, *key, [new_id()], [0.0], [100], 100)
    async with bed.running(connector=replace(QUIET, fetch={"order": fetch})):

        async def is_done() -> bool:
            return reads > 0 and not await bed.pool.fetchval("SELECT count(*) FROM fetch_request")

        await until(is_done)

    assert reads >= 2


async def test_a_t2s_that_commits_after_it_was_given_up_does_not_stay_sending(bed: Bed, remote: HostileServer) -> None:
    await bed.order(place(remote.world, ("A", 1)))
    async with bed.running() as (worker,):

        async def has_lane() -> bool:
            return bed.erp in worker._lanes

        await until(has_lane)
        await until(bed.is_settled)
        scope = worker._lanes[bed.erp][0].scope
        worker._lanes[bed.erp][0].set_kinds(frozenset())  # nothing leaves by itself
        second = await bed.order(place(remote.world, ("A", 1)))
        async with bed.pool.acquire() as conn:
            window = await load_window(conn, scope)
        (command,) = [each for each in window.commands if each.entity_id == second.order_id]
        async with scope.pool.acquire() as slow:
            transaction = slow.transaction()
            await transaction.start()
            call = await t2s.begin_actions(slow, scope, (command,))
            assert isinstance(call, OpenCall)
            back = asyncio.create_task(calls._take_back(scope, call))  # the COMMIT's answer does not come in time
            await asyncio.sleep(0.3)
            await transaction.commit()  # and the server commits it all the same
            await back
        worker._lanes[bed.erp][0].set_kinds(frozenset(CommandKind))

        async def has_succeeded() -> bool:
            return bool((await bed.command(command.command_id))["state"] == "succeeded")

        await until(has_succeeded)


async def test_one_item_whose_number_is_out_holds_up_nobody_else(bed: Bed, remote: HostileServer) -> None:
    """More fulfillments than a window holds wait for it: those of other items go all the same."""
    await bed.article("B", on_hand=1000)
    for _ in range(130):
        order = await bed.order(place(remote.world, ("A", 1)), create=False)
        await bed.ship(order, "A", 1)
    other = await bed.order(place(remote.world, ("B", 1)), create=False)
    _, command_id = await bed.ship(other, "B", 1)
    await bed.pool.execute(  # a number of A that waits for a person
        "UPDATE channel_stock SET dirty = false, blocked_by = $1 WHERE item_id = $2", new_id(), bed.items["A"]
    )

    async def has_succeeded() -> bool:
        return bool((await bed.command(command_id))["state"] == "succeeded")

    async with bed.running():
        await until(has_succeeded)
