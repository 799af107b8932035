"""An idle apply process looks once for all of its strands, and misses nothing that came without a word."""

from __future__ import annotations

import asyncio

import pytest
from tests.dispatchbed import until
from tests.logbed import add_sender

from tidegate.eventlog.append import append_webhooks
from tidegate.eventlog.read import QueueReader
from tidegate.kernel.ids import SLOTS, new_id
from tidegate.store.connections import Connection, Pool
from tidegate.sync.pulse import beat, look
from tidegate.sync.statements import PULSE

pytestmark = pytest.mark.asyncio
ALL_SLOTS = list(range(SLOTS))


class Strand:
    """What the pulse sees of a strand, on a real reader."""

    def __init__(self) -> None:
        self.reader = QueueReader()
        self.slots = set(ALL_SLOTS)
        self.woken = 0

    def held_slots(self) -> set[int]:
        return self.slots

    def feel(self, server: str, last_seq: int) -> None:
        self.woken += not self.reader.is_empty(self.slots, server, last_seq)

    def wake(self) -> None:
        self.woken += 1

    async def settle(self, conn: Connection) -> None:
        """Claim until the bounds say that nothing can appear any more."""

        async def is_quiet() -> bool:
            self.reader.refresh()
            assert await self.reader.claim(conn, sorted(self.slots), 10) == []
            row = await conn.fetchrow(PULSE)
            assert row is not None
            return self.reader.is_empty(self.slots, row["server"], row["last_seq"])

        await until(is_quiet)

    async def is_woken_by(self, pool: Pool) -> bool:
        before = self.woken
        await look(pool, [self])
        return self.woken > before


async def test_nothing_new_wakes_nobody_and_an_event_without_a_word_does(owner_pool: Pool) -> None:
    strand = Strand()
    async with owner_pool.acquire() as db:
        assert await strand.is_woken_by(owner_pool)  # it has not looked yet
        await strand.settle(db)
        assert not await strand.is_woken_by(owner_pool)

        sender = await add_sender(db)
        await append_webhooks(db, [sender.event("e1")], writer="w")

        assert await strand.is_woken_by(owner_pool)

        async def is_found() -> bool:
            """The tenant is new as well: until the next sweep a claim finds nothing, and must not go to sleep over it."""
            strand.reader.refresh()
            found = await strand.reader.claim(db, ALL_SLOTS, 10)
            assert await strand.is_woken_by(owner_pool)
            return len(found) == 1

        await until(is_found)


async def test_a_row_that_is_not_committed_yet_keeps_it_awake(owner_pool: Pool) -> None:
    """Its number is taken, and nobody can see it: an empty look proves nothing about it."""
    strand = Strand()
    async with owner_pool.acquire() as db, owner_pool.acquire() as slow:
        sender = await add_sender(db)
        await strand.settle(db)
        transaction = slow.transaction()
        await transaction.start()
        await append_webhooks(slow, [sender.event("e1")], writer="w")
        for _ in range(5):
            strand.reader.refresh()
            assert await strand.reader.claim(db, ALL_SLOTS, 10) == []
            assert await strand.is_woken_by(owner_pool)

        await transaction.commit()

        assert len(await strand.reader.claim(db, ALL_SLOTS, 10)) == 1


async def test_slots_that_were_taken_over_are_looked_at(owner_pool: Pool) -> None:
    strand = Strand()
    strand.slots = set(range(10))
    async with owner_pool.acquire() as db:
        await strand.settle(db)
        assert not await strand.is_woken_by(owner_pool)

        strand.slots = set(range(20))

        assert await strand.is_woken_by(owner_pool)


async def test_a_parked_event_whose_time_has_come_goes_back(owner_pool: Pool) -> None:
    strand = Strand()
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        await strand.settle(db)
        await db.execute(
            "INSERT INTO event_parked (tenant_id, event_id, run, slot, connection_id, ordering_key, kind, code, reason, until)"
            " VALUES ($1, $2, 0, 7, $3, 'x', 'parked', 'x', 'x', clock_timestamp() - interval '1 s')",
            sender.tenant_id, new_id(), sender.connection_id,
        )  # fmt: skip

        assert await strand.is_woken_by(owner_pool)

        assert await db.fetchval("SELECT count(*) FROM event_queue WHERE slot = 7") == 1
        assert await db.fetchval("SELECT count(*) FROM event_parked") == 0


async def test_a_database_that_is_away_wakes_everybody(owner_pool: Pool) -> None:
    strand, stop = Strand(), asyncio.Event()

    async def fail() -> None:
        raise ConnectionResetError

    task = asyncio.create_task(beat(owner_pool, [strand], 0.01, stop, refresh=fail))
    await until(lambda: strand.woken >= 2)
    stop.set()
    await task
