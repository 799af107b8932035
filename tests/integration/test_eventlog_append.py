"""Appending to the log: every fact once, conflicts shown, counters that balance."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from tests.logbed import add_sender

from tidegate.eventlog.append import append_webhooks
from tidegate.eventlog.poll import append_fetched, append_poll_page
from tidegate.eventlog.records import Envelope, conflict_dedupe_key
from tidegate.eventlog.results import ResultEvent, append_results
from tidegate.kernel.errors import ConflictError
from tidegate.store.connections import Connection, Pool

pytestmark = pytest.mark.asyncio


async def counted(connection: Connection) -> tuple[int, int, int, int]:
    """received, duplicate, applied, pending."""
    row = await connection.fetchrow(
        "SELECT sum(received)::int, sum(duplicate)::int, sum(applied)::int, "
        "(SELECT count(*) FROM event_queue)::int FROM conservation"
    )
    return tuple(row)


async def no_fence(_connection: Connection) -> None:
    return None


async def test_a_batch_is_stored_once_with_its_queue_rows_and_counters(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        events = [sender.event(f"e{n}", b"body %d" % n, ordering_key=f"order:{n % 5}") for n in range(50)]

        first = await append_webhooks(db, events, writer="w")
        again = await append_webhooks(db, [sender.event(f"e{n}", b"body %d" % n) for n in range(50)], writer="w")

        assert first.fresh == {event.event_id for event in events}
        assert (first.duplicates, first.conflicts) == (0, [])
        assert (again.fresh, again.duplicates, again.conflicts) == (set(), 50, [])
        assert await counted(db) == (100, 50, 0, 50)
        stored = await db.fetch("SELECT event_id, body, data_key_id, slot FROM event ORDER BY event_id")
        assert [row["event_id"] for row in stored] == [event.event_id for event in events]
        assert sender.cipher.open(
            sender.tenant_id, stored[7]["data_key_id"], "event", stored[7]["event_id"], stored[7]["body"]
        ) == (b"body 7")


async def test_seq_follows_the_order_of_receipt(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        events = [sender.event(f"e{n}") for n in range(100)]

        await append_webhooks(db, list(reversed(events)), writer="w")

        rows = await db.fetch("SELECT event_id FROM event_queue ORDER BY seq")
        assert [row[0] for row in rows] == [event.event_id for event in events]


async def test_repeats_inside_one_batch_are_one_event(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)

        result = await append_webhooks(db, [sender.event("same", b"x") for _ in range(64)], writer="w")

        assert (len(result.fresh), result.duplicates, result.conflicts) == (1, 63, [])
        assert await counted(db) == (64, 63, 0, 1)


async def test_the_same_id_with_another_body_is_stored_as_a_conflict_once(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        original = sender.event("e1", b"one")
        await append_webhooks(db, [original], writer="w")

        other = sender.event("e1", b"two")
        result = await append_webhooks(db, [other], writer="w")
        repeated = await append_webhooks(db, [sender.event("e1", b"two")], writer="w")

        assert (result.fresh, result.duplicates, result.conflicts) == ({other.event_id}, 0, [other.event_id])
        assert (repeated.fresh, repeated.duplicates, repeated.conflicts) == (set(), 1, [])
        stored = await db.fetch("SELECT conflict, dedupe_key FROM event ORDER BY event_id")
        digest = hashlib.sha256(b"two").digest()
        assert [tuple(row) for row in stored] == [
            (False, original.dedupe_key),
            (True, conflict_dedupe_key(original.dedupe_key, digest)),
        ]
        assert await counted(db) == (3, 1, 0, 2)


async def test_parallel_writers_with_the_same_keys_neither_deadlock_nor_double(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)

    async def write(writer: int) -> int:
        stored = 0
        async with owner_pool.acquire() as connection:
            for batch in range(10):
                events = [sender.event(f"{batch}-{n}", b"same") for n in range(40)]
                if writer % 2:
                    events.reverse()
                stored += len((await append_webhooks(connection, events, writer=f"w{writer}")).fresh)
        return stored

    assert sum(await asyncio.gather(*(write(n) for n in range(4)))) == 400
    async with owner_pool.acquire() as db:
        assert await counted(db) == (1600, 1200, 0, 400)
        assert await db.fetchval("SELECT count(*) FROM event") == 400


async def test_a_wake_up_names_the_tenant_and_its_slots(owner_pool: Pool) -> None:
    heard: list[str] = []
    async with owner_pool.acquire() as listener, owner_pool.acquire() as db:

        def hear(*arguments: object) -> None:
            heard.append(str(arguments[3]))

        await listener.add_listener("tidegate_event", hear)
        try:
            sender = await add_sender(db)
            await append_webhooks(db, [sender.event("e1")], writer="w")
            await append_webhooks(db, [sender.event("e1")], writer="w")
            await listener.fetchval("SELECT 1")
        finally:
            await listener.remove_listener("tidegate_event", hear)

    (payload,) = heard  # the tenant and the slots that got something: a duplicate wakes nobody
    tenant, _, slots = payload.partition(";")
    assert tenant == str(sender.tenant_id)
    assert all(0 <= int(slot) < 1024 for slot in slots.split(","))
    assert slots


async def test_a_poll_page_stores_news_only_and_moves_its_cursor_by_compare_and_set(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)

        async def page(version: int, *bodies: bytes) -> int:
            items = [sender.event(f"move:{n}", body, source="poll") for n, body in enumerate(bodies)]
            return await append_poll_page(
                db,
                no_fence,
                sender.tenant_id,
                sender.connection_id,
                "moves",
                cursor_version=version,
                cursor=f"c{version + 1}",
                items=items,
                writer="w",
            )

        assert await page(0, b"a", b"b") == 2
        assert await page(1, b"a", b"c") == 1
        assert await page(2, b"a", b"b") == 1, "back to an older state is news"
        with pytest.raises(ConflictError) as caught:
            await page(1, b"z", b"z")

        assert caught.value.code == "cursor_moved"
        cursor = await db.fetchrow("SELECT cursor, version FROM poll_cursor")
        assert tuple(cursor) == ("c3", 3)
        assert await counted(db) == (4, 0, 0, 4)


async def test_a_lost_fence_stores_nothing(owner_pool: Pool) -> None:
    async def lost(_connection: Connection) -> None:
        raise ConflictError("fenced")

    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        item = sender.event("order:1", source="fetch")

        with pytest.raises(ConflictError):
            await append_fetched(db, lost, item, writer="w")
        assert await db.fetchval("SELECT count(*) FROM event") == 0

        await append_fetched(db, no_fence, item, writer="w")
        assert await db.fetchval("SELECT count(*) FROM event") == 1
        assert await db.fetchval("SELECT count(*) FROM poll_observation") == 1


async def test_results_are_applied_at_once_and_stored_once(owner_pool: Pool) -> None:
    envelope = Envelope(connector="c", connector_version="1", mapping_version=3, code_version="0")
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        result = ResultEvent(event=sender.event("att:1", source="result"), envelope=envelope, code="sent")

        async with db.transaction():
            assert await append_results(db, [result], writer="w") == 1
        assert await append_results(db, [result], writer="w") == 0

        assert await counted(db) == (1, 0, 1, 0)
        outcome = await db.fetchrow("SELECT outcome, code, mapping_version FROM event_outcome")
        assert tuple(outcome) == ("applied", "sent", "3")
