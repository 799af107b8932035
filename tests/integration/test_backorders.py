"""Orders that hold units which nobody has: a person is asked, or they wait for goods with a day that what comes covers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from tests.applybed import CONFIG, Bed, make_bed, move_event, order_event, placed_now

from tidegate.dispatch import events
from tidegate.eventlog.replay import replay
from tidegate.monitor.explain import explain_order, find_orders
from tidegate.monitor.oversold import OversoldItem, read_oversold
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.sync.backorders import end_backorder, put_on_backorder
from tidegate.sync.expected import Expectation, expect

pytestmark = pytest.mark.asyncio
POLICY = CONFIG.replace("to: [shop_a, shop_b], mode: live}", "to: [shop_a, shop_b], mode: live, oversell: backorder}")
SOON, LATER = date(2030, 1, 10), date(2030, 2, 10)


async def coming(bed: Bed, *wanted: tuple[str, int, date | None]) -> None:
    async with bed.pool.acquire() as conn, conn.transaction():
        found = [
            Expectation(reference=name, sku="A", location="", units=units, expected_on=day)
            for name, units, day in wanted
        ]
        await expect(conn, bed.tenant_id, found, references=None, actor="test")


async def sell(bed: Bed, *orders: tuple[str, int]) -> None:
    for number, units in orders:
        await bed.append([("shop_a", placed_now(order_event(number, [("A", units)])))])
        await bed.apply()


async def lacking(bed: Bed) -> OversoldItem:
    async with bed.pool.acquire() as conn:
        (item,) = await read_oversold(conn, bed.tenant_id)
    return item


async def stored(bed: Bed) -> list[tuple[int, date | None, str]]:
    rows = await bed.pool.fetch("SELECT units, promised_on, decided_by FROM backorder ORDER BY decided_at, promised_on")
    return [tuple(row) for row in rows]


async def test_the_policy_decides_in_the_batch_that_oversells_and_names_the_day(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_bed(database, owner_pool, config=POLICY)
    await bed.append([("erp", move_event("m1", "A", 5))])
    await bed.apply()
    await coming(bed, ("PO-1", 3, SOON), ("PO-2", 4, LATER), ("PO-3", 50, None))

    await sell(bed, ("1", 4), ("2", 3), ("3", 4), ("4", 9))

    assert await stored(bed) == [(2, SOON, "policy"), (4, LATER, "policy"), (9, None, "policy")]
    item = await lacking(bed)
    assert (item.missing, item.undecided) == (15, 0)
    assert [(o.number, o.missing, o.waits, o.expected_on) for o in item.orders] == [
        ("N4", 9, True, None),
        ("N3", 4, True, LATER),
        ("N2", 2, True, SOON),
    ]
    async with bed.pool.acquire() as conn:
        known = [row[0] for row in await conn.fetch("SELECT event_id FROM event")]
        await replay(conn, bed.tenant_id, known)
    await bed.apply(processes=2)
    assert len(await stored(bed)) == 3, "nothing is decided twice"
    await coming(bed, ("PO-1", 3, LATER), ("PO-4", 100, LATER))
    item = await lacking(bed)
    assert [(o.promised_on, o.expected_on) for o in item.orders] == [(None, LATER), (LATER, LATER), (SOON, LATER)]
    async with bed.pool.acquire() as conn:
        (order,) = await find_orders(conn, bed.tenant_id, "N2")
        story = await explain_order(conn, bed.tenant_id, order, cell="c0", now=order["placed_at"])
    words = [step.words for step in story.steps if "waits for goods" in step.words]
    assert words == [
        f"waits for goods by the policy of the stock flow: 2 x A more were sold than there were; promised for {SOON}"
    ]
    await bed.append([("erp", move_event("m2", "A", 15))])
    await bed.apply()
    async with bed.pool.acquire() as conn:
        assert await read_oversold(conn, bed.tenant_id) == ()
    await bed.check_books()


async def test_a_person_decides_once_and_what_lacks_later_is_asked_about_anew(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_bed(database, owner_pool)
    await sell(bed, ("1", 2), ("2", 3))
    item = await lacking(bed)
    assert (item.missing, item.undecided, [o.waits for o in item.orders]) == (5, 5, [False, False])
    ids: dict[str, UUID] = {order.number: order.order_id for order in item.orders}

    async def wait(missing: int, *numbers: str) -> int:
        chosen = {ids[number] for number in numbers} or None
        async with bed.pool.acquire() as conn, conn.transaction():
            wanted = {bed.items["A"]: missing}
            return len(await put_on_backorder(conn, bed.tenant_id, wanted, by="cli:ada", orders=chosen))

    assert await wait(5, "N1") == 1
    assert (await lacking(bed)).undecided == 3
    assert (await wait(5), await wait(5)) == (1, 0)
    assert (await lacking(bed)).undecided == 0
    await sell(bed, ("3", 1))
    item = await lacking(bed)
    assert (item.undecided, item.orders[0].number, item.orders[0].waits) == (1, "N3", False)
    async with bed.pool.acquire() as conn, conn.transaction():
        assert len(await end_backorder(conn, bed.tenant_id, bed.items["A"])) == 2
    assert (await lacking(bed)).undecided == 6


async def test_listeners_are_told_the_day_that_an_order_was_promised(database: Database, owner_pool: Pool) -> None:
    """Also of an order that changed nothing itself: a sale that was placed before it came late."""
    listening = POLICY.rstrip() + "\n  events: {to: [shop_b], types: [order.*], mode: live}\n"
    bed = await make_bed(database, owner_pool, config=listening)
    await bed.append([("erp", move_event("m1", "A", 5))])
    await bed.apply()
    await coming(bed, ("PO-1", 4, SOON))
    await sell(bed, ("2", 5))
    await bed.pool.execute("DELETE FROM command_key WHERE kind = 'event.send'")
    await bed.pool.execute("DELETE FROM command WHERE kind = 'event.send'")
    late = order_event("1", [("A", 3)])
    late["order"]["placed_at"] = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    await bed.append([("shop_a", late)])
    await bed.apply()

    rows = await bed.pool.fetch(
        'SELECT o.order_id, o.number FROM command c JOIN "order" o ON o.order_id = c.entity_id'
        " WHERE c.kind = 'event.send' AND c.state = 'pending' ORDER BY o.number"
    )
    assert [row["number"] for row in rows] == ["N1", "N2"]
    told = {}
    async with await database.pool(Role.DISPATCH, application_name="test", size_max=1) as pool, pool.acquire() as conn:
        for row in rows:
            found = await conn.fetch(events.BACKORDERS, bed.tenant_id, row["order_id"])
            told[row["number"]] = [tuple(each) for each in found]
    assert told == {"N1": [], "N2": [("A", 3, SOON)]}
