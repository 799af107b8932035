"""Real processes that die, freeze and come back: every effect happens exactly once, and the books end right."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from tests.dispatchbed import Bed, Order, place, stock_world, until

from tidegate.dispatch.drift import request_run
from tidegate.kernel.crashpoint import FREEZE_VARIABLE, VARIABLE
from tidegate.kernel.ids import new_id, public_id, slot_of
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_faults import Fault
from tidegate.sdk.testing.hostile_world import article_id_of
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import SUPERUSER, Role

pytestmark = [pytest.mark.asyncio, pytest.mark.crash]
ROOT = Path(__file__).parents[2]
LEASE_SECONDS = 6.0

Child = asyncio.subprocess.Process
Start = Callable[..., Awaitable[Child]]


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        server.world.unique_references = False  # told twice, it does it twice
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    """Both lanes belong to the first node that joins: even slots go to the lower of two node ids."""
    made = Bed(database, owner_pool, remote.base_url)
    for name in ("shop", "erp"):
        while slot_of(made.tenant_id, str(getattr(made, name))) % 2:
            setattr(made, name, new_id())
    await made.create()
    stock_world(remote.world, [("A", 100), ("B", 100)])
    await made.article("A", on_hand=100)
    await made.article("B", on_hand=100)
    return made


@pytest_asyncio.fixture
async def start(bed: Bed) -> AsyncIterator[Start]:
    """Start dispatch processes; they are ended by their own ids at the end."""
    started: list[Child] = []

    async def begin(*, deadline_seconds: float = 1.0, **environment: str) -> Child:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.crash.dispatch_child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **environment},
        )
        started.append(child)
        world = {
            "dsn": bed.database.access(Role.DISPATCH).dsn,
            "index": len(started),
            "lease_seconds": LEASE_SECONDS,
            "deadline_seconds": deadline_seconds,
        }
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(world) + b"\n")

        async def has_joined() -> bool:
            return bool(await bed.pool.fetchval("SELECT count(*) FROM node WHERE pid = $1", child.pid))

        await until(has_joined)
        return child

    yield begin
    for child in started:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def arrange(bed: Bed, remote: HostileServer) -> list[Order]:
    """Orders to create, one of them to cancel, shipments to confirm, numbers to tell."""
    orders = [await bed.order(place(remote.world, ("A", 2), ("B", 1))) for _ in range(4)]
    await bed.cancel(orders[0])
    for order in orders[1:3]:
        await bed.ship(order, "A", 2)
    return orders


async def check(bed: Bed, remote: HostileServer, orders: list[Order]) -> None:
    """Each effect once, all commands succeeded, the shop's numbers true."""
    assert remote.world.effects["order.create"] == {order.reference: 1 for order in orders}
    shipped = await bed.pool.fetch("SELECT fulfillment_id, state FROM fulfillment")
    assert remote.world.effects["fulfillment.create"] == {
        public_id("ful", "c0", row["fulfillment_id"]): 1 for row in shipped
    }
    assert {row["state"] for row in shipped} == {"confirmed"}
    assert [order.state for order in remote.world.erp_orders.values()].count("cancelled") == 1
    rows = await bed.pool.fetch("SELECT kind, state FROM command WHERE kind <> 'inventory.set'")
    assert {row["state"] for row in rows} == {"succeeded"}
    fulfilled = await bed.pool.fetchval("SELECT sum(fulfilled) FROM order_line")
    assert fulfilled == 4
    for sku in ("A", "B"):
        level = await bed.pool.fetchrow(
            "SELECT on_hand, available FROM stock_balance WHERE item_id = $1", bed.items[sku]
        )
        assert level is not None
        article = remote.world.articles[f"art-{sku}"]
        assert (article.shop_on_hand, article.shop_on_hand - article.shop_allocated) == (
            level["on_hand"],
            level["available"],
        )
        assert (await bed.mark(sku))["acked_quantity"] == level["on_hand"]


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize(
    "point",
    [
        "dispatch.t2s.written:2",
        "dispatch.t2s.committed:2",
        "dispatch.call.answered:1",
        "dispatch.call.answered:4",
        "dispatch.t3.written:3",
        "dispatch.t3.committed:2",
    ],
)
async def test_a_process_that_dies_at_any_step_leaves_every_effect_once(
    bed: Bed, remote: HostileServer, start: Start, point: str, nodes: int
) -> None:
    orders = await arrange(bed, remote)
    first = await start(**{VARIABLE: point})
    if nodes == 2:
        await start()

    assert await asyncio.wait_for(first.wait(), 200) == -signal.SIGKILL
    if nodes == 1:
        await start()
    await until(bed.is_settled)

    await check(bed, remote, orders)


@pytest.mark.parametrize(
    "point",
    ["dispatch.t3.written:4", "dispatch.t3.committed:4", "dispatch.t2s.committed:5"],
)
async def test_a_process_that_dies_while_a_key_is_given_up_leaves_every_effect_once(
    bed: Bed, remote: HostileServer, start: Start, point: str
) -> None:
    """The ERP keeps a 500 under the keys of two orders; killed when that is noted, and before the other key is used."""
    remote.put_faults(
        Fault(kind="spoil", method="POST", path="/api/erp/orders", times=2),
        Fault(kind="spoil", method="POST", path="/api/erp/orders", effect=True),
    )
    orders = await arrange(bed, remote)
    first = await start(**{VARIABLE: point})
    assert await asyncio.wait_for(first.wait(), 200) == -signal.SIGKILL
    await start()
    await until(bed.is_settled)

    await check(bed, remote, orders)
    assert await bed.pool.fetchval("SELECT count(*) FROM call WHERE key_spent_at IS NOT NULL") >= 1


async def test_two_deaths_in_a_row_and_a_bad_remote(bed: Bed, remote: HostileServer, start: Start) -> None:
    """The second process dies while it clears up after the first, and the remote loses every fifth answer."""
    orders = await arrange(bed, remote)
    remote.put_faults(random={"lose_reply": 0.2, "reset": 0.1, "rate_limit": 0.05}, seed=7)
    for point in ("dispatch.call.answered:2", "dispatch.t3.written:2"):
        child = await start(**{VARIABLE: point})
        assert await asyncio.wait_for(child.wait(), 200) == -signal.SIGKILL
    await start()
    await until(bed.is_settled)

    await check(bed, remote, orders)


async def test_a_frozen_process_sends_nothing_after_its_lease(bed: Bed, remote: HostileServer, start: Start) -> None:
    """Stopped between T2s and the request: another node finds nothing, twice, and sends it; the zombie does not."""
    orders = await arrange(bed, remote)
    first = await start(**{FREEZE_VARIABLE: "dispatch.t2s.committed:1"})
    await start()
    await until(bed.is_settled)
    os.kill(first.pid, signal.SIGCONT)

    async def has_answered() -> bool:
        return bool(await bed.pool.fetchval("SELECT count(*) FROM attempt_answer WHERE late"))

    await until(has_answered)
    await check(bed, remote, orders)
    late = await bed.pool.fetch("SELECT outcome, code FROM attempt_answer WHERE late")
    assert {(row["outcome"], row["code"]) for row in late} == {("transient", "not_sent_lease")}


async def test_a_frozen_process_that_had_sent_only_adds_its_evidence(
    bed: Bed, remote: HostileServer, start: Start
) -> None:
    """Stopped while it waits for the answer: the other node finds the effect; the late answer changes nothing."""
    order = await bed.order(place(remote.world, ("A", 1)))
    remote.put_faults(Fault(kind="delay_reply", seconds=8.0, method="POST", path="/api/erp/orders"))
    first = await start(deadline_seconds=200.0)
    await until(lambda: remote.world.faults_used.get("delay_reply") == 1)
    os.kill(first.pid, signal.SIGSTOP)
    await start()
    await until(bed.is_settled)
    (command,) = await bed.commands_of(order.order_id)
    assert (command["state"], command["code"]) == ("succeeded", "found")
    os.kill(first.pid, signal.SIGCONT)

    async def has_answered() -> bool:
        return bool(await bed.pool.fetchval("SELECT count(*) FROM attempt_answer WHERE late AND outcome = 'success'"))

    await until(has_answered)
    assert remote.world.effects["order.create"] == {order.reference: 1}
    assert (await bed.commands_of(order.order_id)) == [command]
    await bed.check_evidence()
    late = await bed.pool.fetchval(
        "SELECT count(*) FROM event_outcome o JOIN event e USING (tenant_id, event_id) WHERE o.code = 'late_answer'"
    )
    assert late == 1


async def test_sessions_that_are_cut_again_and_again_double_nothing(
    bed: Bed, remote: HostileServer, start: Start, postgres: EmbeddedPostgres
) -> None:
    """Backends of both nodes end at any statement; a commit whose answer was lost is written once."""
    orders = await arrange(bed, remote)
    for _ in range(2):
        await start()
    admin = await asyncpg.connect(postgres.dsn(SUPERUSER, "postgres"), command_timeout=200)
    try:
        for _ in range(25):
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'tidegate_dispatch' AND random() < 0.5"
            )
            orders.append(await bed.order(place(remote.world, ("A", 1))))
            await asyncio.sleep(0.1)
    finally:
        await admin.close()
    await until(bed.is_settled)

    await check(bed, remote, orders)


async def test_a_process_that_drains_leaves_nothing_in_doubt(bed: Bed, remote: HostileServer, start: Start) -> None:
    """SIGTERM: calls in flight finish, the next owner begins where it ended."""
    remote.put_faults(Fault(kind="delay_reply", seconds=0.7, times=3, method="POST"))
    orders = await arrange(bed, remote)
    first = await start(deadline_seconds=5.0)
    await until(lambda: remote.world.faults_used.get("delay_reply", 0) >= 1)
    first.terminate()
    assert await asyncio.wait_for(first.wait(), 200) == 0
    assert "sending" not in await bed.states()
    assert "in_doubt" not in await bed.states()
    await start()
    await until(bed.is_settled)

    await check(bed, remote, orders)


@pytest.mark.parametrize("nodes", [1, 2])
async def test_a_process_that_dies_after_its_hooks_answered_leaves_nothing_half_done(
    bed: Bed, remote: HostileServer, start: Start, nodes: int
) -> None:
    """Killed between the hook's answer and T2s: nothing was begun, its hook processes go with it, hooks are asked again."""
    source = (
        "from tidegate.sdk.flows import transform\n"
        '@transform("orders")\ndef change(order, cfg):\n    return order.replace(note="seen")\n'
    )
    await bed.configure(
        more="hooks: {deadline: 20s}\nmaps: {orders: {order: flows:change}}", files={"flows.py": source}
    )
    orders = await arrange(bed, remote)
    first = await start(**{VARIABLE: "dispatch.hooks.answered:2"})
    if nodes == 2:
        await start()
    assert await asyncio.wait_for(first.wait(), 200) == -signal.SIGKILL
    if nodes == 1:
        await start()
    await until(bed.is_settled)

    await check(bed, remote, orders)
    created = [payload for payload in await bed.payloads() if payload["type"] == "order.create"]
    assert [payload["note"] for payload in created] == ["seen"] * len(orders)


@pytest.mark.parametrize("point", ["dispatch.shown.read:2", "dispatch.shown.stored:2", "dispatch.drift.compared:1"])
async def test_a_run_goes_on_from_its_checkpoint_after_a_kill(
    bed: Bed, remote: HostileServer, start: Start, point: str
) -> None:
    """A killed process costs the page that it was reading; nothing is compared twice, and nothing is written."""
    stock_world(remote.world, [(f"X-{number:03}", 1) for number in range(250)])
    async with bed.pool.acquire() as conn:
        made = await request_run(conn, tenant_id=bed.tenant_id, actor="test", names=("shop_a",))

    first = await start(**{VARIABLE: point})
    await asyncio.wait_for(first.wait(), 200)
    await start()
    await until(
        lambda: bed.pool.fetchval("SELECT finished_at IS NOT NULL FROM sync_run WHERE run_id = $1", made.run_id),
        seconds=60,
    )

    read = await bed.pool.fetchrow("SELECT state, pages, articles, compared FROM sync_read")
    assert read is not None
    assert tuple(read) == ("done", 3, 252, 252)
    assert await bed.pool.fetchval("SELECT count(*) FROM drift WHERE cause = 'unmatched'") == 250
    pages = remote.world.requests["GET /api/articles"]
    assert pages == (4 if point == "dispatch.shown.read:2" else 3)


async def test_healing_goes_on_after_a_kill_and_tells_each_number(
    bed: Bed, remote: HostileServer, start: Start
) -> None:
    """Killed after the marks of the first step were stored: the next owner tells the rest, and every number is right."""
    skus = [f"H-{number:03}" for number in range(12)]
    for sku in skus:
        await bed.article(sku, on_hand=7)
    stock_world(remote.world, [(sku, 90) for sku in skus])
    await bed.configure(more="reconcile: {default: {heal_share: 1}}")
    await bed.pool.execute(
        "UPDATE channel_stock SET push_version = 1, acked_quantity = 7, acked_at = now() - interval '1 hour',"
        " dirty = false, dirty_at = NULL"
    )
    await bed.pool.execute("UPDATE stock_entry SET at = now() - interval '1 hour'")
    async with bed.pool.acquire() as conn:
        made = await request_run(conn, tenant_id=bed.tenant_id, actor="test", names=("shop_a",))

    first = await start(**{VARIABLE: "dispatch.heal.marked:1"})
    assert await asyncio.wait_for(first.wait(), 200) == -signal.SIGKILL
    await start()
    await until(
        lambda: bed.pool.fetchval("SELECT finished_at IS NOT NULL FROM sync_run WHERE run_id = $1", made.run_id),
        seconds=60,
    )
    await until(bed.is_settled)

    assert {remote.world.articles[article_id_of(sku)].shop_on_hand for sku in skus} == {7}
    read = await bed.pool.fetchrow("SELECT state, differences, healed, heal_waits FROM sync_read")
    assert read is not None
    assert tuple(read) == ("done", 12, 12, 0)
    assert await bed.pool.fetchval("SELECT count(*) FROM drift_entry WHERE kind = 'told'") == 12
