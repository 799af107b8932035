"""Kits on a real database: made and changed at any time, told as a whole, sold by their parts."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from tests.applybed import Bed, make_bed, move_event, order_event
from tests.dispatchbed import Bed as DispatchBed
from tests.dispatchbed import stock_world, until

from tidegate.dispatch.numbers import read_numbers, read_parts
from tidegate.dispatch.payloads import quantity_of
from tidegate.dispatch.safety import NO_RULES, SafetyRules
from tidegate.monitor.oversold import read_oversold
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.kits import KitPlan, Parts, list_kits, plan_kits, set_kits

pytestmark = pytest.mark.asyncio
SET = {"A": 2, "B": 1}


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool) -> AsyncIterator[Bed]:
    yield await make_bed(database, owner_pool, skus=("A", "B", "SET", "SIX"))


async def make(bed: Bed | DispatchBed, wanted: dict[str, Parts], *, shared: Sequence[str] = ()) -> KitPlan:
    async with bed.pool.acquire() as conn, conn.transaction():
        return await set_kits(conn, bed.tenant_id, wanted, is_shared=lambda sku: sku in shared)


async def number(bed: Bed, sku: str, channel: str = "shop_a", rules: SafetyRules = NO_RULES) -> int:
    async with bed.pool.acquire() as conn:
        (row,) = await read_numbers(
            conn, bed.tenant_id, bed.connections[channel], [bed.items[sku]], rules, stock_number="available"
        )
    return quantity_of(row, "available", rules)


async def dirty(bed: Bed, channel: str = "shop_a") -> set[str]:
    rows = await bed.pool.fetch(
        "SELECT item_id FROM channel_stock WHERE dirty AND connection_id = $1", bed.connections[channel]
    )
    names = {item: sku for sku, item in bed.items.items()}
    return {names[row[0]] for row in rows}


async def clean(bed: Bed) -> None:
    await bed.pool.execute("UPDATE channel_stock SET dirty = false, dirty_at = NULL, priority = 50, acked_quantity = 0")


async def test_a_sale_of_a_kit_commits_its_parts_and_a_sale_of_a_part_marks_the_kit(bed: Bed) -> None:
    await make(bed, {"SET": SET, "SIX": {"A": 6}})
    await bed.append([("erp", move_event("m1", "A", 13)), ("erp", move_event("m2", "B", 9))])
    await bed.apply()
    assert [await number(bed, sku) for sku in ("A", "B", "SET", "SIX")] == [13, 9, 6, 2]
    await clean(bed)

    await bed.append([("shop_a", order_event("1", [("SET", 2), ("B", 1)]))])
    await bed.apply()

    assert (await bed.level("A"), await bed.level("B")) == ((13, 4, 9), (9, 3, 6))
    assert [await number(bed, sku, "shop_b") for sku in ("A", "B", "SET", "SIX")] == [9, 6, 4, 1]
    assert await dirty(bed) == await dirty(bed, "shop_b") == {"A", "B", "SET", "SIX"}
    await bed.check_books()
    await clean(bed)
    await bed.append([("erp", move_event("m3", "B", 1))])
    await bed.apply()
    assert await dirty(bed) == {"B", "SET"}


async def test_open_orders_go_over_to_the_parts_and_back(bed: Bed) -> None:
    await bed.append([("erp", move_event("m1", "A", 10)), ("erp", move_event("m2", "B", 10))])
    await bed.append(
        [("shop_a", order_event("1", [("SET", 3)])), ("shop_b", order_event("2", [("SET", 1)], state="cancelled"))]
    )
    await bed.apply()
    assert await bed.level("SET") == (0, 3, -3)

    made = await make(bed, {"SET": SET})

    assert (made.lines, made.changes[0].before, made.changes[0].after) == (1, {}, SET)
    assert [await bed.level(sku) for sku in ("A", "B", "SET")] == [(10, 6, 4), (10, 3, 7), (0, 0, 0)]
    assert not (await make(bed, {"SET": SET})).changes, "the same once more changes nothing"
    await make(bed, {"SET": {"B": 2}})
    assert [await bed.level(sku) for sku in ("A", "B", "SET")] == [(10, 0, 10), (10, 6, 4), (0, 0, 0)]
    await bed.append([("shop_a", order_event("1", [("SET", 1)], revision=2, ordered=[3]))])
    await bed.apply()
    assert await bed.level("B") == (10, 2, 8)
    await bed.check_books()
    await make(bed, {"SET": {}})
    assert [await bed.level(sku) for sku in ("B", "SET")] == [(10, 0, 10), (0, 1, -1)]
    await bed.append([("shop_a", order_event("1", [("SET", 1)], revision=3, ordered=[3], state="cancelled"))])
    await bed.apply()
    assert await bed.level("SET") == (0, 0, 0)
    await bed.check_books()


async def test_what_cannot_be_a_kit_is_named_and_nothing_changes(bed: Bed) -> None:
    await bed.append([("erp", move_event("m1", "SIX", 4))])
    await bed.apply()
    wrong: dict[str, Parts] = {
        "NO": {"A": 1},
        "SIX": {"A": 6},
        "SET": {"GONE": 1},
        "A": {"SET": 1},
        "B": {"B": 2},
    }

    refused = await make(bed, wrong)

    assert [(fault.sku, fault.code) for fault in refused.faults] == [
        ("NO", "sku_unknown"),
        ("SIX", "kit_counted"),
        ("SET", "part_unknown"),
        ("A", "kit_in_kit"),
        ("B", "kit_in_kit"),
    ]
    assert not await bed.pool.fetchval("SELECT count(*) FROM kit_part")
    assert [f.code for f in (await make(bed, {"SET": SET}, shared=["B"])).faults] == ["part_shared"]
    assert [f.code for f in (await make(bed, {"SET": {"A": 0}})).faults] == ["units_invalid"]
    await make(bed, {"SET": SET})
    assert [f.code for f in (await make(bed, {"A": {"B": 1}})).faults] == ["kit_in_kit"]
    async with bed.pool.acquire() as conn:
        assert await list_kits(conn, bed.tenant_id) == {"SET": SET}
        assert await list_kits(conn, bed.tenant_id, part="SIX") == {}
        plan = await plan_kits(conn, bed.tenant_id, {"SET": {"A": 1}}, is_shared=lambda _: False)
        assert plan.changes[0].before == SET
    assert await number(bed, "SET", rules=SafetyRules(everywhere=1)) == 0


async def test_safety_of_parts_counts_once_and_units_that_lack_of_a_kit_lack_of_its_parts(bed: Bed) -> None:
    await make(bed, {"SET": SET})
    await bed.append([("erp", move_event("m1", "A", 10)), ("erp", move_event("m2", "B", 10))])
    await bed.apply()

    assert await number(bed, "SET", rules=SafetyRules(everywhere=3)) == 3
    await bed.pool.execute(
        "UPDATE channel_stock SET unseen = 2 WHERE item_id = $1 AND connection_id = $2",
        bed.items["SET"],
        bed.connections["shop_a"],
    )
    assert [await number(bed, sku, "shop_b") for sku in ("A", "B", "SET")] == [6, 8, 3]
    async with bed.pool.acquire() as conn:
        parts = await read_parts(conn, bed.tenant_id, bed.items["SET"])
        assert [(sku, part.kits) for sku, part in parts] == [("A", 3), ("B", 8)]


async def test_an_oversold_part_names_the_orders_of_kits(bed: Bed) -> None:
    await make(bed, {"SET": SET})
    await bed.append([("erp", move_event("m1", "A", 3)), ("erp", move_event("m2", "B", 10))])
    await bed.apply()
    await bed.append([("shop_a", order_event("1", [("SET", 2)]))])
    await bed.apply()

    async with bed.pool.acquire() as conn:
        (item,) = await read_oversold(conn, bed.tenant_id)

    assert (item.sku, item.missing, [(o.number, o.units, o.missing) for o in item.orders]) == ("A", 1, [("N1", 4, 1)])
    assert await number(bed, "SET") == 0


@pytest.mark.parametrize("seed", range(3))
async def test_kits_change_while_orders_are_applied(bed: Bed, seed: int) -> None:
    """Orders, movements and changes of kits in any order: what stands committed is what orders hold, by the parts of now."""
    chance = random.Random(seed)
    versions: dict[str, int] = {}
    for step in range(8):
        story = [("erp", move_event(f"m{step}", chance.choice("AB"), chance.randint(1, 9)))]
        for _ in range(4):
            name = str(chance.randint(1, 6))
            versions[name] = versions.get(name, 0) + 1
            sku = ("SET", "A", "B", "SET", "B", "SET")[int(name) - 1]
            state = chance.choice(["open", "open", "cancelled"])
            event = order_event(name, [(sku, chance.randint(1, 3))], revision=versions[name], state=state, ordered=[5])
            story.append((chance.choice(["shop_a"]), event))
        await bed.append(story)
        await bed.apply(processes=2)
        await make(bed, {"SET": chance.choice([SET, {"A": 1}, {"B": 3}, {}])})
        await bed.check_books()
    found = (await bed.snapshot())["levels"]
    told = [await number(bed, sku) for sku in ("A", "B")]
    assert told == [max(0, found[sku][2]) for sku in ("A", "B")]


async def test_a_kit_is_told_to_its_channel_once_all_its_parts_were_counted(
    database: Database, owner_pool: Pool
) -> None:
    async with HostileServer() as remote:
        bed = DispatchBed(database, owner_pool, remote.base_url)
        await bed.create()
        stock_world(remote.world, [("A", 0), ("B", 0), ("SET", 7)])
        for sku in ("A", "B", "SET"):
            await bed.article(sku)
        await owner_pool.execute("DELETE FROM stock_entry")
        await owner_pool.execute("DELETE FROM stock_level")
        await make(bed, {"SET": SET})
        async with bed.running():
            await bed.move("A", on_hand=9)
            await mark(bed, "SET")
            await until(bed.is_settled)
            assert remote.world.articles["art-SET"].shop_on_hand == 7, "B was never counted"
            await bed.move("B", on_hand=3)
            await mark(bed, "SET")
            await until(bed.is_settled)
            assert remote.world.articles["art-SET"].shop_on_hand == 3
            await bed.configure(more="overrides: [{match: 'sku:B', stock.safety: 1}]")
            await until(lambda: remote.world.articles["art-SET"].shop_on_hand == 2)
            assert remote.world.articles["art-B"].shop_on_hand == 2


async def mark(bed: DispatchBed, sku: str) -> None:
    async with bed.pool.acquire() as conn, conn.transaction():
        await bed._lock_mark(conn, bed.items[sku])
        await conn.execute("SELECT pg_notify('tidegate_command', '')")
