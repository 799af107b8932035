"""Sending on a real database against a remote that misbehaves: each effect once, states that say what is true."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest
import pytest_asyncio
from tests.dispatchbed import Bed, place, stock_world, until

from tidegate.commerce.commands import CommandKind
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.sdk.testing.hostile_faults import Fault
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
ORDERS = "/api/erp/orders"


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        server.world.unique_references = False  # told twice, it does it twice
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    return made


async def test_order_is_created_once_and_bound(bed: Bed, remote: HostileServer) -> None:
    """The ERP gets our references, the lines its articles; its ids are bound; the evidence is kept encrypted."""
    stock_world(remote.world, [("A", 10), ("B", 10)])
    await bed.article("A", on_hand=10)
    await bed.article("B", on_hand=10)
    order = await bed.order(place(remote.world, ("A", 2), ("B", 1)))

    async with bed.running():
        await until(bed.is_settled)

    (made,) = remote.world.erp_orders.values()
    assert (made.reference, [(x.sku, x.quantity) for x in made.lines]) == (order.reference, [("A", 2), ("B", 1)])
    assert remote.world.effects["order.create"] == {order.reference: 1}
    assert await bed.states(CommandKind.ORDER_CREATE) == {"succeeded": 1}
    bound = await bed.pool.fetch("SELECT kind, external_id, internal_id FROM binding WHERE connection_id = $1", bed.erp)
    assert {(row["kind"], row["external_id"], row["internal_id"]) for row in bound if row["kind"] != "variant"} == {
        ("order", made.order_id, order.order_id),
        ("order_line", f"{made.order_id}/1", order.lines["A"]),
        ("order_line", f"{made.order_id}/2", order.lines["B"]),
    }
    await bed.check_evidence()
    (answer,) = [
        a for a in await bed.answers() if b"external_id" in a["excerpt"] and made.order_id.encode() in a["excerpt"]
    ]
    assert (answer["outcome"], answer["code"], answer["http_status"], answer["late"]) == ("success", "ok", 201, False)
    assert msgspec.json.decode(answer["excerpt"])["members"][0]["external_id"] == made.order_id
    stored = await bed.pool.fetchval("SELECT string_agg(encode(payload, 'escape'), '') FROM call")
    assert "secret-buyer" not in stored


async def test_lost_answer_is_looked_up_not_repeated(bed: Bed, remote: HostileServer) -> None:
    """D9: sent, no answer: verified, never blindly resent."""
    stock_world(remote.world, [("A", 10)])
    await bed.article("A", on_hand=10)
    order = await bed.order(place(remote.world, ("A", 1)))
    remote.put_faults(Fault(kind="lose_reply", method="POST", path=ORDERS))

    async with bed.running():
        await until(bed.is_settled)

    assert remote.world.effects["order.create"] == {order.reference: 1}
    assert remote.world.asked["order.create"] == {order.reference: 1}
    (command,) = await bed.commands_of(order.order_id)
    assert (command["state"], command["code"], command["attempt_number"]) == ("succeeded", "found", 1)
    await bed.check_evidence()


async def test_reset_without_effect_is_resent_after_two_negatives(bed: Bed, remote: HostileServer) -> None:
    """A 'not found' counts after the settling time, and two are needed; then the same frozen call goes out again."""
    stock_world(remote.world, [("A", 10)])
    await bed.article("A", on_hand=10)
    order = await bed.order(place(remote.world, ("A", 1)))
    remote.put_faults(Fault(kind="reset", method="POST", path=ORDERS))

    async with bed.running():
        await until(bed.is_settled)

    assert remote.world.effects["order.create"] == {order.reference: 1}
    (command,) = await bed.commands_of(order.order_id)
    assert (command["state"], command["attempt_number"]) == ("succeeded", 2)
    calls = await bed.pool.fetchval("SELECT count(*) FROM call WHERE kind = 'order.create'")
    purposes = await bed.pool.fetch("SELECT purpose FROM attempt WHERE connection_id = $1 ORDER BY attempt_id", bed.erp)
    assert calls == 1
    assert [row["purpose"] for row in purposes] == ["send", "verify", "verify", "verify", "send"]
    await bed.check_evidence()


async def test_one_negative_is_not_enough(bed: Bed, remote: HostileServer) -> None:
    """A search index that lags says no twice, once of it after the settling time; the third look finds the order."""
    stock_world(remote.world, [("A", 10)])
    await bed.article("A", on_hand=10)
    order = await bed.order(place(remote.world, ("A", 1)))
    remote.put_faults(
        Fault(kind="lose_reply", method="POST", path=ORDERS),
        Fault(kind="stale_read", method="GET", path=ORDERS, times=2),
    )

    async with bed.running():
        await until(bed.is_settled)

    assert remote.world.effects["order.create"] == {order.reference: 1}
    assert [row["code"] for row in await bed.commands_of(order.order_id)] == ["found"]
    outcomes = [a["outcome"] for a in await bed.answers() if a["outcome"] in ("unknown", "not_found")]
    assert outcomes == ["unknown", "not_found", "not_found"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="truncated", method="POST", path=ORDERS),
        Fault(kind="garbage", method="POST", path=ORDERS),
        Fault(kind="garbage", method="POST", path=ORDERS, effect=False),
        Fault(kind="status", status=500, effect=True, method="POST", path=ORDERS),
        Fault(kind="status", status=503, effect=False, method="POST", path=ORDERS),
        Fault(kind="delay", seconds=1.5, method="POST", path=ORDERS),
        Fault(kind="delay_reply", seconds=1.5, method="POST", path=ORDERS),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.effect}",
)
async def test_unusable_answer_never_doubles(bed: Bed, remote: HostileServer, fault: Fault) -> None:
    stock_world(remote.world, [("A", 10)])
    await bed.article("A", on_hand=10)
    order = await bed.order(place(remote.world, ("A", 1)))
    remote.put_faults(fault)

    connector = build_connector(request_deadline=timedelta(seconds=1), readback_settle=timedelta(seconds=1))
    async with bed.running(connector=connector):
        await until(bed.is_settled)

    assert remote.world.effects["order.create"] == {order.reference: 1}
    assert await bed.states(CommandKind.ORDER_CREATE) == {"succeeded": 1}
    await bed.check_evidence()


async def keys_of_calls(bed: Bed, kind: CommandKind) -> tuple[int, int]:
    """Return the number of different keys under which a kind was called, and how many of them are spent."""
    row = await bed.pool.fetchrow(
        "SELECT count(DISTINCT idempotency_key), count(key_spent_at) FROM call WHERE kind = $1", kind
    )
    assert row is not None
    return int(row[0]), int(row[1])


async def test_a_failure_that_is_kept_under_our_key_is_left_for_another_key_once_nothing_was_found(
    bed: Bed, remote: HostileServer
) -> None:
    """D9: the 500 comes again under the same key for ever. Another key is used after two looks, never before; twice here."""
    stock_world(remote.world, [("A", 10)])
    await bed.article("A", on_hand=10)
    order = await bed.order(place(remote.world, ("A", 1)))
    remote.put_faults(Fault(kind="spoil", method="POST", path=ORDERS, times=2))

    connector = build_connector(readback_settle=timedelta(seconds=1))
    async with bed.running(connector=connector):
        await until(bed.is_settled)

    assert remote.world.effects["order.create"] == {order.reference: 1}
    assert await keys_of_calls(bed, CommandKind.ORDER_CREATE) == (3, 2)
    (command,) = await bed.commands_of(order.order_id)
    assert (command["state"], command["attempt_number"]) == ("succeeded", 5)
    rows = await bed.pool.fetch("SELECT purpose FROM attempt WHERE connection_id = $1 ORDER BY attempt_id", bed.erp)
    purposes = [row["purpose"] for row in rows]
    sends = [index for index, purpose in enumerate(purposes) if purpose == "send"]
    assert all(sends[index] - sends[index - 1] > 2 for index in range(1, len(sends))), "two looks before each send"
    await bed.check_evidence()


async def test_a_failure_that_is_kept_though_it_was_done_is_found(bed: Bed, remote: HostileServer) -> None:
    stock_world(remote.world, [("A", 10)])
    await bed.article("A", on_hand=10)
    order = await bed.order(place(remote.world, ("A", 1)))
    remote.put_faults(Fault(kind="spoil", method="POST", path=ORDERS, effect=True))

    async with bed.running():
        await until(bed.is_settled)

    assert remote.world.effects["order.create"] == {order.reference: 1}
    assert await keys_of_calls(bed, CommandKind.ORDER_CREATE) == (1, 0)
    assert [row["code"] for row in await bed.commands_of(order.order_id)] == ["found"]
