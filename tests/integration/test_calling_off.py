"""The newest orders that nobody can serve are cancelled in their shop, which then tells so: nothing is undone here before."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from tests.applybed import CONFIG, KEYS, Bed, check_books, make_bed, move_event, order_event, placed_now, shipment_event
from tests.dispatchbed import Bed as Lanes
from tests.dispatchbed import place, stock_world, until

from tidegate.commerce.commands import CommandKind
from tidegate.config import parse
from tidegate.dispatch.payloads import build_actions
from tidegate.dispatch.records import ConnectionRow, Unbuildable
from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.explain import explain_order, find_orders
from tidegate.monitor.oversold import read_oversold
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_faults import Fault
from tidegate.store.connections import Pool
from tidegate.store.database import URL_VARIABLE, Database
from tidegate.store.roles import Role
from tidegate.sync.backorders import settle
from tidegate.sync.cancelling import cancel_orders, cancellations
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.keys import KeyRing

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


def by_hand(bed: Bed, text: str = CONFIG) -> dict[str, Any]:
    """Return what cancelling by hand needs: the configuration, and a connector that gives the money back."""
    return {"config": parse(text), "connectors": {"hostile": dataclasses.replace(bed.connector, cancel_pays_back=True)}}


async def test_a_person_cancels_what_lacks_also_what_the_erp_knows_which_is_told_by_the_shops_word(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_bed(database, owner_pool)  # nothing is cancelled by policy
    await bed.append([("erp", move_event("m1", "A", 3))])
    _, second, third = await sell(bed, ("1", {"A": 3}), ("2", {"A": 2}), ("3", {"A": 2, "B": 1}))
    ids = {row[0]: row[1] for row in await bed.pool.fetch('SELECT number, order_id FROM "order"')}
    await bed.pool.execute(
        "UPDATE command SET call_id = command_id, state = 'succeeded', finished_at = now() WHERE entity_id = $1",
        ids["N3"],
    )
    how = by_hand(bed)
    async with bed.pool.acquire() as conn:
        shown = await cancellations(conn, bed.tenant_id, "A", **how)
        assert [(each.number, each.lacks, each.is_known_to_erp, each.why_not) for each in shown] == [
            ("N3", 2, True, None),
            ("N2", 2, False, None),
        ]
        poor = {**how, "connectors": {"hostile": bed.connector}}
        (refused,) = await cancellations(conn, bed.tenant_id, "A", orders=[ids["N3"]], **poor)
        assert "pays nothing back" in (refused.why_not or "")
        assert await cancellations(conn, bed.tenant_id, "A", **poor) == []
        done = []
        for _ in range(2):
            async with conn.transaction():
                done.append(await cancel_orders(conn, bed.tenant_id, "A", by="cli:ada", cell="c0", **how))
    assert [len(each) for each in done] == [2, 0]
    assert await commands(bed) == {
        ("N1", "erp", "order.create"): ("pending", None),
        ("N2", "erp", "order.create"): ("cancelled", "annihilated"),
        ("N2", "shop_a", "order.cancel"): ("pending", None),
        ("N3", "erp", "order.create"): ("succeeded", None),
        ("N3", "shop_a", "order.cancel"): ("pending", None),
    }, "the ERP is told nothing before the shop has said that it is over"
    async with bed.pool.acquire() as conn:
        (item, _) = await read_oversold(conn, bed.tenant_id)
    assert (item.sku, item.missing, item.undecided) == ("A", 4, 0)

    for event in (second, third):
        order = {**event["order"], "revision": 2, "state": "cancelled"}
        await bed.append([("shop_a", {**event, "id": f"{event['id']}-off", "order": order})])
    await bed.apply()
    found = await commands(bed)
    assert found["N3", "erp", "order.cancel"] == ("pending", None)
    assert await bed.level("A") == (3, 3, 0)
    actions = await bed.pool.fetch("SELECT actor, subject, detail FROM audit_log WHERE action = 'stock.settled'")
    assert [(row[0], row[1], json.loads(row[2])["decision"]) for row in actions] == [("cli:ada", "A", "cancel")]
    await bed.check_books()


async def test_the_command_line_shows_first_and_wants_consent(
    database: Database, owner_pool: Pool, tmp_path: Path
) -> None:
    signed = CONFIG.replace("shop_a: {use: hostile", "shop_a: {use: standard_webhooks")
    bed = await make_bed(database, owner_pool, config=signed)
    await sell(bed, ("1", {"A": 2}), ("2", {"A": 1}))
    (tmp_path / "tidegate.yaml").write_text(signed)
    command = (sys.executable, "-m", "tidegate", "stock", "settle", "A", "--cancel", "--project", str(tmp_path))
    environment = {**os.environ, URL_VARIABLE: database.access(Role.MIGRATOR).dsn}

    async def run(*more: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *command, *more, env=environment, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        told, _ = await process.communicate()
        return process.returncode, told.decode()

    code, told = await run()
    assert code != 0
    assert "consent_missing" in told
    assert told.index("N2") < told.index("N1"), "the newest first"
    code, told = await run("--order", "N2", "--yes")
    assert (code, "1 order is called off now" in told) == (0, True)
    assert (await commands(bed))["N2", "shop_a", "order.cancel"] == ("pending", None)
    assert ("N1", "shop_a", "order.cancel") not in await commands(bed)


async def test_what_a_person_cancelled_stands_again_and_can_be_named_once_more(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_bed(database, owner_pool)
    await sell(bed, ("1", {"A": 2}), ("2", {"A": 1}))
    ids = {row[0]: row[1] for row in await bed.pool.fetch('SELECT number, order_id FROM "order"')}
    how = by_hand(bed)

    async def decide(decision: str, **more: Any) -> list[UUID]:
        async with bed.pool.acquire() as conn, conn.transaction():
            if decision == "cancel":
                return await cancel_orders(conn, bed.tenant_id, "A", by="cli:ada", cell="c0", **how, **more)
            return await settle(conn, bed.tenant_id, "A", "undo", by="cli:ada", cell="c0")

    assert await decide("cancel", orders=[ids["N1"]]) == [ids["N1"]], "an older one, because somebody names it"
    assert await decide("undo") == [ids["N1"]]
    assert (await commands(bed))["N1", "erp", "order.create"] == ("pending", None)
    assert await decide("cancel") == [ids["N2"]], "one that somebody let stand is cancelled only by its name"
    assert await decide("cancel", orders=[ids["N1"]]) == [ids["N1"]]
    assert await decide("cancel", orders=[ids["N1"]]) == []
    cancels = await bed.pool.fetch(
        "SELECT state, count(*)::int FROM command WHERE kind = 'order.cancel' AND entity_id = $1 GROUP BY 1", ids["N1"]
    )
    assert {row[0]: row[1] for row in cancels} == {"cancelled": 1, "pending": 1}
    await bed.check_books()


async def test_goods_that_left_meanwhile_end_a_cancel_that_a_person_then_decides_about(
    database: Database, owner_pool: Pool
) -> None:
    """Between the decision and the call the warehouse ships: the shop must not give money back for what has left."""
    bed = await make_bed(database, owner_pool)
    await bed.append([("erp", move_event("m1", "A", 1))])
    await sell(bed, ("1", {"A": 1}), ("2", {"A": 1}))
    ids = {row[0]: row[1] for row in await bed.pool.fetch('SELECT number, order_id FROM "order"')}
    await bed.pool.execute("UPDATE command SET call_id = command_id, state = 'succeeded', finished_at = now()")
    how = by_hand(bed)
    async with bed.pool.acquire() as conn, conn.transaction():
        assert await cancel_orders(conn, bed.tenant_id, "A", by="cli:ada", cell="c0", **how) == [ids["N2"]]
    await bed.append([("erp", shipment_event("s-1", ids["N2"], [("A", 1)], tracking="T"))])
    await bed.apply()

    shop = ConnectionRow(
        tenant_id=bed.tenant_id, connection_id=bed.connections["shop_a"], name="shop_a", connector="hostile",
        external_account="shop_a", settings={},
    )  # fmt: skip
    cipher = BodyCipher(KeyRing(KEYS))
    async with bed.pool.acquire() as conn, conn.transaction():
        command = SimpleNamespace(kind=CommandKind.ORDER_CANCEL, entity_id=ids["N2"], version=2)
        (built,) = await build_actions(conn, shop, [command], cipher, cell="c0")  # type: ignore[list-item]
        assert isinstance(built, Unbuildable)
        assert (built.state, built.code) == ("failed", "shipped_meanwhile")
        await conn.execute("UPDATE command SET state = 'failed', finished_at = now() WHERE kind = 'order.cancel'")
        assert await settle(conn, bed.tenant_id, "A", "undo", by="cli:ada", cell="c0") == [ids["N2"]]
        with pytest.raises(ConfigurationError, match="N2: goods of it have left") as refused:
            await cancel_orders(conn, bed.tenant_id, "A", by="cli:ada", cell="c0", orders=list(ids.values()), **how)
        assert refused.value.code == "order_not_cancellable"


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
