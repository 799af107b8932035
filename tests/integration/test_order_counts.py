"""Counts of a channel against what is known: a gap that neither webhook nor feed told of is found, read, and told of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from tests.dispatchbed import Bed, stock_world, until

from tidegate.monitor.sync_view import OrderCount, read_order_counts
from tidegate.sdk.testing import hostile_shop
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
CONNECTOR = build_connector(feed_interval=timedelta(hours=1), counts_every=timedelta(minutes=15))


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    await made.configure(polling=True)
    return made


async def counts(bed: Bed) -> dict[str, OrderCount]:
    async with bed.pool.acquire() as conn:
        found = await read_order_counts(conn, bed.tenant_id, datetime.now(UTC) + timedelta(minutes=1))
    return {one.connection: one for one in found}


async def outcomes(bed: Bed) -> dict[str, int]:
    rows = await bed.pool.fetch("SELECT code, count(*) FROM event_outcome GROUP BY 1")
    return {row[0]: row[1] for row in rows}


async def skip_feeds(bed: Bed, remote: HostileServer) -> None:
    """The feeds stand behind everything that the shop has: what they missed they never read again."""
    for connection_id in (bed.shop, bed.erp):
        for feed in ("orders", "moves", "shipments"):
            await bed.pool.execute(
                "INSERT INTO poll_cursor (tenant_id, connection_id, feed, cursor, last_ok_at) VALUES ($1, $2, $3, $4, now())",
                bed.tenant_id, connection_id, feed, str(remote.world.revision)
            )  # fmt: skip


async def test_orders_that_nothing_told_of_are_found_by_the_count(bed: Bed, remote: HostileServer) -> None:
    await bed.article("A", on_hand=10)
    stock_world(remote.world, [("A", 10)])
    placed_at = (datetime.now(UTC) - timedelta(minutes=30)).isoformat()
    for _ in range(3):
        hostile_shop.place_order(
            remote.world, {"lines": [{"sku": "A", "quantity": 1}], "placed_at": placed_at}, placed_at
        )
    await skip_feeds(bed, remote)

    async def is_found() -> bool:
        return int(await bed.pool.fetchval('SELECT count(*) FROM "order"')) == 3

    async with bed.running_whole(CONNECTOR):
        await until(is_found)
        found = (await counts(bed))["shop_a"]
        assert (found.theirs, found.ours, found.missing) == (3, 0, 0)
        assert (await outcomes(bed))["orders_missing"] >= 1

    await bed.pool.execute("DELETE FROM poll_observation WHERE topic = 'orders.counted'")  # an equal count is no news
    await bed.pool.execute("UPDATE poll_cursor SET cursor = '', last_ok_at = NULL WHERE feed = 'counts'")
    async with bed.running_whole(CONNECTOR):

        async def is_even() -> bool:
            return "orders_even" in await outcomes(bed)

        await until(is_even)
    assert (await counts(bed))["shop_a"].ours == 3


async def test_what_stays_missing_is_shown(bed: Bed, remote: HostileServer) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    row = (bed.tenant_id, bed.shop, now - timedelta(hours=1), now - timedelta(hours=2), 5, 3)
    sql = "INSERT INTO order_count (tenant_id, connection_id, until, since, theirs, ours, event_id) VALUES ($1, $2, $3, $4, $5, $6, $2)"
    await bed.pool.execute(sql, *row)
    found = (await counts(bed))["shop_a"]
    assert (found.missing, found.gap_since) == (5, row[3])
    async with bed.pool.acquire() as conn:
        early = await read_order_counts(conn, bed.tenant_id, now - timedelta(minutes=10))
    assert [one.missing for one in early] == [0]
