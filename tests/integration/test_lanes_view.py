"""What `tidegate lanes` shows: what waits, what holds it and until when; and a breaker that two lanes of one host share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from tests.dispatchbed import QUIET, SETTINGS, Bed, place, stock_world, until

from tidegate.monitor.lanes import LaneView, read_lanes
from tidegate.sdk.budgets import TokenBucket
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_faults import Fault
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
ORDERS = "/api/erp/orders"
SLACK = timedelta(seconds=2)


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    stock_world(remote.world, [("A", 1000)])
    await made.article("A", on_hand=1000)
    return made


async def lanes_of(bed: Bed) -> dict[str, LaneView]:
    async with bed.pool.acquire() as conn:
        return {lane.connection: lane for lane in await read_lanes(conn, bed.tenant_id, datetime.now(UTC))}


async def test_what_waits_is_shown_by_class(bed: Bed, remote: HostileServer) -> None:
    """Nobody works: three orders and a number wait, each class with its oldest."""
    for _ in range(3):
        await bed.order(place(remote.world, ("A", 1)))

    lanes = await lanes_of(bed)
    assert [(each.name, each.waiting) for each in lanes["erp"].waiting] == [("order", 3)]
    assert [(each.name, each.waiting) for each in lanes["shop_a"].waiting] == [("inventory", 1)]
    assert lanes["erp"].waiting[0].oldest_seconds >= 0
    assert (lanes["erp"].held_by, lanes["erp"].in_flight) == ("", 0)


async def test_an_empty_budget_is_said_with_its_end(bed: Bed, remote: HostileServer) -> None:
    """The head waits for the budget: the lane says so, and until when."""
    connector = replace(QUIET, budget=TokenBucket(capacity=1, per_second=0.2), feeds={})
    for _ in range(3):
        await bed.order(place(remote.world, ("A", 1)))

    async def is_said() -> bool:
        return (await lanes_of(bed))["erp"].held_by == "budget"

    async with bed.running(connector=connector):
        await until(is_said)
        lane = (await lanes_of(bed))["erp"]
    assert lane.held_until is not None
    assert lane.held_until > datetime.now(UTC) - SLACK
    assert "budget" in lane.words


async def test_a_host_that_is_down_parks_both_of_its_lanes(bed: Bed, remote: HostileServer) -> None:
    """The ERP's failures open the breaker of the host: the shop's lane at the same host rests too, and both recover."""
    remote.put_faults(Fault(kind="status", status=503, code="down", method="POST", path=ORDERS, times=None))
    settings = replace(SETTINGS, breaker_failures=2, breaker_seconds_max=3.0, retries_always=1000)
    for _ in range(4):
        await bed.order(place(remote.world, ("A", 1)))

    async def are_both_open() -> bool:
        await bed.move("A", on_hand=1)
        return all(lane.open_since is not None for lane in (await lanes_of(bed)).values())

    async with bed.running(settings=settings, connector=replace(QUIET, feeds={})):
        await until(are_both_open)
        remote.put_faults()
        await until(bed.is_settled)

        async def are_both_shut() -> bool:
            await bed.move("A", on_hand=1)
            await bed.order(place(remote.world, ("A", 1)))
            return all(lane.open_since is None for lane in (await lanes_of(bed)).values())

        await until(are_both_shut)


async def test_a_breaker_stays_open_whatever_the_lane_waits_for_and_a_new_process_asks_first(
    bed: Bed, remote: HostileServer
) -> None:
    """While what failed is parked nothing can be sent: the side counts as down all the same, also for the next owner.

    Once it answers the breaker is shut, although the lane that opened it is gone.
    """
    remote.put_faults(Fault(kind="status", status=503, code="down", method="*", path="/api/erp/*", times=None))
    settings = replace(SETTINGS, breaker_failures=2, breaker_seconds_max=1.0, retries_always=1000)
    connector = replace(QUIET, feeds={})
    order = await bed.order(place(remote.world, ("A", 1)))
    since = "SELECT breaker_opened_at FROM lane_state WHERE connection_id = $1"
    tries = "SELECT count(*) FROM attempt WHERE connection_id = $1"

    async def is_open() -> bool:
        return await bed.pool.fetchval(since, bed.erp) is not None

    async def has_tried_again() -> bool:
        assert await is_open() or first is None
        return int(await bed.pool.fetchval(tries, bed.erp)) >= 5

    first = None
    async with bed.running(settings=settings, connector=connector):
        await until(is_open)
        first = await bed.pool.fetchval(since, bed.erp)
        await until(has_tried_again)
        assert await bed.pool.fetchval(since, bed.erp) == first
    lane = (await lanes_of(bed))["erp"]
    assert (lane.state, lane.open_since) == ("open", first)

    remote.put_faults()
    async with bed.running(settings=settings, connector=connector):

        async def is_shut() -> bool:
            return not await is_open()

        await until(bed.is_settled)
        await until(is_shut)
    assert order is not None
    assert (await lanes_of(bed))["erp"].state == "active"


async def test_what_came_back_since_the_budget_was_stored_is_counted_in(bed: Bed, remote: HostileServer) -> None:
    """The stored count is old as soon as the lane rests: what is shown is what may be spent now, of all that there is."""
    connector = replace(QUIET, budget=TokenBucket(capacity=5, per_second=5), feeds={})
    await bed.order(place(remote.world, ("A", 1)))
    async with bed.running(connector=connector):
        await until(bed.is_settled)

    async def is_full() -> bool:
        lane = (await lanes_of(bed))["erp"]
        return lane.budget_left == 5.0

    stored = await bed.pool.fetchval("SELECT tokens FROM lane_state WHERE connection_id = $1", bed.erp)
    await until(is_full)
    lane = (await lanes_of(bed))["erp"]
    assert stored < 5.0
    assert (lane.budget_limit, lane.budget_rule) == (5.0, "5 at once, 5 per second")
    assert lane.used_last_minute is not None
    assert lane.used_last_minute >= 1.0
