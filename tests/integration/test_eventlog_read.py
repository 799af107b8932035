"""Reading the queue: order inside a slot, fairness over tenants, lower bounds that lose nothing."""

from __future__ import annotations

import asyncio

import pytest
from tests.doorbed import eventually
from tests.logbed import add_sender

from tidegate.eventlog.append import append_webhooks
from tidegate.eventlog.read import QueuedEvent, QueueReader
from tidegate.kernel.ids import SLOTS
from tidegate.store.connections import Connection, Pool

pytestmark = pytest.mark.asyncio
ALL_SLOTS = list(range(SLOTS))


async def finish(connection: Connection, events: list[QueuedEvent]) -> None:
    """What T2 does with the queue."""
    await connection.execute(
        "DELETE FROM event_queue q USING unnest($1::smallint[], $2::uuid[], $3::bigint[]) AS d (slot, tenant_id, seq) "
        "WHERE q.slot = d.slot AND q.tenant_id = d.tenant_id AND q.seq = d.seq",
        [event.slot for event in events],
        [event.tenant_id for event in events],
        [event.seq for event in events],
    )


async def test_a_claim_gives_what_was_appended_and_changes_nothing(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        await append_webhooks(db, [sender.event("e1", b"hello")], writer="w")
        reader = QueueReader()

        claimed = await reader.claim(db, ALL_SLOTS, 10)
        again = await reader.claim(db, ALL_SLOTS, 10)

        assert claimed == again
        (event,) = claimed
        assert (event.topic, event.ordering_key, event.run, event.conflict) == ("order.updated", "order:1", 0, False)
        assert sender.cipher.open(event.tenant_id, event.data_key_id, "event", event.event_id, event.body) == b"hello"
        assert await reader.claim(db, [slot for slot in ALL_SLOTS if slot != event.slot], 10) == []


async def test_the_first_event_ever_is_read_by_a_reader_that_was_there_before(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        reader = QueueReader()
        for _ in range(3):  # bounds settle on the empty log
            reader.refresh()
            assert await reader.claim(db, ALL_SLOTS, 10) == []

        await append_webhooks(db, [sender.event("e1", b"hello")], writer="w")
        reader.refresh()

        assert [event.external_id for event in await reader.claim(db, ALL_SLOTS, 10)] == ["e1"]


async def test_events_of_a_key_come_in_order_over_many_batches(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        events = [sender.event(f"e{n}", ordering_key=f"order:{n % 7}") for n in range(500)]
        await append_webhooks(db, events, writer="w")
        reader = QueueReader()
        seen: dict[str, list[str]] = {}

        while claimed := await reader.claim(db, ALL_SLOTS, 64):
            for event in claimed:
                seen.setdefault(event.ordering_key, []).append(str(event.external_id))
            await finish(db, claimed)

        assert seen == {f"order:{k}": [f"e{n}" for n in range(500) if n % 7 == k] for k in range(7)}


async def test_a_small_tenant_is_in_the_first_batch_behind_a_large_backlog(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        large = await add_sender(db, name="large")
        small = await add_sender(db, name="small")
        for start in range(0, 10_000, 1000):
            backlog = [large.event(f"e{n}", ordering_key=f"order:{n}") for n in range(start, start + 1000)]
            await append_webhooks(db, backlog, writer="w")
        late = [small.event(f"s{n}", ordering_key=f"order:{n}") for n in range(3)]
        await append_webhooks(db, late, writer="w")

        claimed = await QueueReader().claim(db, ALL_SLOTS, 200)

        assert len(claimed) == 200
        assert {event.event_id for event in claimed if event.tenant_id == small.tenant_id} == {
            event.event_id for event in late
        }


async def test_one_busy_slot_does_not_fill_the_batch(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        hot = [sender.event(f"h{n}", ordering_key="order:hot") for n in range(500)]
        cold = [sender.event(f"c{n}", ordering_key=f"order:{n}") for n in range(100)]
        await append_webhooks(db, [*hot, *cold], writer="w")

        claimed = await QueueReader().claim(db, ALL_SLOTS, 256)

        beside = {event.external_id for event in cold if event.slot != hot[0].slot}
        assert {event.external_id for event in claimed} >= beside


async def test_lower_bounds_keep_the_head_cheap_under_an_old_snapshot(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db, owner_pool.acquire() as old:
        sender = await add_sender(db)
        reader = QueueReader()
        snapshot = old.transaction(isolation="repeatable_read", readonly=True)
        await snapshot.start()
        await old.fetchval("SELECT count(*) FROM event_queue")
        for round_number in range(10):
            events = [sender.event(f"{round_number}-{n}", ordering_key="order:1") for n in range(400)]
            await append_webhooks(db, events, writer="w")
            while claimed := await reader.claim(db, ALL_SLOTS, 500):
                await finish(db, claimed)
        last = sender.event("last", ordering_key="order:1")
        await append_webhooks(db, [last], writer="w")
        async with asyncio.timeout(200):
            while reader.settled < 4000:  # other databases of the server have transactions of their own under way
                reader.refresh()
                await reader.claim(db, ALL_SLOTS, 10)

        cold = await buffers_of_claim(db, QueueReader())
        warm = await buffers_of_claim(db, reader)

        await snapshot.rollback()
        assert warm < cold
        assert [event.external_id for event in await reader.claim(db, ALL_SLOTS, 10)] == ["last"]


async def buffers_of_claim(connection: Connection, reader: QueueReader) -> int:
    """Index blocks that a claim looks at."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    before = await connection.fetchval(BLOCKS)
    await reader.claim(connection, ALL_SLOTS, 10)
    await connection.execute("SELECT pg_stat_force_next_flush()")
    return int(await connection.fetchval(BLOCKS)) - int(before)


BLOCKS = "SELECT heap_blks_hit + heap_blks_read FROM pg_statio_user_tables WHERE relname = 'event_queue'"


async def test_a_row_of_a_slow_transaction_is_never_skipped(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db, owner_pool.acquire() as slow:
        sender = await add_sender(db)
        reader = QueueReader()
        waiting = slow.transaction()
        await waiting.start()
        hidden = sender.event("slow", ordering_key="order:1")
        await append_webhooks(slow, [hidden], writer="slow")
        for round_number in range(5):
            await append_webhooks(db, [sender.event(f"{round_number}", ordering_key="order:1")], writer="w")
            reader.refresh()
            await finish(db, await reader.claim(db, ALL_SLOTS, 100))

        await waiting.commit()

        assert [event.external_id for event in await reader.claim(db, ALL_SLOTS, 100)] == ["slow"]


async def test_a_row_of_the_newest_transaction_is_never_skipped(owner_pool: Pool) -> None:
    """Nothing ended since it began, so that a snapshot's xmin and xmax both name it, and its log is on disk already."""
    async with owner_pool.acquire() as db, owner_pool.acquire() as slow:
        sender = await add_sender(db)
        reader = QueueReader()
        waiting = slow.transaction()
        await waiting.start()
        await append_webhooks(slow, [sender.event("first", ordering_key="order:1")], writer="slow")
        assert await reader.claim(db, ALL_SLOTS, 10) == []
        written = await db.fetchval(INSERTED)
        await append_webhooks(slow, [sender.event(f"{n}", ordering_key="order:1") for n in range(300)], writer="slow")

        async def is_flushed() -> bool:
            return bool(await db.fetchval(FLUSHED) >= written)

        await eventually(is_flushed)
        for _ in range(3):
            reader.refresh()
            assert await reader.claim(db, ALL_SLOTS, 10) == []

        await waiting.commit()

        assert (await reader.claim(db, ALL_SLOTS, 10))[0].external_id == "first"


INSERTED = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"
FLUSHED = "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"


async def test_a_tenant_without_notice_is_found_by_the_sweep(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        reader = QueueReader()
        assert await reader.claim(db, ALL_SLOTS, 10) == []
        sender = await add_sender(db)
        await append_webhooks(db, [sender.event("e1")], writer="w")

        reader.notice(str(sender.tenant_id))
        assert len(await reader.claim(db, ALL_SLOTS, 10)) == 1

        other = await add_sender(db, name="other")
        await append_webhooks(db, [other.event("o1")], writer="w")

        async def sees_both() -> bool:
            return len(await reader.claim(db, ALL_SLOTS, 10)) == 2

        await eventually(sees_both)
