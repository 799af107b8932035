"""Taking from a queue touches what is taken, however long the queue is and whatever its statistics say.

Queues are empty when their statistics are made. A plan for an empty table that then meets a backlog compares every row
that waits with every row that is done: half a second per batch where a millisecond would do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.logbed import add_sender

from tidegate.dispatch.statements import LOCK_DIRTY
from tidegate.eventlog.append import append_webhooks
from tidegate.store.connections import Connection, Pool
from tidegate.store.pool import BY_KEY
from tidegate.sync.statements import TAKE_FROM_QUEUE, WAKE_PARKED

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
    """Run a statement as the apply and the dispatch process do; return how many rows its plan touched or threw away."""
    for name, value in BY_KEY.items():
        await conn.execute(f"SET {name} = '{value}'")
    text = await conn.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments)
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
