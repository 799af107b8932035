"""Modes of a large catalogue are put to work in a time that people do not notice, and only what changes is written."""

from __future__ import annotations

import time
from uuid import UUID

import pytest

from tidegate.kernel.ids import new_id
from tidegate.store.connections import Pool
from tidegate.sync.going_live import put_to_work

pytestmark = pytest.mark.asyncio
ITEMS = 100_000
TEXT = """
connections:
  shop: {use: vendure}
  erp: {use: tryton}
owns: {stock.on_hand: erp}
flows:
  stock: {from: erp, to: [shop], mode: observe}
overrides: []
"""
SECONDS_MAX = 300.0
"""A guard against work that grows faster than the catalogue, far above what it takes."""


async def test_one_sku_of_a_hundred_thousand_goes_live(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        tenant_id: UUID = (await put_to_work(conn, TEXT, applied_by="test")).tenant_id
        channel, place = new_id(), new_id()
        await conn.execute(
            "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account)"
            " VALUES ($1, $2, 'shop', 'vendure', 'x')",
            tenant_id, channel,
        )  # fmt: skip
        await conn.execute(
            "INSERT INTO inventory_item (tenant_id, item_id, sku)"
            " SELECT $1, gen_random_uuid(), 'SKU-' || n FROM generate_series(1, $2) n",
            tenant_id, ITEMS,
        )  # fmt: skip
        await conn.execute(
            "INSERT INTO channel_stock (tenant_id, connection_id, item_id) SELECT $1, $2, item_id FROM inventory_item",
            tenant_id, channel,
        )  # fmt: skip
        await conn.execute(
            "INSERT INTO stock_level (tenant_id, item_id, location_id) SELECT $1, item_id, $2 FROM inventory_item",
            tenant_id, place,
        )  # fmt: skip
        took = []
        for rules, changed in (
            ('[{match: "sku:SKU-77", stock.mode: live}]', {"live": 1}),
            ('[{match: "sku:SKU-9*", stock.mode: propose}]', {"propose": 11_111}),
        ):
            started = time.monotonic()
            await put_to_work(conn, TEXT.replace("[]", rules), applied_by="test")
            took.append(time.monotonic() - started)
            rows = await conn.fetch("SELECT mode, count(*) FROM channel_stock GROUP BY 1")
            assert {row[0]: row[1] for row in rows} == {"observe": ITEMS - sum(changed.values()), **changed}
            assert await conn.fetchval("SELECT count(*) FROM channel_stock WHERE dirty") == sum(changed.values())
        started = time.monotonic()
        await put_to_work(conn, TEXT.replace("observe", "live"), applied_by="test")
        took.append(time.monotonic() - started)
        print("seconds:", [round(each, 2) for each in took])

        assert await conn.fetchval("SELECT count(*) FROM channel_stock WHERE dirty AND sendable") == ITEMS
    assert max(took) < SECONDS_MAX
