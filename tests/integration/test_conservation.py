"""The conservation equation sees what waits, and fails when something is nowhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.logbed import Sender, add_sender

from tidegate.eventlog.append import append_webhooks
from tidegate.monitor.conservation import Balance, read_balances, total_imbalance
from tidegate.store.connections import Connection, Pool

pytestmark = pytest.mark.asyncio


async def balance_of(conn: Connection) -> Balance:
    (balance,) = await read_balances(conn, since=datetime.now(UTC) - timedelta(hours=2))
    return balance


async def received(conn: Connection, number: int) -> Sender:
    sender = await add_sender(conn)
    await append_webhooks(conn, [sender.event(f"e{n}") for n in range(number)], writer="w")
    return sender


async def test_what_waits_is_pending_and_a_repeat_is_a_duplicate(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        sender = await received(conn, 3)
        await append_webhooks(conn, [sender.event("e1")], writer="w")

        balance = await balance_of(conn)

    assert (balance.received, balance.duplicate, balance.pending, balance.difference) == (4, 1, 3, 0)


async def test_a_parked_event_is_pending_and_a_quarantined_one_is_not(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        await received(conn, 2)
        await conn.execute(
            "WITH taken AS (DELETE FROM event_queue RETURNING *), numbered AS ("
            "SELECT t.*, row_number() OVER (ORDER BY seq) AS n FROM taken t) "
            "INSERT INTO event_parked (tenant_id, event_id, run, slot, connection_id, ordering_key, kind, code, reason) "
            "SELECT n.tenant_id, n.event_id, 0, n.slot, e.connection_id, e.ordering_key, "
            "CASE n.n WHEN 1 THEN 'parked' ELSE 'quarantined' END, 'x', 'y' "
            "FROM numbered n JOIN event e USING (tenant_id, event_id)"
        )
        without = await balance_of(conn)
        await conn.execute("UPDATE conservation SET quarantined = 1")

        balance = await balance_of(conn)

    assert (without.pending, without.difference) == (1, 1)
    assert (balance.pending, balance.quarantined, balance.difference) == (1, 1, 0)


async def test_an_event_that_is_nowhere_is_an_imbalance(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        await received(conn, 5)
        await conn.execute("DELETE FROM event_queue WHERE seq = (SELECT min(seq) FROM event_queue)")

        balances = [await balance_of(conn)]

    assert balances[0].difference == 1
    assert total_imbalance(balances) == 1


async def test_a_replay_of_an_applied_event_is_not_pending_again(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        await received(conn, 1)
        await conn.execute(
            "INSERT INTO event_outcome (tenant_id, event_id, run, outcome, code, connector_version, mapping_version, "
            "code_version) SELECT tenant_id, event_id, 0, 'applied', 'x', '1', '1', '1' FROM event"
        )
        await conn.execute("UPDATE conservation SET applied = 1")
        await conn.execute("UPDATE event_queue SET run = 1")

        balance = await balance_of(conn)

    assert (balance.pending, balance.difference) == (0, 0)
