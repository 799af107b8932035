"""T2s by itself: it checks again, under lock, whatever the lane's window said a moment ago."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from tests.dispatchbed import CELL, QUIET, SETTINGS, Bed

from tidegate.commerce.commands import CommandKind
from tidegate.dispatch.operator import stop_writes
from tidegate.dispatch.records import ConnectionRow, OpenCall, Ownership, Window
from tidegate.dispatch.scope import Scope
from tidegate.dispatch.t2s import NotBegun, begin_actions, begin_stock
from tidegate.dispatch.window import load_window
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.ids import new_id, slot_of
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.fence import Fenced

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool) -> Bed:
    made = Bed(database, owner_pool, "http://127.0.0.1:9")
    await made.create()
    await made.article("A", on_hand=10)
    await made.article("B", on_hand=10)
    return made


async def scope_of(bed: Bed, connection_id: UUID, connector: Connector = QUIET) -> Scope:
    """The lane of a connection, its slot held by a node of the test."""
    slot, node_id = slot_of(bed.tenant_id, str(connection_id)), new_id()
    await bed.pool.execute("UPDATE slot SET node_id = $2 WHERE role = 'dispatch' AND slot = $1", slot, node_id)
    row = await bed.pool.fetchrow("SELECT * FROM connection WHERE connection_id = $1", connection_id)
    assert row is not None
    return Scope(
        connection=ConnectionRow(
            tenant_id=bed.tenant_id,
            connection_id=connection_id,
            name=row["name"],
            connector="hostile",
            external_account=row["external_account"],
            settings=msgspec.json.decode(row["settings"]),
        ),
        connector=connector,
        owner=Ownership(node_id=node_id, slot=slot, epoch=0),
        pool=bed.pool,
        cipher=bed.cipher,
        clock=SystemClock(),
        cell=CELL,
        writer="test",
        settings=SETTINGS,
    )


async def window_of(bed: Bed, scope: Scope) -> Window:
    async with bed.pool.acquire() as conn:
        return await load_window(conn, scope)


def external(number: str, *lines: tuple[str, int]) -> dict[str, object]:
    shown = [{"sku": sku, "current": units, "line_id": f"{number}-{sku}"} for sku, units in lines]
    return {"order_id": number, "number": number, "lines": shown}


async def test_no_number_while_a_fulfillment_of_the_item_may_be_under_way(bed: Bed) -> None:
    order = await bed.order(external("1", ("A", 2)), create=False)
    _, command = await bed.ship(order, "A", 2)
    scope = await scope_of(bed, bed.shop)
    window = await window_of(bed, scope)
    assert {mark.item_id for mark in window.marks} == {bed.items["A"]}
    await bed.pool.execute("UPDATE command SET state = 'in_doubt' WHERE command_id = $1", command)

    assert await scope.transact(lambda conn: begin_stock(conn, scope, window.marks)) == NotBegun("blocked")
    after = await window_of(bed, scope)
    assert (after.marks, after.held_items) == ((), frozenset({bed.items["A"]}))
    assert await bed.pool.fetchval("SELECT count(*) FROM call") == 0


async def test_no_fulfillment_while_a_number_of_the_item_may_be_under_way(bed: Bed) -> None:
    order = await bed.order(external("1", ("A", 2)), create=False)
    await bed.ship(order, "A", 2)
    scope = await scope_of(bed, bed.shop)
    (command,) = (await window_of(bed, scope)).commands
    assert command.items == (bed.items["A"],)
    await bed.pool.execute("UPDATE channel_stock SET blocked_by = $1 WHERE item_id = $2", new_id(), bed.items["A"])

    assert await scope.transact(lambda conn: begin_actions(conn, scope, (command,))) == NotBegun("blocked")
    assert (await window_of(bed, scope)).blocked_items == {bed.items["A"]}
    assert await bed.states() == {"pending": 1}


async def test_where_shipped_units_are_not_taken_off_the_number_both_may_be_under_way(bed: Bed) -> None:
    """Otherwise an article that ships all the time is never told."""
    order = await bed.order(external("1", ("A", 2)), create=False)
    _, shipped = await bed.ship(order, "A", 2)
    scope = await scope_of(bed, bed.shop, replace(QUIET, stock_number="available"))
    window = await window_of(bed, scope)
    assert window.commands[0].items == ()
    await bed.pool.execute("UPDATE command SET state = 'in_doubt' WHERE command_id = $1", shipped)

    call = await scope.transact(lambda conn: begin_stock(conn, scope, window.marks))
    assert isinstance(call, OpenCall)
    await bed.pool.execute("UPDATE command SET state = 'pending' WHERE command_id = $1", shipped)
    assert isinstance(await scope.transact(lambda conn: begin_actions(conn, scope, window.commands)), OpenCall)


async def test_what_is_tried_again_does_not_keep_out_what_goes_for_the_first_time(bed: Bed) -> None:
    """Retries may be scarce just then: a window full of them would stop the lane."""
    orders = [await bed.order(external(str(number), ("A", 1))) for number in range(8)]
    ids = [row[0] for row in await bed.pool.fetch("SELECT command_id FROM command ORDER BY command_id")]
    assert len(ids) == len(orders)
    tried = "UPDATE command SET attempt_number = 1, code = $2 WHERE command_id = ANY($1::uuid[])"
    await bed.pool.execute(tried, ids[:5], "server_error")
    await bed.pool.execute(tried, ids[5:6], "found_partly")
    erp = await scope_of(bed, bed.erp)
    erp = replace(erp, settings=replace(erp.settings, window_commands=2))

    window = await window_of(bed, erp)
    assert [command.command_id for command in window.commands] == [*ids[:2], *ids[5:7]]


async def test_nothing_begins_while_writes_are_stopped_or_the_connection_is_not_active(bed: Bed) -> None:
    await bed.order(external("1", ("A", 2)))
    erp, shop = await scope_of(bed, bed.erp), await scope_of(bed, bed.shop)
    (command,) = (await window_of(bed, erp)).commands
    marks = (await window_of(bed, shop)).marks
    async with bed.pool.acquire() as conn:
        await stop_writes(conn, tenant_id=bed.tenant_id, actor="ann", reason="test")

    assert await erp.transact(lambda conn: begin_actions(conn, erp, (command,))) == NotBegun("stopped")
    assert await shop.transact(lambda conn: begin_stock(conn, shop, marks)) == NotBegun("stopped")

    await bed.pool.execute("UPDATE switch SET is_on = false")
    await bed.pool.execute("UPDATE connection SET state = 'paused'")
    assert await erp.transact(lambda conn: begin_actions(conn, erp, (command,))) == NotBegun("stopped")
    assert await bed.pool.fetchval("SELECT count(*) FROM attempt") == 0


async def test_a_command_that_changed_meanwhile_is_left_alone(bed: Bed) -> None:
    """T2 annihilated it, or an older command of its target appeared: the window was out of date."""
    await bed.order(external("1", ("A", 2)))
    scope = await scope_of(bed, bed.erp)
    (command,) = (await window_of(bed, scope)).commands
    await bed.pool.execute("UPDATE command SET state = 'cancelled', finished_at = now()")
    assert await scope.transact(lambda conn: begin_actions(conn, scope, (command,))) == NotBegun("moved")

    await bed.pool.execute("UPDATE command SET state = 'pending', finished_at = NULL")
    async with bed.pool.acquire() as conn:
        later = await bed.plan(
            conn, bed.erp, CommandKind.ORDER_CANCEL, command.entity_id, command.target_key, version=2
        )
    newer = msgspec.structs.replace(command, command_id=later, kind=CommandKind.ORDER_CANCEL)
    assert await scope.transact(lambda conn: begin_actions(conn, scope, (newer,))) == NotBegun("moved")
    assert await bed.states() == {"pending": 2}


async def test_a_lane_that_lost_its_slot_begins_nothing(bed: Bed) -> None:
    await bed.order(external("1", ("A", 2)))
    scope = await scope_of(bed, bed.erp)
    (command,) = (await window_of(bed, scope)).commands
    await bed.pool.execute("UPDATE slot SET epoch = epoch + 1 WHERE role = 'dispatch' AND slot = $1", scope.owner.slot)

    with pytest.raises(Fenced):
        await scope.transact(lambda conn: begin_actions(conn, scope, (command,)))
    with pytest.raises(Fenced):
        await scope.charge_read()


async def test_window_shows_only_the_oldest_of_each_target(bed: Bed) -> None:
    orders = [await bed.order(external(str(n), ("A", 1))) for n in range(3)]
    for order in orders:
        await bed.cancel(order)
    await bed.pool.execute(
        "UPDATE command SET not_before = now() + interval '1 hour' WHERE entity_id = $1 AND kind = 'order.create'",
        orders[1].order_id,
    )
    scope = await scope_of(bed, bed.erp)

    window = await window_of(bed, scope)

    assert [command.entity_id for command in window.commands] == [orders[0].order_id, orders[2].order_id]
    assert {command.kind for command in window.commands} == {CommandKind.ORDER_CREATE}
