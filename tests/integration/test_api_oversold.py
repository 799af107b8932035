"""`/v1/oversold`: what lacks, and that a person lets orders wait, once."""

from __future__ import annotations

import dataclasses

import pytest
from tests.apibed import add_tenant, api_bed
from tests.stockbed import move_stock

from tidegate.connectors import vendure
from tidegate.kernel.ids import public_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
CALL_OFF = """
WITH held AS (UPDATE "order" SET called_off_at = now() WHERE tenant_id = $1 AND order_id = $2)
INSERT INTO oversold_order (tenant_id, order_id, version, item_id, outcome, units, location_id, decided_by)
VALUES ($1, $2, 1, $3, 'called_off', 1, $4, 'policy')
"""


async def test_orders_that_lack_wait_by_a_decision_that_counts_once(database: Database, owner_pool: Pool) -> None:
    """SECURITY G10: with the scope, under a key of its own, and nobody else's orders."""
    tenant, other = await add_tenant(owner_pool, "one"), await add_tenant(owner_pool, "two")
    async with owner_pool.acquire() as conn, conn.transaction():
        place = await conn.fetchval("SELECT location_id FROM stock_level WHERE item_id = $1", tenant.item)
        await move_stock(conn, tenant.tenant_id, tenant.item, place, on_hand=-11, committed=1)
    async with api_bed(database, owner_pool) as bed:
        key, reader = await bed.key(tenant, "stock:*"), await bed.key(tenant, "stock:read")
        stranger = await bed.key(other, "stock:*")
        before = await bed.call("GET", "/v1/oversold", key=reader)
        (order,) = before.json["items"][0]["orders"]
        address = f"/v1/oversold/{tenant.sku}/decisions"
        wish = {"decision": "wait", "orders": [order["order_id"]]}
        denied = await bed.call("POST", address, key=reader, json=wish, once="a")
        foreign = await bed.call("POST", f"/v1/oversold/{tenant.sku}x/decisions", key=key, json=wish, once="z")
        nobody = await bed.call("POST", f"/v1/oversold/{other.sku}/decisions", key=stranger, json=wish, once="a")
        first = await bed.call("POST", address, key=key, json=wish, once="a")
        again = await bed.call("POST", address, key=key, json=wish, once="a")
        once_more = await bed.call("POST", address, key=key, json=wish, once="b")
        after = await bed.call("GET", "/v1/oversold", key=reader)
        shown = await bed.call("GET", f"/v1/orders/{order['order_id']}", key=await bed.key(tenant, "orders:read"))
        undone = await bed.call("POST", address, key=key, json={"decision": "undo"}, once="c")
        await owner_pool.execute(CALL_OFF, tenant.tenant_id, tenant.order, tenant.item, place)
        off = await bed.call("GET", "/v1/oversold", key=reader)
        stands = [
            await bed.call("POST", address, key=key, json={"decision": "undo"}, once=once) for once in ("d", "d", "e")
        ]
        wrong = [
            (await bed.call("POST", address, key=key, json=bad, once=str(number))).status
            for number, bad in enumerate(
                ({}, {"decision": "refund"}, {"decision": "wait", "orders": []}, {"decision": "wait", "orders": ["x"]})
            )
        ]

    assert (before.json["items"][0]["missing"], before.json["items"][0]["undecided"], order["waits"]) == (3, 3, False)
    assert (denied.status, denied.json["code"]) == (403, "scope_missing")
    assert (foreign.status, foreign.json["code"]) == (404, "sku_unknown")
    assert (nobody.status, nobody.json["orders"]) == (200, [])
    assert first.json["orders"] == [public_id("ord", "c0", tenant.order)] == again.json["orders"]
    assert once_more.json["orders"] == []
    assert (after.json["items"][0]["undecided"], after.json["items"][0]["orders"][0]["waits"]) == (2, True)
    (waits,) = shown.json["backorders"]
    assert (waits["sku"], waits["units"], waits["promised_on"]) == (tenant.sku, 1, None)
    assert undone.json["orders"] == first.json["orders"]
    assert (off.json["items"][0]["undecided"], off.json["items"][0]["orders"][0]["called_off"]) == (2, True)
    assert [len(each.json["orders"]) for each in stands] == [1, 1, 0]
    assert wrong == [400, 400, 400, 404]
    actions = await owner_pool.fetch("SELECT actor, subject FROM audit_log WHERE action = 'stock.settled'")
    assert [row[1] for row in actions] == [tenant.sku] * 3


async def test_orders_that_lack_are_cancelled_in_their_shop_by_a_decision_that_counts_once(
    database: Database, owner_pool: Pool
) -> None:
    """SECURITY G10: the web process may hold an order back and ask its shop, and nothing else changes."""
    tenant = await add_tenant(owner_pool, "one")
    async with owner_pool.acquire() as conn, conn.transaction():
        place = await conn.fetchval("SELECT location_id FROM stock_level WHERE item_id = $1", tenant.item)
        await move_stock(conn, tenant.tenant_id, tenant.item, place, on_hand=-11, committed=1)
    shop = dataclasses.replace(vendure.CONNECTOR, cancels_own_orders=True, cancel_pays_back=True)
    async with api_bed(database, owner_pool, connectors={"vendure": shop}) as bed:
        key, reader = await bed.key(tenant, "stock:*"), await bed.key(tenant, "stock:read")
        address, wish = f"/v1/oversold/{tenant.sku}/decisions", {"decision": "cancel"}
        denied = await bed.call("POST", address, key=reader, json=wish, once="a")
        done = [await bed.call("POST", address, key=key, json=wish, once=once) for once in ("a", "a", "b")]
        after = await bed.call("GET", "/v1/oversold", key=reader)
        named = {"decision": "cancel", "orders": [public_id("ord", "c0", tenant.shop)]}
        unknown = await bed.call("POST", address, key=key, json=named, once="c")

    assert (denied.status, denied.json["code"]) == (403, "scope_missing")
    assert [each.json["orders"] for each in done] == [[public_id("ord", "c0", tenant.order)]] * 2 + [[]]
    assert after.json["items"][0]["orders"][0]["called_off"] is True
    assert (unknown.status, unknown.json["code"]) == (422, "order_not_cancellable")
    rows = await owner_pool.fetch("SELECT connection_id, state, version FROM command WHERE kind = 'order.cancel'")
    assert [tuple(row) for row in rows] == [(tenant.shop, "pending", 2)]
    actions = await owner_pool.fetch("SELECT subject FROM audit_log WHERE action = 'stock.settled'")
    assert [row[0] for row in actions] == [tenant.sku]
