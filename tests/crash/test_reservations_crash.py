"""Processes that reserve race, die between all steps, and come again: nothing is held twice, nothing is oversold."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.applybed import CONFIG, make_bed, order_event
from tests.reservebed import ReserveBed, check_reserved, reserve_bed

from tidegate.kernel import crashpoint
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role

pytestmark = [pytest.mark.asyncio, pytest.mark.crash]
ROOT = Path(__file__).parents[2]
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


async def run_child(
    database: Database, bed: ReserveBed, name: str, *, crash_at: str = "", role: Role = Role.WEB, **more: Any
) -> dict[str, int] | None:
    """Run a process to its end; return what it counted, None when it was killed."""
    order = {"skus": ["A"], "count": 100, "most": 1, "released_of_ten": 0, **more, "name": name}
    order |= {"dsn": database.access(role).dsn, "role": role, "tenant_id": str(bed.tenant_id)}
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    if crash_at:
        environment[crashpoint.VARIABLE] = crash_at
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.reservechild",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT, env=environment,
    )  # fmt: skip
    told, _ = await asyncio.wait_for(process.communicate(json.dumps(order).encode() + b"\n"), 200)
    if process.returncode == -signal.SIGKILL:
        return None
    assert process.returncode == 0
    return dict(json.loads(told))


async def test_four_processes_get_exactly_what_is_there(database: Database, owner_pool: Pool) -> None:
    """One hot article, and baskets of two articles in both orders: sorted locks, no deadlock."""
    async with reserve_bed(database, owner_pool, stock={"A": 150, "B": 10_000}) as bed:
        before = await owner_pool.fetchval(DEADLOCKS)
        counted = await asyncio.gather(
            *(run_child(database, bed, f"p{n}", skus=["A", "B"] if n % 2 else ["A"]) for n in range(4))
        )
        level = await bed.level("A")
        await bed.check()
        await owner_pool.execute("SELECT pg_stat_force_next_flush()")
        after = await owner_pool.fetchval(DEADLOCKS)

    assert sum(each["granted"] for each in counted if each is not None) == 150
    assert sum(each["refused"] for each in counted if each is not None) == 250
    assert level == (150, 0, 150)
    assert after == before


@pytest.mark.parametrize("point", ["reserve.decided:2", "reserve.before_commit:2", "reserve.committed:2"])
async def test_whoever_dies_and_asks_again_holds_it_once(database: Database, owner_pool: Pool, point: str) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 120, "B": 10_000}) as bed:
        options: dict[str, Any] = {"skus": ["A", "B"], "most": 3, "count": 60}
        assert await run_child(database, bed, "same", crash_at=point, **options) is None
        await bed.check()
        other, again = await asyncio.gather(
            run_child(database, bed, "other", released_of_ten=5, **options),
            run_child(database, bed, "same", **options),
        )
        assert other is not None
        assert again is not None
        await check_reserved(owner_pool)
        held = await owner_pool.fetchval(
            "SELECT count(*) FROM reservation WHERE reference LIKE 'same-%' AND state = 'held'"
        )
        twice = await owner_pool.fetch(
            "SELECT reference FROM reservation WHERE reference LIKE 'same-%' GROUP BY 1 HAVING count(*) > 1"
        )
        _, _, reserved = await bed.level("A")

    assert held == again["granted"]
    assert not twice
    assert reserved <= 120


async def test_what_expired_before_a_crash_is_not_let_go_twice(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 5}) as bed:
        await bed.reserve(("A", 3))
        await owner_pool.execute("UPDATE reservation SET due_at = now() - interval '1 second'")
        await owner_pool.execute("UPDATE reservation_hold SET due_at = now() - interval '1 second'")
        assert await run_child(database, bed, "first", crash_at="reserve.expired", role=Role.APPLY) is None
        after_crash = await bed.level("A")
        again = await run_child(database, bed, "second", role=Role.APPLY)
        await bed.check()
        level = await bed.level("A")

    assert again == {"expired": 0}
    assert after_crash == level == (5, 0, 0)


@pytest.mark.parametrize("point", ["adjust.decided:3", "adjust.before_commit:3"])
async def test_an_adjustment_that_is_asked_for_again_after_a_crash_is_posted_once(
    database: Database, owner_pool: Pool, point: str
) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 20}) as bed:
        place = {"item_id": str(bed.items["A"]), "location_id": str(bed.places["main"]), "count": 5}
        assert await run_child(database, bed, "same", crash_at=point, role=Role.MIGRATOR, **place) is None
        again, other = await asyncio.gather(
            run_child(database, bed, "same", role=Role.MIGRATOR, **place),
            run_child(database, bed, "other", role=Role.MIGRATOR, **place),
        )
        await bed.check()
        level = await bed.level("A")

    assert (again, other) == ({"posted": 3}, {"posted": 5})
    assert level == (10, 0, 0)


@pytest.mark.parametrize("point", ["kits.parts_dropped", "kits.before_commit"])
async def test_a_kit_that_is_changed_half_way_is_as_it_was(database: Database, owner_pool: Pool, point: str) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 9, "B": 9}, bundles={"SET": {"A": 2}}) as bed:
        kits = {"SET": {"A": 1, "B": 3}}
        assert await run_child(database, bed, "same", crash_at=point, role=Role.MIGRATOR, kits=kits) is None
        await bed.reserve(("SET", 1))
        before = (await bed.level("A"), await bed.level("B"))
        again = await run_child(database, bed, "same", role=Role.MIGRATOR, kits=kits)
        once_more = await run_child(database, bed, "same", role=Role.MIGRATOR, kits=kits)
        await bed.reserve(("SET", 1))
        await bed.check()
        after = (await bed.level("A"), await bed.level("B"))

    assert (again, once_more) == ({"changes": 1}, {"changes": 0})
    assert before == ((9, 0, 2), (9, 0, 0))
    assert after == ((9, 0, 3), (9, 0, 3))


async def test_a_decision_that_dies_before_its_commit_is_none_and_is_made_once_again(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_bed(database, owner_pool)
    await bed.append([("shop_a", order_event("1", [("A", 2)])), ("shop_b", order_event("2", [("A", 1)]))])
    await bed.apply()
    async with reserve_bed(database, owner_pool, stock={}) as child:
        child.tenant_id = bed.tenant_id
        waits = {str(bed.items["A"]): 3}
        crash = "backorder.decided"
        assert await run_child(database, child, "same", crash_at=crash, role=Role.MIGRATOR, waits=waits) is None
        assert await owner_pool.fetchval("SELECT count(*) FROM backorder") == 0
        both = await asyncio.gather(
            *(run_child(database, child, "same", role=Role.MIGRATOR, waits=waits) for _ in range(2))
        )

    assert sorted(each["waits"] for each in both if each is not None) == [0, 2]


async def test_a_cancel_and_a_relink_that_die_before_their_commit_are_none_and_are_made_once_again(
    database: Database, owner_pool: Pool
) -> None:
    """What people decide about orders and deleted articles is one transaction each: killed in its last step, nothing of it is there."""
    bed = await make_bed(database, owner_pool)
    await bed.append([("shop_a", order_event("1", [("A", 2)])), ("shop_b", order_event("2", [("A", 1)]))])
    await bed.apply()
    shop = bed.connections["shop_a"]
    await owner_pool.execute(
        "WITH gone AS (DELETE FROM binding WHERE connection_id = $1 AND external_id = 'v-B' RETURNING *), made AS ("
        " INSERT INTO match_open (tenant_id, connection_id, external_id, sku, title, reason, candidates)"
        " SELECT tenant_id, connection_id, 'v-B2', 'B', '', 'recreated', ARRAY['B'] FROM gone)"
        " INSERT INTO tombstone (tenant_id, connection_id, external_id, variant_id, parent_id)"
        " SELECT tenant_id, connection_id, external_id, internal_id, '' FROM gone", shop,
    )  # fmt: skip
    written = (
        "SELECT (SELECT count(*) FROM audit_log WHERE actor = 'child') AS said,"
        " (SELECT count(*) FROM command WHERE kind = 'order.cancel') AS asked,"
        ' (SELECT count(*) FROM "order" WHERE called_off_at IS NOT NULL) AS held,'
        " (SELECT count(*) FROM binding WHERE external_id = 'v-B2') AS bound"
    )
    async with reserve_bed(database, owner_pool, stock={}) as child:
        child.tenant_id = bed.tenant_id
        for point, wish, done in (
            ("cancelling.stored", {"cancel": "A"}, {"cancelled": 2}),
            (
                "tombstone.relinked",
                {"relink": {"connection": "shop_a", "external_id": "v-B", "successor": None}},
                {"linked": 1},
            ),
        ):
            before = await owner_pool.fetchrow(written)
            assert (
                await run_child(database, child, "same", crash_at=point, role=Role.MIGRATOR, config=CONFIG, **wish)
                is None
            )
            assert await owner_pool.fetchrow(written) == before
            again = await run_child(database, child, "same", role=Role.MIGRATOR, config=CONFIG, **wish)
            assert again == done
        assert await run_child(database, child, "same", role=Role.MIGRATOR, config=CONFIG, cancel="A") == {
            "cancelled": 0
        }
    row = await owner_pool.fetchrow(written)
    assert row is not None
    assert tuple(row) == (2, 2, 2, 1)
    await bed.check_books()
