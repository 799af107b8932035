"""Replay puts events back as a further run; partitions are there before their day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.logbed import add_sender

from tidegate.eventlog import partitions
from tidegate.eventlog.append import append_webhooks
from tidegate.eventlog.read import QueueReader
from tidegate.eventlog.replay import replay, replay_range
from tidegate.kernel.ids import SLOTS, first_id_at, new_id, time_of
from tidegate.store.connections import Connection, Pool

pytestmark = pytest.mark.asyncio


async def applied(connection: Connection) -> None:
    """What T2 leaves behind: outcomes, and an empty queue."""
    await connection.execute(
        "INSERT INTO event_outcome (tenant_id, event_id, run, outcome, code, connector_version, mapping_version, code_version) "
        "SELECT tenant_id, event_id, run, 'applied', 'ok', '1', '1', '1' FROM event_queue"
    )
    await connection.execute("DELETE FROM event_queue")


async def test_a_replay_is_a_further_run_and_no_receipt(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        events = [sender.event(f"e{n}", ordering_key=f"order:{n}") for n in range(5)]
        await append_webhooks(db, events, writer="w")
        before = await db.fetchval("SELECT sum(received) FROM conservation")
        await applied(db)

        assert await replay(db, sender.tenant_id, [events[1].event_id, events[3].event_id, new_id()]) == 2
        claimed = await QueueReader().claim(db, list(range(SLOTS)), 10)
        assert [(event.event_id, event.run) for event in claimed] == [(events[1].event_id, 1), (events[3].event_id, 1)]
        assert await replay(db, sender.tenant_id, [events[1].event_id]) == 0, "it is on its way already"

        await applied(db)
        assert await replay(db, sender.tenant_id, [events[1].event_id]) == 1
        assert await db.fetchval("SELECT run FROM event_queue") == 2
        assert await db.fetchval("SELECT sum(received) FROM conservation") == before


async def test_a_replay_of_a_range_leaves_out_what_waits_and_other_tenants(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        other = await add_sender(db, name="other")
        mine, parked, quarantined = sender.event("e1"), sender.event("e2"), sender.event("e3")
        theirs = other.event("o1")
        await append_webhooks(db, [mine, parked, quarantined, theirs], writer="w")
        await applied(db)
        for event, kind in ((parked, "parked"), (quarantined, "quarantined")):
            await db.execute(
                "INSERT INTO event_parked (tenant_id, event_id, run, slot, connection_id, ordering_key, kind, code, reason) "
                "VALUES ($1, $2, 0, $3, $4, 'k', $5, 'c', 'r')",
                event.tenant_id,
                event.event_id,
                event.slot,
                event.connection_id,
                kind,
            )
        since = time_of(mine.event_id)
        until = since + timedelta(minutes=5)

        assert await replay_range(db, sender.tenant_id, since, until, connection_id=other.connection_id) == 0
        assert await replay_range(db, sender.tenant_id, until, until + timedelta(hours=1)) == 0
        assert await replay_range(db, sender.tenant_id, since, until) == 2
        queued = {row[0] for row in await db.fetch("SELECT event_id FROM event_queue")}
        assert queued == {mine.event_id, quarantined.event_id}


async def test_partitions_are_made_ahead_and_used(owner_pool: Pool) -> None:
    now = datetime(2031, 3, 1, 23, 59, tzinfo=UTC)
    async with owner_pool.acquire() as db:
        made = await partitions.ensure(db, 2, now=now)
        again = await partitions.ensure(db, 2, now=now)
        later = await partitions.ensure(db, 3, now=now)

        assert made == sorted(f"{table}_203103{day}" for table in partitions.PARTITIONED for day in ("01", "02", "03"))
        assert again == []
        assert later == sorted(f"{table}_20310304" for table in partitions.PARTITIONED)

        sender = await add_sender(db)
        await partitions.ensure(db)
        await append_webhooks(db, [sender.event("e1")], writer="w")
        where = await db.fetchval("SELECT tableoid::regclass::text FROM event")
        assert where == f"event_{datetime.now(UTC):%Y%m%d}"


async def test_a_day_whose_rows_lie_in_the_default_partition_stays_there(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        await append_webhooks(db, [sender.event("e1")], writer="w")

        made = await partitions.ensure(db, 1)

        today = f"{datetime.now(UTC):%Y%m%d}"
        assert f"event_{today}" not in made
        assert f"event_outcome_{today}" in made
        assert await db.fetchval("SELECT count(*) FROM event_default") == 1


async def test_bounds_of_a_day_hold_every_id_of_that_day() -> None:
    day = datetime(2026, 11, 23, tzinfo=UTC)
    identifier = new_id()
    inside = first_id_at(time_of(identifier))
    assert first_id_at(day) < first_id_at(day + timedelta(days=1))
    assert inside <= identifier
