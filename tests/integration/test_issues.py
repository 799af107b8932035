"""Failures of real lanes become issues; fixed, they are sent again, each once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from tests.dispatchbed import CELL, QUIET, Bed, place, stock_world, until
from tests.remotebed import running_remote

from tidegate.commerce.commands import CommandKind
from tidegate.dispatch.issue_actions import resolve_issue
from tidegate.dispatch.issue_retry import Again, preview_retry, read_result, retry_step
from tidegate.dispatch.operator import retry_command
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import ConfigurationError, ConflictError
from tidegate.kernel.ids import new_id
from tidegate.monitor.issue_keeper import IssueKeeper
from tidegate.monitor.issues import Issue, list_issues, read_issue
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_faults import Fault
from tidegate.sdk.testing.hostile_world import article_id_of
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role

pytestmark = pytest.mark.asyncio
CONNECTORS = {"hostile": QUIET}
REFUSED = Fault(kind="status", status=422, code="canary_rule", method="POST", path="/api/erp/orders", times=None)


@asynccontextmanager
async def arranged(database: Database, pool: Pool) -> AsyncIterator[tuple[Bed, HostileServer, IssueKeeper]]:
    async with running_remote() as remote:
        bed = Bed(database=database, pool=pool, base_url=remote.base_url)
        await bed.create()
        stock_world(remote.world, [("MUG", 50), ("LAMP", 50)])
        keeper_pool = await database.pool(Role.DISPATCH, application_name="test-keeper")
        try:
            yield bed, remote, IssueKeeper(keeper_pool, bed.cipher, cell=CELL, clock=SystemClock())
        finally:
            await keeper_pool.close()


async def issues_of(bed: Bed, *, all_: bool = True) -> list[Issue]:
    async with bed.pool.acquire() as conn:
        return await list_issues(conn, bed.tenant_id, all_=all_)


async def refused_orders(bed: Bed, remote: HostileServer, count: int) -> None:
    remote.put_faults(REFUSED)
    for _ in range(count):
        await bed.order(place(remote.world, ("MUG", 1)))
    async with bed.running():
        await until(lambda: _has(bed, failed=count))


async def _has(bed: Bed, kind: CommandKind = CommandKind.ORDER_CREATE, **wanted: int) -> bool:
    states = await bed.states(kind)
    return all(states.get(state, 0) == count for state, count in wanted.items())


async def send_all(bed: Bed, issue_id: UUID, **options: Any) -> list[UUID]:
    sent: list[UUID] = []
    after = None
    async with bed.pool.acquire() as conn:
        while True:
            step = await retry_step(
                conn, tenant_id=bed.tenant_id, issue_id=issue_id, actor="test", after=after, **options
            )
            sent += step.sent
            after = step.last
            if after is None:
                return sent


async def test_refused_orders_are_one_issue_with_a_sample_and_go_again_once(
    database: Database, owner_pool: Pool
) -> None:
    """P6: the sample names no buyer. After the fix each order is made once, and the issue is resolved by itself."""
    async with arranged(database, owner_pool) as (bed, remote, keeper):
        await bed.article("MUG", on_hand=50)
        await refused_orders(bed, remote, 7)
        await keeper.look()
        await keeper.look()

        (issue,) = await issues_of(bed)
        assert (issue.class_, issue.connection, issue.operation, issue.code) == (
            "rejected",
            "erp",
            "order.create",
            "rejected",
        )
        assert (issue.state, issue.standing, issue.seen) == ("open", 7, 7)
        assert (issue.affected.orders, issue.affected.value) == (7, {"EUR": 7000})
        async with bed.pool.acquire() as conn:
            detail = await read_issue(conn, bed.tenant_id, issue.issue_id)
            preview = await preview_retry(conn, tenant_id=bed.tenant_id, issue_id=issue.issue_id, connectors=CONNECTORS)
        assert detail.sample is not None
        shown = json.dumps(detail.sample)
        assert "secret-buyer" not in shown
        assert detail.sample["answer"]["http_status"] == 422
        assert detail.sample["request"]["lines"][0]["sku"] == "MUG"
        assert (preview.takes, preview.calls, preview.again) == (7, 7, {})
        assert preview.first[0].startswith("order.create ")

        remote.put_faults()
        assert len(await send_all(bed, issue.issue_id)) == 7
        assert await send_all(bed, issue.issue_id) == []
        (issue,) = await issues_of(bed)
        assert (issue.standing, issue.retried, issue.state) == (0, 7, "open")
        async with bed.running():
            await until(lambda: _has(bed, succeeded=7))
        await keeper.look()
        (issue,) = await issues_of(bed)
        assert (issue.state, issue.standing, issue.retried, issue.seen) == ("resolved", 0, 0, 7)
        assert all(count == 1 for count in remote.world.effects["order.create"].values())
        assert len(remote.world.erp_orders) == 7


async def test_what_comes_again_has_regressed(database: Database, owner_pool: Pool) -> None:
    async with arranged(database, owner_pool) as (bed, remote, keeper):
        await bed.article("MUG", on_hand=50)
        await refused_orders(bed, remote, 2)
        await keeper.look()
        (issue,) = await issues_of(bed)
        await send_all(bed, issue.issue_id)
        async with bed.running():  # the cause is still there
            await until(lambda: _has(bed, failed=2))
        await keeper.look()
        (again,) = await issues_of(bed)
        assert (again.issue_id, again.state, again.standing, again.retried, again.seen) == (
            issue.issue_id, "open", 2, 0, 4
        )  # fmt: skip

        async with bed.pool.acquire() as conn:
            await resolve_issue(conn, tenant_id=bed.tenant_id, issue_id=issue.issue_id, actor="test")
        await keeper.look()
        assert (await issues_of(bed))[0].state == "resolved", "failures that stood when it was closed do not open it"
        await bed.order(place(remote.world, ("MUG", 1)))
        async with bed.running():
            await until(lambda: _has(bed, failed=3))
        await keeper.look()
        (again,) = await issues_of(bed)
        assert (again.state, again.regressions, again.standing) == ("regressed", 1, 3)


async def test_causes_are_told_apart_and_unbound_articles_are_foretold(database: Database, owner_pool: Pool) -> None:
    async with arranged(database, owner_pool) as (bed, remote, keeper):
        await bed.article("MUG", on_hand=50)
        await bed.article("LAMP", on_hand=50, bind_erp=False)
        remote.put_faults(REFUSED)
        await bed.order(place(remote.world, ("MUG", 1)))
        lamp = await bed.order(place(remote.world, ("LAMP", 1)))
        async with bed.running():
            await until(lambda: _has(bed, failed=2))
        await keeper.look()
        by_code = {issue.code: issue for issue in await issues_of(bed)}
        assert set(by_code) == {"rejected", "sku_unbound"}
        unbound = by_code["sku_unbound"]
        assert unbound.class_ == "unsent"
        async with bed.pool.acquire() as conn:
            who = {"tenant_id": bed.tenant_id, "issue_id": unbound.issue_id, "connectors": CONNECTORS}
            assert (await preview_retry(conn, **who)).again == {Again.SKU_UNBOUND: 1}
            await conn.execute(
                "INSERT INTO binding VALUES ($1, $2, 'variant', $3, $4)",
                bed.tenant_id, bed.erp, article_id_of("LAMP"), bed.variants["LAMP"],
            )  # fmt: skip
            assert (await preview_retry(conn, **who)).again == {}
        remote.put_faults()
        await send_all(bed, unbound.issue_id)
        async with bed.running():
            await until(lambda: _has(bed, succeeded=1))
        async with bed.pool.acquire() as conn:
            (command,) = await bed.commands_of(lamp.order_id)
            result = await read_result(conn, tenant_id=bed.tenant_id, subject_id=command["command_id"], is_event=False)
        assert result.state == "succeeded"


async def test_two_people_who_retry_at_once_send_everything_once(database: Database, owner_pool: Pool) -> None:
    async with arranged(database, owner_pool) as (bed, remote, keeper):
        await bed.article("MUG", on_hand=500)
        await refused_orders(bed, remote, 25)
        await keeper.look()
        (issue,) = await issues_of(bed)
        remote.put_faults()
        async with bed.running(nodes=2):
            sent = await asyncio.gather(*(send_all(bed, issue.issue_id, limit=4) for _ in range(3)))
            await until(lambda: _has(bed, succeeded=25))
        everything = [subject for one in sent for subject in one]
        assert len(everything) == len(set(everything)) == 25
        assert len(remote.world.erp_orders) == 25
        assert all(count == 1 for count in remote.world.effects["order.create"].values())


async def test_stock_numbers_are_computed_anew(database: Database, owner_pool: Pool) -> None:
    async with arranged(database, owner_pool) as (bed, remote, keeper):
        await bed.article("MUG", on_hand=5)
        remote.put_faults(Fault(kind="reject_items", method="PUT", path="/api/shop/stock", times=1))
        await bed.move("MUG", on_hand=1)
        async with bed.running():
            await until(lambda: _has(bed, CommandKind.INVENTORY_SET, failed=1))
        await keeper.look()
        (issue,) = await issues_of(bed)
        assert (issue.operation, issue.affected.skus) == ("inventory.set", 1)
        await bed.move("MUG", on_hand=3)
        await send_all(bed, issue.issue_id)
        async with bed.running():
            await until(bed.is_settled)
        await keeper.look()
        (issue,) = await issues_of(bed)
        assert issue.state == "resolved"
        assert remote.world.articles[article_id_of("MUG")].shop_on_hand == 9


async def test_a_stock_failure_stays_while_its_item_observes(database: Database, owner_pool: Pool) -> None:
    """Nothing would be told, and the failure would be gone: sent again it was neither."""
    async with arranged(database, owner_pool) as (bed, remote, keeper):
        await bed.article("MUG", on_hand=5)
        remote.put_faults(Fault(kind="reject_items", method="PUT", path="/api/shop/stock", times=1))
        await bed.move("MUG", on_hand=1)
        async with bed.running():
            await until(lambda: _has(bed, CommandKind.INVENTORY_SET, failed=1))
        await keeper.look()
        (issue,) = await issues_of(bed)
        await bed.pool.execute("UPDATE channel_stock SET mode = 'observe'")
        failed = await bed.pool.fetchval("SELECT command_id FROM command WHERE state = 'failed'")

        async with bed.pool.acquire() as conn:
            step = await retry_step(conn, tenant_id=bed.tenant_id, issue_id=issue.issue_id, actor="test")
            with pytest.raises(ConflictError, match="observes"):
                await retry_command(conn, tenant_id=bed.tenant_id, command_id=failed, actor="test")

        assert (step.sent, step.skipped) == ((), 1)
        assert await bed.states(CommandKind.INVENTORY_SET) == {"failed": 1}


async def test_a_connection_that_waits_is_an_issue_until_it_goes_on(database: Database, owner_pool: Pool) -> None:
    async with arranged(database, owner_pool) as (bed, _remote, keeper):
        set_state = "UPDATE connection SET state = $2, state_reason = $3 WHERE connection_id = $1"
        await bed.pool.execute(set_state, bed.erp, "waiting_auth", "the key of Ada Canary was refused")
        await keeper.look()
        await keeper.look()
        (issue,) = await issues_of(bed)
        assert (issue.class_, issue.code, issue.connection, issue.standing, issue.seen) == (
            "connection", "waiting_auth", "erp", 1, 1
        )  # fmt: skip
        assert issue.shape == "the key of … was refused"
        async with bed.pool.acquire() as conn:
            with pytest.raises(ConfigurationError) as refused:
                await retry_step(conn, tenant_id=bed.tenant_id, issue_id=issue.issue_id, actor="test")
        assert refused.value.code == "not_retryable"
        await bed.pool.execute(set_state, bed.erp, "active", None)
        await keeper.look()
        assert (await issues_of(bed))[0].state == "resolved"
        await bed.pool.execute(set_state, bed.erp, "waiting_auth", "the key of Bob Canary was refused")
        await keeper.look()
        (issue,) = await issues_of(bed)
        assert (issue.state, issue.regressions, issue.seen) == ("regressed", 1, 2)


async def test_refused_deliveries_are_an_issue(database: Database, owner_pool: Pool) -> None:
    async with arranged(database, owner_pool) as (bed, _remote, keeper):
        add = (
            "INSERT INTO intake_refusal VALUES (date_trunc('hour', now()), $1, 'door-1', $2)"
            " ON CONFLICT (hour, code, writer) DO UPDATE SET refused = EXCLUDED.refused"
        )
        await bed.pool.execute(add, "signature_mismatch", 3)
        await bed.pool.execute(add, "unknown_path", 4000)
        await keeper.look()
        await bed.pool.execute(add, "signature_mismatch", 5)
        await keeper.look()
        (issue,) = await issues_of(bed)
        assert (issue.class_, issue.code, issue.standing, issue.seen) == ("intake", "signature_mismatch", 5, 5)


async def test_a_foreign_issue_cannot_be_retried(database: Database, owner_pool: Pool) -> None:
    """A8: retry and preview of another tenant's issue find nothing."""
    async with arranged(database, owner_pool) as (bed, remote, keeper):
        await bed.article("MUG", on_hand=5)
        await refused_orders(bed, remote, 1)
        await keeper.look()
        (issue,) = await issues_of(bed)
        other = new_id()
        async with bed.pool.acquire() as conn:
            with pytest.raises(ConfigurationError):
                await retry_step(conn, tenant_id=other, issue_id=issue.issue_id, actor="x")
            with pytest.raises(ConfigurationError):
                await preview_retry(conn, tenant_id=other, issue_id=issue.issue_id, connectors=CONNECTORS)
        assert (await bed.states())["failed"] == 1


async def test_nothing_is_thrown_away_by_a_retry_while_its_flow_observes(database: Database, owner_pool: Pool) -> None:
    """T2s would end it as observed, the issue would be resolved, and going live would not bring it back."""
    async with arranged(database, owner_pool) as (bed, remote, keeper):
        await bed.article("MUG", on_hand=5)
        await refused_orders(bed, remote, 2)
        await keeper.look()
        (issue,) = await issues_of(bed)
        set_mode = "UPDATE flow_mode SET mode = $1 WHERE flow = 'orders'"
        await bed.pool.execute(set_mode, "observe")

        async with bed.pool.acquire() as conn:
            preview = await preview_retry(conn, tenant_id=bed.tenant_id, issue_id=issue.issue_id, connectors=CONNECTORS)
        with pytest.raises(ConflictError, match="observes"):
            await send_all(bed, issue.issue_id)

        assert any("observes" in words for words in preview.waits)
        assert (await bed.states())["failed"] == 2

        await bed.pool.execute(set_mode, "propose")
        await send_all(bed, issue.issue_id)
        rows = await bed.pool.fetch("SELECT state, approved_by FROM command WHERE kind = 'order.create'")
        assert [tuple(row) for row in rows] == [("pending", "test")] * 2


async def test_many_failures_are_grouped_in_bounded_steps(database: Database, owner_pool: Pool) -> None:
    """Thousands that fail at once, of three causes, are read once each; a look that finds nothing new changes nothing."""
    async with arranged(database, owner_pool) as (bed, _remote, keeper):
        await bed.pool.execute(
            "INSERT INTO command (tenant_id, command_id, connection_id, kind, target_key, entity_id, version, priority,"
            " state, code, reason, deadline_at, finished_at) SELECT $1, gen_random_uuid(), $2, 'order.create', 'order:' || n,"
            " gen_random_uuid(), 1, 20, 'failed', 'refused_by_rule',"
            " (ARRAY['the party ' || n || ' has no address', 'no product ' || n, 'locked'])[1 + n % 3], now(), clock_timestamp()"
            " FROM generate_series(1, 5500) n",
            bed.tenant_id,
            bed.erp,
        )
        await asyncio.gather(keeper.look(), keeper.look())
        await keeper.look()
        found = await issues_of(bed)
        assert sorted((issue.shape, issue.seen, issue.standing) for issue in found) == [
            ("locked", 1833, 1833), ("no product …", 1834, 1834), ("the party … has no address", 1833, 1833)
        ]  # fmt: skip
        assert await bed.pool.fetchval("SELECT count(*) FROM issue_member") == 5500
        await bed.pool.execute("UPDATE command SET state = 'cancelled' WHERE reason = 'locked'")
        await keeper.look()
        await keeper.look()
        assert [issue.state for issue in await issues_of(bed) if issue.shape == "locked"] == ["resolved"]


async def test_what_only_a_person_can_decide_is_left_out_unless_looked_up(database: Database, owner_pool: Pool) -> None:
    async with arranged(database, owner_pool) as (bed, remote, keeper):
        await bed.article("MUG", on_hand=50)
        order = await bed.order(place(remote.world, ("MUG", 1)))
        await bed.pool.execute(
            "UPDATE command SET state = 'in_doubt', code = 'needs_operator', reason = 'nobody can look' WHERE entity_id = $1",
            order.order_id,
        )
        await keeper.look()
        (issue,) = await issues_of(bed)
        assert (issue.class_, issue.code, issue.standing) == ("unknown", "needs_operator", 1)
        async with bed.pool.acquire() as conn:
            who = {"tenant_id": bed.tenant_id, "issue_id": issue.issue_id, "connectors": CONNECTORS}
            preview = await preview_retry(conn, **who)
            assert (preview.takes, preview.left_out) == (0, 1)
            assert (await preview_retry(conn, **who, in_doubt=True)).takes == 1
        assert await send_all(bed, issue.issue_id) == []
        assert len(await send_all(bed, issue.issue_id, in_doubt=True)) == 1


async def test_what_a_later_command_of_its_target_has_overtaken_is_left_alone(
    database: Database, owner_pool: Pool
) -> None:
    """A create whose cancel went through must not go any more; the preview says so, and neither way of a retry sends it."""
    async with arranged(database, owner_pool) as (bed, remote, keeper):
        await bed.article("MUG", on_hand=50)
        order = await bed.order(place(remote.world, ("MUG", 1)))
        await bed.pool.execute(
            "UPDATE command SET state = 'failed', code = 'rejected', finished_at = now() WHERE entity_id = $1",
            order.order_id,
        )
        _, shipped = await bed.ship(order, "MUG", 1)
        await bed.pool.execute(
            "UPDATE command SET state = 'succeeded', finished_at = now(), connection_id = $2 WHERE command_id = $1",
            shipped,
            bed.erp,
        )
        await keeper.look()
        (issue,) = await issues_of(bed)
        async with bed.pool.acquire() as conn:
            who = {"tenant_id": bed.tenant_id, "issue_id": issue.issue_id}
            preview = await preview_retry(conn, **who, connectors=CONNECTORS)
            assert (preview.takes, preview.again) == (0, {Again.OVERTAKEN: 1})
            create = next(c for c in await bed.commands_of(order.order_id) if c["kind"] == "order.create")
            with pytest.raises(ConflictError):
                await retry_command(conn, tenant_id=bed.tenant_id, command_id=create["command_id"], actor="test")
        assert await send_all(bed, issue.issue_id) == []


async def test_the_web_role_may_do_what_the_page_offers(database: Database, owner_pool: Pool) -> None:
    """G10: preview, retry and the acts work with the rights of the web process, which holds no key."""
    async with arranged(database, owner_pool) as (bed, remote, keeper):
        await bed.article("MUG", on_hand=50)
        await refused_orders(bed, remote, 3)
        await keeper.look()
        (issue,) = await issues_of(bed)
        web = await database.pool(Role.WEB, application_name="test-web")
        async with web.acquire() as conn:
            await conn.execute("SELECT set_config('app.tenant', $1, false)", str(bed.tenant_id))
            who = {"tenant_id": bed.tenant_id, "issue_id": issue.issue_id}
            assert (await preview_retry(conn, **who, connectors=CONNECTORS)).takes == 3
            assert len((await retry_step(conn, **who, actor="page:mia")).sent) == 3
            await resolve_issue(conn, **who, actor="page:mia")
            detail = await read_issue(conn, bed.tenant_id, issue.issue_id)
        assert [act.action for act in detail.history] == ["issue.resolved", "issue.retried"]
        await web.close()
