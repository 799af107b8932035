"""A channel whose stock flow becomes live is told what it was never told, once, and nothing that was never counted."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from tests.stockbed import move_stock

from tidegate.kernel.errors import ConflictError
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection, Pool
from tidegate.sync import statements
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


async def test_no_number_is_made_up_for_what_was_never_counted(owner_pool: Pool) -> None:
    """Also not by the look of the workers for articles that a channel never heard of."""
    async with owner_pool.acquire() as conn:
        tenant_id = (await put_to_work(conn, LIVE, applied_by="test")).tenant_id
        await add_channel(conn, tenant_id, "live")
        channels = await conn.fetch("SELECT connection_id FROM connection")

        await conn.execute(statements.MARK_UNTOLD, tenant_id, [row[0] for row in channels])

        assert await dirty(conn) == {"NEW"}


async def test_what_was_compared_with_an_older_version_undoes_none_that_was_made_meanwhile(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        first = await put_to_work(conn, OBSERVED, applied_by="test")
        await put_to_work(conn, LIVE, applied_by="page", expected_version=first.version)

        with pytest.raises(ConflictError, match="version 2 was made meanwhile by page"):
            await put_to_work(
                conn, OBSERVED + "polling: {enabled: false}\n", applied_by="cli", expected_version=first.version
            )
        again = await put_to_work(conn, LIVE, applied_by="page", expected_version=first.version)

        assert (again.version, again.is_new) == (2, False), "an answer that was lost may be asked for again"
        assert await conn.fetchval("SELECT max(version) FROM config_version") == 2


async def test_two_who_apply_at_once_do_not_undo_each_other(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as one, owner_pool.acquire() as two:
        seen = (await put_to_work(one, OBSERVED, applied_by="test")).version
        changed = [f"{OBSERVED}cell: {cell}\n" for cell in ("c1", "c2")]

        done = await asyncio.gather(
            put_to_work(one, changed[0], applied_by="a", expected_version=seen),
            put_to_work(two, changed[1], applied_by="b", expected_version=seen),
            return_exceptions=True,
        )

    assert sorted(type(each).__name__ for each in done) == ["ConfigVersion", "ConflictError"]


async def test_a_version_that_cannot_be_used_stands_in_nobodys_way(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        seen = await put_to_work(conn, OBSERVED, applied_by="test")
        await conn.execute(
            "INSERT INTO config_version (tenant_id, version, digest, document, applied_by) "
            "VALUES ($1, 2, 'x', 'cell: [no', 'test')",
            seen.tenant_id,
        )

        made = await put_to_work(conn, LIVE, applied_by="test", expected_version=seen.version)

    assert made.version == 3
