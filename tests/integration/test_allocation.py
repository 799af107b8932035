"""Units that are shared out between two shops, on a real database, with T2 and lanes: together they never sell more than there is."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.applybed import CONFIG, move_event
from tests.conditionalbed import SETTINGS, Shops, make_shops
from tests.dispatchbed import until

from tidegate.config.parse import parse
from tidegate.config.versions import record_version
from tidegate.inventory import allocate
from tidegate.monitor.promise import read_promise
from tidegate.sdk.connector import Feed, FeedPage
from tidegate.sdk.http import Api
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.going_live import refresh_modes

pytestmark = pytest.mark.asyncio

SHARED = CONFIG.replace(
    "to: [shop_a, shop_b], mode: live}", "to: [shop_a, shop_b], mode: live, allocation: {mode: always}}"
)
QUICK = replace(SETTINGS, unseen_settle_seconds=0.3, drain_look_seconds=0.2, unseen_look_seconds=0.2)
BLIND = {"stock_number": "available", "conditional_set": False, "deducts_own_orders": False, "enforces_stock": True}
BOOKED = {"stock_number": "on_hand", "conditional_set": False, "deducts_own_orders": True, "enforces_stock": True}
COUNTS = {"compared": {}, "blind": {"counts": BLIND}, "booked": {"counts": BOOKED}}


async def made(database: Database, pool: Pool, **more: object) -> Shops:
    shops = await make_shops(database, pool, config=SHARED, A=10)
    for name, value in more.items():
        setattr(shops, name, value)
    for shop in (shops.a, shops.b):
        shop.keeps_orders_apart = shops.counts["stock_number"] == "on_hand"
    await shops.bed.append([("erp", move_event("m-1", "A", 10))])
    await shops.bed.apply()
    return shops


async def nothing_new(_api: Api, cursor: str) -> FeedPage:
    return FeedPage(items=(), cursor=cursor, has_more=False)


def shown(shops: Shops) -> int:
    return sum(max(0, shop.available.get("v-A", 0)) for shop in (shops.a, shops.b))


async def lots(shops: Shops) -> list[dict[str, object]]:
    rows = await shops.bed.pool.fetch("SELECT * FROM channel_allocation ORDER BY connection_id")
    return [dict(row) for row in rows]


async def sell_all(shops: Shops, shop: str, *, units: int = 10, deadline_seconds: float = 200.0) -> int:
    """Buy in one shop whatever it shows, its orders come at once, until nothing is left or nothing comes any more."""
    here, sold = {"a": shops.a, "b": shops.b}[shop], 0
    ends = asyncio.get_running_loop().time() + deadline_seconds
    while sold < units and asyncio.get_running_loop().time() < ends:
        if here.sell("A"):
            sold += 1
            await shops.deliver(f"shop_{shop}", "A")
        else:
            await asyncio.sleep(0.02)
    return sold


async def test_both_shops_together_show_no_more_than_there_is(database: Database, owner_pool: Pool) -> None:
    """I11."""
    shops = await made(database, owner_pool)
    async with shops.lanes(QUICK):
        await until(lambda: shown(shops) == 10)

    assert {shops.a.available["v-A"], shops.b.available["v-A"]} == {5}
    assert all(lot["settled"] == 5 and lot["asked"] is None for lot in await lots(shops))
    async with shops.bed.pool.acquire() as conn:
        config = parse(SHARED, connectors={"hostile": shops.connector()})
        read = {"orders": Feed(read=nothing_new, interval=timedelta(minutes=1))}
        told = await read_promise(
            conn, shops.bed.tenant_id, "A", config, {"hostile": replace(shops.connector(), feeds=read)}
        )
        alone = await read_promise(conn, shops.bed.tenant_id, "A", config, {"hostile": shops.connector()})
    assert (told.bound, told.pool, told.sellable) == (0, 0, 10)
    assert {(channel.may_sell, channel.promise) for channel in told.channels} == {(5, "impossible")}
    assert {(channel.bound, channel.promise) for channel in alone.channels} == {(5, "bounded")}, "webhooks alone"


@pytest.mark.parametrize("counts", ["compared", "booked"])
async def test_units_move_to_the_shop_that_sells(database: Database, owner_pool: Pool, counts: str) -> None:
    shops = await made(database, owner_pool, **COUNTS[counts])
    async with shops.lanes(QUICK):
        await until(lambda: shown(shops) == 10)
        assert await sell_all(shops, "a") == 10

    assert shown(shops) == 0
    assert await shops.bed.level("A") == (10, 10, 0)
    taken = [lot for lot in await lots(shops) if lot["withdrawals"]]
    assert taken, "units were withdrawn from the other shop"


async def test_blind_shops_are_closed_before_they_are_told_more(database: Database, owner_pool: Pool) -> None:
    shops = await made(database, owner_pool, counts=BLIND)
    async with shops.lanes(QUICK):
        await until(lambda: shown(shops) == 10)
        assert await sell_all(shops, "a") == 10
    numbers = [number for _, number, _ in shops.b.sets]
    assert 0 in numbers[1:], "the other shop was closed before its units went over"


async def test_a_blind_shop_that_shows_more_than_it_was_told_is_counted_by_that_and_told_again(
    database: Database, owner_pool: Pool
) -> None:
    """Answered with 200: the number was set, and another one is there. Nobody else gets a unit of these until it is mended."""
    shops = await made(database, owner_pool, counts=BLIND)
    shops.b.odd = 3
    config, connectors = parse(SHARED, connectors={"hostile": shops.connector()}), {"hostile": shops.connector()}

    async def worst() -> dict[str, tuple[int | None, int | None]]:
        async with shops.bed.pool.acquire() as conn:
            told = await read_promise(conn, shops.bed.tenant_id, "A", config, connectors)
        return {channel.channel: (channel.may_sell, told.pool) for channel in told.channels}

    async with shops.lanes(QUICK):
        await until(lambda: bool(shops.b.available.get("v-A")))

        async def is_counted() -> bool:
            return (await worst())["shop_b"][0] == 8

        await until(is_counted)
        assert sum(units or 0 for units, _ in (await worst()).values()) <= 13, "what it was not told, once"
        shops.b.odd = 0

        async def is_mended() -> bool:
            (_, pool), (units, _) = (await worst()).values()
            return pool is not None and pool >= 0 and shops.b.available["v-A"] == units and shown(shops) <= 10

        await until(is_mended)


async def test_feeds_that_tell_of_no_sales_hold_no_units_up(database: Database, owner_pool: Pool) -> None:
    """One mends webhooks, one looks whether open orders are still there, both now and then: no sale comes from them."""
    rare = {
        "subscriptions": Feed(read=nothing_new, interval=timedelta(hours=1), mends=True),
        "open_orders": Feed(read=nothing_new, interval=timedelta(hours=1), open_orders=10),
    }
    shops = await made(database, owner_pool, counts=BLIND, feeds=rare)
    async with shops.lanes(QUICK):
        await until(lambda: shown(shops) == 10)
        assert await sell_all(shops, "a") == 10


async def test_feeds_are_read_as_soon_as_units_wait_for_them(database: Database, owner_pool: Pool) -> None:
    """A closed shop's units wait for its orders to be read: not until the feed is due by itself."""
    rare = {"orders": Feed(read=nothing_new, interval=timedelta(hours=1))}
    shops = await made(database, owner_pool, counts=BLIND, feeds=rare)
    async with shops.lanes(QUICK):
        await until(lambda: shown(shops) == 10)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("counts", list(COUNTS))
async def test_nothing_is_oversold_while_answers_and_numbers_are_lost(
    database: Database, owner_pool: Pool, seed: int, counts: str
) -> None:
    """Both shops sell, orders come late, answers and numbers go lost, lanes are ended in the middle: no unit is sold twice."""
    chance = random.Random(seed)
    shops = await made(database, owner_pool, **COUNTS[counts])
    shops.a.keeps_keys = shops.b.keeps_keys = seed == 1
    late: list[str] = []
    settings = QUICK if counts == "compared" else replace(QUICK, unseen_settle_seconds=60.0)
    for _ in range(2):
        async with shops.lanes(settings):
            for _ in range(25):
                if counts != "compared" and len(late) > 2:  # what a closed shop sold is told before the fence is down
                    await shops.deliver(f"shop_{late.pop(0)}", "A")
                name = chance.choice("ab")
                shop = {"a": shops.a, "b": shops.b}[name]
                if shop.sell("A"):
                    late.append(name)
                if chance.random() < 0.1:
                    shop.lose_answers = 1
                if chance.random() < 0.1:
                    shop.lose_writes = 1
                if late and chance.random() < 0.5:
                    await shops.deliver(f"shop_{late.pop(chance.randrange(len(late)))}", "A")
                assert shops.a.sold.get("v-A", 0) + shops.b.sold.get("v-A", 0) + shown(shops) <= 10
                await asyncio.sleep(0.02)
    shops.a.lose_answers = shops.a.lose_writes = shops.b.lose_answers = shops.b.lose_writes = 0
    async with shops.lanes(QUICK):
        for name in late:
            await shops.deliver(f"shop_{name}", "A")
        left = 10 - shops.a.sold.get("v-A", 0) - shops.b.sold.get("v-A", 0)
        await until(lambda: shown(shops) == left)


async def test_an_item_is_shared_out_while_it_is_scarce(
    database: Database, owner_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto`: many are told as a whole; when hardly any are left, and it sells fast, they are shared out."""
    real = allocate.pace_of
    monkeypatch.setattr(allocate, "pace_of", lambda units, _seconds, _lag: real(units, 0.0, 3.0))  # on any machine
    shops = await make_shops(database, owner_pool, config=SHARED.replace("mode: always", "mode: auto"), A=10)
    await shops.bed.append([("erp", move_event("m-1", "A", 10))])
    await shops.bed.apply()
    async with shops.lanes(QUICK):
        await until(lambda: shops.a.available.get("v-A") == shops.b.available.get("v-A") == 10)
        assert await lots(shops) == []
        assert await sell_all(shops, "a", units=7) == 7
        await until(lambda: shown(shops) == 3)

    assert len(await lots(shops)) == 2


async def test_an_item_that_is_not_shared_any_more_is_told_as_a_whole(database: Database, owner_pool: Pool) -> None:
    shops = await made(database, owner_pool)
    async with shops.lanes(QUICK):
        await until(lambda: shown(shops) == 10)
        async with shops.bed.pool.acquire() as conn, conn.transaction():
            await record_version(conn, CONFIG, applied_by="test")
            await refresh_modes(conn, shops.bed.tenant_id)
        await until(lambda: shops.a.available["v-A"] == shops.b.available["v-A"] == 10)
    assert await lots(shops) == []
