"""What keeps the ledger and the numbers right in the database itself, whatever a process gets wrong (I8, I10, pushes)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from random import Random
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from tests.applybed import Bed as ApplyBed
from tests.applybed import make_bed, move_event, order_event
from tests.dispatchbed import Bed, stock_world, until
from tests.stockbed import move_stock

from tidegate.commerce.stock import ChannelOpen, Level, channel_quantity
from tidegate.dispatch.allocation_statements import DRAINED
from tidegate.dispatch.statements import LOCK_MARKS_EVERYWHERE, NUMBERS, RELEASE_MARKS, SETTLE
from tidegate.kernel.ids import new_id
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio

AGAIN = """
INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, on_hand_delta, reserved_delta, on_hand_after,
                         unavailable_after, committed_after, reserved_after, cause_key, actor)
SELECT tenant_id, item_id, location_id, version + 1, $2, 0, $3, on_hand_after, 0, 0, $3, coalesce($1, cause_key), 'test'
FROM stock_entry WHERE on_hand_after = 4 AND kind = 'adjust'
"""


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    return made


async def test_a_fact_posts_once_and_a_promise_takes_only_what_is_there(bed: Bed) -> None:
    """I8, I10: also for a process that decided on something that is not true any more."""
    await bed.article("A")
    async with bed.pool.acquire() as conn, conn.transaction():
        await move_stock(conn, bed.tenant_id, bed.items["A"], bed.location, on_hand=4)

    with pytest.raises(asyncpg.UniqueViolationError):
        await bed.pool.execute(AGAIN, None, "adjust", 0)
    with pytest.raises(asyncpg.CheckViolationError):
        await bed.pool.execute(AGAIN, "other", "reserve", 5)
    await bed.pool.execute(AGAIN, "other", "reserve", 4)


async def test_the_answer_of_an_older_number_or_attempt_changes_nothing(bed: Bed, remote: HostileServer) -> None:
    stock_world(remote.world, [("A", 0)])
    await bed.article("A")
    await bed.move("A", on_hand=4)
    async with bed.running():
        await until(bed.is_settled)
    older = (await bed.commands_of(bed.items["A"]))[0]
    newer = new_id()
    await bed.pool.execute("UPDATE channel_stock SET blocked_by = $1, push_version = push_version + 1", newer)
    await bed.pool.execute(
        "UPDATE command SET state = 'sending', finished_at = NULL"
    )  # sent again, under another attempt
    mark, command = await bed.mark("A"), (await bed.commands_of(bed.items["A"]))[0]

    released = await release(bed, older["command_id"], quantity=99)
    settled = await bed.pool.fetch(
        SETTLE, bed.tenant_id, new_id(), [older["command_id"]], ["succeeded"], [None], [None], [None], [None], [0], [0], 0.0,
    )  # fmt: skip

    assert (released, settled) == ([], [])
    assert await bed.mark("A") == mark
    assert dict((await bed.commands_of(bed.items["A"]))[0]) == dict(command)
    assert len(await release(bed, newer, quantity=5)) == 1, "and that of the number that is out does"
    assert (await bed.mark("A"))["acked_quantity"] == 5


async def release(bed: Bed, command_id: UUID, *, quantity: int) -> list[asyncpg.Record]:
    """Settle a number as acknowledged. Its command need not exist any more."""
    await bed.pool.execute(
        "INSERT INTO command (tenant_id, command_id, connection_id, kind, target_key, entity_id, version, priority, state,"
        " deadline_at) SELECT $1, $2, $3, 'inventory.set', 'x', $2, 1, 50, 'sending', clock_timestamp()"
        " WHERE NOT EXISTS (SELECT FROM command WHERE command_id = $2)",
        bed.tenant_id, command_id, bed.shop,
    )  # fmt: skip
    found: list[asyncpg.Record] = await bed.pool.fetch(
        RELEASE_MARKS, bed.tenant_id, bed.shop, [command_id], [bed.items["A"]], [quantity], [True], [False], [False],
        [None], [0], [False], [None], 15.0, [None],
    )  # fmt: skip
    return found


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_changes_a_channels_number_marks_it(database: Database, owner_pool: Pool, seed: int) -> None:
    """After any orders, changes, cancels and movements, in any batches: another number to tell than before is marked."""
    chance = Random(seed)
    bed = await make_bed(database, owner_pool)
    skus = sorted(bed.items)
    await bed.append([("erp", move_event(f"m{sku}", sku, 30)) for sku in skus])
    await bed.apply()
    moves = 0
    for step in range(6):
        await owner_pool.execute(  # told before: what never was is marked anew by whoever starts
            "UPDATE channel_stock SET dirty = false, dirty_at = NULL, push_version = 1, acked_quantity = 0"
        )
        before = await numbers(bed)
        story = [await something(chance, skus, step, place) for place in range(chance.randint(1, 5))]
        await bed.append([*story, *chance.sample(story, 1)])
        await bed.apply()
        after = await numbers(bed)
        rows = await owner_pool.fetch("SELECT connection_id, item_id FROM channel_stock WHERE dirty")
        marked = {(row[0], row[1]) for row in rows}
        changed = {key for key, number in after.items() if number != before[key]}
        assert changed <= marked, "a number changed, and nobody is told"
        moves += len(changed)
    assert moves, "or nothing was looked at"


async def test_who_gives_units_out_holds_the_marks_of_every_channel(database: Database, owner_pool: Pool) -> None:
    """I11: two lanes of two processes never work out the lots of one item side by side."""
    bed = await make_bed(database, owner_pool)
    item, other = bed.items["A"], bed.items["B"]
    async with owner_pool.acquire() as conn, owner_pool.acquire() as beside, conn.transaction():
        await conn.fetch(LOCK_MARKS_EVERYWHERE, bed.tenant_id, bed.connections["shop_a"], [item], [item])
        async with beside.transaction():
            rows = await beside.fetch("SELECT item_id FROM channel_stock FOR NO KEY UPDATE SKIP LOCKED")
    free = [row["item_id"] for row in rows]
    assert item not in free
    assert free.count(other) == 2, "and of nothing else"


async def test_nothing_is_drained_while_what_was_read_waits_whatever_the_clock_of_its_reader(
    database: Database, owner_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I11: the units of orders that were read and are not counted yet are given to nobody."""
    bed = await make_bed(database, owner_pool)
    await bed.append([("erp", move_event("m-1", "A", 10))])
    await bed.apply()
    shop, item = bed.connections["shop_a"], bed.items["A"]
    real = time.time_ns
    monkeypatch.setattr("tidegate.kernel.ids.time.time_ns", lambda: real() + 3_600 * 10**9)
    await bed.append([("shop_a", order_event("1", [("A", 2)]))], source="poll")
    await owner_pool.execute(
        "INSERT INTO poll_cursor (tenant_id, connection_id, feed, cursor, last_ok_at, even_at) VALUES ($1, $2, 'orders', '', now(), now())",
        bed.tenant_id, shop,
    )  # fmt: skip
    await owner_pool.execute(
        "INSERT INTO channel_allocation (tenant_id, connection_id, item_id, counting, enforces, is_sold, settled, cap, drains_since,"
        " looked_at, since, config_version) VALUES ($1, $2, $3, 'blind', true, true, 5, 0, now() - interval '1 minute', now(), now(), 1)",
        bed.tenant_id, shop, item,
    )  # fmt: skip

    async def drained() -> list[asyncpg.Record]:
        rows = await owner_pool.fetch(DRAINED, bed.tenant_id, shop, [item], 1.0, [])
        return [row for row in rows if row["is_drained"]]

    assert await drained() == []
    await bed.apply()
    assert [row["item_id"] for row in await drained()] == [item]

    unreadable = order_event("2", [("A", 1)])
    unreadable["order"]["lines"] = "none"
    await bed.append([("shop_a", unreadable)])
    await bed.apply()
    assert await drained() == [], "somebody bought something, and nobody knows what"
    await bed.append([("shop_a", order_event("2", [("A", 1)], revision=2))])
    await bed.apply()
    assert [row["item_id"] for row in await drained()] == [item], "the order was read after all"


async def something(chance: Random, skus: list[str], step: int, place: int) -> tuple[str, object]:
    """Return what happens in a shop or in the warehouse."""
    if chance.random() < 0.3:
        return "erp", move_event(f"s{step}-{place}", chance.choice(skus), chance.choice([-3, 2, 7]))
    lines = [(sku, chance.randint(0, 3)) for sku in chance.sample(skus, chance.randint(1, len(skus)))]
    state = chance.choice(["open", "open", "cancelled"])
    number, revision = str(chance.randint(1, 4)), step * 10 + place + 1
    return chance.choice(["shop_a", "shop_b"]), order_event(number, lines, revision=revision, state=state)


async def numbers(bed: ApplyBed) -> dict[tuple[UUID, UUID], int]:
    """Return what each channel would be told of each item now."""
    found = {}
    for channel in (bed.connections["shop_a"], bed.connections["shop_b"]):
        for row in await bed.pool.fetch(NUMBERS, bed.tenant_id, channel, sorted(bed.items.values()), False):
            level = Level(**{name: int(row[name]) for name in ("on_hand", "unavailable", "committed", "reserved")})
            own = ChannelOpen(unfulfilled=row["unfulfilled"], shipped_unconfirmed=row["shipped_unconfirmed"])
            found[channel, row["item_id"]] = channel_quantity(level, own, stock_number="available")
    return found
