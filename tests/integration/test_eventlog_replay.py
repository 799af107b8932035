"""Replay puts events back as a further run; partitions are there before their day."""

from __future__ import annotations

import asyncio
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
    """One of the month, and towards its end the next one."""
    now = datetime(2031, 3, 1, 23, 59, tzinfo=UTC)
    async with owner_pool.acquire() as db:
        made = await partitions.ensure(db, now=now)
        again = await partitions.ensure(db, now=now)
        later = await partitions.ensure(db, now=datetime(2031, 3, 30, 1, tzinfo=UTC))

        assert made == sorted(f"{table}_20310301" for table in partitions.PARTITIONED)
        assert again == []
        assert later == sorted(f"{table}_20310401" for table in partitions.PARTITIONED)


async def test_rows_of_today_lie_in_the_partition_of_their_month(owner_pool: Pool) -> None:
    now = datetime.now(UTC)
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        await partitions.ensure(db)
        await append_webhooks(db, [sender.event("e1")], writer="w")

        where = await db.fetchval("SELECT tableoid::regclass::text FROM event")
        assert where in {f"event_{now:%Y%m}01", f"event_{datetime.now(UTC):%Y%m}01"}
        assert await partitions.missing_tomorrow(db, now) == []


async def test_a_year_of_hourly_looks_makes_few_partitions(owner_pool: Pool) -> None:
    """Statements that cannot tell the day open all of them, so their number must not grow with the days."""
    now = datetime(2031, 1, 31, 12, tzinfo=UTC)
    async with owner_pool.acquire() as db:
        for day in range(0, 366, 5):
            await partitions.ensure(db, now=now + timedelta(days=day))
        count = await db.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'command'::regclass")
        assert await partitions.missing_tomorrow(db, now + timedelta(days=365)) == []

    assert count <= 15


async def test_partitions_of_days_are_gone_on_from(owner_pool: Pool) -> None:
    """Installations from before have one per day, some days ahead: the next one begins where they end."""
    now = datetime(2031, 3, 10, 12, tzinfo=UTC)
    async with owner_pool.acquire() as db:
        for day in (10, 11, 12):
            bounds = [first_id_at(datetime(2031, 3, day + more, tzinfo=UTC)) for more in (0, 1)]
            await db.execute(
                f"CREATE TABLE event_203103{day} PARTITION OF event FOR VALUES FROM ('{bounds[0]}') TO ('{bounds[1]}')"
            )
        assert "event_20310313" not in await partitions.ensure(db, 0, now=now)

        made = await partitions.ensure(db, now=now + timedelta(days=1))
        assert [name for name in made if name.startswith("event_2")] == ["event_20310313"]
        assert await partitions.ensure(db, now=datetime(2031, 3, 28, tzinfo=UTC)) == []


async def test_a_month_whose_rows_lie_in_the_default_partition_goes_on_tomorrow(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        sender = await add_sender(db)
        await append_webhooks(db, [sender.event("e1")], writer="w")
        now = datetime.now(UTC)

        made = await partitions.ensure(db, 1, now=now)

        tomorrow = f"{now + timedelta(days=1):%Y%m%d}"
        assert f"event_{now:%Y%m}01" not in made
        assert f"event_{tomorrow}" in made
        assert f"event_outcome_{now:%Y%m}01" in made
        assert await db.fetchval("SELECT count(*) FROM event_default") == 1


async def test_two_who_make_partitions_at_once_make_each_once(owner_pool: Pool) -> None:
    async def make(now: datetime) -> list[str]:
        async with owner_pool.acquire() as db:
            return await partitions.ensure(db, now=now)

    for month in range(1, 7):
        first = datetime(2031, month, 1, tzinfo=UTC)
        made = await asyncio.gather(make(first), make(first))
        expected = sorted(f"{table}_{first:%Y%m%d}" for table in partitions.PARTITIONED)
        assert sorted(name for names in made for name in names) == expected


async def test_bounds_of_a_day_hold_every_id_of_that_day() -> None:
    day = datetime(2026, 11, 23, tzinfo=UTC)
    identifier = new_id()
    inside = first_id_at(time_of(identifier))
    assert first_id_at(day) < first_id_at(day + timedelta(days=1))
    assert inside <= identifier
