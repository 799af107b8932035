"""What leaves under which mode, on the hostile remote: counted there, request by request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import pytest
import pytest_asyncio
from tests.dispatchbed import Bed, place, stock_world, until

from tidegate.commerce.commands import CommandKind
from tidegate.config.versions import record_version
from tidegate.dispatch import t2s
from tidegate.dispatch.approval import Selection, approve
from tidegate.dispatch.operator import retry_command
from tidegate.dispatch.window import load_window
from tidegate.kernel.errors import ConflictError
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.going_live import refresh_modes

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        server.world.unique_references = False
        stock_world(server.world, [("A", 0)])
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    await made.article("A", on_hand=1000)
    return made


def _has_more(remote: HostileServer, asked: int) -> bool:
    return sum(remote.world.requests.values()) > asked


def writes(remote: HostileServer) -> dict[str, int]:
    """Return what changes something there. Logging in does not."""
    asked = remote.world.requests.items()
    return {name: count for name, count in asked if not name.startswith(("GET", "HEAD")) and name != "POST /api/token"}


async def release(bed: Bed, **more: object) -> int:
    async with bed.pool.acquire() as conn:
        selection = Selection(**more)  # type: ignore[arg-type]
        return (await approve(conn, tenant_id=bed.tenant_id, selection=selection, actor="anna")).count


async def test_observe_writes_nothing_whatever_happens_and_whoever_restarts(bed: Bed, remote: HostileServer) -> None:
    await bed.configure(mode="observe", polling=True)
    order = await bed.order(place(remote.world, ("A", 1)))
    await bed.ship(order, "A", 1)
    for _ in range(3):
        async with bed.running(2, connector=build_connector(feed_interval=timedelta(seconds=0.1))):
            await bed.move("A", on_hand=5)
            asked = sum(remote.world.requests.values())
            await until(partial(_has_more, remote, asked))
            await asyncio.sleep(0.3)
    async with bed.pool.acquire() as conn:
        await refresh_modes(conn, bed.tenant_id)

    assert not remote.world.effects
    assert not writes(remote), "counted by the other side"


async def test_a_proposed_order_leaves_once_when_it_is_approved(bed: Bed, remote: HostileServer) -> None:
    await bed.configure(mode="propose")
    order = await bed.order(place(remote.world, ("A", 1)))
    async with bed.running(2):

        async def is_proposed() -> bool:
            return bool((await bed.states(CommandKind.ORDER_CREATE)).get("proposed"))

        await until(is_proposed)
        assert not remote.world.effects
        assert await release(bed, flows=("orders",)) == 1
        assert await release(bed, flows=("orders",)) == 0
        await until(lambda: remote.world.effects.get("order.create") == {order.reference: 1})

    row = await bed.pool.fetchrow("SELECT state, approved_by FROM command WHERE kind = 'order.create'")
    assert row is not None
    assert row["approved_by"] == "anna"


async def test_an_approved_number_is_the_one_that_is_true_when_it_is_sent_and_then_it_waits_again(
    bed: Bed, remote: HostileServer
) -> None:
    await bed.configure(mode="propose")
    await bed.move("A", on_hand=-10)
    assert await release(bed, skus=("A",)) == 1
    await bed.move("A", on_hand=-10)

    async with bed.running():
        await until(lambda: remote.world.articles["art-A"].shop_on_hand == 980)
        await bed.move("A", on_hand=-10)
        await asyncio.sleep(0.5)
        assert remote.world.articles["art-A"].shop_on_hand == 980
        assert await release(bed) == 1
        await until(lambda: remote.world.articles["art-A"].shop_on_hand == 970)

    command = await bed.pool.fetchrow("SELECT approved_by FROM command WHERE kind = 'inventory.set' LIMIT 1")
    assert command is not None
    assert command["approved_by"] == "anna"


async def test_t2s_obeys_the_mode_of_the_database_and_not_what_its_lane_remembers(
    bed: Bed, remote: HostileServer
) -> None:
    async with bed.running() as (worker,):
        await until(lambda: _has_lane(worker, bed))
        lane = worker._lanes[bed.erp][0]
        lane.set_kinds(frozenset())
        await bed.order(place(remote.world, ("A", 1)))
        async with bed.pool.acquire() as conn:
            (command,) = (await load_window(conn, lane.scope)).commands
        async with bed.pool.acquire() as conn:
            await record_version(conn, await _document(bed, "observe"), applied_by="test")
            await refresh_modes(conn, bed.tenant_id)
            await bed.pool.execute("UPDATE command SET state = 'pending', finished_at = NULL, code = NULL")

        begun = await lane.scope.transact(lambda conn: t2s.begin_actions(conn, lane.scope, (command,)))

    assert isinstance(begun, t2s.NotBegun)
    assert begun.why == "ended"
    assert not remote.world.effects


async def test_a_move_to_observe_waits_for_the_send_that_is_decided(bed: Bed, remote: HostileServer) -> None:
    """T2s holds the mode: the move is done when the call is durable, and that call settles."""
    async with bed.running() as (worker,):
        await until(lambda: _has_lane(worker, bed))
        scope = worker._lanes[bed.erp][0].scope
        worker._lanes[bed.erp][0].set_kinds(frozenset())
        await bed.order(place(remote.world, ("A", 1)))
        async with bed.pool.acquire() as conn:
            (command,) = (await load_window(conn, scope)).commands
        async with scope.pool.acquire() as slow:
            transaction = slow.transaction()
            await transaction.start()
            await t2s.begin_actions(slow, scope, (command,))
            moving = asyncio.create_task(bed.configure(mode="observe"))
            await asyncio.wait([moving], timeout=0.4)
            assert not moving.done()
            await transaction.commit()
            await moving

    assert (await bed.command(command.command_id))["state"] == "sending"


async def test_retrying_what_a_flow_that_observes_would_send_is_refused(bed: Bed) -> None:
    await bed.configure(mode="observe")
    async with bed.pool.acquire() as conn:
        command_id = await bed.plan(conn, bed.erp, CommandKind.ORDER_CANCEL, bed.location, "order:x")
        await bed.pool.execute("UPDATE command SET state = 'failed', finished_at = now()")
        with pytest.raises(ConflictError, match="observes"):
            await retry_command(conn, tenant_id=bed.tenant_id, command_id=command_id, actor="a")


async def _has_lane(worker: object, bed: Bed) -> bool:
    return bed.erp in getattr(worker, "_lanes")  # noqa: B009 - a look inside of the worker


async def _document(bed: Bed, mode: str) -> str:
    stored: str = await bed.pool.fetchval("SELECT document FROM config_version ORDER BY version DESC LIMIT 1")
    return stored.replace("mode: live", f"mode: {mode}")
