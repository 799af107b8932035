"""A channel whose stock flow becomes live is told what it was never told, once, and nothing that was never counted."""

from __future__ import annotations

from uuid import UUID

import pytest
from tests.stockbed import move_stock

from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection, Pool
from tidegate.sync.going_live import put_to_work

pytestmark = pytest.mark.asyncio
OBSERVED = """
connections:
  shop: {use: vendure}
  erp: {use: tryton}
owns: {stock.on_hand: erp}
flows:
  stock: {from: erp, to: [shop], mode: observe}
"""
LIVE = OBSERVED.replace("observe", "live")


async def add_channel(conn: Connection, tenant_id: UUID, mode: str = "observe") -> None:
    """A channel that sells three items: one told, one counted and never told, one never counted."""
    connection_id, location_id = new_id(), new_id()
    await conn.execute(
        "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account) "
        "VALUES ($1, $2, 'shop', 'vendure', 'x')",
        tenant_id,
        connection_id,
    )
    await conn.execute(
        "INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, 'main')", tenant_id, location_id
    )
    for sku, acked, is_counted in (("TOLD", 5, True), ("NEW", None, True), ("UNSEEN", None, False)):
        item_id = new_id()
        await conn.execute("INSERT INTO inventory_item VALUES ($1, $2, $3)", tenant_id, item_id, sku)
        await conn.execute(
            "INSERT INTO channel_stock (tenant_id, connection_id, item_id, acked_quantity, mode) VALUES ($1, $2, $3, $4, $5)",
            tenant_id,
            connection_id,
            item_id,
            acked,
            mode,
        )
        if is_counted:
            await move_stock(conn, tenant_id, item_id, location_id, on_hand=7)


async def dirty(conn: Connection) -> set[str]:
    rows = await conn.fetch("SELECT sku FROM channel_stock JOIN inventory_item USING (tenant_id, item_id) WHERE dirty")
    return {row[0] for row in rows}


async def test_going_live_marks_every_counted_item(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        tenant_id = (await put_to_work(conn, OBSERVED, applied_by="test")).tenant_id
        await add_channel(conn, tenant_id)
        await put_to_work(conn, OBSERVED + "polling: {enabled: false}\n", applied_by="test")
        assert await dirty(conn) == set()

        await put_to_work(conn, LIVE, applied_by="test")

        assert await dirty(conn) == {"TOLD", "NEW"}


async def test_a_flow_that_was_live_before_marks_only_what_was_never_told(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        tenant_id = (await put_to_work(conn, LIVE, applied_by="test")).tenant_id
        await add_channel(conn, tenant_id, "live")

        await put_to_work(conn, LIVE, applied_by="test")

        assert await dirty(conn) == {"NEW"}
