"""Stock numbers: made of committed stock when they leave, told in bulk, never while a fulfillment of the item is out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from tests.dispatchbed import Bed, place, stock_world, until

from tidegate.commerce.commands import CommandKind
from tidegate.kernel.ids import new_id
from tidegate.sdk.connector import TokenBucket
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_connector import BULK_MAX, build_connector
from tidegate.sdk.testing.hostile_faults import Fault
from tidegate.sdk.testing.hostile_world import article_id_of
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
STOCK = "/api/shop/stock"


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        server.world.unique_references = False
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    return made


def pushes(remote: HostileServer) -> int:
    return remote.world.requests.get(f"PUT {STOCK}", 0)


async def test_items_are_told_in_bulk(bed: Bed, remote: HostileServer) -> None:
    skus = [f"S{n}" for n in range(BULK_MAX * 2 + 20)]
    stock_world(remote.world, [(sku, 0) for sku in skus])
    for number, sku in enumerate(skus):
        await bed.article(sku)
        await bed.move(sku, on_hand=number)

    async with bed.running():
        await until(bed.is_settled)

    assert [remote.world.articles[article_id_of(sku)].shop_on_hand for sku in skus] == list(range(len(skus)))
    assert pushes(remote) == 3
    assert await bed.states() == {"succeeded": len(skus)}
    mark = await bed.mark("S7")
    assert (mark["acked_quantity"], mark["push_version"], mark["dirty"], mark["blocked_by"]) == (7, 1, False, None)
    ledger = await bed.pool.fetchval("SELECT ledger FROM command WHERE entity_id = $1", bed.items["S7"])
    assert msgspec.json.decode(ledger)["on_hand"] == 7
    await bed.check_evidence()


async def test_a_thousand_changes_of_an_item_are_a_handful_of_calls(bed: Bed, remote: HostileServer) -> None:
    stock_world(remote.world, [("A", 0)])
    await bed.article("A")

    lane = build_connector(budget=TokenBucket(capacity=2, per_second=2), feed_interval=timedelta(hours=1))
    async with bed.running(connector=lane):
        for _ in range(20):
            await asyncio.gather(*(bed.move("A", on_hand=1) for _ in range(50)))
        await until(bed.is_settled)

    assert remote.world.articles["art-A"].shop_on_hand == 1000
    assert pushes(remote) < 100
    assert (await bed.mark("A"))["acked_quantity"] == 1000


async def test_an_unchanged_number_is_not_told_again(bed: Bed, remote: HostileServer) -> None:
    stock_world(remote.world, [("A", 0)])
    await bed.article("A")
    await bed.move("A", on_hand=5)
    async with bed.running():
        await until(bed.is_settled)

        await bed.move("A", on_hand=3, committed=3)
        await until(bed.is_settled)

    assert pushes(remote) == 1
    assert (await bed.mark("A"))["push_version"] == 1


async def test_single_items_are_rejected_and_the_others_told(bed: Bed, remote: HostileServer) -> None:
    """A rejected number is a dead letter and does not come again by itself; an operator's retry marks the item."""
    skus = ["A", "B", "C"]
    stock_world(remote.world, [(sku, 0) for sku in skus])
    for sku in skus:
        await bed.article(sku)
        await bed.move(sku, on_hand=4)
    remote.put_faults(Fault(kind="reject_items", method="PUT", path=STOCK, items=(1,)))

    async with bed.running():
        await until(bed.is_settled)

    assert await bed.states() == {"succeeded": 2, "failed": 1}
    assert pushes(remote) == 1
    failed = await bed.pool.fetchrow("SELECT code, reason FROM command WHERE state = 'failed'")
    assert failed is not None
    assert failed["code"] == "item_rejected"


async def test_a_push_that_failed_for_now_is_made_anew_with_the_number_of_then(bed: Bed, remote: HostileServer) -> None:
    stock_world(remote.world, [("A", 0)])
    await bed.article("A")
    await bed.move("A", on_hand=4)
    remote.put_faults(Fault(kind="status", status=423, code="busy", method="PUT", path=STOCK, times=3))

    async with bed.running():
        await until(lambda: remote.world.faults_used.get("status", 0) >= 1)
        await bed.move("A", on_hand=-1)
        await until(bed.is_settled)

    assert remote.world.articles["art-A"].shop_on_hand == 3
    states = [(row["state"], row["code"]) for row in await bed.commands_of(bed.items["A"])]
    assert states == [("superseded", "replanned")] * 3 + [("succeeded", None)]
    assert (await bed.mark("A"))["tries"] == 0


async def test_a_lost_answer_of_a_push_is_looked_up(bed: Bed, remote: HostileServer) -> None:
    stock_world(remote.world, [("A", 0)])
    await bed.article("A")
    await bed.move("A", on_hand=4)
    remote.put_faults(Fault(kind="lose_reply", method="PUT", path=STOCK))

    async with bed.running():
        await until(bed.is_settled)

    assert pushes(remote) == 1
    assert [row["code"] for row in await bed.commands_of(bed.items["A"])] == ["found"]
    assert (await bed.mark("A"))["acked_quantity"] == 4


async def test_a_push_that_never_arrived_is_planned_anew(bed: Bed, remote: HostileServer) -> None:
    """The old number is not sent again: by now it may be too high."""
    stock_world(remote.world, [("A", 0)])
    await bed.article("A")
    await bed.move("A", on_hand=4)
    remote.put_faults(Fault(kind="reset", method="PUT", path=STOCK))

    async with bed.running():
        await until(lambda: remote.world.faults_used.get("reset", 0) == 1)
        await bed.move("A", on_hand=-3)
        await until(bed.is_settled)

    assert [sent.quantity for sent in remote.world.stock_sets] == [1]
    states = [row["state"] for row in await bed.commands_of(bed.items["A"])]
    assert states == ["superseded", "succeeded"]


async def test_after_a_doubt_the_old_number_is_not_believed(bed: Bed, remote: HostileServer) -> None:
    """The lost push arrived and nobody could see it; the number of before is told again although it was told once."""
    stock_world(remote.world, [("A", 0)])
    await bed.article("A")
    await bed.move("A", on_hand=5)
    async with bed.running():
        await until(bed.is_settled)
        remote.put_faults(
            Fault(kind="lose_reply", method="PUT", path=STOCK),
            Fault(kind="stale_read", method="GET", path=STOCK, times=3),
        )
        await bed.move("A", on_hand=-1)
        await until(lambda: remote.world.faults_used.get("lose_reply") == 1)
        await bed.move("A", on_hand=1)
        await until(bed.is_settled)

    assert [sent.quantity for sent in remote.world.stock_sets] == [5, 4, 5]


BLIND = build_connector(
    feed_interval=timedelta(hours=1), stock_number="available", readback_settle=timedelta(seconds=2)
)
"""The last number that arrives is shown, and nothing is taken off there: as with WooCommerce and a till."""


@pytest.mark.parametrize("fault", ["reset", "lose_reply"])
async def test_a_newer_number_goes_after_one_in_doubt_at_once(bed: Bed, remote: HostileServer, fault: str) -> None:
    """Nobody waits for what became of it: the newer number is right either way."""
    stock_world(remote.world, [("A", 0)])
    await bed.article("A")
    await bed.move("A", on_hand=4)
    remote.put_faults(Fault(kind=fault, method="PUT", path=STOCK))  # type: ignore[arg-type]

    async with bed.running(connector=BLIND):
        await until(lambda: remote.world.faults_used.get(fault, 0) == 1)
        await bed.move("A", on_hand=-3)
        await until(lambda: remote.world.articles["art-A"].shop_on_hand == 1)
        assert (await bed.mark("A"))["late_until"] is not None, "it came before the lost one is given up"
        await until(bed.is_settled)

    assert remote.world.requests.get(f"GET {STOCK}", 0) == 0
    assert next(row["code"] for row in await bed.commands_of(bed.items["A"])) == "overtaken"
    assert (await bed.mark("A"))["late_until"] is None
    await bed.check_evidence()


async def test_a_number_that_arrives_after_a_newer_one_is_mended(bed: Bed, remote: HostileServer) -> None:
    """It was given up, the newer one was told, and then it came all the same: the channel is told once more."""
    stock_world(remote.world, [("A", 0)])
    await bed.article("A")
    await bed.move("A", on_hand=4)
    remote.put_faults(Fault(kind="reset", method="PUT", path=STOCK))

    async with bed.running(connector=BLIND):
        await until(lambda: remote.world.faults_used.get("reset", 0) == 1)
        await bed.move("A", on_hand=-3)
        await until(lambda: remote.world.articles["art-A"].shop_on_hand == 1)
        remote.world.articles["art-A"].shop_on_hand = 4
        await until(bed.is_settled)

    assert remote.world.articles["art-A"].shop_on_hand == 1
    assert [sent.quantity for sent in remote.world.stock_sets][-2:] == [1, 1]


async def test_item_that_the_shop_does_not_sell_is_one_dead_letter(bed: Bed, remote: HostileServer) -> None:
    await bed.article("A", bind_shop=False)
    async with bed.running():
        for _ in range(3):
            await bed.move("A", on_hand=1)
            await until(bed.is_settled)

    (failed,) = await bed.commands_of(bed.items["A"])
    assert (failed["state"], failed["code"]) == ("failed", "sku_unbound")
    assert "tidegate connect" in failed["reason"]
    assert pushes(remote) == 0


async def test_number_is_the_committed_truth_at_its_read_point(bed: Bed, remote: HostileServer) -> None:
    """Two locations of one item sell while numbers are made: each number is the sum of both at the moment of its T2s.

    Both sides hold the item's mark while they note the time, so these times are the order in which they really happened.
    """
    stock_world(remote.world, [("A", 0)])
    await bed.article("A", on_hand=300)
    second = new_id()
    await bed.pool.execute(
        "INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, 'second')", bed.tenant_id, second
    )
    await bed.move("A", on_hand=300, location=second)
    await bed.pool.execute("CREATE TABLE truth (at timestamptz, total int)")

    async with bed.running(2):
        await asyncio.gather(*(_sell(bed, location) for location in (bed.location, second) for _ in range(2)))
        await until(bed.is_settled)

    rows = await bed.pool.fetch(
        "SELECT c.quantity, (SELECT t.total FROM truth t WHERE t.at < k.created_at ORDER BY t.at DESC LIMIT 1) AS total"
        " FROM command c JOIN call k USING (tenant_id, call_id) WHERE c.kind = 'inventory.set'"
    )
    assert len(rows) > 1  # numbers that come together wait for each other
    assert [row["quantity"] for row in rows] == [600 if row["total"] is None else row["total"] for row in rows]
    assert remote.world.articles["art-A"].shop_on_hand == 200


async def _sell(bed: Bed, location: UUID) -> None:
    for _ in range(100):
        async with bed.pool.acquire() as conn, conn.transaction():
            await bed._lock_mark(conn, bed.items["A"])
            await bed._move(conn, "A", on_hand=-1, location=location)
            await conn.execute(
                "INSERT INTO truth SELECT clock_timestamp(), sum(on_hand) FROM stock_balance WHERE item_id = $1",
                bed.items["A"],
            )
            await conn.execute("SELECT pg_notify('tidegate_command', '')")


async def test_no_number_leaves_while_a_fulfillment_of_the_item_is_out(bed: Bed, remote: HostileServer) -> None:
    """Else the shop's own deduction would count twice. Other items go on; two fulfillments of one item may overlap."""
    stock_world(remote.world, [("A", 20), ("B", 5)])
    await bed.article("A", on_hand=20)
    await bed.article("B", on_hand=5)
    first = await bed.order(place(remote.world, ("A", 3)), create=False)
    second = await bed.order(place(remote.world, ("A", 2)), create=False)
    async with bed.running():
        await until(bed.is_settled)
        before = pushes(remote)
        remote.put_faults(Fault(kind="delay_reply", seconds=1.0, path="*/fulfillments", times=2))
        await bed.ship(first, "A", 3)
        await bed.ship(second, "A", 2)
        await until(lambda: remote.world.faults_used.get("delay_reply") == 2)
        await bed.move("A", on_hand=10)
        await bed.move("B", on_hand=1)
        await until(lambda: remote.world.articles["art-B"].shop_on_hand == 6)

        assert await bed.states(CommandKind.FULFILLMENT_CREATE) == {"sending": 2}
        assert pushes(remote) == before + 1
        await until(bed.is_settled)

    article = remote.world.articles["art-A"]
    assert (article.shop_on_hand, article.shop_allocated) == (25, 0)
    assert (await bed.mark("A"))["acked_quantity"] == 25
    lines = await bed.pool.fetch("SELECT current, shipped, fulfilled FROM order_line ORDER BY line_id")
    assert [tuple(row) for row in lines] == [(3, 3, 3), (2, 2, 2)]
    assert [row["state"] for row in await bed.pool.fetch("SELECT state FROM fulfillment")] == ["confirmed"] * 2
    await bed.check_evidence()


async def test_no_fulfillment_leaves_while_a_number_of_the_item_is_out(bed: Bed, remote: HostileServer) -> None:
    stock_world(remote.world, [("A", 20)])
    await bed.article("A", on_hand=20)
    order = await bed.order(place(remote.world, ("A", 3)), create=False)
    async with bed.running():
        await until(bed.is_settled)
        remote.put_faults(Fault(kind="delay_reply", seconds=1.0, method="PUT", path=STOCK))
        await bed.move("A", on_hand=10)
        await until(lambda: remote.world.faults_used.get("delay_reply") == 1)
        await bed.ship(order, "A", 3)
        await until(lambda: remote.world.effects.get("fulfillment.create", {}) != {})
        pushed = await bed.pool.fetchval(
            "SELECT max(x.at) < (SELECT min(started_at) FROM attempt a JOIN call k USING (tenant_id, call_id)"
            " WHERE k.kind = 'fulfillment.create')"
            " FROM attempt_answer x JOIN attempt a USING (tenant_id, attempt_id) JOIN call k USING (tenant_id, call_id)"
            " WHERE k.kind = 'inventory.set'"
        )
        assert pushed is True
        await until(bed.is_settled)

    article = remote.world.articles["art-A"]
    assert (article.shop_on_hand, article.shop_allocated) == (27, 0)
    assert [sent.quantity for sent in remote.world.stock_sets] == [20, 30]  # the shop took the shipped units off itself


async def test_a_fulfillment_in_doubt_holds_its_item_and_nothing_else(bed: Bed, remote: HostileServer) -> None:
    stock_world(remote.world, [("A", 20), ("B", 5)])
    await bed.article("A", on_hand=20)
    await bed.article("B", on_hand=5)
    first = await bed.order(place(remote.world, ("A", 3)), create=False)
    second = await bed.order(place(remote.world, ("A", 4), ("B", 1)), create=False)
    async with bed.running():
        await until(bed.is_settled)
        before = pushes(remote)
        remote.put_faults(
            Fault(kind="lose_reply", path="*/fulfillments"),
            Fault(kind="stale_read", method="GET", path="/api/shop/fulfillments", times=2),
        )
        _, doubted = await bed.ship(first, "A", 3)
        await until(lambda: remote.world.faults_used.get("lose_reply") == 1)
        _, other = await bed.ship(second, "A", 4)
        await until(lambda: remote.world.faults_used.get("stale_read", 0) >= 1)
        assert (await bed.command(doubted))["state"] == "in_doubt"
        await bed.move("A", on_hand=1)
        await until(lambda: len(remote.world.fulfillments) == 2)

        assert pushes(remote) == before
        await until(bed.is_settled)
        assert (await bed.command(other))["state"] == "succeeded"

    article = remote.world.articles["art-A"]
    assert (article.shop_on_hand, article.shop_allocated) == (14, 0)
    assert all(count == 1 for count in remote.world.effects["fulfillment.create"].values())


async def hurry(bed: Bed) -> None:
    await bed.pool.execute("UPDATE channel_stock SET priority = 40 WHERE dirty")


async def test_with_each_number_it_is_noted_how_far_the_next_change_can_wait(bed: Bed, remote: HostileServer) -> None:
    stock_world(remote.world, [("A", 0), ("B", 0)])
    for sku in ("A", "B"):
        await bed.article(sku)
    await bed.move("A", on_hand=100)
    await bed.move("B", on_hand=3, committed=1)

    async with bed.running():
        await until(bed.is_settled)
        first = {sku: await bed.mark(sku) for sku in ("A", "B")}
        await bed.move("A", on_hand=-30)
        await hurry(bed)
        await until(bed.is_settled)
        second = await bed.mark("A")

    told = {sku: (mark["told_available"], mark["quiet_from"], mark["quiet_to"]) for sku, mark in first.items()}
    assert told == {"A": (100, 81, 119), "B": (2, 2, 2)}
    assert (second["told_available"], second["quiet_from"], second["priority"]) == (70, 57, 50)
    ledgers = [msgspec.json.decode(row["ledger"]) for row in await bed.commands_of(bed.items["A"])]
    assert [ledger.get("because") for ledger in ledgers] == [None, "percent"]
    assert all("unfulfilled" in ledger for ledger in ledgers), "this shop takes its own open orders off by itself"
    assert [row["priority"] for row in await bed.commands_of(bed.items["A"])] == [50, 40]


async def test_what_sells_fast_lets_no_change_wait(bed: Bed, remote: HostileServer) -> None:
    """Of its last twenty entries each took ten units: what is left lasts no ten minutes."""
    stock_world(remote.world, [("A", 0), ("SLOW", 0)])
    for sku in ("A", "SLOW"):
        await bed.article(sku)
        await bed.move(sku, on_hand=1000)
    for _ in range(20):
        await bed.move("A", committed=10)
        await bed.move("SLOW", committed=10)
    await bed.pool.execute("UPDATE stock_entry SET at = at - interval '1 day' WHERE item_id = $1", bed.items["SLOW"])

    async with bed.running():
        await until(bed.is_settled)

    marks = [await bed.mark(sku) for sku in ("A", "SLOW")]
    assert [(mark["quiet_from"], mark["quiet_to"]) for mark in marks] == [(800, 800), (641, 959)]


async def test_what_could_not_be_told_stays_urgent_and_is_no_measure(bed: Bed, remote: HostileServer) -> None:
    stock_world(remote.world, [("A", 0)])
    await bed.article("A")
    await bed.move("A", on_hand=100)
    await hurry(bed)
    remote.put_faults(Fault(kind="status", status=423, code="busy", method="PUT", path=STOCK, times=3))

    async with bed.running():
        await until(lambda: remote.world.faults_used.get("status", 0) >= 3)
        await until(bed.is_settled)

    assert [row["priority"] for row in await bed.commands_of(bed.items["A"])] == [40] * 4
    mark = await bed.mark("A")
    assert (mark["told_available"], mark["priority"]) == (100, 50)


async def test_a_number_that_needs_no_telling_is_a_measure_too(bed: Bed, remote: HostileServer) -> None:
    stock_world(remote.world, [("A", 0)])
    await bed.article("A")
    await bed.move("A", on_hand=100)
    async with bed.running():
        await until(bed.is_settled)
        await bed.pool.execute("UPDATE channel_stock SET told_available = NULL, quiet_from = NULL, quiet_to = NULL")
        await bed.move("A")  # marked, and nothing changed
        await until(bed.is_settled)

    assert pushes(remote) == 1
    assert (await bed.mark("A"))["quiet_from"] == 81
