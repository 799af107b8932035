"""Orders that their location cannot serve leave from another one, as a whole and once, while nobody was told of them."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from tests.applybed import CONFIG, KEYS, Bed, make_bed, move_event, order_event, placed_now

from tidegate.commerce.commands import CommandKind, CreateOrder
from tidegate.dispatch.payloads import Drafted, preview_action
from tidegate.dispatch.records import ConnectionRow
from tidegate.eventlog.replay import replay
from tidegate.kernel.ids import new_id
from tidegate.monitor.explain import explain_order, find_orders
from tidegate.monitor.oversold import read_oversold
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.keys import KeyRing

pytestmark = pytest.mark.asyncio
POLICY = CONFIG.replace(
    "to: [shop_a, shop_b], mode: live}", "to: [shop_a, shop_b], mode: live, oversell: [other_location, backorder]}"
)
ENTRIES = """
SELECT i.sku, p.name, sum(e.committed_delta)::int AS committed FROM stock_entry e
JOIN inventory_item i USING (tenant_id, item_id) JOIN location p USING (tenant_id, location_id)
GROUP BY 1, 2 HAVING sum(e.committed_delta) <> 0 ORDER BY 1, 2
"""
OVERPROMISED = """
SELECT i.sku, p.name, available FROM stock_balance JOIN inventory_item i USING (tenant_id, item_id)
JOIN location p USING (tenant_id, location_id) WHERE available < 0 AND p.name <> 'main'
"""
STANDING = """
SELECT l.sku, p.name, sum(l.current)::int AS committed FROM order_line l JOIN "order" o USING (tenant_id, order_id)
JOIN location p USING (tenant_id, location_id) WHERE o.order_state <> 'cancelled' GROUP BY 1, 2 ORDER BY 1, 2
"""
WHERE_THEY_STAND = """
SELECT o.number, array_agg(DISTINCT p.name ORDER BY p.name) FROM order_line l JOIN "order" o USING (tenant_id, order_id)
JOIN location p USING (tenant_id, location_id) WHERE l.current > 0 GROUP BY 1 ORDER BY 1
"""


async def make_places(database: Database, pool: Pool, **stock: dict[str, int]) -> Bed:
    """Return a tenant whose ERP has several places with stock of articles; the first one is where orders stand."""
    bed = await make_bed(database, pool, config=POLICY)
    for name in stock.keys() - {"main"}:
        place = new_id()
        await pool.execute(
            "INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, $3)", bed.tenant_id, place, name
        )
        await pool.execute(
            "INSERT INTO binding VALUES ($1, $2, 'location', $3, $4)",
            bed.tenant_id,
            bed.connections["erp"],
            name,
            place,
        )
    for name, levels in stock.items():
        await bed.append([("erp", at(name, move_event(f"{name}-{sku}", sku, units))) for sku, units in levels.items()])
    await bed.apply()
    return bed


def at(place: str, event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "move": {**event["move"], "location_id": place}}


async def sell(bed: Bed, *orders: tuple[str, dict[str, int]], processes: int = 1) -> None:
    for number, lines in orders:
        await bed.append([("shop_a", placed_now(order_event(number, list(lines.items()))))])
        await bed.apply(processes)


async def stand(bed: Bed) -> dict[str, list[str]]:
    return {row[0]: row[1] for row in await bed.pool.fetch(WHERE_THEY_STAND)}


async def test_the_newest_order_moves_in_the_batch_that_oversells_and_the_erp_is_told_from_where(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_places(database, owner_pool, main={"A": 5, "B": 9}, store={"A": 4, "B": 9})

    await sell(bed, ("1", {"A": 4}), ("2", {"A": 3, "B": 1}), ("3", {"A": 2}))

    assert await stand(bed) == {"N1": ["main"], "N2": ["store"], "N3": ["main"]}
    assert [tuple(row) for row in await bed.pool.fetch(ENTRIES)] == [
        ("A", "main", 6), ("A", "store", 3), ("B", "store", 1),
    ]  # fmt: skip
    assert await bed.pool.fetch(OVERPROMISED) == []
    assert await bed.pool.fetchval("SELECT count(*) FROM backorder") == 0, "4 + 3 + 2 of 9: nothing is sold too often"
    async with bed.pool.acquire() as conn:
        (order,) = await find_orders(conn, bed.tenant_id, "N2")
        story = await explain_order(conn, bed.tenant_id, order, cell="c0", now=datetime.now(UTC))
    words = [step.words for step in story.steps if "leaves from" in step.words]
    assert words == [
        "leaves from store by the policy of the stock flow: 2 x A more were promised at main than there were"
    ]
    told = {number: await told_to_erp(bed, number) for number in ("N1", "N2")}
    assert told == {"N1": [""], "N2": ["store", "store"]}
    await bed.check_books()


async def test_what_lacks_where_it_stands_is_listed_and_moves_when_goods_come_elsewhere(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_places(database, owner_pool, main={"A": 4}, store={"A": 1}, cellar={"A": 1})
    await sell(bed, ("1", {"A": 4}), ("2", {"A": 2}))
    assert await stand(bed) == {"N1": ["main"], "N2": ["main"]}, "no place has all that the second one needs"

    async def listed() -> list[tuple[int, int, list[tuple[str, int, tuple[str, ...]]]]]:
        async with bed.pool.acquire() as conn:
            found = await read_oversold(conn, bed.tenant_id)
        return [
            (item.missing, item.elsewhere, [(place.location, place.missing, place.orders) for place in item.places])
            for item in found
        ]

    assert await listed() == [(0, 2, [("main", 2, ("N2",))])], "there is enough in all, and not where it stands"
    await bed.append([("erp", at("store", move_event("m1", "A", 1)))])
    await bed.apply()
    assert await stand(bed) == {"N1": ["main"], "N2": ["store"]}
    assert await listed() == []

    await sell(bed, ("3", {"A": 3}))
    assert await bed.pool.fetchval("SELECT count(*) FROM backorder") == 1
    assert await listed() == [(2, 1, [("main", 3, ("N3",))])]
    await bed.append([("erp", at("cellar", move_event("m2", "A", 2)))])
    await bed.apply()
    assert (await stand(bed))["N3"] == ["cellar"], "what it waited for is there"
    assert await listed() == []

    await bed.append([("erp", at("store", move_event("m3", "A", 4)))])
    await bed.append([("erp", move_event("lost", "A", -3, kind="adjust"))])
    await bed.apply()
    assert (await stand(bed))["N1"] == ["store"], "a place that loses goods is no sale, and lacks as well"
    await bed.check_books()


async def told_to_erp(bed: Bed, number: str) -> list[str]:
    """Return where the ERP would be told that the lines of an order leave from."""
    order_id = await bed.pool.fetchval('SELECT order_id FROM "order" WHERE number = $1', number)
    connection = ConnectionRow(
        tenant_id=bed.tenant_id, connection_id=bed.connections["erp"], name="erp", connector="hostile",
        external_account="erp", settings={},
    )  # fmt: skip
    async with bed.pool.acquire() as conn:
        cipher, kind = BodyCipher(KeyRing(KEYS)), CommandKind.ORDER_CREATE
        draft = await preview_action(conn, connection, kind, order_id, cipher, cell="c0")
    assert isinstance(draft, Drafted)
    assert isinstance(draft.payload, CreateOrder)
    return [line.location_external_id for line in draft.payload.lines]


async def test_what_the_erp_was_told_and_what_nobody_has_elsewhere_stays(database: Database, owner_pool: Pool) -> None:
    bed = await make_places(database, owner_pool, main={"A": 2}, store={"A": 3})
    await sell(bed, ("1", {"A": 2}))
    await bed.pool.execute("UPDATE command SET call_id = $1, state = 'sending'", new_id())
    await bed.pool.execute("UPDATE stock_level SET safety_stock = 1 WHERE location_id <> $1", await main_of(bed))
    late = order_event("2", [("A", 1)])  # placed before everybody else, and told of last
    await bed.append([("shop_a", {**late, "order": {**late["order"], "placed_at": "2026-06-01T00:00:00+00:00"}})])
    await bed.apply()
    assert await stand(bed) == {"N1": ["main"], "N2": ["store"]}, "the newer one is with the ERP already"

    await sell(bed, ("3", {"A": 2}), ("4", {"A": 1}))
    assert await stand(bed) == {"N1": ["main"], "N2": ["store"], "N3": ["main"], "N4": ["store"]}
    backorders = await bed.pool.fetch("SELECT units FROM backorder ORDER BY units")
    assert [row[0] for row in backorders] == [1], "one more was sold than there is, and one is kept back in the store"
    async with bed.pool.acquire() as conn:
        events = [row[0] for row in await conn.fetch("SELECT event_id FROM event")]
        await replay(conn, bed.tenant_id, events)
    await bed.apply(processes=2)
    assert await bed.pool.fetchval("SELECT count(*) FROM oversold_order") == 2, "nothing is decided twice"
    await bed.check_books()


async def main_of(bed: Bed) -> UUID:
    found: UUID = await bed.pool.fetchval("SELECT location_id FROM location WHERE name = 'main'")
    return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_two_processes_move_orders_among_sales_cancels_and_deliveries_and_promise_no_unit_twice(
    database: Database, owner_pool: Pool, seed: int
) -> None:
    dice = random.Random(seed)
    bed = await make_places(database, owner_pool, main={"A": 6, "B": 4}, store={"A": 9, "B": 5}, depot={"A": 7, "B": 2})
    story: list[tuple[str, dict[str, Any]]] = []
    for number in range(24):
        lines = [(sku, dice.randint(1, 3)) for sku in dice.choice(["A", "B", "AB"])]
        story.append((dice.choice(["shop_a", "shop_b"]), placed_now(order_event(str(number), lines))))
        if dice.random() < 0.25:
            name, placed = story[-1]
            cancel = order_event(str(number), lines, revision=2, state="cancelled")
            story.append((name, {**cancel, "order": {**cancel["order"], "placed_at": placed["order"]["placed_at"]}}))
    story += [("erp", at(place, move_event(f"late-{place}", "A", 2))) for place in ("main", "store", "depot")]
    dice.shuffle(story)
    await asyncio.gather(*(bed.append(story[part::3]) for part in range(3)), bed.apply(processes=2))
    await bed.apply(processes=2)

    assert await bed.pool.fetch(OVERPROMISED) == [], (
        "only where orders stand by themselves is more promised than there is"
    )
    standing = await bed.pool.fetch(STANDING)
    assert [tuple(row) for row in await bed.pool.fetch(ENTRIES)] == [tuple(row) for row in standing]
    assert await bed.pool.fetchval("SELECT count(*) FROM oversold_order") > 0
    assert all(len(places) == 1 for places in (await stand(bed)).values()), "an order leaves from one place"
    await bed.check_books()
