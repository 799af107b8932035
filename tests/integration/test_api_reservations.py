"""`/v1/reservations`: what a checkout does, and what it is told."""

from __future__ import annotations

import asyncio

import pytest
from tests.apibed import Tenant, add_tenant, api_bed, public
from tests.reservebed import check_reserved

from tidegate.kernel.ids import new_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
ADDRESS = "/v1/reservations"


def cart(tenant: Tenant, quantity: int = 2, **more: object) -> dict[str, object]:
    return {"lines": [{"sku": tenant.sku, "quantity": quantity}], **more}


async def test_a_checkout_reserves_claims_and_releases(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")  # 10 on hand, 1 committed
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "stock:*")
        made = await bed.call("POST", ADDRESS, key=key, json=cart(tenant, reference="cart-1"), once="a")
        short = await bed.call("POST", ADDRESS, key=key, json=cart(tenant, 8), once="b")
        name = made.json["id"]
        shown = await bed.call("GET", f"{ADDRESS}/{name}", key=key)
        listed = await bed.call("GET", f"{ADDRESS}?state=held&sku={tenant.sku}", key=key)
        level = await bed.call("GET", f"/v1/stock/{tenant.sku}", key=key)
        claimed = await bed.call(
            "POST", f"{ADDRESS}/{name}/claim", key=key, json={"connection": "shop", "order": tenant.number}, once="c"
        )
        released = await bed.call("POST", f"{ADDRESS}/{name}/release", key=key, once="d")
        why = await bed.call("GET", f"/v1/stock/{tenant.sku}/why", key=key)

    assert (made.status, made.json["state"], made.json["awaits_order"]) == (201, "held", False)
    assert (short.status, short.json["code"]) == (409, "insufficient_stock")
    assert short.json["shortages"] == [{"sku": tenant.sku, "wanted": 8, "available": 7}]
    assert shown.json["holds"] == [{"sku": tenant.sku, "location": "main", "units": 2}]
    assert [each["id"] for each in listed.json["items"]] == [name]
    assert level.json["levels"][0]["reserved"] == 2
    assert (claimed.status, claimed.json["state"], claimed.json["awaits_order"]) == (200, "claimed", False), (
        claimed.json
    )
    assert (released.status, released.json["code"]) == (409, "reservation_claimed")
    assert any("reserve at main" in step["words"] for step in why.json["steps"])
    await check_reserved(owner_pool)


async def test_the_same_request_again_gets_the_same_answer(database: Database, owner_pool: Pool) -> None:
    """Also when it comes at once, to two processes, and when it was refused. (SECURITY G10)"""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed, api_bed(database, owner_pool) as elsewhere:
        key = await bed.key(tenant, "stock:reserve")
        both = (bed, elsewhere)
        answers = await asyncio.gather(
            *(both[n % 2].call("POST", ADDRESS, key=key, json=cart(tenant), once="a") for n in range(16))
        )
        refusals = [await bed.call("POST", ADDRESS, key=key, json=cart(tenant, 9), once="b") for _ in range(2)]
        other = await bed.call("POST", ADDRESS, key=key, json=cart(tenant, 3), once="a")

    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert refusals[0].body == refusals[1].body
    assert refusals[1].headers["idempotency-replayed"] == "true"
    assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")
    assert await owner_pool.fetchval("SELECT count(*) FROM reservation WHERE state = 'held'") == 1
    await check_reserved(owner_pool)


async def test_what_cannot_be_is_said(database: Database, owner_pool: Pool) -> None:
    one, two = await add_tenant(owner_pool, "one"), await add_tenant(owner_pool, "two")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(one, "stock:*")
        foreign = await bed.key(two, "stock:*")
        made = await bed.call("POST", ADDRESS, key=key, json=cart(one), once="0")
        name = made.json["id"]
        bad = {
            "sku_unknown": await bed.call("POST", ADDRESS, key=key, json=cart(two), once="1"),
            "location_unknown": await bed.call("POST", ADDRESS, key=key, json=cart(one, location="moon"), once="2"),
            "invalid_request": await bed.call("POST", ADDRESS, key=key, json={"lines": []}, once="3"),
            "reservation_unknown": await bed.call(
                "POST", f"{ADDRESS}/{public('res', new_id())}/release", key=key, once="4"
            ),
        }
        others = [
            await bed.call("GET", f"{ADDRESS}/{name}", key=foreign),
            await bed.call("POST", f"{ADDRESS}/{name}/release", key=foreign, once="5"),
            await bed.call("POST", f"{ADDRESS}/{name}/claim", key=foreign, json={}, once="6"),
        ]
        scopeless = await bed.call("POST", ADDRESS, key=await bed.key(one, "stock:read"), json=cart(one), once="7")
        huge = await bed.call("POST", ADDRESS, key=key, json=cart(one, 10**6), once="8")

    assert {code: answer.json["code"] for code, answer in bad.items()} == {code: code for code in bad}
    assert {(answer.status, answer.json["code"]) for answer in others} == {(404, "reservation_unknown")}
    assert (scopeless.status, scopeless.json["code"]) == (403, "scope_missing")
    assert huge.status == 409
    await check_reserved(owner_pool)


async def test_the_web_role_moves_nothing_but_what_is_reserved(database: Database, owner_pool: Pool) -> None:
    """The ledger is open to it for reservations only, whatever it is made to say."""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed, bed.world.pool.acquire() as conn:
        entry = (
            "INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, on_hand_delta, on_hand_after,"
            " committed_after, unavailable_after, reserved_after, cause_key, actor, reservation_id)"
            " SELECT tenant_id, item_id, location_id, 2, $2, $3, 10 + $3, 1, 0, 0, 'x', 'x', $4 FROM stock_level"
            " WHERE tenant_id = $1"
        )
        refused = 0
        for kind, delta, reservation in (("adjust", 5, None), ("reserve", 5, new_id()), ("reserve", 0, None)):
            try:
                async with conn.transaction():
                    await conn.execute("SELECT set_config('app.tenant', $1, true)", str(tenant.tenant_id))
                    await conn.execute(entry, tenant.tenant_id, kind, delta, reservation)
            except Exception as error:
                refused += "row-level security" in str(error)
    assert refused == 3
