"""Maps and hooks in real lanes: payloads are shaped in T2s, and a hostile hook fails its own order and no other (E9)."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from tests.dispatchbed import SETTINGS, Bed, Order, place, stock_world, until

from tidegate.commerce.commands import CommandKind
from tidegate.dispatch.approval import Selection, approve
from tidegate.dispatch.operator import retry_command
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
HEAD = """\
import os, time
from decimal import Decimal
from tidegate.sdk.flows import Hold, Skip, decide, transform

"""
HOSTILE = (
    HEAD
    + """\
@transform("orders")
def change(order, cfg):
    if order.number == cfg.loops:
        while True:
            pass
    if order.number == cfg.allocates:
        return bytearray(2 << 30)
    if order.number == cfg.raises:
        raise ValueError("no such box")
    if order.number == cfg.ends:
        os._exit(1)
    if order.number == cfg.nonsense:
        return [order, 5]
    return order.replace(note="seen by a hook")
"""
)


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        server.world.unique_references = False  # told twice, it does it twice
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    stock_world(remote.world, [("A", 100), ("B", 100)])
    await made.article("A", on_hand=100)
    await made.article("B", on_hand=100)
    return made


async def command_of(bed: Bed, order: Order) -> dict[str, object]:
    (command,) = await bed.commands_of(order.order_id)
    return command


async def test_a_payload_is_shaped_where_it_is_made_and_names_its_versions(bed: Bed, remote: HostileServer) -> None:
    await bed.configure(
        more="""
tables:
  skus: {csv: skus.csv}
maps:
  orders:
    customer.ref: "'WEB-' + email"
    note: "number"
    lines.sku: {from: line.sku, table: skus}
    fields.branch: {const: "007"}
  shipments:
    carrier: {post: "Deutsche Post", "*": other}
""",
        files={"skus.csv": "shop,erp\nA,B\n*,B\n"},
    )
    order = await bed.order(place(remote.world, ("A", 2)))
    async with bed.running():
        await until(bed.is_settled)
        await bed.ship(order, "A", 2)
        await until(bed.is_settled)

    created, fulfilled = await bed.payloads()
    assert created["customer_ref"] == "WEB-secret-buyer@example.test"
    assert created["note"] == created["number"]
    assert created["fields"] == {"branch": "007"}
    assert [(line["sku"], line["item_external_id"]) for line in created["lines"]] == [("B", "art-B")]
    assert fulfilled["carrier"] == "Deutsche Post"
    (made,) = remote.world.erp_orders.values()
    assert [line.sku for line in made.lines] == ["B"]
    assert created["config_version"] == fulfilled["config_version"] == 2
    assert created["map_digest"] is not None
    assert created["map_digest"] == fulfilled["map_digest"]


async def test_without_a_map_nothing_is_different(bed: Bed, remote: HostileServer) -> None:
    await bed.order(place(remote.world, ("A", 1)))
    async with bed.running():
        await until(bed.is_settled)
    (created,) = await bed.payloads()
    assert set(created) == {
        "type", "reference", "number", "channel", "placed_at", "currency", "lines", "shipping_minor", "shipping_method",
        "discount_minor", "total_minor", "private", "config_version", "map_digest",
    }  # fmt: skip
    assert (created["config_version"], created["map_digest"]) == (1, None)


async def test_a_rule_without_a_value_fails_its_own_order_and_a_rebuild_sends_it(
    bed: Bed, remote: HostileServer
) -> None:
    await bed.configure(more='maps: {orders: {note: {from: number, table: {"none": x}}}}')
    order = await bed.order(place(remote.world, ("A", 1)))
    async with bed.running():
        await until(bed.is_settled)
        failed = await command_of(bed, order)
        assert (failed["state"], failed["code"]) == ("failed", "mapping_failed")
        assert str(failed["reason"]).startswith("note: the table has no '")
        assert remote.world.erp_orders == {}

        await bed.configure(more='maps: {orders: {note: {from: number, table: {"*": x}}}}')

        async def is_sent() -> bool:
            """Send it again until the lane has taken the mended map over; under the old one it fails as before."""
            command = await command_of(bed, order)
            if command["state"] == "failed":
                async with bed.pool.acquire() as conn:
                    await retry_command(
                        conn,
                        tenant_id=bed.tenant_id,
                        command_id=command["command_id"],  # type: ignore[arg-type]
                        actor="test",
                        rebuild=True,
                    )
            return len(remote.world.erp_orders) == 1

        await until(is_sent)
        await until(bed.is_settled)
    assert (await command_of(bed, order))["state"] == "succeeded"


async def test_an_article_that_a_map_names_and_the_erp_has_not_is_named(bed: Bed, remote: HostileServer) -> None:
    await bed.configure(more='maps: {orders: {lines.sku: {from: line.sku, table: {"A": NEW}}}}')
    order = await bed.order(place(remote.world, ("A", 1)))
    async with bed.running():
        await until(bed.is_settled)
    failed = await command_of(bed, order)
    assert (failed["state"], failed["code"]) == ("failed", "sku_unbound")
    assert "NEW" in str(failed["reason"])


@pytest.mark.parametrize("nodes", [1, 2])
async def test_hostile_hooks_fail_their_own_orders_and_all_others_go_out(
    bed: Bed, remote: HostileServer, nodes: int
) -> None:
    """E9: loop, 2 GB, raise, end of the process, nonsense; the worker's own memory stays bounded."""
    orders = [await bed.order(place(remote.world, ("A", 1))) for _ in range(25)]
    numbers = await bed.pool.fetch('SELECT order_id, number FROM "order"')
    number_of = {row["order_id"]: row["number"] for row in numbers}
    culprits = dict(zip(("loops", "allocates", "raises", "ends", "nonsense"), orders[3::4], strict=False))
    options = ", ".join(f'{name}: "{number_of[order.order_id]}"' for name, order in culprits.items())
    await bed.configure(
        more=f"hooks: {{deadline: 4s, options: {{{options}}}}}\nmaps: {{orders: {{order: flows:change}}}}",
        files={"flows.py": HOSTILE},
    )
    before = _resident_bytes()
    async with bed.running(nodes, settings=replace(SETTINGS, drain_seconds=20.0)):
        await until(bed.is_settled)
    assert _resident_bytes() - before < 200 << 20  # five hooks asked for 2 GB and more

    codes = {name: (await command_of(bed, order))["code"] for name, order in culprits.items()}
    assert codes == {
        "loops": "hook_timeout", "allocates": "hook_memory", "raises": "hook_failed", "ends": "hook_failed",
        "nonsense": "hook_invalid",
    }  # fmt: skip
    reasons = {name: str((await command_of(bed, order))["reason"]) for name, order in culprits.items()}
    assert "at flows.py:" in reasons["loops"]
    assert reasons["raises"] == "ValueError: no such box at flows.py:13 in change"
    assert await bed.states(CommandKind.ORDER_CREATE) == {"succeeded": 20, "failed": 5}
    assert len(remote.world.erp_orders) == 20
    assert set(remote.world.effects["order.create"].values()) == {1}
    assert {payload["note"] for payload in await bed.payloads()} == {"seen by a hook"}


async def test_a_hold_is_a_proposal_and_an_approval_lets_it_go(bed: Bed, remote: HostileServer) -> None:
    source = HEAD + '@decide("orders")\ndef to_erp(order, cfg):\n    return Hold("manual review")\n'
    await bed.configure(more="maps: {orders: {decide: flows:to_erp}}", files={"flows.py": source})
    order = await bed.order(place(remote.world, ("A", 1)))
    async with bed.running():
        await until(bed.is_settled)
        held = await command_of(bed, order)
        assert (held["state"], held["code"], held["reason"]) == ("proposed", "held", "manual review")
        assert held["finished_at"] is None
        assert remote.world.erp_orders == {}
        async with bed.pool.acquire() as conn:
            selection = Selection(commands=(held["command_id"],))  # type: ignore[arg-type]
            await approve(conn, tenant_id=bed.tenant_id, selection=selection, actor="test")
        await until(lambda: len(remote.world.erp_orders) == 1)
        await until(bed.is_settled)
    assert (await command_of(bed, order))["state"] == "succeeded"


async def test_a_skip_ends_the_command_with_its_reason(bed: Bed, remote: HostileServer) -> None:
    source = HEAD + '@decide("orders")\ndef to_erp(order, cfg):\n    return Skip("a test order")\n'
    await bed.configure(more="maps: {orders: {decide: flows:to_erp}}", files={"flows.py": source})
    order = await bed.order(place(remote.world, ("A", 1)))
    async with bed.running():
        await until(bed.is_settled)
    ended = await command_of(bed, order)
    assert (ended["state"], ended["code"], ended["reason"]) == ("cancelled", "skipped_by_hook", "a test order")
    assert remote.world.erp_orders == {}


async def test_an_answer_counts_only_for_the_order_that_hooks_were_asked_about(bed: Bed, remote: HostileServer) -> None:
    """The order changes while its hook thinks: T2s does not take the old answer, and hooks are asked again."""
    source = (
        HEAD
        + '@transform("orders")\ndef change(order, cfg):\n    time.sleep(1)\n    return order.replace(note=order.number)\n'
    )
    await bed.configure(
        more="hooks: {deadline: 20s}\nmaps: {orders: {order: flows:change}}", files={"flows.py": source}
    )
    order = await bed.order(place(remote.world, ("A", 1)))
    async with bed.running():
        await until(lambda: _children_of_this_process() > 0)
        await bed.pool.execute('UPDATE "order" SET number = $2 WHERE order_id = $1', order.order_id, "changed")
        await until(bed.is_settled)
    (created,) = await bed.payloads()
    assert (created["number"], created["note"]) == ("changed", "changed")


async def test_a_new_map_is_taken_over_while_orders_come(bed: Bed, remote: HostileServer) -> None:
    async with bed.running():
        for version in ("one", "two", "three"):
            source = (
                HEAD + f'@transform("orders")\ndef change(order, cfg):\n    return order.replace(note="{version}")\n'
            )
            await bed.configure(more="maps: {orders: {order: flows:change}}", files={"flows.py": source})
            seen = await bed.pool.fetchval("SELECT max(version) FROM config_version")
            while True:
                await bed.order(place(remote.world, ("A", 1)))
                await until(bed.is_settled)
                newest = (await bed.payloads())[-1]
                if newest["config_version"] == seen:
                    break
            assert newest["note"] == version
    digests = {payload["config_version"]: payload["map_digest"] for payload in await bed.payloads()}
    assert len({digest for digest in digests.values() if digest is not None}) == 3


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _children_of_this_process() -> int:
    return len(Path("/proc/thread-self/children").read_text().split())
