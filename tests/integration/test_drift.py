"""Drift: what systems show is read by runs, page by page, and compared with what their owners say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from tests.dispatchbed import Bed, until

from tidegate.dispatch.drift import RUNS_KEPT, request_run
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.testing import hostile_erp
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_faults import Fault
from tidegate.sdk.testing.hostile_world import article_id_of
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
NAMES = ("shop_a", "erp")
WRITES = ("PUT ", "POST /api/erp", "POST /api/shop")


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    await made.configure(mode="observe")
    await owner_pool.execute(
        "INSERT INTO binding VALUES ($1, $2, 'location', 'wh-1', $3), ($1, $4, 'location', 'wh-1', $3)",
        made.tenant_id, made.erp, made.location, made.shop,
    )  # fmt: skip
    return made


def show(remote: HostileServer, sku: str, **counters: int) -> None:
    """Let shop and ERP show numbers. The ERP's count has no movements here: nobody applies events."""
    counted = counters.pop("erp_on_hand", None)
    hostile_erp.put_articles(remote.world, [{"sku": sku, **counters}], datetime.now(UTC).isoformat())
    if counted is not None:
        remote.world.articles[article_id_of(sku)].erp_on_hand = counted


async def request(bed: Bed, *names: str) -> Any:
    async with bed.pool.acquire() as conn:
        return await request_run(conn, tenant_id=bed.tenant_id, actor="test", names=names or NAMES)


async def finished(bed: Bed, run_id: Any) -> bool:
    return bool(await bed.pool.fetchval("SELECT finished_at IS NOT NULL FROM sync_run WHERE run_id = $1", run_id))


async def run(bed: Bed, *names: str) -> None:
    made = await request(bed, *names)
    await until(lambda: finished(bed, made.run_id))


async def drift(bed: Bed, *, in_flight: bool = False) -> dict[tuple[str, str], Any]:
    rows = await bed.pool.fetch("SELECT * FROM drift WHERE in_flight = $1 ORDER BY sku, field", in_flight)
    return {(row["sku"], row["field"]): row for row in rows}


def writes(remote: HostileServer) -> dict[str, int]:
    return {name: count for name, count in remote.world.requests.items() if name.startswith(WRITES)}


async def test_what_differs_is_found_with_its_value_and_nothing_is_written(bed: Bed, remote: HostileServer) -> None:
    await bed.article("EVEN", on_hand=5)
    await bed.article("SHORT", on_hand=7)
    show(remote, "EVEN", shop_on_hand=5, erp_on_hand=5)
    show(remote, "SHORT", shop_on_hand=4, erp_on_hand=9, price_minor=1250)
    show(remote, "STRANGER", shop_on_hand=3, price_minor=200)

    async with bed.running():
        await run(bed)

    found = await drift(bed)
    assert found.keys() == {("SHORT", "stock"), ("SHORT", "on_hand"), ("STRANGER", "stock")}
    short = found["SHORT", "stock"]
    assert (short["owner"], short["other"], short["owner_value"], short["other_value"]) == ("tidegate", "shop_a", 7, 4)
    assert (short["risk"], short["risk_currency"], short["cause"]) == (Decimal("37.50"), "EUR", "observed")
    counted = found["SHORT", "on_hand"]
    assert (counted["owner"], counted["other"], counted["owner_value"], counted["other_value"]) == (
        "erp",
        "tidegate",
        9,
        7,
    )
    assert counted["cause"] == "moves_unseen"
    assert (found["STRANGER", "stock"]["cause"], found["STRANGER", "stock"]["risk"]) == ("unmatched", Decimal("6.00"))
    assert writes(remote) == {}


async def test_a_difference_keeps_its_age_and_goes_when_it_is_gone(bed: Bed, remote: HostileServer) -> None:
    await bed.article("A", on_hand=7)
    show(remote, "A", shop_on_hand=4, erp_on_hand=7)

    async with bed.running():
        await run(bed)
        first = (await drift(bed))["A", "stock"]
        show(remote, "A", shop_on_hand=3)
        await run(bed)
        again = (await drift(bed))["A", "stock"]
        show(remote, "A", shop_on_hand=7)
        await run(bed)

    assert (again["since"], again["other_value"]) == (first["since"], 3)
    assert again["seen_at"] > first["seen_at"]
    assert await drift(bed) == {}


async def test_a_number_on_its_way_is_not_called_drift(bed: Bed, remote: HostileServer) -> None:
    await bed.article("A", on_hand=7)
    await bed.article("B", on_hand=7)
    show(remote, "A", shop_on_hand=4, erp_on_hand=7)
    show(remote, "B", shop_on_hand=4, erp_on_hand=7)
    await bed.configure(mode="live")
    await bed.pool.execute("UPDATE channel_stock SET dirty = false, dirty_at = NULL")
    await bed.pool.execute("UPDATE channel_stock SET blocked_by = $1 WHERE item_id = $2", bed.shop, bed.items["A"])

    async with bed.running():
        await run(bed)

    assert (await drift(bed)).keys() == {("B", "stock")}
    assert (await drift(bed))["B", "stock"]["cause"] == "never_told"
    assert await drift(bed, in_flight=True) == {}


async def test_what_was_changed_behind_our_back_is_told_from_what_was_not_told(bed: Bed, remote: HostileServer) -> None:
    for sku in ("BEHIND", "FAILED"):
        await bed.article(sku, on_hand=7)
        show(remote, sku, shop_on_hand=4, erp_on_hand=7)
    await bed.configure(mode="live")
    await bed.pool.execute(  # nothing waits to be told: else the lane may be at it while the numbers are compared
        "UPDATE channel_stock SET push_version = 1, acked_quantity = 7, acked_at = now(), dirty = false, dirty_at = NULL"
    )
    await bed.pool.execute(
        "UPDATE channel_stock SET dirty = true, dirty_at = now(), tries = 3, not_before = now() + interval '1 hour' WHERE item_id = $1",
        bed.items["FAILED"],
    )

    async with bed.running():
        await run(bed)

    found = await drift(bed)
    assert found["BEHIND", "stock"]["cause"] == "changed_there"
    assert found["FAILED", "stock"]["cause"] == "push_failed"


async def test_many_pages_are_read_through_the_budget(bed: Bed, remote: HostileServer) -> None:
    """Every read goes through the lane's budget: the stored tokens pay for each page."""
    for number in range(230):
        show(remote, f"X-{number:03}", shop_on_hand=1)

    async with bed.running():
        await run(bed, "shop_a")

    read = await bed.pool.fetchrow("SELECT * FROM sync_read")
    assert read is not None
    assert (read["state"], read["pages"], read["articles"], read["compared"]) == ("done", 3, 230, 230)
    assert len(await drift(bed)) == 230


async def test_a_failing_page_is_tried_again_from_its_checkpoint(bed: Bed, remote: HostileServer) -> None:
    for number in range(150):
        show(remote, f"X-{number:03}", shop_on_hand=1)
    remote.put_faults(Fault(kind="status", path="/api/articles", status=503, times=2))

    async with bed.running():
        await run(bed, "shop_a")

    read = await bed.pool.fetchrow("SELECT * FROM sync_read")
    assert read is not None
    assert (read["state"], read["pages"], read["articles"], read["error"]) == ("done", 2, 150, None)


async def test_an_article_that_left_is_not_compared_with_what_it_showed_last(bed: Bed, remote: HostileServer) -> None:
    await bed.article("A", on_hand=7)
    show(remote, "A", shop_on_hand=7, erp_on_hand=7)

    async with bed.running():
        await run(bed)
        del remote.world.articles["art-A"]
        await run(bed)

    found = (await drift(bed))["A", "stock"]
    assert (found["cause"], found["owner_value"], found["other_value"]) == ("not_shown", 7, None)
    assert await bed.pool.fetchval("SELECT count(*) FROM shown") == 0


async def test_two_who_ask_at_the_same_time_share_a_run(bed: Bed) -> None:
    first, second = await asyncio.gather(request(bed, "shop_a"), request(bed, "erp"))

    assert first.run_id == second.run_id
    assert {first.is_new, second.is_new} == {True, False}
    assert await bed.pool.fetchval("SELECT count(*) FROM sync_read WHERE run_id = $1", first.run_id) == 2


async def test_a_connection_without_a_lane_is_named_and_the_run_ends(bed: Bed) -> None:
    await bed.pool.execute("UPDATE connection SET state = 'paused', state_reason = 'no address'")

    made = await request(bed)

    assert made.stopped == (("erp", "no address"), ("shop_a", "no address")) or len(made.stopped) == 2
    assert await finished(bed, made.run_id)


async def test_a_connection_that_stopped_in_the_middle_holds_no_run_open(bed: Bed) -> None:
    """Only its own lane ends a read, and it has none any more: nobody would be read again."""
    first = await request(bed)
    await bed.pool.execute("UPDATE connection SET state = 'waiting_auth' WHERE name = 'erp'")
    await bed.pool.execute(
        "UPDATE sync_read SET state = 'done'"
        " WHERE connection_id = (SELECT connection_id FROM connection WHERE name = 'shop_a')"
    )

    second = await request(bed, "shop_a")

    assert second.is_new
    assert await finished(bed, first.run_id)
    rows = await bed.pool.fetch("SELECT state, error FROM sync_read WHERE run_id = $1 ORDER BY state", first.run_id)
    assert [tuple(row) for row in rows] == [("done", None), ("failed", "the connection is waiting_auth")]


async def test_nothing_to_compare_is_said(bed: Bed) -> None:
    async with bed.pool.acquire() as conn:
        with pytest.raises(ConfigurationError, match="nothing to compare"):
            await request_run(conn, tenant_id=bed.tenant_id, actor="test", names=())


async def test_old_runs_are_forgotten(bed: Bed) -> None:
    await bed.pool.execute("UPDATE connection SET state = 'paused'")
    for _ in range(RUNS_KEPT + 5):
        await request(bed)

    assert await bed.pool.fetchval("SELECT count(*) FROM sync_run") == RUNS_KEPT
