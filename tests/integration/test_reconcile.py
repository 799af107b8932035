"""Looks on schedule: what differs is found and told anew by policy, and a pause outlives every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from tests.dispatchbed import SETTINGS, Bed, stock_world, until

from tidegate.dispatch import heal, looks
from tidegate.dispatch.drift import request_run
from tidegate.dispatch.heal import Chosen
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.sdk.testing.hostile_world import article_id_of
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
CONNECTORS = {"hostile": build_connector()}


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    await owner_pool.execute(
        "INSERT INTO binding VALUES ($1, $2, 'location', 'wh-1', $3), ($1, $4, 'location', 'wh-1', $3)",
        made.tenant_id, made.erp, made.location, made.shop,
    )  # fmt: skip
    return made


async def told(bed: Bed, remote: HostileServer, skus: list[str], *, ours: int, shown: int) -> None:
    """Articles that the shop confirmed `ours` of, and shows `shown` of now."""
    for sku in skus:
        await bed.article(sku, on_hand=ours)
    stock_world(remote.world, [(sku, shown) for sku in skus])
    await bed.pool.execute(
        "UPDATE channel_stock SET push_version = 1, acked_quantity = $1, acked_at = now() - interval '1 hour',"
        " dirty = false, dirty_at = NULL", ours
    )  # fmt: skip
    await bed.pool.execute("UPDATE stock_entry SET at = now() - interval '1 hour'")


def shown(remote: HostileServer, sku: str) -> int:
    return remote.world.articles[article_id_of(sku)].shop_on_hand


async def due_now(bed: Bed, name: str = "shop_a") -> None:
    await bed.pool.execute(
        "UPDATE sync_schedule p SET due_at = now() FROM connection c"
        " WHERE c.connection_id = p.connection_id AND c.name = $1", name
    )  # fmt: skip


async def planned(bed: Bed) -> bool:
    return await bed.pool.fetchval("SELECT count(*) FROM sync_schedule") == 2


async def reads(bed: Bed) -> list[Any]:
    rows: list[Any] = await bed.pool.fetch(
        "SELECT s.*, c.name, r.requested_by FROM sync_read s JOIN connection c USING (connection_id)"
        " JOIN sync_run r USING (run_id) ORDER BY run_id, c.name"
    )
    return rows


async def read_of(bed: Bed, name: str = "shop_a") -> Any:
    found = [row for row in await reads(bed) if row["name"] == name]
    return found[-1] if found else None


async def is_done(bed: Bed, name: str = "shop_a") -> bool:
    row = await read_of(bed, name)
    return row is not None and row["state"] in ("done", "failed")


async def request(bed: Bed, *names: str) -> Any:
    async with bed.pool.acquire() as conn:
        return await request_run(conn, tenant_id=bed.tenant_id, actor="test", names=names or ("shop_a",))


async def drift(bed: Bed) -> dict[str, Any]:
    return {row["sku"]: row for row in await bed.pool.fetch("SELECT * FROM drift WHERE field = 'stock'")}


async def entries(bed: Bed) -> list[tuple[str, str, str]]:
    rows = await bed.pool.fetch("SELECT sku, kind, cause FROM drift_entry ORDER BY entry_id")
    return [tuple(row) for row in rows]


async def test_what_was_changed_there_is_found_on_schedule_and_told_anew(bed: Bed, remote: HostileServer) -> None:
    await told(bed, remote, ["A", "B"], ours=7, shown=7)
    stock_world(remote.world, [("B", 99)])

    async with bed.running():
        await until(lambda: planned(bed))
        await due_now(bed)
        await until(lambda: shown(remote, "B") == 7)
        await until(bed.is_settled)
        assert (await drift(bed))["B"]["heal"] == "healing"
        await request(bed)
        await until(lambda: _is_gone(bed))

    scheduled, again = [row for row in await reads(bed) if row["name"] == "shop_a"]
    assert (scheduled["requested_by"], scheduled["state"], scheduled["differences"], scheduled["healed"]) == (
        "schedule", "done", 1, 1
    )  # fmt: skip
    assert (again["differences"], again["healed"]) == (0, 0)
    assert await entries(bed) == [
        ("B", "found", "changed_there"),
        ("B", "told", "changed_there"),
        ("B", "gone", "changed_there"),
    ]
    facts = await bed.pool.fetch(
        "SELECT topic, count(*) FROM event WHERE topic LIKE 'reconcile.%' GROUP BY 1 ORDER BY 1"
    )
    assert [tuple(row) for row in facts] == [("reconcile.differences", 2), ("reconcile.finished", 2)]


async def _is_gone(bed: Bed) -> bool:
    return not await drift(bed) and len([row for row in await reads(bed) if row["finished_at"]]) > 1


async def test_more_than_one_run_may_heal_waits_for_a_person(bed: Bed, remote: HostileServer) -> None:
    """A read that is wrong about everything must not set everything."""
    skus = [f"S-{number:02}" for number in range(15)]
    await told(bed, remote, skus, ours=5, shown=0)

    async with bed.running():
        await request(bed)
        await until(lambda: is_done(bed))
        row = await read_of(bed)
        assert (row["differences"], row["healed"], row["heal_waits"]) == (15, 0, 15)
        assert {each["heal"] for each in (await drift(bed)).values()} == {"waits"}
        assert [shown(remote, sku) for sku in skus] == [0] * 15

        async with bed.pool.acquire() as conn:
            chosen = Chosen(connection="shop_a", skus=("S-0*",))
            heard: list[heal.Healed] = []
            done = await heal.heal(
                conn, tenant_id=bed.tenant_id, chosen=chosen, actor="cli:kim", on_progress=heard.append
            )
            assert (done.chosen, done.told, heard) == (10, 10, [done])
            again = await heal.heal(conn, tenant_id=bed.tenant_id, chosen=chosen, actor="cli:kim")
            assert (again.chosen, again.told) == (0, 0)
        await until(lambda: [shown(remote, sku) for sku in skus] == [5] * 10 + [0] * 5)

    assert await bed.pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'drift.healed'") == 1


@pytest.mark.parametrize(("policy", "state"), [("approve", "waits"), ("report", "")])
async def test_the_policy_decides(bed: Bed, remote: HostileServer, policy: str, state: str) -> None:
    await told(bed, remote, ["A"], ours=7, shown=3)
    await bed.configure(more=f"reconcile: {{shop_a: {{heal: {{stock: {policy}}}}}}}")

    async with bed.running():
        await request(bed)
        await until(lambda: is_done(bed))
        await until(bed.is_settled)

    assert ((await drift(bed))["A"]["heal"], shown(remote, "A")) == (state, 3)


async def test_a_number_within_tolerance_is_no_difference_but_none_always_is(bed: Bed, remote: HostileServer) -> None:
    await told(bed, remote, ["NEAR", "NONE"], ours=2, shown=1)
    stock_world(remote.world, [("NONE", 0)])
    await bed.configure(more="reconcile: {default: {tolerance: 2, heal: {stock: report}}}")

    async with bed.running():
        await request(bed)
        await until(lambda: is_done(bed))

    assert (await drift(bed)).keys() == {"NONE"}


async def test_what_somebody_else_keeps_changing_is_left_alone_after_some_tries(
    bed: Bed, remote: HostileServer
) -> None:
    await told(bed, remote, ["A"], ours=7, shown=7)
    causes = []
    async with bed.running():
        for _ in range(5):
            stock_world(remote.world, [("A", 70)])
            made = await request(bed)
            await until(lambda made=made: _run_over(bed, made.run_id))
            await until(bed.is_settled)
            row = (await drift(bed))["A"]
            causes.append((row["heal"], row["cause"], row["heals"]))

    assert [heal for heal, _, _ in causes] == ["healing", "healing", "healing", "stuck", "stuck"]
    assert causes[-1][1:] == ("other_app", 3)
    assert shown(remote, "A") == 70


async def _run_over(bed: Bed, run_id: Any) -> bool:
    return bool(await bed.pool.fetchval("SELECT finished_at IS NOT NULL FROM sync_run WHERE run_id = $1", run_id))


async def test_a_pause_holds_what_is_under_way_and_outlives_the_processes(bed: Bed, remote: HostileServer) -> None:
    await told(bed, remote, ["A"], ours=7, shown=3)
    async with bed.running():
        await until(lambda: planned(bed))
    async with bed.pool.acquire() as conn:
        names = await looks.pause(conn, tenant_id=bed.tenant_id, names=["shop_a"], actor="cli:kim")
        assert names == ("shop_a",)
        refused = await request_run(conn, tenant_id=bed.tenant_id, actor="test", names=["shop_a"])
        assert refused.stopped == (("shop_a", "paused by cli:kim; go on with: tidegate sync resume shop_a"),)
    await due_now(bed)

    async with bed.running(settings=SETTINGS):
        await due_now(bed, "erp")
        await until(lambda: is_done(bed, "erp"))
        assert await read_of(bed) is None
        async with bed.pool.acquire() as conn:
            assert await looks.resume(conn, tenant_id=bed.tenant_id, names=None, actor="cli:kim") == ("shop_a",)
            assert await looks.resume(conn, tenant_id=bed.tenant_id, names=None, actor="cli:kim") == ()
        await until(lambda: shown(remote, "A") == 7)


async def test_a_read_that_is_held_goes_on_from_its_checkpoint(bed: Bed, remote: HostileServer) -> None:
    """150 articles are two pages; the pause comes between them."""
    stock_world(remote.world, [(f"X-{number:03}", 1) for number in range(150)])
    async with bed.running():
        await until(lambda: planned(bed))
    made = await request(bed)
    async with bed.pool.acquire() as conn:
        await looks.pause(conn, tenant_id=bed.tenant_id, names=None, actor="cli:kim")
    async with bed.running():
        await asyncio.sleep(0)
        await due_now(bed)
        assert (await read_of(bed))["state"] == "waiting"
        async with bed.pool.acquire() as conn:
            await looks.resume(conn, tenant_id=bed.tenant_id, names=["shop_a"], actor="cli:kim")
        await until(lambda: _run_over(bed, made.run_id))

    row = await read_of(bed)
    assert (row["state"], row["pages"], row["compared"], row["held"]) == ("done", 2, 150, False)


async def test_a_pause_with_an_end_ends_by_itself(bed: Bed) -> None:
    async with bed.running():
        await until(lambda: planned(bed))
        soon = datetime.now(UTC) + timedelta(seconds=1)
        async with bed.pool.acquire() as conn:
            await looks.pause(conn, tenant_id=bed.tenant_id, names=["shop_a"], actor="cli:kim", until=soon)
        await until(lambda: is_done(bed))

    assert await bed.pool.fetchval("SELECT count(*) FROM sync_schedule WHERE paused_at IS NOT NULL") == 0


async def test_two_nodes_begin_a_look_once_and_a_missed_one_is_made_up_for_once(bed: Bed) -> None:
    async with bed.running():
        await until(lambda: planned(bed))
    await bed.pool.execute("UPDATE sync_schedule SET due_at = now() - interval '3 days'")

    async with bed.running(nodes=2):
        await until(lambda: is_done(bed, "shop_a"))
        await until(lambda: is_done(bed, "erp"))

    assert [(row["name"], row["requested_by"]) for row in await reads(bed)] == [
        ("erp", "schedule"), ("shop_a", "schedule")
    ]  # fmt: skip
    assert await bed.pool.fetchval("SELECT min(due_at) > now() + interval '4 minutes' FROM sync_schedule")


async def test_no_look_begins_in_a_blackout(bed: Bed) -> None:
    await bed.configure(more='reconcile: {default: {blackout: {cron: "* * * * *", for: 2h}}}')
    async with bed.running():
        await until(lambda: planned(bed))
        await due_now(bed)
        await until(lambda: _moved(bed))

    assert await reads(bed) == []


async def _moved(bed: Bed) -> bool:
    return bool(await bed.pool.fetchval("SELECT bool_and(due_at > now() + interval '1 minute') FROM sync_schedule"))


async def test_a_connection_is_never_read_twice_at_once(bed: Bed) -> None:
    """One of two is read to its end, the other one is not: who asks for both gets a run for the first one only."""
    first = await request(bed, "shop_a", "erp")
    await bed.pool.execute("UPDATE sync_read SET state = 'done' WHERE connection_id = $1", bed.erp)

    second = await request(bed, "shop_a", "erp")

    assert second.is_new
    assert second.run_id != first.run_id
    assert second.elsewhere == ("shop_a",)
    names = await bed.pool.fetch("SELECT connection_id FROM sync_read WHERE run_id = $1", second.run_id)
    assert [row[0] for row in names] == [bed.erp]


async def test_there_is_nothing_to_pause_before_anything_was_planned(bed: Bed) -> None:
    async with bed.pool.acquire() as conn:
        with pytest.raises(ConfigurationError, match="nothing to pause"):
            await looks.pause(conn, tenant_id=bed.tenant_id, names=["shop_a"], actor="test")


async def test_switched_off_looks_are_forgotten(bed: Bed) -> None:
    async with bed.running():
        await until(lambda: planned(bed))
        await bed.configure(more="reconcile: {erp: {enabled: false}}")
        await bed.pool.execute("SELECT pg_notify('tidegate_config', '')")
        await until(lambda: _only_shop(bed))


async def _only_shop(bed: Bed) -> bool:
    rows = await bed.pool.fetch("SELECT connection_id FROM sync_schedule")
    return [row[0] for row in rows] == [bed.shop]
