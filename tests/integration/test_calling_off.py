"""The newest orders that nobody can serve are cancelled in their shop, which then tells so: nothing is undone here before."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.applybed import CONFIG, Bed, check_books, make_bed, move_event, order_event, placed_now
from tests.dispatchbed import Bed as Lanes
from tests.dispatchbed import place, stock_world, until

from tidegate.commerce.commands import CommandKind
from tidegate.monitor.explain import explain_order, find_orders
from tidegate.monitor.oversold import read_oversold
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_faults import Fault
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.backorders import settle

pytestmark = pytest.mark.asyncio
POLICY = CONFIG.replace(
    "to: [shop_a, shop_b], mode: live}", "to: [shop_a, shop_b], mode: live, oversell: cancel_newest}"
)
COMMANDS = """
SELECT o.number, n.name, c.kind, c.state, c.code FROM command c JOIN "order" o ON o.order_id = c.entity_id
JOIN connection n ON n.connection_id = c.connection_id ORDER BY 1, 2, 3, c.version
"""


async def sell(bed: Bed, *orders: tuple[str, dict[str, int]], processes: int = 1) -> list[dict[str, Any]]:
    events = [placed_now(order_event(number, list(lines.items()))) for number, lines in orders]
    for event in events:
        await bed.append([("shop_a", event)])
        await bed.apply(processes)
    return events


async def commands(bed: Bed) -> dict[tuple[str, str, str], tuple[str, str | None]]:
    return {(row[0], row[1], row[2]): (row[3], row[4]) for row in await bed.pool.fetch(COMMANDS)}


async def test_the_newest_order_is_called_off_in_the_batch_that_oversells_and_held_until_its_shop_cancels_it(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_bed(database, owner_pool, config=POLICY)
    await bed.append([("erp", move_event("m1", "A", 5))])
    *_, third = await sell(bed, ("1", {"A": 3}), ("2", {"A": 2}), ("3", {"A": 2, "B": 1}))

    assert await commands(bed) == {
        ("N1", "erp", "order.create"): ("pending", None),
        ("N2", "erp", "order.create"): ("pending", None),
        ("N3", "erp", "order.create"): ("cancelled", "annihilated"),
        ("N3", "shop_a", "order.cancel"): ("pending", None),
        **{key: value for key, value in (await commands(bed)).items() if key == ("N3", "erp", "order.cancel")},
    }
    assert await bed.level("A") == (5, 7, -2), "its units are promised until the shop says that they are not"
    async with bed.pool.acquire() as conn:
        items = {item.sku: item for item in await read_oversold(conn, bed.tenant_id)}
    assert (items["A"].missing, items["A"].undecided) == (2, 0)
    assert [(order.number, order.called_off) for order in items["A"].orders] == [("N3", True)]

    paid = {**third, "id": "evt-3-2", "order": {**third["order"], "revision": 2, "payment_state": "paid"}}
    await bed.append([("shop_a", paid)])
    await bed.apply()
    assert (await commands(bed))["N3", "erp", "order.create"] == ("cancelled", "annihilated"), "nobody is to ship it"
    cancelled = {**third, "id": "evt-3-3", "order": {**third["order"], "revision": 3, "state": "cancelled"}}
    await bed.append([("shop_a", cancelled), ("shop_a", {**cancelled, "id": "evt-3-3-again"})])
    await bed.apply(processes=2)
    assert await bed.level("A") == (5, 5, 0)
    async with bed.pool.acquire() as conn:
        assert await read_oversold(conn, bed.tenant_id) == ()
        (order,) = await find_orders(conn, bed.tenant_id, "N3")
        story = await explain_order(conn, bed.tenant_id, order, cell="c0", now=order["placed_at"])
    assert [step.words for step in story.steps if "called off" in step.words] == [
        "called off by the policy of the stock flow: 2 x A more were sold than there were; its channel is asked to cancel it"
    ]
    await bed.check_books()


async def test_no_older_order_is_called_off_in_place_of_one_that_cannot_be(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_bed(database, owner_pool, config=POLICY.replace("cancel_newest", "[cancel_newest, backorder]"))
    await bed.append([("erp", move_event("m1", "A", 2))])
    late = placed_now(order_event("0", [("A", 1)]))
    await sell(bed, ("1", {"A": 2}))
    await bed.pool.execute("UPDATE command SET call_id = command_id, state = 'sending'")
    await bed.append([("shop_b", late)])
    await bed.apply()
    rows = await bed.pool.fetch('SELECT o.number, b.units FROM backorder b JOIN "order" o USING (order_id)')
    assert [tuple(row) for row in rows] == [("N1", 1)], "the newer one is with the ERP: it waits"
    assert ("N0", "shop_b", "order.cancel") not in await commands(bed)


async def test_a_person_lets_a_called_off_order_stand_while_its_shop_was_not_asked(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_bed(database, owner_pool, config=POLICY)
    await sell(bed, ("1", {"A": 2}))
    assert (await commands(bed))["N1", "shop_a", "order.cancel"] == ("pending", None)
    async with bed.pool.acquire() as conn, conn.transaction():
        done = [await settle(conn, bed.tenant_id, "A", "undo", by="cli:ada", cell="c0") for _ in range(2)]
    assert [len(each) for each in done] == [1, 0]
    found = await commands(bed)
    assert found["N1", "shop_a", "order.cancel"] == ("cancelled", "let_stand")
    assert found["N1", "erp", "order.create"] == ("pending", None)

    await sell(bed, ("2", {"A": 1}))
    found = await commands(bed)
    assert found["N1", "erp", "order.create"] == ("pending", None), "what a person let stand stands"
    assert found["N2", "shop_a", "order.cancel"] == ("pending", None)
    async with bed.pool.acquire() as conn:
        (item,) = await read_oversold(conn, bed.tenant_id)
    assert (item.missing, item.undecided) == (3, 2)


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        yield server


@pytest.mark.parametrize("loses_answer", [False, True])
async def test_a_shop_oversells_and_each_order_ends_once_in_the_books_of_shop_and_erp(
    database: Database, owner_pool: Pool, remote: HostileServer, *, loses_answer: bool
) -> None:
    bed = Lanes(database, owner_pool, remote.base_url)
    await bed.create()
    await bed.article("A", on_hand=6)  # shop and ERP are one remote, so each order is seen at both of them
    stock_world(remote.world, [("A", 3)])
    await bed.configure(polling=True, stock=", oversell: cancel_newest")

    async def ended(number: str, state: str) -> bool:
        sql = 'SELECT count(*) FROM "order" WHERE number = $1 AND order_state = $2'
        return bool(await bed.pool.fetchval(sql, number, state)) and await bed.is_settled()

    async with bed.running_whole():
        kept = [place(remote.world, ("A", 1)) for _ in range(3)]
        await until(lambda: ended(kept[-1]["number"], "open"))
        if loses_answer:
            remote.put_faults(Fault(kind="lose_reply", path="/api/shop/orders/*/cancel", times=1))
        late = place(remote.world, ("A", 2))
        await until(lambda: ended(late["number"], "cancelled"))

    world = remote.world
    assert {order["number"] for order in kept} == {order.number for order in world.erp_orders.values()}
    assert world.effects["shop.cancel"] == {late["order_id"]: 1}
    assert "order.cancel" not in world.effects, "the ERP never heard of it"
    assert [order.state for order in world.shop_orders.values()] == ["open", "open", "open", "cancelled"]
    level = await bed.pool.fetchrow("SELECT on_hand, committed, available FROM stock_balance")
    assert level is not None
    assert tuple(level) == (6, 6, 0)
    states = await bed.states(CommandKind.ORDER_CANCEL)
    assert states.get("succeeded") == 1
    await check_books(bed.pool)


async def test_two_processes_call_off_among_sales_cancels_and_deliveries_and_each_order_ends_in_one_way(
    database: Database, owner_pool: Pool
) -> None:
    dice = random.Random(5)
    bed = await make_bed(database, owner_pool, config=POLICY.replace("cancel_newest", "[cancel_newest, backorder]"))
    await bed.append([("erp", move_event("m1", "A", 7)), ("erp", move_event("m2", "B", 5))])
    story: list[tuple[str, dict[str, Any]]] = []
    placed: dict[str, tuple[str, dict[str, Any]]] = {}
    for number in map(str, range(20)):
        lines = [(sku, dice.randint(1, 3)) for sku in dice.choice(["A", "B", "AB"])]
        placed[f"N{number}"] = (dice.choice(["shop_a", "shop_b"]), placed_now(order_event(number, lines)))
    story += placed.values()
    for name in ("N3", "N11", "N17"):
        story.append(_cancelled(placed[name], 2))
    story += [("erp", move_event("late", "A", 2))]
    dice.shuffle(story)
    await asyncio.gather(*(bed.append(story[part::3]) for part in range(3)), bed.apply(processes=2))
    await bed.apply(processes=2)
    off = {row[0] for row in await bed.pool.fetch('SELECT number FROM "order" WHERE called_off_at IS NOT NULL')}
    assert off
    asked = await bed.pool.fetch(COMMANDS)
    assert {row[0] for row in asked if row[2] == "order.cancel" and row[1] != "erp"} == off, (
        "asked once, and only for these"
    )
    assert len([row for row in asked if row[2] == "order.cancel" and row[1] != "erp"]) == len(off)
    assert not {row[0] for row in asked if row[2] == "order.create" and row[3] == "pending"} & off
    waiting = await bed.pool.fetch('SELECT number FROM backorder JOIN "order" USING (order_id)')
    assert not {row[0] for row in waiting} & off, "an order is called off or waits, never both"

    await bed.append([_cancelled(placed[name], 3) for name in sorted(off)])
    await bed.apply(processes=2)
    missing = [-(await bed.level(sku))[2] for sku in ("A", "B")]
    for sku, units in zip(("A", "B"), missing, strict=True):
        decided = await bed.pool.fetchval(
            "SELECT coalesce(sum(b.units), 0) FROM backorder b JOIN \"order\" o USING (order_id) WHERE o.order_state = 'open'"
            " AND b.item_id = $1", bed.items[sku]
        )  # fmt: skip
        assert units <= decided, f"of {sku} more is promised than anybody decided about"
    await bed.check_books()


def _cancelled(sold: tuple[str, dict[str, Any]], revision: int) -> tuple[str, dict[str, Any]]:
    name, event = sold
    order = {**event["order"], "revision": revision, "state": "cancelled"}
    return name, {**event, "id": f"{event['id']}-{revision}", "order": order}
