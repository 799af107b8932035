"""Numbers that are set only where they are expected: a sale that nobody told yet is never overwritten, in any channel."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import pytest_asyncio
from tests.applybed import move_event, order_event
from tests.conditionalbed import SETTINGS, Shops, make_shops
from tests.dispatchbed import until

from tidegate.config import Config
from tidegate.dispatch.drift import request_run
from tidegate.dispatch.settings import DEFAULTS
from tidegate.kernel.ids import first_id_at
from tidegate.monitor.stock_view import read_stock
from tidegate.sdk.connector import Feed, FeedPage, Shown, ShownArticle, ShownField, ShownPage, ShownValue
from tidegate.sdk.http import Api
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def shops(database: Database, owner_pool: Pool) -> Shops:
    """Ten units, told to both shops."""
    made = await make_shops(database, owner_pool, A=10, B=10)
    await made.bed.append([("erp", move_event(f"m-{sku}", sku, 10)) for sku in ("A", "B")])
    await made.bed.apply()
    async with made.lanes():
        await until(lambda: made.a.available == made.b.available == {"v-A": 10, "v-B": 10})
        await until(made.is_quiet)
    return made


async def receive(shops: Shops, sku: str, units: int, number: int) -> None:
    await shops.bed.append([("erp", move_event(f"more-{number}", sku, units))])
    await shops.bed.apply()


async def test_a_number_goes_out_with_what_the_channel_is_expected_to_show(shops: Shops) -> None:
    async with shops.lanes():
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.available["v-A"] == 15)

    assert ("v-A", 15, 10) in shops.a.sets
    assert shops.a.stale == 0


async def test_a_channel_that_lowered_its_number_by_itself_is_not_told_again(shops: Shops) -> None:
    """Its own sale is known to it: only the other one is told."""
    told = len(shops.a.sets)
    assert shops.a.sell("A", 3)
    await shops.deliver("shop_a", "A", 3)

    async with shops.lanes():
        await until(lambda: shops.b.available["v-A"] == 7)
        await until(shops.is_quiet)

    assert len(shops.a.sets) == told
    assert shops.a.available["v-A"] == 7
    assert (await shops.mark("shop_a", "A"))["acked_quantity"] == 7


async def test_a_sale_that_nobody_told_yet_is_not_overwritten_and_its_order_changes_nothing(shops: Shops) -> None:
    """The push is refused, what is missing counts as sold everywhere, and when the order comes the numbers stay."""
    assert shops.a.sell("A", 4)
    async with shops.lanes():
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.available["v-A"] == 11 and shops.b.available["v-A"] == 11)
        assert shops.a.stale == 1
        assert (await shops.mark("shop_a", "A"))["unseen"] == 4
        async with shops.bed.pool.acquire() as conn:
            view = await read_stock(conn, shops.bed.tenant_id, "A", {"hostile": shops.connector()}, Config(), entries=1)
        unseen = {channel.connection: channel.unseen for channel in view.channels}
        assert unseen.pop("shop_b") is None
        told = unseen["shop_a"]
        assert told is not None
        assert (told.gone, told.back) == (4, 0)
        assert told.until == told.since + timedelta(seconds=DEFAULTS.unseen_settle_seconds)
        assert told.words.startswith("4 units are gone there, and no order that we know explains it")

        sets = len(shops.a.sets), len(shops.b.sets)
        await shops.deliver("shop_a", "A", 4)
        await until(shops.is_quiet)

    assert (len(shops.a.sets), len(shops.b.sets)) == sets, "the order explains what was seen: nothing is told anew"
    assert (shops.a.available["v-A"], shops.b.available["v-A"]) == (11, 11)
    assert (await shops.mark("shop_a", "A"))["unseen"] == 0
    assert await shops.bed.level("A") == (15, 4, 11)


async def test_units_that_are_gone_are_taken_off_in_the_same_call(shops: Shops) -> None:
    """The shop shows fewer than expected: the number is set less those, and they are missing everywhere until orders come."""
    shops.a.adapts = True
    assert shops.a.sell("A", 4)
    async with shops.lanes():
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.available["v-A"] == 11 and shops.b.available["v-A"] == 11)
        mark = await shops.mark("shop_a", "A")
        assert (mark["unseen"], mark["acked_quantity"]) == (4, 11)

        sets = len(shops.a.sets), len(shops.b.sets)
        await shops.deliver("shop_a", "A", 4)
        await until(shops.is_quiet)

    mark = await shops.mark("shop_a", "A")
    assert (mark["unseen"], mark["acked_quantity"]) == (0, 11)
    assert (len(shops.a.sets), len(shops.b.sets)) == sets


@pytest.mark.parametrize(("unknown", "known", "after"), [(2, 0, 0), (0, 2, 0), (3, 2, 0), (2, 3, 1), (0, 0, 2)])
async def test_what_is_sold_around_a_number_that_adapts_is_counted_once(
    shops: Shops, unknown: int, known: int, after: int
) -> None:
    """Sold before it arrives and told late, or told while it is under way, or sold right after it: the books agree in the end."""
    arrived, go_on = asyncio.Event(), asyncio.Event()
    real = shops.a.execute
    shops.a.adapts = True

    async def slow(api, payloads, key):  # type: ignore[no-untyped-def]
        if not arrived.is_set():
            arrived.set()
            await go_on.wait()
        return await real(api, payloads, key)

    shops.a.execute = slow  # type: ignore[method-assign]
    if unknown:
        assert shops.a.sell("A", unknown)
    async with shops.lanes():
        await receive(shops, "A", 5, 1)
        await arrived.wait()
        if known:
            assert shops.a.sell("A", known)
            await shops.deliver("shop_a", "A", known)
        go_on.set()
        right = 15 - unknown - known
        await until(lambda: shops.a.available["v-A"] == shops.b.available["v-A"] == right)
        if after:
            assert shops.a.sell("A", after)
            await shops.deliver("shop_a", "A", after)
        if unknown:
            await shops.deliver("shop_a", "A", unknown)
        await until(lambda: shops.a.available["v-A"] == shops.b.available["v-A"] == right - after)
        await until(shops.is_quiet)

    mark = await shops.mark("shop_a", "A")
    assert (mark["unseen"], mark["unseen_back"], mark["acked_quantity"]) == (0, 0, right - after)


async def test_what_only_waits_for_an_explanation_does_not_hold_news_back(shops: Shops) -> None:
    """Units are missing in a shop, and the next look at them is far: what changes meanwhile is told at once."""
    shops.a.available["v-A"] -= 4
    async with shops.lanes(replace(SETTINGS, unseen_look_seconds=3600.0)):
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.available["v-A"] == 11 and shops.b.available["v-A"] == 11)
        await until(shops.is_quiet)
        await receive(shops, "A", 2, 2)
        await until(lambda: shops.a.available["v-A"] == 13 and shops.b.available["v-A"] == 13)

    assert (await shops.mark("shop_a", "A"))["unseen"] == 4


async def test_the_last_units_are_not_sold_twice(shops: Shops) -> None:
    """A sold all ten and nobody knows; a push of any number to A, and of the shared pool to B, must not offer them again."""
    assert shops.a.sell("A", 10)
    async with shops.lanes():
        await receive(shops, "A", 1, 1)
        await until(lambda: shops.a.available["v-A"] == 1 and shops.b.available["v-A"] == 1)
        assert not shops.b.sell("A", 2)
        await shops.deliver("shop_a", "A", 10)
        await until(shops.is_quiet)

    assert (shops.a.available["v-A"], shops.b.available["v-A"]) == (1, 1)
    assert (await shops.bed.level("A"))[2] == 1


async def test_an_item_that_is_stale_does_not_hold_up_its_siblings(shops: Shops) -> None:
    """The call is refused as a whole; the others go out at once, without it."""
    assert shops.a.sell("A", 1)
    await shops.bed.append([("erp", move_event(f"more-{sku}", sku, 5)) for sku in ("A", "B")])
    await shops.bed.apply()

    async with shops.lanes():
        await until(lambda: shops.a.available == {"v-A": 14, "v-B": 15})

    assert shops.a.stale == 1


async def test_a_sale_while_the_number_is_under_way_is_counted_once(shops: Shops) -> None:
    """It is sold after the number was made and before it arrives, or after: either way the books agree in the end."""
    calls = 0

    def sell_in_between() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            assert shops.a.sell("A", 2)

    shops.a.before_set = sell_in_between
    async with shops.lanes():
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.available["v-A"] == 13)
        await shops.deliver("shop_a", "A", 2)
        await until(lambda: shops.b.available["v-A"] == 13)
        await until(shops.is_quiet)

    assert shops.a.available["v-A"] == 13
    assert await shops.bed.level("A") == (15, 2, 13)
    assert (await shops.mark("shop_a", "A"))["acked_quantity"] == 13


async def test_an_order_that_is_applied_while_its_number_is_under_way_leaves_no_missing_units(shops: Shops) -> None:
    """The number was made before T2 knew the sale, and arrives after: refused, and explained already."""
    arrived, go_on = asyncio.Event(), asyncio.Event()
    real = shops.a.execute

    async def slow(api, payloads, key):  # type: ignore[no-untyped-def]
        arrived.set()
        await go_on.wait()
        return await real(api, payloads, key)

    shops.a.execute = slow  # type: ignore[method-assign]
    async with shops.lanes():
        await receive(shops, "A", 5, 1)
        await arrived.wait()
        assert shops.a.sell("A", 2)
        await shops.deliver("shop_a", "A", 2)
        go_on.set()
        await until(lambda: shops.a.available["v-A"] == 13 and shops.b.available["v-A"] == 13)
        await until(shops.is_quiet)

    mark = await shops.mark("shop_a", "A")
    assert (mark["unseen"], mark["acked_quantity"]) == (0, 13)


async def test_a_lost_answer_and_a_sale_behind_it(shops: Shops) -> None:
    """The number arrived, its answer did not, and somebody bought: the look teaches what is there, nothing is offered twice."""
    shops.a.lose_answers = 1
    async with shops.lanes():
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.available["v-A"] == 15)
        assert shops.a.sell("A", 15)
        await until(shops.is_quiet)
        assert shops.a.available["v-A"] == 0
        await until(lambda: shops.b.available["v-A"] == 0 if shops.a.sold["v-A"] == 15 else False)
        await shops.deliver("shop_a", "A", 15)
        await until(shops.is_quiet)

    assert (shops.a.available["v-A"], shops.b.available["v-A"]) == (0, 0)


@pytest.mark.parametrize("lost", ["answer", "write"])
async def test_a_shop_that_keeps_keys_is_asked_again_and_has_nothing_late(shops: Shops, lost: str) -> None:
    """What it says under the call's key is the last word: the lost call itself may come at any time, and changes nothing."""
    shops.a.keeps_keys = True
    shops.a.lose_answers, shops.a.lose_writes = int(lost == "answer"), int(lost == "write")
    told = len(shops.a.sets)
    async with shops.lanes():
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.available["v-A"] == shops.b.available["v-A"] == 15)
        await until(shops.is_quiet)

    mark = await shops.mark("shop_a", "A")
    assert (shops.a.asked_again, len(shops.a.sets)) == (1, told + 1)
    assert (mark["late_until"], mark["acked_quantity"], mark["unseen"]) == (None, 15, 0)
    for payloads, key in shops.a.flying:
        await shops.a.take(payloads, key)
    assert len(shops.a.sets) == told + 1


@pytest.mark.parametrize("why", ["stopped", "forgotten"])
async def test_what_may_be_done_now_is_not_asked_for_again(shops: Shops, why: str) -> None:
    """While writes are stopped, and when the key may be forgotten: then it is only looked."""
    shops.a.keeps_keys = True
    shops.keys_kept = timedelta(0) if why == "forgotten" else shops.keys_kept
    shops.a.lose_writes, told = 1, list(shops.a.sets)
    async with shops.lanes(replace(SETTINGS, first_look_seconds=1.0)):
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.lose_writes == 0)
        await shops.bed.pool.execute("UPDATE switch SET is_on = true")
        await until(shops.is_settled)

    assert (shops.a.asked_again, shops.a.sets) == (0, told)
    assert (await shops.mark("shop_a", "A"))["late_until"] is not None


async def test_a_number_that_sales_brought_there_is_not_taken_for_ours(shops: Shops) -> None:
    """Ours never arrived, and the shop sold just as many units: the look finds the number. The orders show that it was not ours."""
    shops.a.lose_writes = 1
    await shops.deliver("shop_b", "A", 2)
    shops.b.available["v-A"] -= 2
    assert shops.a.sell("A", 2)
    async with shops.lanes():
        await until(lambda: shops.a.lose_writes == 0)
        await shops.deliver("shop_a", "A", 2)
        await until(lambda: shops.a.available["v-A"] == shops.b.available["v-A"] == 6)
        await until(shops.is_quiet)


async def test_a_number_in_doubt_is_told_once_more_only_after_all_that_was_sold_before_is_applied(shops: Shops) -> None:
    """The orders wait in the queue for longer than the doubt: told once more too early, they would be taken off for ever."""
    shops.a.lose_writes = 1
    await shops.deliver("shop_b", "A", 2)
    shops.b.available["v-A"] -= 2
    assert shops.a.sell("A", 2)
    async with shops.lanes():
        await until(lambda: shops.a.lose_writes == 0)
        told = list(shops.a.sets)
        await shops.bed.append([("shop_a", order_event("late", [("A", 2)]))])
        looks: set[object] = set()

        async def was_put_off() -> bool:
            mark = await shops.mark("shop_a", "A")
            if (
                mark["late_until"] is not None
                and mark["not_before"] is not None
                and mark["not_before"] > mark["late_until"]
            ):
                looks.add(mark["not_before"])
            return len(looks) > 1

        await until(was_put_off)
        assert shops.a.sets == told
        await shops.bed.apply()
        await until(lambda: shops.a.available["v-A"] == shops.b.available["v-A"] == 6)
        await until(shops.is_quiet)

    assert (await shops.mark("shop_a", "A"))["late_until"] is None


@pytest.mark.parametrize(("unknown", "known"), [(1, 2), (2, 3), (2, 2), (0, 2)])
async def test_what_is_sold_around_a_look_is_counted_once(shops: Shops, unknown: int, known: int) -> None:
    """Ours never arrived; some were sold before the look and are told late, some after it and are told before its answer."""
    real, looked = shops.a.find, asyncio.Event()

    async def slow(api, payload):  # type: ignore[no-untyped-def]
        found = await real(api, payload)
        if not looked.is_set():
            looked.set()
            if known:
                assert shops.a.sell("A", known)
                await shops.deliver("shop_a", "A", known)
        return found

    shops.a.find = slow  # type: ignore[method-assign]
    shops.a.lose_writes = 1
    if unknown:
        assert shops.a.sell("A", unknown)
    async with shops.lanes():
        await receive(shops, "A", 15, 1)
        await looked.wait()
        if unknown:
            await until(lambda: shops.a.available["v-A"] == 25 - unknown - known)
            await shops.deliver("shop_a", "A", unknown)
        await until(lambda: shops.a.available["v-A"] == shops.b.available["v-A"] == 25 - unknown - known)
        await until(shops.is_quiet)

    mark = await shops.mark("shop_a", "A")
    assert (mark["unseen"], mark["unseen_back"], mark["acked_quantity"]) == (0, 0, 25 - unknown - known)


async def test_a_write_that_never_arrived_is_told_anew_and_nothing_is_missed(shops: Shops) -> None:
    """No false alarm: what is there is what was there before."""
    shops.a.lose_writes = 1
    async with shops.lanes():
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.available["v-A"] == 15 and shops.b.available["v-A"] == 15)
        await until(shops.is_quiet)

    assert (await shops.mark("shop_a", "A"))["unseen"] == 0


async def test_units_that_came_back_there_are_not_taken_for_sales(shops: Shops) -> None:
    """Somebody raised the number by hand: ours is set, nothing counts as sold."""
    shops.a.available["v-A"] += 3
    async with shops.lanes():
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.available["v-A"] == 15 and shops.b.available["v-A"] == 15)

    mark = await shops.mark("shop_a", "A")
    assert (mark["unseen"], mark["unseen_back"]) == (0, 3)


async def test_what_no_order_explains_is_given_back_when_the_orders_were_read(shops: Shops) -> None:
    """Somebody lowered the number by hand: after the shop's orders were read well after it, ours is set."""
    shops.a.available["v-A"] -= 4
    async with shops.lanes():
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.available["v-A"] == 11 and shops.b.available["v-A"] == 11)
        await until(shops.is_quiet)

    async with shops.lanes(replace(SETTINGS, unseen_settle_seconds=0.3)):
        await until(lambda: shops.a.available["v-A"] == 15 and shops.b.available["v-A"] == 15)
        await until(shops.is_quiet)

    assert (await shops.mark("shop_a", "A"))["unseen"] == 0


async def test_what_only_mends_the_way_of_webhooks_explains_nothing_and_holds_nothing(shops: Shops) -> None:
    """Such a feed is read now and then; the orders were read, and that is enough."""

    async def nothing(_api: Api, cursor: str) -> FeedPage:
        return FeedPage(items=(), cursor=cursor, has_more=False)

    shops.feeds = {"subscriptions": Feed(read=nothing, interval=timedelta(hours=1), mends=True)}
    async with shops.lanes(replace(SETTINGS, unseen_settle_seconds=0.3)):
        ids = shops.bed.tenant_id, shops.bed.connections["shop_a"]
        await until(
            lambda: shops.bed.pool.fetchval(
                "SELECT EXISTS (SELECT FROM poll_cursor WHERE tenant_id = $1 AND connection_id = $2)", *ids
            )
        )
        shops.a.available["v-A"] -= 4
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.available["v-A"] == 15 and shops.b.available["v-A"] == 15)
        await until(shops.is_quiet)

    assert (await shops.mark("shop_a", "A"))["unseen"] == 0


@pytest.mark.parametrize("held", ["feed", "parked"])
async def test_missing_units_stay_sold_while_orders_may_be_on_their_way(shops: Shops, held: str) -> None:
    """The feed was not read since, or an order waits to be applied: nobody knows that they were not sold."""
    shops.a.available["v-A"] -= 4
    ids = shops.bed.tenant_id, shops.bed.connections["shop_a"]
    if held == "feed":
        await shops.bed.pool.execute(
            "INSERT INTO poll_cursor (tenant_id, connection_id, feed, even_at) VALUES ($1, $2, 'orders', now())", *ids
        )
    else:
        await shops.bed.pool.execute(
            "INSERT INTO event_parked (tenant_id, event_id, run, slot, connection_id, ordering_key, kind, code, reason, until)"
            " VALUES ($1, gen_random_uuid(), 0, 1, $2, 'order:1', 'parked', 'x', 'x', now() + interval '1 day')",
            *ids,
        )
    async with shops.lanes(replace(SETTINGS, unseen_settle_seconds=0.2)):
        await receive(shops, "A", 5, 1)
        await until(lambda: shops.a.available["v-A"] == 11 and shops.b.available["v-A"] == 11)
        looked = (await shops.mark("shop_a", "A"))["not_before"]

        async def looked_again() -> bool:
            mark = await shops.mark("shop_a", "A")
            return mark["not_before"] is not None and mark["not_before"] != looked

        await until(looked_again)
        looked = (await shops.mark("shop_a", "A"))["not_before"]
        await until(looked_again)

    assert (await shops.mark("shop_a", "A"))["unseen"] == 4
    assert shops.a.available["v-A"] == 11


async def test_a_shop_that_sells_all_day_is_explained_all_the_same(shops: Shops) -> None:
    """Something waits in its queue at any moment; what came after its orders were read can explain nothing older."""

    async def nothing(_api: Api, cursor: str) -> FeedPage:
        return FeedPage(items=(), cursor=cursor, has_more=False)

    shops.feeds = {"orders": Feed(read=nothing, interval=timedelta(seconds=0.2))}
    shops.a.available["v-A"] -= 4
    await receive(shops, "A", 5, 1)
    await shops.bed.append([("shop_a", order_event("next", [("B", 1)]))])
    (queued,) = await shops.bed.pool.fetch("SELECT event_id FROM event_queue")
    for table in ("event_queue", "event"):
        words = f"UPDATE {table} SET event_id = $2 WHERE event_id = $1"
        await shops.bed.pool.execute(words, queued[0], first_id_at(datetime.now(UTC) + timedelta(hours=1)))
    async with shops.lanes(replace(SETTINGS, unseen_settle_seconds=0.3)):
        await until(lambda: shops.a.available["v-A"] == 15 and shops.b.available["v-A"] == 15)

    assert (await shops.mark("shop_a", "A"))["unseen"] == 0


async def test_a_cancelled_order_gives_its_units_back_once(shops: Shops) -> None:
    """The shop raised its number by itself."""
    assert shops.a.sell("A", 3)
    await shops.deliver("shop_a", "A", 3)
    async with shops.lanes():
        await until(lambda: shops.b.available["v-A"] == 7)
        shops.a.available["v-A"] += 3
        shops.orders -= 1
        await shops.deliver("shop_a", "A", 3, revision=2, state="cancelled")
        await until(lambda: shops.b.available["v-A"] == 10)
        await until(shops.is_quiet)

    assert shops.a.available["v-A"] == 10
    assert (await shops.mark("shop_a", "A"))["acked_quantity"] == 10
    assert shops.a.stale == 0


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_comes_in_whatever_order_the_numbers_are_right_in_the_end(shops: Shops, seed: int) -> None:
    """Two shops that refuse or adapt, orders told late and mixed up, goods received, answers and writes lost: by chance.

    A look after a lost answer may take our own lowering for a sale: too little is offered then, until the orders were read.
    """
    chance = random.Random(seed)
    untold: list[tuple[str, str, int]] = []
    stock = {"A": 10, "B": 10}
    async with shops.lanes():
        for number in range(40):
            name, shop = chance.choice([("shop_a", shops.a), ("shop_b", shops.b)])
            sku, units = chance.choice("AB"), chance.randint(1, 3)
            shop.adapts = chance.random() < 0.6
            match chance.choice(["sell", "sell", "tell", "receive", "lose", "wait"]):
                case "sell":
                    held = sum(n for _, other, n in untold if other == sku)
                    if held + units <= 4 and shop.available[f"v-{sku}"] >= held + units and shop.sell(sku, units):
                        untold.append((name, sku, units))
                case "tell" if untold:
                    await shops.deliver(*untold.pop(chance.randrange(len(untold))))
                case "receive":
                    await receive(shops, sku, units, number)
                    stock[sku] += units
                case "lose":
                    shop.lose_answers, shop.lose_writes = chance.choice([(1, 0), (0, 1)])
                case _:
                    await asyncio.sleep(chance.uniform(0.0, 0.2))
        for one in untold:
            await shops.deliver(*one)
        await until(shops.is_quiet)
        sold = {sku: shops.a.sold.get(f"v-{sku}", 0) + shops.b.sold.get(f"v-{sku}", 0) for sku in stock}
        right = {f"v-{sku}": stock[sku] - sold[sku] for sku in stock}
        for shop in (shops.a, shops.b):
            assert all(shop.available[article] <= right[article] for article in right), "never more than there is"
    async with shops.lanes(replace(SETTINGS, unseen_settle_seconds=0.1)):  # what no order explains was no sale
        await until(lambda: shops.a.available == right and shops.b.available == right)
        await until(shops.is_quiet)
        await until(shops.is_explained)

    assert shops.a.available == shops.b.available == right
    for name in ("shop_a", "shop_b"):
        for sku in stock:
            mark = await shops.mark(name, sku)
            assert (mark["unseen"], mark["unseen_back"], mark["acked_quantity"]) == (0, 0, right[f"v-{sku}"])


async def test_a_busy_day_ends_with_equal_books(shops: Shops) -> None:
    """Sales in both shops whose orders come late and in bulk, deliveries of the ERP, lost answers: no unit is sold twice."""
    shops.a.lose_answers = shops.b.lose_writes = 2
    waiting: list[tuple[str, int]] = []
    stock = 10
    async with shops.lanes():
        for number in range(12):
            for name, shop in (("shop_a", shops.a), ("shop_b", shops.b)):
                units = 1 + number % 3
                if shop.available["v-A"] >= units and sum(n for _, n in waiting) + units <= 4 and shop.sell("A", units):
                    waiting.append((name, units))
            if number % 3 == 2:
                await receive(shops, "A", 2, number)
                stock += 2
            if number % 2:
                for name, units in waiting:
                    await shops.deliver(name, "A", units)
                waiting.clear()
            await asyncio.sleep(0)
        for name, units in waiting:
            await shops.deliver(name, "A", units)
        await until(shops.is_quiet)
        sold = shops.a.sold.get("v-A", 0) + shops.b.sold.get("v-A", 0)
        assert max(shops.a.available["v-A"], shops.b.available["v-A"]) <= stock - sold
    async with shops.lanes(
        replace(SETTINGS, unseen_settle_seconds=0.1)
    ):  # a look may have taken our own lowering for a sale
        await until(lambda: shops.a.available["v-A"] == shops.b.available["v-A"] == max(0, stock - sold))
        await until(shops.is_quiet)

    assert await shops.bed.level("A") == (stock, sold, stock - sold)


def let_show(shops: Shops) -> None:
    """Let both shops show their numbers to a look."""

    async def read(api: Api, _cursor: str) -> ShownPage:
        articles = tuple(
            ShownArticle(
                external_id=article,
                sku=article.removeprefix("v-"),
                values=(ShownValue(field=ShownField.STOCK, place="main", value=Decimal(number)),),
            )
            for article, number in shops.of(api).available.items()
        )
        return ShownPage(articles=articles, cursor="", has_more=False)

    shown = Shown(read=read, fields=frozenset({ShownField.STOCK}), articles_max=100)
    shops.counts = {**shops.counts, "shown": shown}


async def look_at(shops: Shops) -> None:
    async with shops.bed.pool.acquire() as conn:
        made = await request_run(conn, tenant_id=shops.bed.tenant_id, actor="test", names=("shop_a", "shop_b"))
    over = "SELECT finished_at IS NOT NULL FROM sync_run WHERE run_id = $1"
    await until(lambda: shops.bed.pool.fetchval(over, made.run_id))


async def test_a_look_finds_a_sale_whose_event_was_missed_and_never_offers_the_units_again(shops: Shops) -> None:
    """Healing tells our number as expected; the shop says that it has fewer, and these count as sold everywhere."""
    let_show(shops)
    assert shops.a.sell("A", 4)

    async with shops.lanes():
        await look_at(shops)
        cause = await shops.bed.pool.fetchval("SELECT cause FROM drift_entry WHERE kind = 'found'")
        await until(lambda: shops.b.available["v-A"] == 6)
        await until(shops.is_quiet)
        assert cause == "missed_event"
        assert (await shops.mark("shop_a", "A"))["unseen"] == 4
        assert {number for article, number, _ in shops.a.sets if article == "v-A"} <= {10, 6}
        assert shops.a.available["v-A"] == 6

        await shops.deliver("shop_a", "A", 4)
        await until(shops.is_quiet)
        await look_at(shops)

    assert (shops.a.available["v-A"], shops.b.available["v-A"]) == (6, 6)
    assert await shops.bed.pool.fetchval("SELECT count(*) FROM drift") == 0


async def test_a_number_that_was_raised_over_there_is_lowered_by_a_look(shops: Shops) -> None:
    let_show(shops)
    shops.a.available["v-A"] = 25

    async with shops.lanes():
        await look_at(shops)
        await until(lambda: shops.a.available["v-A"] == 10)

    assert shops.b.available["v-A"] == 10
