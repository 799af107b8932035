"""Each rule by its real cause: it fires within a minute of the evaluator's clock, and clears when the cause is gone."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from tests.alertbed import ROUND, Watch, watching
from tests.dispatchbed import QUIET, SETTINGS, Bed, place, stock_world, until

from tidegate.commerce.commands import CommandKind
from tidegate.dispatch.operator import allow_writes, cancel_command, stop_writes
from tidegate.kernel.ids import first_id_at, new_id, slot_of
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.sdk.connector import TokenBucket
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_faults import Fault
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import SUPERUSER

pytestmark = pytest.mark.asyncio
ORDERS = "/api/erp/orders"
HOUR = timedelta(hours=1)


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        stock_world(server.world, [("A", 0)])
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    await made.article("A", on_hand=1000)
    return made


@pytest_asyncio.fixture
async def watch(bed: Bed) -> AsyncIterator[Watch]:
    async with watching(bed.database, bed.pool, {"hostile": QUIET}) as made:
        assert await made.round()
        yield made


async def receive(
    bed: Bed, count: int, at: datetime, *, queue: bool = False, topic: str = "order.updated"
) -> list[UUID]:
    """Store webhooks of the shop as the door does, received at a moment."""
    key = new_id()
    ids = [UUID(int=first_id_at(at).int | new_id().int & (1 << 74) - 1 | 7 << 76 | 2 << 62) for _ in range(count)]
    await bed.pool.executemany(
        "INSERT INTO event (tenant_id, event_id, connection_id, source, topic, ordering_key, slot, dedupe_key, body_digest,"
        " data_key_id, body) VALUES ($1, $2, $3, 'webhook', $4, 'x', $5, $6, '', $7, '')",
        [
            (
                bed.tenant_id,
                each,
                bed.shop,
                topic,
                slot_of(bed.tenant_id, "x"),
                hashlib.sha256(each.bytes).digest(),
                key,
            )
            for each in ids
        ],
    )
    if queue:
        await bed.pool.executemany(
            "INSERT INTO event_queue (slot, tenant_id, event_id) VALUES ($1, $2, $3)",
            [(slot_of(bed.tenant_id, "x"), bed.tenant_id, each) for each in ids],
        )
    return ids


async def others(watch: Watch) -> set[tuple[str, str]]:
    """What fires beside the workers that this test does not run."""
    return {alert for alert in await watch.firing() if alert[0] != "missing_worker"}


async def count_received(bed: Bed, hour: datetime, count: int, *, applied: int | None = None) -> None:
    """Count deliveries as door and apply do."""
    await bed.pool.execute(
        "INSERT INTO conservation AS c (tenant_id, connection_id, hour, writer, received, applied)"
        " VALUES ($1, $2, date_trunc('hour', $3::timestamptz), 'test', $4, $5)"
        " ON CONFLICT (tenant_id, connection_id, hour, writer)"
        " DO UPDATE SET received = c.received + excluded.received, applied = c.applied + excluded.applied",
        bed.tenant_id,
        bed.shop,
        hour,
        count,
        count if applied is None else applied,
    )


async def test_failing_calls(bed: Bed, remote: HostileServer, watch: Watch) -> None:
    remote.put_faults(Fault(kind="status", status=500, method="*", path="/api/erp/*", times=None))
    async with bed.running():
        orders = [await bed.order(place(remote.world, ("A", 1))) for _ in range(4)]
        await until(lambda: remote.world.faults_used.get("status", 0) >= 8)

        fired = await watch.until_firing("failing_calls", "erp")
        assert "calls of the last 5 minutes failed" in fired["cause"]
        assert fired["severity"] == "critical"

        remote.put_faults()
        orders += [await bed.order(place(remote.world, ("A", 1))) for _ in range(8)]
        await until(lambda: len(remote.world.effects.get("order.create", {})) == len(orders))
        await until(bed.is_settled)
    watch.clock.move(timedelta(minutes=5))  # what failed does not count for longer
    await watch.until_over("failing_calls")


async def test_breaker_open(bed: Bed, remote: HostileServer, watch: Watch) -> None:
    """It is told who is down and what to do, within a minute; and that it is back, as soon as a call was answered."""
    remote.put_faults(Fault(kind="status", status=503, code="down", method="*", path="/api/erp/*", times=None))
    settings = replace(SETTINGS, breaker_failures=2, breaker_seconds_max=2.0, retries_always=1000)

    async def count_open() -> int:
        return int(await bed.pool.fetchval("SELECT count(*) FROM lane_state WHERE breaker_opened_at IS NOT NULL"))

    async def is_open() -> bool:
        return await count_open() > 0

    async def is_shut() -> bool:
        return await count_open() == 0

    async with bed.running(settings=settings, connector=replace(QUIET, feeds={})):
        for _ in range(3):
            await bed.order(place(remote.world, ("A", 1)))
        await until(is_open)

        fired = await watch.until_firing("breaker_open", "erp")
        assert "failed one after the other" in fired["cause"]
        assert (fired["severity"], fired["next_command"]) == ("critical", "tidegate doctor --only connections")

        remote.put_faults()
        await until(bed.is_settled)
        await until(is_shut)
        await watch.until_over("breaker_open")


async def test_slow_calls(bed: Bed, watch: Watch) -> None:
    await bed.pool.execute("SELECT 1")
    call, key = new_id(), new_id()
    for _ in range(12):
        attempt = UUID(int=new_id().int)
        await bed.pool.execute(
            "INSERT INTO attempt (tenant_id, attempt_id, call_id, connection_id, purpose, attempt_number, node_id)"
            " VALUES ($1, $2, $3, $4, 'send', 1, $3)",
            bed.tenant_id, attempt, call, bed.erp,
        )  # fmt: skip
        await bed.pool.execute(
            "INSERT INTO attempt_answer (tenant_id, attempt_id, answer_id, outcome, code, duration_ms, data_key_id, answer)"
            " VALUES ($1, $2, $3, 'success', 'ok', 15000, $4, '')",
            bed.tenant_id, attempt, new_id(), key,
        )  # fmt: skip

    fired = await watch.until_firing("slow_calls", "erp")

    assert fired["value"] == 15.0
    watch.clock.move(timedelta(minutes=5))
    await watch.until_over("slow_calls")


async def test_backlog_age(bed: Bed, watch: Watch) -> None:
    await receive(bed, 3, watch.clock.now() - timedelta(seconds=70), queue=True)

    fired = await watch.until_firing("backlog_age")

    assert fired["cause"].startswith("3 events wait")
    await bed.pool.execute("DELETE FROM event_queue")
    await watch.until_over("backlog_age")


async def test_latency(bed: Bed, watch: Watch) -> None:
    ids = await receive(bed, 25, watch.clock.now() - timedelta(seconds=40))
    for each in ids:
        await bed.pool.execute(
            "INSERT INTO event_outcome (tenant_id, event_id, run, outcome, code, connector_version, mapping_version,"
            " code_version) VALUES ($1, $2, 0, 'applied', 'applied', '', '', '')",
            bed.tenant_id,
            each,
        )

    await watch.until_firing("latency")

    watch.clock.move(timedelta(minutes=5))
    await watch.until_over("latency")


async def test_commands_age(bed: Bed, remote: HostileServer, watch: Watch) -> None:
    """No worker runs: the command waits. Everything counts, whatever it waits for."""
    await bed.order(place(remote.world, ("A", 1)))
    watch.clock.move(timedelta(minutes=15))

    await watch.until_firing("commands_age", "erp")

    async with bed.running():
        await until(bed.is_settled)
    await watch.until_over("commands_age")


async def test_stock_age(bed: Bed, remote: HostileServer, watch: Watch) -> None:
    await bed.move("A", on_hand=5)
    watch.clock.move(timedelta(minutes=15))

    await watch.until_firing("stock_age", "shop_a")

    async with bed.running():
        await until(bed.is_settled)
    await watch.until_over("stock_age")


async def test_drift_age(bed: Bed, watch: Watch) -> None:
    """A number that waits for approval is told of; one that is told anew by itself is not."""
    await bed.pool.execute(
        "INSERT INTO drift (tenant_id, connection_id, run_id, external_id, field, sku, variant_id, owner, other, cause, heal)"
        " SELECT $1, $2, $2, a.id, 'stock', a.id, $2, 'tidegate', 'shop_a', 'changed_there', a.heal"
        " FROM (VALUES ('A', 'waits'), ('B', 'healing')) a(id, heal)",
        bed.tenant_id, bed.shop,
    )  # fmt: skip
    watch.clock.move(timedelta(minutes=31))

    await watch.until_firing("drift_age", "shop_a")

    await bed.pool.execute("UPDATE drift SET heal = 'healing'")
    await watch.until_over("drift_age")


async def test_quarantined(bed: Bed, watch: Watch) -> None:
    await bed.pool.execute(
        "INSERT INTO event_parked (tenant_id, event_id, run, slot, connection_id, ordering_key, kind, code, reason)"
        " VALUES ($1, $2, 0, 1, $3, 'x', 'quarantined', 'x', 'x')",
        bed.tenant_id, new_id(), bed.shop,
    )  # fmt: skip

    await watch.until_firing("quarantined", rounds=1)

    await bed.pool.execute("DELETE FROM event_parked")
    await watch.until_over("quarantined")


async def test_dead_letters(bed: Bed, remote: HostileServer, watch: Watch) -> None:
    """The ERP says never: the command is a dead letter until a person decides."""
    remote.put_faults(Fault(kind="status", status=422, method="POST", path=ORDERS))
    order = await bed.order(place(remote.world, ("A", 1)))
    async with bed.running():

        async def is_dead() -> bool:
            return (await bed.states(CommandKind.ORDER_CREATE)).get("failed") == 1

        await until(is_dead)

    fired = await watch.until_firing("dead_letters", "erp", rounds=1)
    assert fired["next_command"] == "tidegate commands list --connection erp --state failed"

    (command,) = await bed.commands_of(order.order_id)
    async with bed.pool.acquire() as conn:
        await cancel_command(conn, tenant_id=bed.tenant_id, actor="test", command_id=command["command_id"], reason="x")
    await watch.until_over("dead_letters")


async def test_traffic_spike(bed: Bed, watch: Watch) -> None:
    now = watch.clock.now()
    for back in range(1, 49):
        await count_received(bed, now - HOUR * back, 60)
    await count_received(bed, now, 5)
    watch.clock.move(HOUR)  # what is usual is read once an hour
    await count_received(bed, watch.clock.now(), 5)
    await watch.round()
    assert await others(watch) == set()

    await count_received(bed, watch.clock.now(), 400)
    fired = await watch.until_firing("traffic_spike", "shop_a")

    assert fired["value"] > 10
    for _ in range(6):
        await watch.round(timedelta(minutes=2))
    await watch.until_over("traffic_spike")


async def test_refused_deliveries(bed: Bed, watch: Watch) -> None:
    await bed.pool.execute(
        "INSERT INTO intake_refusal VALUES (date_trunc('hour', $1::timestamptz), 'signature', 'door', 50)",
        watch.clock.now(),
    )

    fired = await watch.until_firing("refused_deliveries")

    assert "50 signature" in fired["cause"]
    for _ in range(6):
        await watch.round(timedelta(minutes=2))
    await watch.until_over("refused_deliveries")


async def test_budget_near_limit(bed: Bed, remote: HostileServer) -> None:
    """A lane that spends what it has: little is left until it fills up by itself."""
    tight = replace(QUIET, budget=TokenBucket(capacity=20, per_second=0.02))
    async with watching(bed.database, bed.pool, {"hostile": tight}) as watch:
        await watch.round()
        for _ in range(40):
            await bed.order(place(remote.world, ("A", 1)))
        async with bed.running(connector=tight):

            async def is_used_up() -> bool:
                left = await bed.pool.fetchval("SELECT min(tokens) FROM lane_state WHERE connection_id = $1", bed.erp)
                return left is not None and left < 1

            await until(is_used_up)

        await watch.until_firing("budget_near_limit", "erp")

        watch.clock.move(timedelta(minutes=5))
        await watch.until_over("budget_near_limit")


async def test_rate_limited(bed: Bed, remote: HostileServer, watch: Watch) -> None:
    remote.put_faults(Fault(kind="rate_limit", method="POST", path=ORDERS, retry_after="120"))
    await bed.order(place(remote.world, ("A", 1)))
    async with bed.running():

        async def is_snoozed() -> bool:
            return bool(
                await bed.pool.fetchval("SELECT count(*) FROM lane_state WHERE snoozed_until > now() + '1 min'")
            )

        await until(is_snoozed)

    await watch.until_firing("rate_limited", "erp", rounds=1)
    watch.clock.move(timedelta(minutes=2))
    await watch.until_over("rate_limited")


async def test_webhook_silence(bed: Bed, watch: Watch) -> None:
    """A shop that sends an order every minute falls silent: it is missed after twenty minutes, not after one."""
    for back in range(1, 73):
        hour = watch.clock.now() - HOUR * back
        await bed.pool.execute(
            "INSERT INTO alert_rhythm VALUES ($1, $2, 'order.placed', date_trunc('hour', $3::timestamptz), 60, $3)",
            bed.tenant_id, bed.shop, hour,
        )  # fmt: skip
    async with watching(bed.database, bed.pool, {"hostile": QUIET}, clock=watch.clock) as again:
        await watch.close()
        await receive(bed, 1, watch.clock.now(), topic="order.placed")
        await again.round()
        for _ in range(8):
            await again.round(timedelta(minutes=1))
        assert await others(again) == set()
        for _ in range(12):
            await again.round(timedelta(minutes=1))

        fired = await again.until_firing("webhook_silence", "shop_a (order.placed)")
        assert fired["next_command"] == "tidegate doctor --only webhooks"

        await receive(bed, 1, again.clock.now(), topic="order.placed")
        await again.until_over("webhook_silence")


async def test_stale_feed(bed: Bed, remote: HostileServer, watch: Watch) -> None:
    name = next(iter(QUIET.feeds))
    await bed.pool.execute(
        "INSERT INTO poll_cursor (tenant_id, connection_id, feed, last_ok_at, last_error) VALUES ($1, $2, $3, $4, 'refused')",
        bed.tenant_id, bed.erp, name, watch.clock.now() - QUIET.feeds[name].interval * 5,
    )  # fmt: skip

    fired = await watch.until_firing("stale_feed", f"erp ({name})")
    assert "refused" in fired["cause"]

    async with bed.running():

        async def is_read() -> bool:
            return await bed.pool.fetchval("SELECT count(*) FROM poll_cursor WHERE last_error IS NULL") > 0

        await until(is_read)
    await watch.until_over("stale_feed")


async def test_auth_failure(bed: Bed, remote: HostileServer, watch: Watch) -> None:
    remote.world.api_key = "another key"
    remote.world.tokens.clear()
    await bed.order(place(remote.world, ("A", 1)))
    async with bed.running():

        async def waits() -> bool:
            return bool(await bed.pool.fetchval("SELECT count(*) FROM connection WHERE state = 'waiting_auth'"))

        await until(waits)
        fired = await watch.until_firing("auth_failure", rounds=1)

    assert fired["severity"] == "critical"
    assert fired["next_command"].startswith("tidegate connect ")
    await bed.pool.execute("UPDATE connection SET state = 'active', state_reason = NULL")
    await watch.until_over("auth_failure")


async def test_order_not_forwarded(bed: Bed, remote: HostileServer, watch: Watch) -> None:
    """A paid order without a command for it: planned by nobody, seen by nobody else."""
    order = await bed.order(place(remote.world, ("A", 1)), create=False)
    await applied(bed, order.order_id, config_version=1)
    for _ in range(6):
        await watch.round()
    assert await others(watch) == set()
    watch.clock.move(timedelta(minutes=15))

    fired = await watch.until_firing("order_not_forwarded", "shop_a")
    number = await bed.pool.fetchval('SELECT number FROM "order" WHERE order_id = $1', order.order_id)
    assert fired["next_command"] == f"tidegate why order {number}"

    async with bed.pool.acquire() as conn:
        await bed.plan(conn, bed.erp, CommandKind.ORDER_CREATE, order.order_id, f"order:{order.order_id}")
    async with bed.running():
        await until(bed.is_settled)
    await watch.until_over("order_not_forwarded")


async def test_orders_that_came_while_the_flow_observed_are_no_alert(
    bed: Bed, remote: HostileServer, watch: Watch
) -> None:
    await bed.configure(mode="observe")
    order = await bed.order(place(remote.world, ("A", 1)), create=False)
    await applied(bed, order.order_id, config_version=2)
    await bed.configure(mode="live")
    watch.clock.move(timedelta(hours=1))

    for _ in range(6):
        await watch.round()

    assert "order_not_forwarded" not in {rule for rule, _ in await watch.firing()}


async def applied(bed: Bed, order_id: UUID, *, config_version: int) -> None:
    """Say that an event of an order was applied, as T2 does."""
    await bed.pool.execute(
        "INSERT INTO event_outcome (tenant_id, event_id, run, outcome, code, entity_kind, entity_id, connector_version,"
        " mapping_version, code_version, config_version) VALUES ($1, $2, 0, 'applied', 'applied', 'order', $3, '', '', '', $4)",
        bed.tenant_id, new_id(), order_id, config_version,
    )  # fmt: skip


async def test_conservation_imbalance(bed: Bed, watch: Watch) -> None:
    await count_received(bed, watch.clock.now(), 5, applied=3)

    fired = await watch.until_firing("conservation_imbalance", "shop_a")

    assert fired["value"] == 2
    await count_received(bed, watch.clock.now(), 0, applied=2)
    await watch.until_over("conservation_imbalance")


async def test_missing_worker(bed: Bed, watch: Watch) -> None:
    await watch.until_firing("missing_worker", "dispatch")

    async with bed.running():

        async def lives() -> bool:
            return await bed.pool.fetchval("SELECT count(*) FROM node") > 0

        await until(lives)
        for _ in range(12):
            await watch.round()
            if ("missing_worker", "dispatch") not in await watch.firing():
                break
    assert ("missing_worker", "apply") in await watch.firing()
    assert ("missing_worker", "dispatch") not in await watch.firing()


async def test_a_process_that_its_supervisor_misses(bed: Bed, watch: Watch) -> None:
    watch.missing = {"door-1": "its process is gone"}

    fired = await watch.until_firing("missing_worker", "door-1")

    assert fired["cause"] == "its process is gone"
    watch.missing = {}
    for _ in range(6):
        await watch.round()
    assert ("missing_worker", "door-1") not in await watch.firing()


async def test_writes_stopped(bed: Bed, watch: Watch) -> None:
    async with bed.pool.acquire() as conn:
        await stop_writes(conn, tenant_id=bed.tenant_id, actor="me", reason="wrong prices")
        watch.clock.move(timedelta(minutes=30))

        fired = await watch.until_firing("writes_stopped", rounds=1)
        assert fired["cause"] == "stopped by me: wrong prices"

        await allow_writes(conn, tenant_id=bed.tenant_id, actor="me")
    await watch.until_over("writes_stopped", rounds=2)


async def test_disk_space(bed: Bed, tmp_path: Path) -> None:
    async with watching(bed.database, bed.pool, {"hostile": QUIET}, folder=tmp_path) as watch:
        await bed.configure_alerts("disk_space: {threshold: 1}")
        await watch.until_firing("disk_space", rounds=2)

        await bed.configure_alerts("disk_space: {threshold: 0}")
        await watch.until_over("disk_space")


async def test_configuration_refused(bed: Bed, watch: Watch) -> None:
    """The last good one goes on serving, and somebody hears of it."""
    await bed.pool.execute(  # as a newer release, or somebody's hand, leaves it behind
        "INSERT INTO config_version (tenant_id, version, digest, document, applied_by)"
        " SELECT tenant_id, version + 1, '\\x01', document || E'\nsurprise: 1\n', 'test' FROM config_version"
        " ORDER BY version DESC LIMIT 1"
    )
    await bed.pool.execute("SELECT pg_notify('tidegate_config', '')")

    fired = await watch.until_firing("configuration_refused")
    assert "surprise" in fired["cause"]

    await bed.configure()
    await watch.until_over("configuration_refused")


async def test_database_away_is_told_when_it_is_back(bed: Bed, watch: Watch, postgres: EmbeddedPostgres) -> None:
    await watch.round()
    name = await bed.pool.fetchval("SELECT current_database()")
    admin = await asyncpg.connect(postgres.dsn(SUPERUSER, "postgres"))
    await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tidegate-alerts%'"
        " AND datname = $1",
        name,
    )

    async def is_lost() -> bool:
        return await watch.evaluator.try_round() != watch.evaluator.round_seconds

    await until(is_lost)
    watch.clock.move(timedelta(seconds=45))
    await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
    await admin.close()
    assert await watch.evaluator.try_round() == watch.evaluator.round_seconds

    fired = await watch.alert("database_away")
    assert fired["value"] >= 45
    await watch.until_over("database_away", rounds=2)


async def test_a_quiet_hour_raises_nothing(bed: Bed, remote: HostileServer, watch: Watch) -> None:
    """G8: no false alarms while all is well."""
    async with bed.running(settings=SETTINGS):
        for number in range(30):
            await bed.order(place(remote.world, ("A", 1)))
            await receive(bed, 2, watch.clock.now())
            await count_received(bed, watch.clock.now(), 2)
            if number % 5 == 0:
                await until(bed.is_settled)
            await watch.round()
        await until(bed.is_settled)

    assert await others(watch) - {("backlog_age", "")} == set()  # results of calls: nobody applies them here
    assert watch.clock.ahead >= ROUND * 30


GIVE_TOKEN = """
INSERT INTO oauth_token (tenant_id, name, generation, data_key_id, ciphertext, use_until, expires_at, refresh_expires_at, refused)
VALUES ($1, 'shop_a', 1, $2, '', now() + interval '1 hour', now() + interval '1 hour', $3, $4)
"""


async def test_token_refused(bed: Bed, watch: Watch) -> None:
    """It is an alert of its own, in the place of the general one, and says what to type."""
    why = "the platform refuses the refresh token"
    await bed.pool.execute(GIVE_TOKEN, bed.tenant_id, new_id(), None, why)
    await bed.pool.execute(
        "UPDATE connection SET state = 'waiting_auth', state_reason = 'refused' WHERE name = 'shop_a'"
    )

    fired = await watch.until_firing("token_refused", "shop_a", rounds=1)

    assert (fired["severity"], fired["cause"], fired["next_command"]) == ("critical", why, "tidegate authorise shop_a")
    assert ("auth_failure", "shop_a") not in await watch.firing()
    await bed.pool.execute("UPDATE oauth_token SET refused = NULL")
    await bed.pool.execute("UPDATE connection SET state = 'active', state_reason = NULL")
    await watch.until_over("token_refused")


async def test_credential_expires(bed: Bed, watch: Watch) -> None:
    """Keys of the API, and refresh tokens that nobody renews; one that is about to be renewed is no news."""
    now = watch.clock.now()
    await bed.pool.execute(GIVE_TOKEN, bed.tenant_id, new_id(), now + timedelta(days=9), None)
    await bed.pool.execute(
        "INSERT INTO api_key (tenant_id, key_id, name, secret_hash, scopes, created_by, expires_at)"
        " VALUES ($1, $2, 'ops', $3, '{*:read}', 'test', $4)",
        bed.tenant_id,
        new_id(),
        bytes(32),
        now + timedelta(days=20),
    )
    for _ in range(2):
        await watch.round()
    assert not [alert for alert in await others(watch) if alert[0] == "credential_expires"]

    await bed.pool.execute("UPDATE connection SET state = 'paused' WHERE name = 'shop_a'")
    fired = await watch.until_firing("credential_expires", "shop_a")
    assert fired["next_command"] == "tidegate authorise shop_a"
    await bed.pool.execute("UPDATE api_key SET expires_at = now() + interval '3 days'")
    fired = await watch.until_firing("credential_expires", "API key ops")
    assert fired["next_command"] == "tidegate keys list"
    assert 2.9 < fired["value"] < 3.1

    await bed.pool.execute("UPDATE api_key SET revoked_at = now(), revoked_by = 'test'")
    await bed.pool.execute("UPDATE connection SET state = 'active' WHERE name = 'shop_a'")
    await watch.until_over("credential_expires")
