"""A lane as a whole: order per target, waits it is told, switches, credentials, budgets, idling, feeds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, MutableMapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from tests.dispatchbed import SETTINGS, Bed, place, stock_world, until

from tidegate.commerce.commands import CommandKind, Payload
from tidegate.dispatch.operator import allow_writes, cancel_command, retry_command, stop_writes
from tidegate.kernel.errors import ConflictError, OutcomeUnknownError
from tidegate.kernel.ids import new_id, time_of
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import CommandSpec, Connector, Done, Feed, FeedItem, FeedPage, ItemOutcome, TokenBucket
from tidegate.sdk.http import Api
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.sdk.testing.hostile_faults import Fault
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.vault.credentials import put

pytestmark = pytest.mark.asyncio
ORDERS = "/api/erp/orders"


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        server.world.unique_references = False
        stock_world(server.world, [("A", 0)])
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    await made.article("A", on_hand=1000)
    return made


def orders_asked(remote: HostileServer) -> int:
    return remote.world.requests.get(f"POST {ORDERS}", 0)


# --- order per target --------------------------------------------------------------------------------------------------
async def test_cancel_goes_after_its_create_and_others_are_not_held(bed: Bed, remote: HostileServer) -> None:
    """D8: an in-doubt head blocks its own target only."""
    first = await bed.order(place(remote.world, ("A", 1)))
    await bed.cancel(first)
    remote.put_faults(
        Fault(kind="lose_reply", method="POST", path=ORDERS, contains=first.reference),
        Fault(kind="stale_read", method="GET", path=ORDERS, contains=first.reference),
    )
    async with bed.running():
        await until(lambda: remote.world.faults_used.get("lose_reply") == 1)
        second = await bed.order(place(remote.world, ("A", 1)))
        await until(lambda: second.reference in remote.world.effects["order.create"])
        states = {row["kind"]: row["state"] for row in await bed.commands_of(first.order_id)}
        assert states == {"order.create": "in_doubt", "order.cancel": "pending"}
        await until(bed.is_settled)

    made = {order.reference: order.state for order in remote.world.erp_orders.values()}
    assert made == {first.reference: "cancelled", second.reference: "open"}
    cancel = remote.world.requests
    assert sum(count for path, count in cancel.items() if path.endswith("/cancel")) == 1


@pytest.mark.parametrize(("tries", "counted"), [(6, 5), (1, 1)])
async def test_a_process_that_is_gone_makes_no_later_pause_longer(
    bed: Bed, remote: HostileServer, tries: int, counted: int
) -> None:
    """That ours ended says nothing about the other side: what it left sending does not count, but for the first time."""
    order = await bed.order(place(remote.world, ("A", 1)))
    remote.put_faults(
        Fault(kind="lose_reply", method="POST", path=ORDERS), Fault(kind="stale_read", method="GET", path=ORDERS)
    )
    async with bed.running():
        await until(lambda: remote.world.faults_used.get("lose_reply") == 1)
        await until(lambda: is_in_doubt(bed, order.order_id))
    left = "UPDATE command SET state = 'sending', attempt_number = $2 WHERE entity_id = $1 AND state = 'in_doubt'"
    assert await bed.pool.execute(left, order.order_id, tries) == "UPDATE 1"

    async with bed.running():
        await until(bed.is_settled)

    (command,) = await bed.commands_of(order.order_id)
    assert (command["state"], command["attempt_number"]) == ("succeeded", counted)
    assert remote.world.effects["order.create"] == {order.reference: 1}


# --- told to wait --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["seconds", "date", "none"])
async def test_told_to_wait_parks_the_lane_and_counts_nothing(bed: Bed, remote: HostileServer, form: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    retry_after = {"seconds": "1", "date": date, "none": None}[form]
    remote.put_faults(Fault(kind="rate_limit", method="POST", path=ORDERS, retry_after=retry_after, times=2))
    order = await bed.order(place(remote.world, ("A", 1)))

    async with bed.running():
        await until(bed.is_settled)

    (command,) = await bed.commands_of(order.order_id)
    assert (command["state"], command["attempt_number"]) == ("succeeded", 1)
    assert remote.world.effects["order.create"] == {order.reference: 1}
    assert orders_asked(remote) == 3
    outcomes = [answer["outcome"] for answer in await bed.answers()]
    assert sorted(outcomes) == ["rate_limited", "rate_limited", "success", "success"]


async def test_a_long_wait_outlives_the_process(bed: Bed, remote: HostileServer) -> None:
    """An hour is an hour, also for the next owner; reads of that connection wait too."""
    remote.put_faults(Fault(kind="rate_limit", method="POST", path=ORDERS, retry_after="3600"))
    await bed.order(place(remote.world, ("A", 1)))
    async with bed.running():
        await until(lambda: remote.world.faults_used.get("rate_limit") == 1)

        async def is_snoozed() -> bool:
            return bool(await bed.pool.fetchval("SELECT count(*) FROM lane_state WHERE snoozed_until IS NOT NULL"))

        await until(is_snoozed)

    async with bed.running():
        await bed.move("A", on_hand=-1)  # the shop's lane is alive

        async def is_told() -> bool:
            return bool((await bed.mark("A"))["acked_quantity"] == 999)

        await until(is_told)
        assert await bed.states(CommandKind.ORDER_CREATE) == {"pending": 1}

    left = await bed.pool.fetchval("SELECT extract(epoch FROM max(snoozed_until) - now())::int FROM lane_state")
    assert 3300 < left <= 3600
    assert orders_asked(remote) == 1


# --- failures ------------------------------------------------------------------------------------------------------------
async def test_conflicts_and_deadlines_end_as_dead_letters_and_an_operator_revives_them(
    bed: Bed, remote: HostileServer
) -> None:
    settings = replace(SETTINGS, conflicts_max=3)
    conflict = Fault(kind="status", status=409, code="moved", method="POST", path=ORDERS, times=3)
    remote.put_faults(conflict)
    order = await bed.order(place(remote.world, ("A", 1)))
    async with bed.running(settings=settings):

        async def is_dead() -> bool:
            return await bed.states(CommandKind.ORDER_CREATE) == {"failed": 1}

        await until(is_dead)
        (command,) = await bed.commands_of(order.order_id)
        assert (command["code"], command["attempt_number"]) == ("conflict", 3)
        assert command["finished_at"] is not None
        async with bed.pool.acquire() as conn:
            ids = {"tenant_id": bed.tenant_id, "command_id": command["command_id"], "actor": "ann"}
            assert await retry_command(conn, **ids) == "pending"
            await until(bed.is_settled)
            with pytest.raises(ConflictError):
                await retry_command(conn, **ids)

    (revived,) = await bed.commands_of(order.order_id)
    assert (revived["state"], revived["attempt_number"], revived["call_id"]) == ("succeeded", 1, command["call_id"])
    audit = await bed.pool.fetch("SELECT actor, action, subject FROM audit_log ORDER BY audit_id")
    assert [tuple(row) for row in audit] == [("ann", "command.retried", str(command["command_id"]))]
    assert await bed.pool.fetchval("SELECT count(*) FROM call WHERE kind = 'order.create'") == 1


async def test_transient_failures_stop_at_the_deadline(bed: Bed, remote: HostileServer) -> None:
    remote.put_faults(Fault(kind="status", status=423, code="busy", method="POST", path=ORDERS, times=None))
    order = await bed.order(place(remote.world, ("A", 1)))
    await bed.pool.execute("UPDATE command SET deadline_at = now() + interval '1 second' WHERE kind = 'order.create'")

    async with bed.running():
        await until(bed.is_settled)

    (command,) = await bed.commands_of(order.order_id)
    assert (command["state"], command["code"]) == ("failed", "deadline")
    assert order.reference not in remote.world.effects.get("order.create", {})


async def test_retries_stay_within_their_budget(bed: Bed, remote: HostileServer) -> None:
    """A remote that refuses everything for now sees at most 10 % more calls than there are commands."""
    remote.put_faults(Fault(kind="status", status=423, code="busy", method="POST", path=ORDERS, times=None))
    # A lane that loses its lease begins again and knows of no first sends: here nothing may take it away.
    settings = replace(SETTINGS, breaker_failures=10_000, retries_always=0, lease_seconds=60.0)
    orders = [await bed.order(place(remote.world, ("A", 1))) for _ in range(40)]

    async with bed.running(settings=settings):
        await until(lambda: orders_asked(remote) >= len(orders) * 1.1)
        await bed.move("A", on_hand=1)
        await until(bed_told(bed, 1001))

    assert orders_asked(remote) <= len(orders) * 1.1


def bed_told(bed: Bed, number: int) -> Any:
    async def is_told() -> bool:
        return bool((await bed.mark("A"))["acked_quantity"] == number)

    return is_told


async def test_a_side_that_is_down_is_probed_not_stormed(bed: Bed, remote: HostileServer) -> None:
    remote.put_faults(Fault(kind="status", status=423, code="busy", method="POST", path=ORDERS, times=None))
    settings = replace(SETTINGS, breaker_failures=3, breaker_seconds_max=0.5)
    for _ in range(30):
        await bed.order(place(remote.world, ("A", 1)))

    asked: list[int] = []

    def note_opening(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Count at that very moment: a probe may follow before anybody looks."""
        if line["event"] == "lane.breaker_opened":
            asked.append(orders_asked(remote))
        return line

    with capture_logs([note_opening]) as logs:
        async with bed.running(settings=settings):
            await until(lambda: bool(asked))
            remote.put_faults()
            await until(bed.is_settled)

    assert asked[0] <= 3 + 8  # what was in flight when it opened
    events_logged = [line["event"] for line in logs]
    assert (events_logged.count("lane.breaker_opened"), events_logged.count("lane.recovered")) == (1, 1)
    assert len(remote.world.effects["order.create"]) == 30


# --- switches and operators ----------------------------------------------------------------------------------------------
async def test_stopped_writes_leave_reads_going_and_go_on_when_allowed(bed: Bed, remote: HostileServer) -> None:
    await bed.configure(polling=True)
    async with bed.running(connector=build_connector(feed_interval=timedelta(seconds=0.2))):
        async with bed.pool.acquire() as conn:
            await stop_writes(conn, tenant_id=bed.tenant_id, actor="ann", reason="stock-taking")
        order = await bed.order(place(remote.world, ("A", 1)))
        reads = remote.world.requests.get("GET /api/shop/orders", 0)
        await until(lambda: remote.world.requests.get("GET /api/shop/orders", 0) >= reads + 5)
        assert orders_asked(remote) == 0
        assert not remote.world.stock_sets
        async with bed.pool.acquire() as conn:
            await allow_writes(conn, tenant_id=bed.tenant_id, actor="ann")
        await until(bed.is_settled)

    assert remote.world.effects["order.create"] == {order.reference: 1}
    actions = await bed.pool.fetch("SELECT action FROM audit_log ORDER BY audit_id")
    assert [row["action"] for row in actions] == ["writes.stopped", "writes.allowed"]


async def test_a_flow_that_observes_writes_nothing(bed: Bed, remote: HostileServer) -> None:
    """Going live tells the numbers as they are then, and sends no order from before."""
    await bed.configure(mode="observe")
    order = await bed.order(place(remote.world, ("A", 1)))
    requested = "INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by)"
    await bed.pool.execute(
        f"{requested} VALUES ($1, $2, 'order', $3, $4)", bed.tenant_id, bed.shop, order.external_id, new_id()
    )

    async def is_fetched() -> bool:
        return not await bed.pool.fetchval("SELECT count(*) FROM fetch_request")

    async with bed.running():
        await until(is_fetched)
        await asyncio.sleep(2 * SETTINGS.poll_seconds)
        assert not remote.world.effects
        await bed.configure(mode="live")
        await until(bed.is_settled)

    assert "order.create" not in remote.world.effects
    assert await bed.pool.fetchval("SELECT code FROM command WHERE kind = 'order.create'") == "observed"
    assert remote.world.articles["art-A"].shop_on_hand == 1000


async def test_operator_cancels_what_waits_and_frees_its_target(bed: Bed, remote: HostileServer) -> None:
    first = await bed.order(place(remote.world, ("A", 1)))
    cancel = await bed.cancel(first)
    (create,) = (row for row in await bed.commands_of(first.order_id) if row["kind"] == "order.create")
    async with bed.pool.acquire() as conn:
        state = await cancel_command(
            conn, tenant_id=bed.tenant_id, command_id=create["command_id"], actor="ann", reason="test order"
        )
        assert state == "cancelled"
    async with bed.running():
        await until(bed.is_settled)

    assert orders_asked(remote) == 0
    ended = await bed.command(cancel)
    assert (ended["state"], ended["code"]) == ("cancelled", "never_created")


async def test_nobody_resends_what_cannot_be_looked_up(bed: Bed, remote: HostileServer) -> None:
    """I13: neither key nor read-back: a person decides, and may let it be sent again."""
    connector = with_spec(execute=lost_answer, find=None, readback_settle=timedelta(0))
    order = await bed.order(place(remote.world, ("A", 1)))
    async with bed.running(connector=connector):

        async def waits_for_person() -> bool:
            return bool((await bed.commands_of(order.order_id))[0]["code"] == "needs_operator")

        await until(waits_for_person)
        (command,) = await bed.commands_of(order.order_id)
        assert (command["state"], command["not_before"]) == ("in_doubt", None)
    async with bed.pool.acquire() as conn:
        await retry_command(conn, tenant_id=bed.tenant_id, command_id=command["command_id"], actor="ann")
    async with bed.running():
        await until(bed.is_settled)

    assert remote.world.effects["order.create"] == {order.reference: 1}


async def lost_answer(_api: Api, _payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    raise OutcomeUnknownError


def with_spec(**changes: Any) -> Connector:
    connector = build_connector()
    spec: CommandSpec = replace(connector.commands[CommandKind.ORDER_CREATE], **changes)
    return replace(connector, commands={**connector.commands, CommandKind.ORDER_CREATE: spec})


async def test_a_connectors_bug_is_contained(bed: Bed, remote: HostileServer) -> None:
    """Before a write: a dead letter. After one: in doubt, and looked up. A NUL in an answer cannot stop the lane."""

    async def breaks_before(_api: Api, _payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
        raise KeyError("secret-buyer")

    async def breaks_after(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
        await build_connector().commands[CommandKind.ORDER_CREATE].execute(api, payloads, key)
        raise KeyError("secret-buyer")

    async def says_nul(_api: Api, _payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
        return [Done(external_id="a\0b")]

    with capture_logs() as logs:
        for execute, state, code in (
            (breaks_before, "failed", "connector_defect"),
            (breaks_after, "succeeded", "found"),
            (says_nul, "in_doubt", "answer_unstorable"),
        ):
            order = await bed.order(place(remote.world, ("A", 1)))
            async with bed.running(connector=with_spec(execute=execute)):

                async def is_over() -> bool:
                    return bool((await bed.commands_of(order.order_id))[0]["state"] == state)  # noqa: B023

                await until(is_over)
            (command,) = await bed.commands_of(order.order_id)
            assert (command["state"], command["code"]) == (state, code)
    assert "secret-buyer" not in str([{k: v for k, v in line.items() if k != "exc_info"} for line in logs])
    assert all(count == 1 for count in remote.world.effects["order.create"].values())
    await bed.check_evidence()


async def test_an_article_that_the_erp_does_not_know_is_a_dead_letter_with_a_hint(
    bed: Bed, remote: HostileServer
) -> None:
    stock_world(remote.world, [("X", 0)])
    await bed.article("X", bind_erp=False)
    order = await bed.order(place(remote.world, ("A", 1), ("X", 1)))
    async with bed.running():
        await until(bed.is_settled)

    (command,) = await bed.commands_of(order.order_id)
    assert (command["state"], command["code"]) == ("failed", "sku_unbound")
    assert "X" in command["reason"]
    assert orders_asked(remote) == 0


# --- credentials -----------------------------------------------------------------------------------------------------------
async def test_an_expired_session_is_renewed_once(bed: Bed, remote: HostileServer) -> None:
    async with bed.running():
        first = await bed.order(place(remote.world, ("A", 1)))
        await until(bed.is_settled)
        logins = remote.world.logins
        remote.world.tokens.clear()
        second = await bed.order(place(remote.world, ("A", 1)))
        await until(bed.is_settled)

    assert remote.world.effects["order.create"] == {first.reference: 1, second.reference: 1}
    assert remote.world.logins - logins <= 2  # one per connection


async def test_a_refused_credential_pauses_the_connection_and_loses_nothing(bed: Bed, remote: HostileServer) -> None:
    with capture_logs() as logs:
        order = await bed.order(place(remote.world, ("A", 1)))
        remote.world.api_key = "another-key"
        async with bed.running() as (worker,):

            async def both_wait() -> bool:
                rows = await bed.pool.fetch("SELECT state FROM connection")
                return [row["state"] for row in rows] == ["waiting_auth"] * 2

            await until(both_wait)
            await until(lambda: not worker._lanes)
            assert await bed.states(CommandKind.ORDER_CREATE) == {"pending": 1}
            assert (await bed.commands_of(order.order_id))[0]["attempt_number"] == 0
            remote.world.api_key = "hostile-api-key"
            await bed.pool.execute("UPDATE connection SET state = 'active', state_reason = NULL")
            await bed.pool.execute("SELECT pg_notify('tidegate_connection', '')")
            await until(bed.is_settled)

    assert remote.world.effects["order.create"] == {order.reference: 1}
    assert "hostile-api-key" not in str(logs)


async def test_a_new_credential_is_used_without_a_restart(bed: Bed, remote: HostileServer) -> None:
    async with bed.running():
        await bed.order(place(remote.world, ("A", 1)))
        await until(bed.is_settled)
        remote.world.api_key = "new-key"
        remote.world.tokens.clear()
        async with bed.pool.acquire() as conn:
            for connection_id in (bed.shop, bed.erp):
                await put(conn, bed.ring, bed.tenant_id, connection_id, "credential", "api_key", Secret("new-key"))
        await bed.order(place(remote.world, ("A", 1)))
        await until(bed.is_settled)

    assert await bed.states(CommandKind.ORDER_CREATE) == {"succeeded": 2}
    assert {row["state"] for row in await bed.pool.fetch("SELECT state FROM connection")} == {"active"}


async def test_what_cannot_be_begun_holds_nobody_up(bed: Bed, remote: HostileServer) -> None:
    """A tampered value is a dead letter, an impossible number is parked; the others go on."""
    poisoned = await bed.order(place(remote.world, ("A", 1)))
    await bed.pool.execute('UPDATE "order" SET private = $2 WHERE order_id = $1', poisoned.order_id, b"\1tampered" * 9)
    stock_world(remote.world, [("B", 0)])
    await bed.article("B")
    await bed.move("B", on_hand=2_000_000_000)
    await bed.pool.execute(
        "INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, 'second')",
        bed.tenant_id,
        poisoned.order_id,
    )
    await bed.move("B", on_hand=2_000_000_000, location=poisoned.order_id)
    with capture_logs() as logs:
        async with bed.running():
            order = await bed.order(place(remote.world, ("A", 1)))
            await until(bed_told(bed, 1000))
            await until(lambda: order.reference in remote.world.effects.get("order.create", {}))

    (command,) = await bed.commands_of(poisoned.order_id)
    assert (command["state"], command["code"]) == ("failed", "tampered")
    mark = await bed.mark("B")
    assert (mark["dirty"], mark["tries"], mark["blocked_by"]) == (True, 1, None)
    assert mark["not_before"] is not None
    assert {line["event"] for line in logs if line["log_level"] == "error"} == {"command.poisonous", "stock.poisonous"}


# --- budget and idling -----------------------------------------------------------------------------------------------------
async def test_budget_holds_over_restarts_and_two_nodes(bed: Bed, remote: HostileServer) -> None:
    """I14b: no window of the remote's clock sees more than the bucket allows, however often nodes come and go."""
    bucket = TokenBucket(capacity=6, per_second=2)
    arrivals: list[float] = []

    async def timed(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
        arrivals.append(time.time())
        return await build_connector().commands[CommandKind.ORDER_CREATE].execute(api, payloads, key)

    connector = replace(with_spec(execute=timed), budget=bucket, feeds={})
    for _ in range(24):
        await bed.order(place(remote.world, ("A", 1)))
    for nodes in (1, 2, 2):
        async with bed.running(nodes, connector=connector):
            count = len(arrivals)
            await until(lambda: len(arrivals) >= count + 4)  # noqa: B023
    async with bed.running(connector=connector):
        await until(bed.is_settled)

    assert len(arrivals) == 24
    attempts = await bed.pool.fetch("SELECT attempt_id FROM attempt ORDER BY attempt_id")
    begun = [time_of(row[0]).timestamp() for row in attempts]
    late = max(
        there - then for then, there in zip(begun, arrivals, strict=False)
    )  # charged when begun, and then held up
    for first in range(24):
        for last in range(first, 24):
            allowed = bucket.capacity + bucket.per_second * (arrivals[last] - arrivals[first] + late)
            assert last - first + 1 <= allowed + 1e-6


async def test_an_idle_node_is_quiet(bed: Bed) -> None:
    """No query but the slow poll and now and then the configuration."""
    settings = replace(SETTINGS, poll_seconds=2.0, config_seconds=15.0)
    seen: list[str] = []

    async def are_feeds_read() -> bool:
        return bool(await bed.pool.fetchval("SELECT count(*) >= 6 FROM poll_cursor WHERE last_ok_at IS NOT NULL"))

    async with bed.running(settings=settings) as (worker,):
        await until(bed.is_settled)
        await until(are_feeds_read)
        assert worker._pool is not None
        for holder in worker._pool._holders:  # type: ignore[attr-defined]
            if holder._con is not None:
                holder._con.add_query_logger(lambda record: seen.append(record.query))

        async def is_quiet() -> bool:
            """Of what the start still had to do nothing is left."""
            seen.clear()
            began = time.monotonic()
            await until(lambda: len(seen) >= 4)
            polls = (time.monotonic() - began) / settings.poll_seconds + 1
            return len(seen) <= 2 * polls and sum("stop_all_writes" in query for query in seen) <= polls + 1

        await until(is_quiet)


# --- reads -----------------------------------------------------------------------------------------------------------------
async def test_feeds_append_news_once_and_move_their_cursors(bed: Bed, remote: HostileServer) -> None:
    await bed.configure(polling=True)
    for _ in range(250):
        place(remote.world, ("A", 1))
    async with bed.running(2, connector=build_connector(feed_interval=timedelta(seconds=0.1))):

        async def has_all() -> bool:
            return await events(bed, "order.updated") == 500  # of each connection: both names lead to the same remote

        await until(has_all)
        place(remote.world, ("A", 1))

        async def has_more() -> bool:
            return await events(bed, "order.updated") == 502

        await until(has_more)
        reads = remote.world.requests["GET /api/shop/orders"]
        await until(lambda: remote.world.requests["GET /api/shop/orders"] >= reads + 4)
    assert await events(bed, "order.updated") == 502
    queued = await bed.pool.fetchval("SELECT count(*) FROM event_queue")
    received = await bed.pool.fetchval("SELECT sum(received) FROM conservation")
    total = await bed.pool.fetchval("SELECT count(*) FROM event")
    assert queued == received == total
    cursor = await bed.pool.fetchrow("SELECT cursor, last_error FROM poll_cursor WHERE feed = 'orders' LIMIT 1")
    assert cursor is not None
    assert (int(cursor["cursor"]), cursor["last_error"]) == (remote.world.revision, None)


async def events(bed: Bed, topic: str) -> int:
    return int(await bed.pool.fetchval("SELECT count(*) FROM event WHERE topic = $1", topic))


async def test_polling_off_leaves_channels_alone_and_reads_the_erp(bed: Bed, remote: HostileServer) -> None:
    shop = replace(build_connector(name="shop"), roles=frozenset({"channel"}))
    await bed.pool.execute("UPDATE connection SET connector = 'shop' WHERE connection_id = $1", bed.shop)
    worker = bed.worker(connector=build_connector(feed_interval=timedelta(seconds=0.1)))
    worker._context = replace(worker._context, connectors={**worker._context.connectors, "shop": shop})
    place(remote.world, ("A", 1))
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))

    async def erp_is_read() -> bool:
        return bool(await bed.pool.fetchval("SELECT count(*) FROM poll_cursor WHERE version > 3"))

    async def both_are_read() -> bool:
        return bool(await bed.pool.fetchval("SELECT count(DISTINCT connection_id) = 2 FROM poll_cursor"))

    try:
        await until(erp_is_read)
        assert not await both_are_read()
        await bed.configure(polling=True)
        await until(both_are_read)
    finally:
        stop.set()
        await task


async def test_a_failing_feed_backs_off_and_says_why(bed: Bed, remote: HostileServer) -> None:
    await bed.configure(polling=True)
    remote.put_faults(Fault(kind="status", status=500, method="GET", path="/api/shop/orders", times=6))
    place(remote.world, ("A", 1))

    async def has_error() -> bool:
        text = await bed.pool.fetchval("SELECT last_error FROM poll_cursor WHERE feed = 'orders' AND version = 0")
        return "server_error" in (text or "")

    async def has_order() -> bool:
        return await events(bed, "order.updated") == 2

    async with bed.running(connector=build_connector(feed_interval=timedelta(seconds=0.1))):
        await until(has_error)
        await until(has_order)
    assert await bed.pool.fetchval("SELECT count(*) FROM poll_cursor WHERE last_error IS NOT NULL") == 0


async def test_a_fetch_brings_the_entity_in_once(bed: Bed, remote: HostileServer) -> None:
    order = place(remote.world, ("A", 1))
    for external_id in (order["order_id"], "gone"):
        await bed.pool.execute(
            "INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by)"
            " VALUES ($1, $2, 'order', $3, $4)",
            bed.tenant_id,
            bed.shop,
            external_id,
            new_id(),
        )
    remote.put_faults(Fault(kind="status", status=500, method="GET", path="/api/shop/orders/*", times=2))

    async def is_done() -> bool:
        return not await bed.pool.fetchval("SELECT count(*) FROM fetch_request")

    async with bed.running():
        await until(is_done)

    rows = await bed.pool.fetch("SELECT source, topic, external_id FROM event WHERE source = 'fetch'")
    assert [tuple(row) for row in rows] == [("fetch", "order.updated", order["order_id"])]
    queued = "SELECT count(*) FROM event_queue JOIN event USING (tenant_id, event_id) WHERE source = 'fetch'"
    assert await bed.pool.fetchval(queued) == 1


# --- results ---------------------------------------------------------------------------------------------------------------
async def test_results_are_facts_of_the_log(bed: Bed, remote: HostileServer) -> None:
    order = await bed.order(place(remote.world, ("A", 1)))
    async with bed.running():
        await until(bed.is_settled)

    rows = await bed.pool.fetch("SELECT * FROM event WHERE source = 'result' AND connection_id = $1", bed.erp)
    (row,) = rows
    async with bed.pool.acquire() as conn:
        await bed.cipher.opener(conn, [(bed.tenant_id, row["data_key_id"])])
    body = bed.cipher.open(bed.tenant_id, row["data_key_id"], "event", row["event_id"], row["body"])
    (member,) = msgspec.json.decode(body)["members"]
    assert (member["kind"], member["state"], member["entity_id"]) == ("order.create", "succeeded", str(order.order_id))
    outcome = await bed.pool.fetchrow("SELECT * FROM event_outcome WHERE event_id = $1", row["event_id"])
    assert outcome is not None
    assert (outcome["outcome"], outcome["entity_id"]) == ("applied", order.order_id)
    queued = "SELECT count(*) FROM event_queue JOIN event USING (tenant_id, event_id) WHERE source = 'result'"
    assert await bed.pool.fetchval(queued) == 0


async def test_many_hints_are_one_read_and_counted(bed: Bed, remote: HostileServer) -> None:
    """Twenty events asked for one order: it is read once, and nineteen saved reads are counted."""
    order = place(remote.world, ("A", 1))
    await bed.pool.execute(
        "INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by, hints)"
        " VALUES ($1, $2, 'order', $3, $4, 20)",
        bed.tenant_id,
        bed.shop,
        order["order_id"],
        new_id(),
    )

    async def is_done() -> bool:
        return not await bed.pool.fetchval("SELECT count(*) FROM fetch_request")

    async with bed.running():
        await until(is_done)

    assert await bed.pool.fetchval("SELECT count(*) FROM event WHERE source = 'fetch'") == 1
    saved = "SELECT hints_bundled FROM lane_state WHERE connection_id = $1"
    assert await bed.pool.fetchval(saved, bed.shop) == 19


async def test_a_parked_fetch_is_made_when_its_window_is_over(bed: Bed, remote: HostileServer) -> None:
    """A hint waits for company; the lane wakes up by itself when the wait is over, long before the next poll."""
    order = place(remote.world, ("A", 1))
    settings = replace(SETTINGS, poll_seconds=600.0)

    async def is_done() -> bool:
        return not await bed.pool.fetchval("SELECT count(*) FROM fetch_request")

    async with bed.running(settings=settings):
        await until(bed.is_settled)
        async with bed.pool.acquire() as conn, conn.transaction():
            await conn.execute(
                "INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by, not_before)"
                " VALUES ($1, $2, 'order', $3, $4, clock_timestamp() + interval '1 second')",
                bed.tenant_id,
                bed.shop,
                order["order_id"],
                new_id(),
            )
            await conn.execute("SELECT pg_notify('tidegate_command', $1)", str(bed.shop))
        await until(is_done)


async def test_what_was_read_of_webhooks_at_an_address_that_was_given_up_is_dropped(
    bed: Bed, remote: HostileServer
) -> None:
    """The connection is connected anew, with another address, while its webhooks are looked at."""

    async def look(api: Api, cursor: str) -> FeedPage:
        is_new = "webhook_digest" in api.settings
        if not is_new:
            await bed.pool.execute("""UPDATE connection SET settings = settings || '{"webhook_digest": "d"}'""")
        item = FeedItem(topic="hooks", external_id="new" if is_new else "old", ordering_key="hooks", body=b"{}")
        return FeedPage(items=(item,), cursor=cursor, has_more=False)

    connector = replace(build_connector(), feeds={"hooks": Feed(read=look, interval=timedelta(seconds=1), mends=True)})
    told = "SELECT DISTINCT external_id FROM event WHERE topic = 'hooks'"
    await bed.configure(polling=True)

    async def is_told() -> bool:
        return bool(await bed.pool.fetchval(told))

    async with bed.running(connector=connector):
        await until(is_told)

    assert [row[0] for row in await bed.pool.fetch(told)] == ["new"]


async def test_a_feed_about_open_orders_goes_round_those_of_its_connection(bed: Bed, remote: HostileServer) -> None:
    """Two orders per look; what is cancelled or has left whole is asked for no more, and the round begins again."""
    asked: list[list[str]] = []

    async def look(_api: Api, cursor: str) -> FeedPage:
        if cursor:
            asked.append(msgspec.json.decode(cursor))
        return FeedPage(items=(), cursor="", has_more=False)

    feed = Feed(read=look, interval=timedelta(milliseconds=100), open_orders=2)
    connector = replace(build_connector(), feeds={"missing": feed})
    orders = [await bed.order(place(remote.world, ("A", 1))) for _ in range(5)]
    first, second, third, left, cancelled = (order.external_id for order in orders)
    await bed.ship(orders[3], "A", 1)
    await bed.pool.execute("UPDATE \"order\" SET order_state = 'cancelled' WHERE external_id = $1", cancelled)
    await bed.configure(polling=True)

    async with bed.running(connector=connector):
        await until(lambda: len(asked) >= 3)

    assert asked[:3] == [[first, second], [third], [first, second]], f"and not {left}"


# --- waits that somebody names -------------------------------------------------------------------------------------------
def with_retries(*seconds: float) -> Connector:
    """A connector that is only told, and says when an order is tried again."""
    connector = build_connector(feed_interval=timedelta(seconds=60))
    spec = connector.commands[CommandKind.ORDER_CREATE]
    retries = tuple(timedelta(seconds=step) for step in seconds)
    told = replace(spec, find=None, safe_to_resend=True, retries=retries)
    return replace(connector, commands={**connector.commands, CommandKind.ORDER_CREATE: told}, shares_host=True)


async def test_a_schedule_of_retries_ends_and_an_operator_begins_it_anew(bed: Bed, remote: HostileServer) -> None:
    """The same call each time, under the same key, until the last step; then a person decides."""
    remote.world.unique_references = True
    remote.put_faults(Fault(kind="status", status=503, method="POST", path=ORDERS, times=None))
    order = await bed.order(place(remote.world, ("A", 1)))
    await bed.pool.execute("UPDATE command SET deadline_at = now() - interval '1 second' WHERE kind = 'order.create'")

    async with bed.running(connector=with_retries(0.2, 0.2)):
        await until(bed.is_settled)
        (command,) = await bed.commands_of(order.order_id)
        assert (command["state"], command["code"], command["attempt_number"]) == ("failed", "retries_ended", 3)
        assert orders_asked(remote) == 3
        remote.put_faults()
        async with bed.pool.acquire() as conn:
            await retry_command(conn, tenant_id=bed.tenant_id, command_id=command["command_id"], actor="ann")
        await until(bed.is_settled)

    (command,) = await bed.commands_of(order.order_id)
    assert (command["state"], command["attempt_number"]) == ("succeeded", 1)
    assert await bed.pool.fetchval("SELECT count(*) FROM call WHERE kind = 'order.create'") == 1


async def test_a_side_that_serves_again_gets_what_waited_for_a_far_step(bed: Bed, remote: HostileServer) -> None:
    remote.world.unique_references = True
    remote.put_faults(Fault(kind="status", status=503, method="POST", path=ORDERS, times=None))
    settings = replace(SETTINGS, breaker_failures=3, breaker_seconds_max=0.5)
    for _ in range(4):
        await bed.order(place(remote.world, ("A", 1)))

    with capture_logs() as logs:
        async with bed.running(connector=with_retries(3600.0), settings=settings):
            await until(lambda: any(line["event"] == "lane.breaker_opened" for line in logs))
            remote.put_faults()
            await bed.order(place(remote.world, ("A", 1)))
            await until(bed.is_settled)

    assert len(remote.world.effects["order.create"]) == 5


async def test_a_wait_that_is_named_on_a_failed_write_is_waited(bed: Bed, remote: HostileServer) -> None:
    """503 with Retry-After to a write: nothing is looked at or sent before; the row says until when."""
    remote.put_faults(Fault(kind="status", status=503, retry_after="3600", method="POST", path=ORDERS))
    order = await bed.order(place(remote.world, ("A", 1)))

    async with bed.running():
        await until(lambda: orders_asked(remote) == 1)
        await until(lambda: is_in_doubt(bed, order.order_id))

    waits = await bed.pool.fetchval("SELECT not_before - now() FROM command WHERE kind = 'order.create'")
    assert timedelta(minutes=58) < waits <= timedelta(hours=1)
    assert remote.world.requests.get(f"GET {ORDERS}", 0) == 0


async def is_in_doubt(bed: Bed, entity: Any) -> bool:
    (command,) = await bed.commands_of(entity)
    return bool(command["state"] == "in_doubt")
