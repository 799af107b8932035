"""Articles that a system deletes, restores or makes anew: asked for, buried, bound again; with T2 and the lanes on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from tests.dispatchbed import SETTINGS, Bed, stock_world, until

from tidegate.dispatch.drift import request_run
from tidegate.kernel.ids import new_id
from tidegate.sdk.testing import hostile_erp, hostile_shop
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_world import article_id_of
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.matches import read_deleted

pytestmark = pytest.mark.asyncio
NOW = "2026-11-20T10:00:00+00:00"
NEW = "art-new"


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    await owner_pool.execute(
        "INSERT INTO binding VALUES ($1, $2, 'location', 'wh-1', $3), ($1, $4, 'location', 'wh-1', $3)",
        made.tenant_id, made.erp, made.location, made.shop,
    )  # fmt: skip
    return made


async def told(bed: Bed, remote: HostileServer, *skus: str, units: int = 7) -> None:
    for sku in skus:
        await bed.article(sku, on_hand=units)
    stock_world(remote.world, [(sku, units) for sku in skus])
    await bed.pool.execute(
        "UPDATE channel_stock SET push_version = 1, acked_quantity = $1, acked_at = now() - interval '1 hour',"
        " dirty = false, dirty_at = NULL", units
    )  # fmt: skip
    await bed.pool.execute("UPDATE stock_entry SET at = now() - interval '1 hour'")


async def look(bed: Bed, name: str = "shop_a") -> None:
    """Look once, and let what it asked for be read and applied."""
    async with bed.pool.acquire() as conn:
        made = await request_run(conn, tenant_id=bed.tenant_id, actor="test", names=[name])

    async def is_over() -> bool:
        return bool(
            await bed.pool.fetchval("SELECT finished_at IS NOT NULL FROM sync_run WHERE run_id = $1", made.run_id)
        )

    await until(is_over)
    await settled(bed)


async def settled(bed: Bed) -> None:
    async def is_settled() -> bool:
        waits = await bed.pool.fetchval(
            "SELECT (SELECT count(*) FROM fetch_request) + (SELECT count(*) FROM event_queue)"
            " + (SELECT count(*) FROM channel_stock WHERE dirty OR blocked_by IS NOT NULL)"
        )
        return not waits

    await until(is_settled)


def make(remote: HostileServer, sku: str, article_id: str, units: int = 0, product: str = "") -> None:
    raw = {"sku": sku, "article_id": article_id, "shop_on_hand": units, "product_id": product}
    hostile_erp.put_articles(remote.world, [raw], NOW)


def delete(remote: HostileServer, *article_ids: str) -> None:
    hostile_erp.delete_articles(remote.world, list(article_ids))


async def bound(bed: Bed) -> dict[str, str]:
    rows = await bed.pool.fetch(
        "SELECT b.external_id, v.sku FROM binding b JOIN variant v ON v.variant_id = b.internal_id"
        " WHERE b.connection_id = $1 AND b.kind = 'variant'", bed.shop
    )  # fmt: skip
    return {row[0]: row[1] for row in rows}


async def deleted(bed: Bed) -> dict[str, Any]:
    async with bed.pool.acquire() as conn:
        return {one.external_id: one for one in await read_deleted(conn, bed.tenant_id, "shop_a", limit=50)}


async def story(bed: Bed) -> list[tuple[str, str]]:
    rows = await bed.pool.fetch("SELECT kind, external_id FROM drift_entry WHERE field = 'listed' ORDER BY entry_id")
    return [tuple(row) for row in rows]


async def test_a_deleted_article_is_told_nothing_and_its_late_orders_are_taken(bed: Bed, remote: HostileServer) -> None:
    await told(bed, remote, "A", "B")
    async with bed.running_whole():
        delete(remote, article_id_of("A"))
        await look(bed)
        assert await bound(bed) == {article_id_of("B"): "B"}
        assert (await deleted(bed))[article_id_of("A")].replaced_by is None
        assert await story(bed) == [("deleted", article_id_of("A"))]

        sets = len(remote.world.stock_sets)
        await bed.move("A", on_hand=5)
        await bed.move("B", on_hand=5)
        await settled(bed)
        assert {each.article_id for each in remote.world.stock_sets[sets:]} == {article_id_of("B")}
        assert await bed.pool.fetchval("SELECT count(*) FROM command WHERE state = 'failed'") == 0
        await look(bed)
        assert await bed.pool.fetchval("SELECT count(*) FROM drift WHERE field = 'stock'") == 0

        # it is sold out of the deleted listing, whose SKU was another one by then: what it stands for is known all the same
        make(remote, "A-OLD", article_id_of("A"))
        order = hostile_shop.place_order(remote.world, {"lines": [{"sku": "A", "quantity": 2}]}, NOW)
        delete(remote, article_id_of("A"))
        await bed.pool.execute(
            "INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by)"
            " VALUES ($1, $2, 'order', $3, $4)", bed.tenant_id, bed.shop, order["order_id"], new_id()
        )  # fmt: skip
        await bed.pool.execute("SELECT pg_notify('tidegate_command', '')")
        await until(lambda: is_committed(bed, "A", 2))
        assert await bed.pool.fetchval("SELECT count(*) FROM variant WHERE sku LIKE 'A%'") == 1


async def is_committed(bed: Bed, sku: str, units: int) -> bool:
    found = await bed.pool.fetchval("SELECT sum(committed) FROM stock_balance WHERE item_id = $1", bed.items[sku])
    return int(found or 0) == units


async def test_what_was_made_anew_takes_the_place_and_is_told_its_number(bed: Bed, remote: HostileServer) -> None:
    await told(bed, remote, "A", "B")
    async with bed.running_whole():
        delete(remote, article_id_of("A"))
        make(remote, "A", NEW)
        await look(bed)  # one look finds both; what was deleted is buried before its place is taken
        await until(lambda: is_bound(bed, NEW, "A"))
        await settled(bed)
        assert remote.world.articles[NEW].shop_on_hand == 7
        assert await story(bed) == [("deleted", article_id_of("A")), ("relinked", NEW)]
        assert (await deleted(bed))[article_id_of("A")].replaced_by == NEW
        await look(bed)
        assert len(await story(bed)) == 2
        assert await bed.pool.fetchval("SELECT count(*) FROM drift WHERE field = 'stock'") == 0


async def test_units_of_a_deleted_article_are_free_once_its_orders_are_read_and_a_new_one_has_none_of_them(
    bed: Bed, remote: HostileServer
) -> None:
    """I11: what it sold until it was deleted may be untold, and what the new article shows is not known."""
    await told(bed, remote, "A")
    await bed.configure(more='overrides: [{match: "sku:A", stock.allocation: always}]')
    await bed.pool.execute("UPDATE channel_stock SET dirty = true, dirty_at = now()")

    async def lot() -> tuple[Any, ...] | None:
        row = await bed.pool.fetchrow("SELECT settled, cap, is_sold FROM channel_allocation")
        return None if row is None else tuple(row)

    async def is_lot(*wanted: tuple[Any, ...] | None) -> bool:
        return await lot() in wanted

    async def pass_time() -> None:
        await bed.pool.execute("UPDATE channel_allocation SET drains_since = drains_since - interval '2 hours'")
        await bed.pool.execute("UPDATE channel_stock SET not_before = NULL")

    async with bed.running_whole(settings=replace(SETTINGS, unseen_settle_seconds=3600.0, drain_look_seconds=0.2)):
        await until(lambda: is_lot((None, 0, True)), seconds=90)  # it is told 0 first
        await pass_time()
        await until(lambda: is_lot((7, None, True)), seconds=90)
        delete(remote, article_id_of("A"))
        await ask(bed)
        await until(lambda: is_lot((7, 0, False)), seconds=90)
        make(remote, "A", NEW, units=30)
        await ask(bed)
        await until(lambda: is_bound(bed, NEW, "A"), seconds=90)
        await until(lambda: is_lot((None, 0, True)), seconds=90)
        assert remote.world.articles[NEW].shop_on_hand == 0
        await pass_time()
        await until(lambda: is_lot((7, None, True)), seconds=90)
        assert remote.world.articles[NEW].shop_on_hand == 7
        delete(remote, NEW)
        await ask(bed)
        await until(lambda: is_lot((7, 0, False)), seconds=90)
        await pass_time()
        await until(lambda: is_lot(None), seconds=90)
        assert await bed.pool.fetchval("SELECT count(*) FROM channel_stock") == 0


async def ask(bed: Bed) -> None:
    async with bed.pool.acquire() as conn:
        await request_run(conn, tenant_id=bed.tenant_id, actor="test", names=["shop_a"])


async def is_bound(bed: Bed, external_id: str, sku: str) -> bool:
    return (await bound(bed)).get(external_id) == sku


@pytest.mark.parametrize("why", ["two of them", "a person wants to be asked"])
async def test_whether_it_takes_the_place_is_asked_where_it_is_not_clear(
    bed: Bed, remote: HostileServer, why: str
) -> None:
    await told(bed, remote, "A", "B")
    if why != "two of them":
        await bed.configure(more="reconcile: {default: {relink: approve}}")
    async with bed.running_whole():
        delete(remote, article_id_of("A"))
        make(remote, "A", NEW)
        if why == "two of them":
            make(remote, "A", "art-newer")
        await look(bed)
        await look(bed)
        assert await bound(bed) == {article_id_of("B"): "B"}
        waiting = (await deleted(bed))[article_id_of("A")].waiting
        assert waiting == (NEW, "art-newer")[: len(waiting)]
        assert len(waiting) == (2 if why == "two of them" else 1)
        rows = await bed.pool.fetch("SELECT external_id, reason, candidates FROM match_open ORDER BY 1")
        assert [(row[0], row[1], list(row[2])) for row in rows] == [(name, "recreated", ["A"]) for name in waiting]
        assert (await story(bed)).count(("relink_asked", NEW)) == 1


async def test_an_article_that_is_restored_is_bound_again(bed: Bed, remote: HostileServer) -> None:
    await told(bed, remote, "A", "B")
    async with bed.running_whole():
        delete(remote, article_id_of("A"))
        await look(bed)
        make(remote, "A", article_id_of("A"), units=3)
        await look(bed)
        await until(lambda: is_bound(bed, article_id_of("A"), "A"))
        await settled(bed)
        assert remote.world.articles[article_id_of("A")].shop_on_hand == 7
        assert await deleted(bed) == {}
        delete(remote, article_id_of("A"))
        await look(bed)
        assert [kind for kind, _ in await story(bed)] == ["deleted", "restored", "deleted"]


async def test_a_deleted_product_takes_its_articles_with_it_once_the_shop_says_so(
    bed: Bed, remote: HostileServer
) -> None:
    await told(bed, remote, "A", "B", "C")
    for sku in ("A", "B"):
        remote.world.articles[article_id_of(sku)].product_id = "p-1"
    async with bed.running_whole():
        await look(bed)  # tells which product each article is part of
        await hint(bed, "p-1")  # somebody says that it was deleted, and it is still there
        assert len(await bound(bed)) == 3
        delete(remote, article_id_of("A"), article_id_of("B"))
        await hint(bed, "p-1")
        assert await bound(bed) == {article_id_of("C"): "C"}
        await hint(bed, "p-1")
        assert await story(bed) == [("deleted", article_id_of("A")), ("deleted", article_id_of("B"))]


async def hint(bed: Bed, product: str) -> None:
    await bed.pool.execute(
        "INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by)"
        " VALUES ($1, $2, 'product', $3, $4)", bed.tenant_id, bed.shop, product, new_id()
    )  # fmt: skip
    await bed.pool.execute("SELECT pg_notify('tidegate_command', '')")
    await settled(bed)


async def test_a_list_that_lacks_too_much_buries_nothing(bed: Bed, remote: HostileServer) -> None:
    """A broken read of the other side is no proof; nor is one article that a list leaves out and that is there."""
    skus = [f"S-{number:02}" for number in range(30)]
    await told(bed, remote, *skus)
    async with bed.running_whole():
        delete(remote, *[article_id_of(sku) for sku in skus[:12]])
        await look(bed)
        assert len(await bound(bed)) == 30
        row = await bed.pool.fetchrow("SELECT missing FROM sync_read ORDER BY run_id DESC LIMIT 1")
        assert row is not None
        assert row["missing"] == 12
