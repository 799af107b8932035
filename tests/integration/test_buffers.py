"""Units that channels are not told of because others may sell them first, on a real database, with T2 and lanes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.applybed import CONFIG, move_event
from tests.conditionalbed import SETTINGS, Shops, make_shops
from tests.dispatchbed import until

from tidegate.config.parse import parse
from tidegate.config.versions import record_version
from tidegate.monitor.promise import Promise, read_promise
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.going_live import refresh_modes
from tidegate.sync.kits import set_kits

pytestmark = pytest.mark.asyncio


def configured(flow: str, override: str = "") -> str:
    text = CONFIG.replace("to: [shop_a, shop_b], mode: live}", f"to: [shop_a, shop_b], mode: live, {flow}}}")
    return text + (f"\noverrides:\n  - {override}\n" if override else "")


async def made(database: Database, pool: Pool, config: str, units: int = 100) -> Shops:
    shops = await make_shops(database, pool, config=config, A=units)
    await shops.bed.append([("erp", move_event("m-1", "A", units))])
    await shops.bed.apply()
    return shops


async def promise(shops: Shops, config: str, sku: str = "A") -> Promise:
    connectors = {"hostile": shops.connector()}
    async with shops.bed.pool.acquire() as conn:
        return await read_promise(conn, shops.bed.tenant_id, sku, parse(config, connectors=connectors), connectors)


def shows(shops: Shops) -> tuple[int | None, int | None]:
    return shops.a.available.get("v-A"), shops.b.available.get("v-A")


async def counters(shops: Shops) -> list[Mapping[str, Any]]:
    rows = await shops.bed.pool.fetch(
        "SELECT ledger::text, quantity FROM command WHERE kind = 'inventory.set' ORDER BY command_id"
    )
    return [dict(row) for row in rows]


async def _is_looked_at_later(shops: Shops) -> bool:
    marks = await shops.bed.pool.fetch("SELECT dirty, not_before > clock_timestamp() AS later FROM channel_stock")
    return any(mark["dirty"] and mark["later"] for mark in marks)


async def test_so_many_units_are_told_to_nobody(database: Database, owner_pool: Pool) -> None:
    config = configured("buffer: 4", '{match: "sku:B*", stock.buffer: 9}')
    shops = await made(database, owner_pool, config)
    async with shops.lanes(SETTINGS):
        await until(lambda: shows(shops) == (96, 96))

    told = await promise(shops, config)
    assert (told.buffer, told.sellable) == ("4", 100)
    assert [channel.held for channel in told.channels] == [4, 4]


async def test_a_peak_holds_units_back_and_the_worst_case_is_known_beforehand(
    database: Database, owner_pool: Pool
) -> None:
    """I12."""
    config = configured("buffer: auto", '{match: "sku:A*", stock.peak: {shop_a: 20, shop_b: 2}}')
    shops = await made(database, owner_pool, config)
    before = await promise(shops, config)
    async with shops.lanes(SETTINGS):
        await until(lambda: shows(shops) == (90, 10))

    told = await promise(shops, config)
    assert before.bound == told.bound == 10, "a tenth of the stock, as 200 units may be sold until shop_b hears of it"
    assert [(channel.channel, channel.held, channel.bound) for channel in told.channels] == [
        ("shop_a", 10, 0),
        ("shop_b", 90, 10),
    ]
    rows = await counters(shops)
    assert all('"buffer"' in row["ledger"] for row in rows), "why a channel was told fewer stands with its number"


async def test_what_sold_lately_holds_units_back_until_nobody_buys_any_more(
    database: Database, owner_pool: Pool
) -> None:
    config = configured("buffer: auto")
    shops = await made(database, owner_pool, config)
    async with shops.lanes(SETTINGS):
        await until(lambda: shows(shops) == (100, 100))
        for _ in range(20):
            assert shops.a.sell("A")
            await shops.deliver("shop_a", "A")
        await until(lambda: (shops.b.available["v-A"] or 0) < 80)
        await until(lambda: _is_looked_at_later(shops))

    assert any('"buffer_fades": ' in row["ledger"] for row in await counters(shops))

    await shops.bed.pool.execute("UPDATE stock_entry SET at = at - interval '2 minutes'")
    await shops.bed.pool.execute("UPDATE channel_stock SET not_before = NULL WHERE dirty")
    async with shops.lanes(SETTINGS):
        await until(lambda: shows(shops) == (80, 80))
    assert (await promise(shops, config)).bound == 0


async def test_a_buffer_that_is_taken_away_is_told_at_once(database: Database, owner_pool: Pool) -> None:
    shops = await made(database, owner_pool, configured("buffer: 4"))
    async with shops.lanes(SETTINGS):
        await until(lambda: shows(shops) == (96, 96))
        async with shops.bed.pool.acquire() as conn, conn.transaction():
            await record_version(conn, CONFIG, applied_by="test")
            await refresh_modes(conn, shops.bed.tenant_id)
        await until(lambda: shows(shops) == (100, 100))


async def test_a_kit_holds_back_what_its_parts_sell_meanwhile_and_its_bound_is_known(
    database: Database, owner_pool: Pool
) -> None:
    """I12: shop_a sells the part and the kit of two, shop_b the kit; the part hears of what kits take as well."""
    config = configured("buffer: auto")
    shops = await make_shops(database, owner_pool, config=config, A=100, TWO=50)
    await shops.bed.pool.execute(
        "DELETE FROM binding WHERE kind = 'variant' AND connection_id = $1 AND internal_id ="
        " (SELECT variant_id FROM variant WHERE sku = 'A')", shops.bed.connections["shop_b"]
    )  # fmt: skip
    async with shops.bed.pool.acquire() as conn, conn.transaction():
        await set_kits(conn, shops.bed.tenant_id, {"TWO": {"A": 2}}, is_shared=lambda _: False)
    await shops.bed.append([("erp", move_event("m-1", "A", 100))])
    await shops.bed.apply()
    async with shops.lanes(SETTINGS):
        await until(lambda: shops.b.available.get("v-TWO") == 50 == shops.a.available.get("v-TWO"))
        for _ in range(20):
            assert shops.a.sell("A")
            await shops.deliver("shop_a", "A")
        await until(lambda: (shops.b.available["v-TWO"] or 0) < 40)

    told = await promise(shops, config, "TWO")
    assert (told.buffer, told.sellable) == ("auto", 40)
    assert told.words.startswith("it is made of other articles: 40 can be made")
    assert told.velocity > 0
    assert told.bound is not None
    part = await promise(shops, config)
    assert [channel.channel for channel in part.channels] == ["shop_a"]
    assert part.channels[0].held > 0, "the kit takes of the same units, and no number of the part says so"
