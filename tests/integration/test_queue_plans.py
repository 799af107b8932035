"""Taking from a queue touches what is taken, however long the queue is and whatever its statistics say.

Queues are empty when their statistics are made. A plan for an empty table that then meets a backlog compares every row
that waits with every row that is done: half a second per batch where a millisecond would do. A catalogue that was just
marked is such a backlog: for the first seconds, until the statistics are made anew, its numbers must go out all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.logbed import add_sender

from tidegate.dispatch.statements import (
    BEGIN_STOCK,
    FAIL_UNBOUND,
    LOCK_DIRTY,
    MARK_ITEMS,
    NUMBERS,
    POLL,
    RELEASE_MARKS,
)
from tidegate.eventlog.append import append_webhooks
from tidegate.store.connections import Connection, Pool
from tidegate.store.pool import BY_KEY
from tidegate.sync.statements import FOLLOW_SALES, MARK_DIRTY, MARK_UNTOLD, TAKE_FROM_QUEUE, WAKE_PARKED

pytestmark = pytest.mark.asyncio
WAITING, TAKEN = 3_000, 100
FILL = """
INSERT INTO event_queue (slot, tenant_id, event_id) SELECT n % 1024, $1, gen_random_uuid() FROM generate_series(1, $2) n
"""
TELL = """
INSERT INTO channel_stock (tenant_id, connection_id, item_id, mode)
SELECT $1, $2, gen_random_uuid(), 'live' FROM generate_series(1, $3)
"""
PARK = """
INSERT INTO event_parked (tenant_id, event_id, run, slot, connection_id, ordering_key, kind, code, reason, until)
SELECT tenant_id, event_id, 0, slot, tenant_id, 'order:' || seq, 'parked', 'no_parent', '', now() FROM event_queue
"""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes, from the top."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def rows_read(conn: Connection, statement: str, *arguments: object) -> int:
    """Run a statement as the apply and the dispatch process do; return how many rows its plan touched or threw away.

    By a plan that knows none of the arguments, like theirs.
    """
    for name, value in BY_KEY.items():
        await conn.execute(f"SET {name} = '{value}'")
    types = [each.name for each in (await conn.prepare(statement)).get_parameters()]
    casts = ", ".join(f"quote_nullable((${n}::{name})::text)" for n, name in enumerate(types, 1))
    literals = await conn.fetchrow(f"SELECT {casts}", *arguments)
    assert literals is not None
    await conn.execute(f"PREPARE probe AS {statement}")
    text = await conn.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE probe({', '.join(literals)})")
    await conn.execute("DEALLOCATE probe")
    return int(
        sum(
            node["Actual Loops"]
            * (node["Actual Rows"] + node.get("Rows Removed by Join Filter", 0) + node.get("Rows Removed by Filter", 0))
            for node in nodes(json.loads(text)[0]["Plan"])
        )
    )


async def make_backlog(conn: Connection) -> object:
    """A queue that was empty when it was vacuumed, and is long now; return its tenant."""
    sender = await add_sender(conn)
    await append_webhooks(conn, [sender.event("e1", b"hello")], writer="w")
    await conn.execute("DELETE FROM event_queue")
    await conn.execute("VACUUM (ANALYZE) event_queue, event_parked")
    await conn.execute(FILL, sender.tenant_id, WAITING)
    return sender.tenant_id


async def test_taking_a_batch_does_not_read_the_backlog(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        tenant_id = await make_backlog(conn)
        rows = await conn.fetch("SELECT slot, seq FROM event_queue ORDER BY seq LIMIT $1", TAKEN)
        done = [row["slot"] for row in rows], [row["seq"] for row in rows]

        read = await rows_read(conn, TAKE_FROM_QUEUE, tenant_id, *done)

        assert read < 10 * TAKEN
        left = await conn.fetch("SELECT seq FROM event_queue ORDER BY seq")
        assert len(left) == WAITING - TAKEN
        assert not {row[0] for row in left} & set(done[1])


async def test_waking_what_is_parked_reads_it_once(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        await make_backlog(conn)
        await conn.execute(PARK)
        await conn.execute("DELETE FROM event_queue")

        read = await rows_read(conn, WAKE_PARKED, list(range(1024)))

        assert read < 10 * WAITING
        assert await conn.fetchval("SELECT count(*) FROM event_queue") == 500
        assert await conn.fetchval("SELECT count(*) FROM event_parked") == WAITING - 500


async def test_locking_the_numbers_of_a_call_does_not_read_all_that_wait(owner_pool: Pool) -> None:
    """A catalogue that was just marked waits in a table whose statistics know of none of it."""
    async with owner_pool.acquire() as conn:
        sender = await add_sender(conn)
        await conn.execute(TELL, sender.tenant_id, sender.connection_id, WAITING)
        await conn.execute("VACUUM (ANALYZE) channel_stock")
        await conn.execute("UPDATE channel_stock SET dirty = true, dirty_at = now()")
        items = [row[0] for row in await conn.fetch("SELECT item_id FROM channel_stock LIMIT $1", TAKEN)]

        read = await rows_read(conn, LOCK_DIRTY, sender.tenant_id, sender.connection_id, items)

        assert read < 10 * TAKEN


# --- a catalogue that was just marked --------------------------------------------------------------------------------
CALL = 20
CATALOGUE = """
WITH n AS MATERIALIZED (
  SELECT 'SKU-' || g AS sku, gen_random_uuid() AS variant_id, gen_random_uuid() AS item_id FROM generate_series(1, $3) g
), v AS (INSERT INTO variant (tenant_id, variant_id, sku) SELECT $1, variant_id, sku FROM n),
i AS (INSERT INTO inventory_item (tenant_id, item_id, sku) SELECT $1, item_id, sku FROM n),
vi AS (INSERT INTO variant_item (tenant_id, variant_id, item_id, required_qty) SELECT $1, variant_id, item_id, 1 FROM n),
b AS (INSERT INTO binding (tenant_id, connection_id, kind, external_id, internal_id)
      SELECT $1, $2, 'variant', sku, variant_id FROM n)
INSERT INTO channel_stock (tenant_id, connection_id, item_id, mode, dirty, dirty_at)
SELECT $1, $2, item_id, 'live', true, now() FROM n
"""
TABLES = 'variant, inventory_item, variant_item, binding, channel_stock, command, "order", order_line'


async def make_catalogue(conn: Connection) -> tuple[UUID, UUID, list[UUID]]:
    """Thousands of numbers that wait, of which the statistics know none; return tenant, channel, and one call's items."""
    sender = await add_sender(conn)
    await conn.execute(f"VACUUM (ANALYZE) {TABLES}")
    await conn.execute(CATALOGUE, sender.tenant_id, sender.connection_id, WAITING)
    rows = await conn.fetch("SELECT item_id FROM channel_stock ORDER BY item_id LIMIT $1", CALL)
    return sender.tenant_id, sender.connection_id, [row[0] for row in rows]


async def test_a_call_reads_the_numbers_of_its_items_only(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        tenant_id, channel_id, items = await make_catalogue(conn)

        read = await rows_read(conn, NUMBERS, tenant_id, channel_id, items, True)

        assert read < WAITING
        numbers = await conn.fetch(NUMBERS, tenant_id, channel_id, items, True)
        assert [row["item_id"] for row in numbers] == items
        assert all(row["external_id"].startswith("SKU-") for row in numbers)


async def test_a_call_is_begun_and_settled_by_the_keys_of_its_items(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        tenant_id, channel_id, items = await make_catalogue(conn)
        commands, call_id, attempt_id = [uuid4() for _ in items], uuid4(), uuid4()
        begin = (
            *(
                tenant_id,
                channel_id,
                call_id,
                attempt_id,
                "key",
                uuid4(),
                b"sealed",
                uuid4(),
                1.0,
                [None] * CALL,
                datetime.now(UTC),
            ),
            *(commands, items, [1] * CALL, [5] * CALL, ["{}"] * CALL, [1] * CALL, None, [1] * CALL, False),
            *([5] * CALL, [4] * CALL, [6] * CALL, [False] * CALL, "{}", 1, 0.0),
        )

        begun = await rows_read(conn, BEGIN_STOCK, *begin)
        blocked = await conn.fetchval("SELECT count(*) FROM channel_stock WHERE blocked_by = ANY($1::uuid[])", commands)
        sending = await conn.fetchval("SELECT count(*) FROM command WHERE state = 'sending'")
        released = await rows_read(
            *(conn, RELEASE_MARKS, tenant_id, channel_id, commands, items, [5] * CALL, [True] * CALL, [False] * CALL),
            *([False] * CALL, [None] * CALL, [0] * CALL, [False] * CALL, [None] * CALL, 15.0, [None] * CALL),
        )

        assert (begun < WAITING, released < WAITING) == (True, True), (begun, released)
        assert (blocked, sending) == (CALL, CALL)
        told = await conn.fetch(
            "SELECT item_id FROM channel_stock WHERE acked_quantity = 5 AND NOT dirty ORDER BY item_id"
        )
        assert [row[0] for row in told] == items


async def test_marking_items_anew_reads_their_marks_only(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        tenant_id, channel_id, items = await make_catalogue(conn)
        await conn.execute("UPDATE channel_stock SET dirty = false, moved = 0, acked_quantity = 9, push_version = 1")

        read = {
            "marked": await rows_read(conn, MARK_DIRTY, tenant_id, [channel_id], items, 40),
            "marked for safety": await rows_read(conn, MARK_ITEMS, tenant_id, channel_id, items),
            "never told": await rows_read(conn, MARK_UNTOLD, tenant_id, [channel_id]),
            "sold there": await rows_read(conn, FOLLOW_SALES, tenant_id, [channel_id] * CALL, items, [2] * CALL),
            "not sold there": await rows_read(
                *(conn, FAIL_UNBOUND, tenant_id, channel_id, [uuid4() for _ in items], items, "sku_unbound", "why", 50)
            ),
        }

        assert {name: rows for name, rows in read.items() if rows >= WAITING} == {}
        rows = await conn.fetch(
            "SELECT item_id FROM channel_stock WHERE dirty AND acked_quantity = 7 AND moved = 2 ORDER BY item_id"
        )
        assert [row[0] for row in rows] == items


async def test_asking_which_lanes_have_work_does_not_list_what_waits(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        tenant_id, channel_id, _ = await make_catalogue(conn)
        idle = uuid4()
        await conn.execute("UPDATE channel_stock SET dirty = false")
        await conn.execute("VACUUM (ANALYZE) channel_stock")
        await conn.execute("UPDATE channel_stock SET dirty = true")

        read = await rows_read(conn, POLL, [tenant_id] * 2, [channel_id, idle])

        assert read < CALL
        rows = await conn.fetch(POLL, [tenant_id] * 2, [channel_id, idle])
        assert [row["waiting"] for row in rows] == [[channel_id]]
