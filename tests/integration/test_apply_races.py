"""What two of something do to each other around T2: replays, configurations, sessions, clocks, lockers of marks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from tests.applybed import CONFIG, Bed, make_bed, move_event, order_event, placed_now
from tests.dispatchbed import until
from tests.foldbed import prepared
from tests.paymentbed import intent_event, make_payment_bed, paid_order

from tidegate.dispatch.statements import END_UNSENT
from tidegate.eventlog.replay import replay
from tidegate.kernel.ids import new_id
from tidegate.sdk.connector import RawEvent
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.pool import BY_KEY, create_pool
from tidegate.store.roles import Role
from tidegate.sync import statements
from tidegate.sync.catalogue import Catalogue
from tidegate.sync.going_live import put_to_work
from tidegate.sync.load import articles_of, load_state
from tidegate.sync.policy import EMPTY_POLICY
from tidegate.sync.records import Prepared
from tidegate.sync.worker import serve

pytestmark = pytest.mark.asyncio
OBSERVE = CONFIG.replace("mode: live", "mode: observe")
LOCK_MARK = "SELECT FROM channel_stock WHERE tenant_id = $1 AND connection_id = $2 AND item_id = $3 FOR NO KEY UPDATE"


async def test_two_replays_at_once_apply_it_once_and_hold_nobody_up(database: Database, owner_pool: Pool) -> None:
    bed = await make_bed(database, owner_pool)
    (event_id,) = await bed.append([("shop_a", order_event("1", [("A", 1)]))])
    await bed.apply()
    async with owner_pool.acquire() as one, owner_pool.acquire() as two, two.transaction(), one.transaction():
        await replay(one, bed.tenant_id, [event_id])
        await replay(two, bed.tenant_id, [event_id])
    assert await owner_pool.fetchval("SELECT count(*) FROM event_queue") == 2
    await bed.append([("shop_a", order_event(str(number), [("A", 1)])) for number in range(2, 40)])

    await bed.apply()

    assert await owner_pool.fetchval("SELECT count(*) FROM event_outcome WHERE event_id = $1", event_id) == 2
    assert await owner_pool.fetchval("SELECT count(*) FROM event_parked") == 0
    assert (await bed.level("A"))[1] == 39
    await bed.check_books()


async def test_the_isolation_that_a_server_prefers_does_not_matter(database: Database, owner_pool: Pool) -> None:
    """What is read after a lock must have been committed before it."""
    bed = await make_bed(database, owner_pool)
    name = await owner_pool.fetchval("SELECT current_database()")
    await owner_pool.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    for part in range(3):
        await bed.append([("shop_a", order_event(f"{part}-{number}", [("A", 1)])) for number in range(100)])

    await bed.apply(processes=2)

    assert await bed.outcomes() == {"applied": 300}
    await bed.check_books()


@asynccontextmanager
async def serving(bed: Bed) -> AsyncIterator[None]:
    """One apply process; ended at the end."""
    stop = asyncio.Event()
    worker = asyncio.create_task(serve(bed.context(1), stop))
    yield
    stop.set()
    await worker


async def test_nothing_is_applied_under_a_configuration_that_is_no_more(database: Database, owner_pool: Pool) -> None:
    """Going live plans from what is there; what comes a moment later must not be applied as if it still observed."""
    bed = await make_bed(database, owner_pool, config=OBSERVE)
    await bed.append([("erp", move_event("m1", "A", 10))])

    async def is_drained() -> bool:
        return not await owner_pool.fetchval("SELECT count(*) FROM event_queue")

    async with serving(bed):
        await until(is_drained)
        async with owner_pool.acquire() as conn:
            await put_to_work(conn, CONFIG, applied_by="test")
        await owner_pool.execute(  # as the lanes of the shops do at once: they are told 10 and say yes
            "UPDATE channel_stock SET dirty = false, dirty_at = NULL, push_version = 1, acked_quantity = 10"
        )
        await bed.append([("shop_a", placed_now(order_event("1", [("A", 3)])))])
        await until(is_drained)

    assert await owner_pool.fetchval("SELECT count(*) FROM command WHERE kind = 'order.create'") == 1
    dirty = await owner_pool.fetchval("SELECT count(*) FROM channel_stock WHERE dirty AND item_id = $1", bed.items["A"])
    assert dirty == 2


@pytest.mark.parametrize("code", ["nothing_left", "not_released"])
async def test_an_order_that_did_not_leave_leaves_when_there_is_a_reason_again(
    database: Database, owner_pool: Pool, code: str
) -> None:
    bed = await make_bed(database, owner_pool)
    await bed.append([("shop_a", order_event("1", [("A", 1)]))])
    await bed.apply()
    command_id = await owner_pool.fetchval("SELECT command_id FROM command")
    ended = await owner_pool.fetchval(
        END_UNSENT, bed.tenant_id, bed.connections["erp"], command_id, "cancelled", code, "it was not to leave"
    )
    assert ended

    await bed.append([("shop_a", order_event("1", [("B", 2)], revision=2))])
    await bed.apply()

    rows = await owner_pool.fetch("SELECT command_id, state, code FROM command WHERE kind = 'order.create'")
    assert [tuple(row) for row in rows] == [(command_id, "pending", None)]


async def test_a_command_stands_behind_its_elders_also_when_a_clock_goes_wrong(
    database: Database, owner_pool: Pool
) -> None:
    """Ids are the queue of a target: a cancel that is planned by a slow clock must not overtake its create."""
    bed = await make_bed(database, owner_pool)
    await bed.append([("shop_a", order_event("1", [("A", 1)]))])
    await bed.apply()
    create = await owner_pool.fetchval("SELECT command_id FROM command")
    planned_fast = UUID(int=create.int + (3_600_000 << 80))  # an hour ahead
    for table in ("command", "command_key"):
        await owner_pool.execute(f"UPDATE {table} SET command_id = $1 WHERE command_id = $2", planned_fast, create)
    await owner_pool.execute("UPDATE command SET call_id = gen_random_uuid()")  # it was sent, so it is not annihilated

    cancelled = order_event("1", [("A", 1)], revision=2)
    cancelled["order"]["state"] = "cancelled"
    await bed.append([("shop_a", cancelled)])
    await bed.apply()

    rows = await owner_pool.fetch("SELECT kind FROM command WHERE target_key LIKE 'order:%' ORDER BY command_id")
    assert [row[0] for row in rows] == ["order.create", "order.cancel"]


async def test_marks_are_locked_channel_by_channel_also_in_a_small_batch(database: Database, owner_pool: Pool) -> None:
    bed = await make_bed(database, owner_pool, skus=[f"S{number}" for number in range(6)])
    channels = sorted((bed.connections["shop_a"], bed.connections["shop_b"]))
    first, second, common, *more = sorted(bed.items.values())
    pool = await create_pool(database.access(Role.APPLY), application_name="x", server_settings=BY_KEY, size_max=3)

    async with pool.acquire() as large, pool.acquire() as small, pool.acquire() as lane:

        async def mark(conn: object, items: list[UUID]) -> None:
            async with conn.transaction():  # type: ignore[attr-defined]
                await conn.execute(statements.MARK_DIRTY, bed.tenant_id, channels, items, 40)  # type: ignore[attr-defined]

        transaction = lane.transaction()
        await transaction.start()
        await lane.fetch(LOCK_MARK, bed.tenant_id, channels[1], first)  # T2s of the second channel: in order
        one = asyncio.create_task(mark(large, [first, common, *more]))  # waits for the lane, holding `common`
        await until(lambda: waiting(owner_pool, 1))
        two = asyncio.create_task(mark(small, [second, common]))  # waits for `common`
        await until(lambda: waiting(owner_pool, 2))
        await lane.fetch(LOCK_MARK, bed.tenant_id, channels[1], second)
        await transaction.rollback()
        await asyncio.gather(one, two)
    await pool.close()


async def test_untold_marks_are_locked_in_the_one_order(database: Database, owner_pool: Pool) -> None:
    bed = await make_bed(database, owner_pool, skus=[f"S{number}" for number in range(10)])
    channel, items = bed.connections["shop_a"], sorted(bed.items.values())
    await owner_pool.execute("DELETE FROM channel_stock")
    for item in reversed(items):  # rows lie in another order than their keys
        await owner_pool.execute(
            "INSERT INTO channel_stock (tenant_id, connection_id, item_id, mode) VALUES ($1, $2, $3, 'live')",
            bed.tenant_id, channel, item,
        )  # fmt: skip
        await owner_pool.execute(  # only what was counted is told
            "INSERT INTO stock_level (tenant_id, item_id, location_id)"
            " SELECT $1, $2, location_id FROM location WHERE tenant_id = $1 ON CONFLICT DO NOTHING",
            bed.tenant_id, item,
        )  # fmt: skip
    pool = await create_pool(database.access(Role.APPLY), application_name="x", server_settings=BY_KEY, size_max=3)

    async with pool.acquire() as one, pool.acquire() as two, pool.acquire() as gate:
        transaction = gate.transaction()
        await transaction.start()
        await gate.fetch(LOCK_MARK, bed.tenant_id, channel, items[5])
        untold = asyncio.create_task(one.execute(statements.MARK_UNTOLD, bed.tenant_id, [channel]))
        await until(lambda: waiting(owner_pool, 1))
        dirty = asyncio.create_task(two.execute(statements.MARK_DIRTY, bed.tenant_id, [channel], items, 40))
        await until(lambda: waiting(owner_pool, 2))
        await transaction.rollback()
        await asyncio.gather(untold, dirty)
    await pool.close()


@pytest.mark.parametrize("over", ["marks", "payments"])
async def test_two_batches_with_payments_take_their_locks_in_the_one_order(
    database: Database, owner_pool: Pool, over: str
) -> None:
    """A batch with a payment and a new order waits before it makes a payment that the other batch may come to wait for."""
    bed = await make_payment_bed(database, owner_pool)
    channels = (bed.connections["shop_a"], bed.connections["shop_b"])
    policy = replace(
        EMPTY_POLICY, order_channels=frozenset(channels), provider=bed.connections["pay"], stock_channels=channels
    )
    catalogue = Catalogue(bed.tenant_id)

    def mapped(name: str, content: dict[str, Any]) -> Prepared:
        connector = bed.others.get(name, bed.connector)
        raw = RawEvent(source="webhook", topic=content["type"], body=json.dumps(content).encode())
        return prepared(bed.connections[name], *connector.normalize(raw))

    second = order_event("2", [("B", 1)])
    second["order"]["payments"] = paid_order("2", "pi_1")["order"]["payments"]
    batch = [mapped("pay", intent_event("pi_1", "requires_capture")), mapped("shop_a", paid_order("1", "pi_2"))]
    other = [mapped("pay", intent_event("pi_2", "requires_capture")), mapped("shop_b", second)]
    pool = await create_pool(database.access(Role.APPLY), application_name="x", server_settings=BY_KEY, size_max=2)

    async with pool.acquire() as one, pool.acquire() as two:
        await catalogue.resolve(one, *articles_of([*batch, *other]))

        async def load() -> None:
            async with one.transaction():
                await load_state(one, bed.tenant_id, batch, catalogue, policy)

        async with two.transaction():
            if over == "payments":  # of other articles: nothing but payments is in both
                await load_state(two, bed.tenant_id, other, catalogue, policy)
            else:
                await two.execute(statements.MARK_DIRTY, bed.tenant_id, sorted(channels), [bed.items["A"]], 40)
            task = asyncio.create_task(load())

            async def waits_or_ended() -> bool:
                return task.done() or await waiting(owner_pool, 1)

            await until(waits_or_ended)
            assert not task.done(), "it has made a payment without waiting for what is locked before"
            payment = (bed.tenant_id, [bed.connections["pay"]], ["pi_1"], [new_id()])
            await two.execute(statements.ENSURE_PAYMENTS, *payment)  # as an order does that names it
        await task
    await pool.close()


async def waiting(pool: Pool, count: int) -> bool:
    """Whether so many sessions of this server wait for a lock."""
    return bool(await pool.fetchval("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted") == count)


async def test_a_look_up_that_was_cut_off_is_made_up_for(database: Database, owner_pool: Pool) -> None:
    """A session that is lost between variants and bills must not leave variants behind that have none."""
    bed = await make_bed(database, owner_pool)
    catalogue, article = Catalogue(bed.tenant_id), (bed.connections["shop_a"], "v-A", "A")
    async with owner_pool.acquire() as conn:
        cut = CutOff(conn)
        with pytest.raises(asyncpg.InterfaceError):
            await catalogue.resolve(cut, [article], set())  # type: ignore[arg-type]

        await catalogue.resolve(conn, [article], set())

    assert catalogue.bill(catalogue.variant(article)) == [(bed.items["A"], 1)]


class CutOff:
    """A session that is lost when bills are asked for."""

    def __init__(self, conn: object) -> None:
        self._conn = conn

    async def fetch(self, statement: str, *arguments: object) -> object:
        if statement == statements.FIND_BILLS:
            raise asyncpg.InterfaceError("the connection is closed")
        return await self._conn.fetch(statement, *arguments)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self._conn, name)
