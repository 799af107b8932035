"""`/v1/reservations`: what a checkout does, and what it is told."""

from __future__ import annotations

import asyncio

import pytest
from tests.apibed import Tenant, add_tenant, api_bed, public
from tests.reservebed import check_reserved

from tidegate.kernel.ids import new_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.combiner import CombinerSettings
from tidegate.web.database import combiner_on

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


def wish(tenant: Tenant, key: str, quantity: int = 1, **more: object) -> dict[str, object]:
    return {"idempotency_key": key, **cart(tenant, quantity, **more)}


async def test_several_in_one_request_are_decided_one_by_one(database: Database, owner_pool: Pool) -> None:
    """Each is held or refused by itself, in their order; what is wrong with one is nobody else's trouble."""
    tenant, other = await add_tenant(owner_pool, "one"), await add_tenant(owner_pool, "two")  # 9 left
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "stock:reserve")
        asked = [
            wish(tenant, "a", 4, reference="cart-1"),
            wish(tenant, "b", 6),
            wish(other, "c"),
            wish(tenant, "d", 5),
            wish(tenant, "a", 4, reference="cart-1"),
            wish(tenant, "a", 3),
            wish(tenant, "e", 1),
        ]
        answer = await bed.call("POST", f"{ADDRESS}/batch", key=key, json={"reservations": asked})
        alone = await bed.call("POST", ADDRESS, key=key, json=cart(tenant, 4, reference="cart-1"), once="a")
    told = answer.json["outcomes"]

    assert answer.status == 200
    assert [each["idempotency_key"] for each in told] == [each["idempotency_key"] for each in asked]
    assert [each["status"] for each in told] == [201, 409, 422, 201, 201, 422, 409]
    assert [each.get("problem", {}).get("code") for each in told] == [
        None, "insufficient_stock", "sku_unknown", None, None, "idempotency_key_reused", "insufficient_stock",
    ]  # fmt: skip
    assert told[1]["problem"]["shortages"] == [{"sku": tenant.sku, "wanted": 6, "available": 5}]
    assert told[4] == {**told[0], "replayed": True}
    assert (alone.status, alone.json["code"]) == (422, "idempotency_key_reused")
    await check_reserved(owner_pool)


async def test_what_was_decided_in_one_company_is_told_again_in_any_other(database: Database, owner_pool: Pool) -> None:
    """Also at once, in two processes, however it is written. (SECURITY G10)"""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed, api_bed(database, owner_pool) as elsewhere:
        key, mine = await bed.key(tenant, "stock:reserve"), [wish(tenant, f"k{n}") for n in range(12)]
        turned = [{"lines": each["lines"], **each, "expires_in": 900} for each in reversed(mine)]
        calls = [
            place.call("POST", f"{ADDRESS}/batch", key=key, json={"reservations": part})
            for place, part in ((bed, mine), (elsewhere, turned), (bed, mine[6:]), (elsewhere, mine[:6]))
        ]
        answers = await asyncio.gather(*calls)
        other_key = await bed.key(tenant, "stock:*")
        fresh = await bed.call("POST", f"{ADDRESS}/batch", key=other_key, json={"reservations": mine[:1]})
    told: dict[str, list[dict[str, object]]] = {}
    for answer in answers:
        for each in answer.json["outcomes"]:
            told.setdefault(each.pop("idempotency_key"), []).append(each)

    assert {name: sum("replayed" not in each for each in outcomes) for name, outcomes in told.items()} == {
        f"k{n}": 1 for n in range(12)
    }
    for outcomes in told.values():
        assert all({**each, "replayed": True} == {**outcomes[0], "replayed": True} for each in outcomes)
    assert fresh.json["outcomes"][0]["status"] == 409  # 9 are held: keys of another API key are others
    assert await owner_pool.fetchval("SELECT count(*) FROM reservation WHERE state = 'held'") == 9
    await check_reserved(owner_pool)


async def test_a_batch_that_is_not_valid_does_nothing(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    good = wish(tenant, "good")
    wrong: list[object] = [
        {}, {"reservations": []}, {"reservations": [good] * 201}, {"reservations": good}, {"reservations": [good, None]},
        {"reservations": [good, cart(tenant)]}, {"reservations": [good, wish(tenant, "")]},
        {"reservations": [good, wish(tenant, "a b")]}, {"reservations": [good, wish(tenant, "x", 0)]},
        {"reservations": [good, wish(tenant, "x", more=1)]}, {"reservations": [good], "more": 1},
        {"reservations": [good, wish(tenant, "x", reference="a\u0000b")]},
    ]  # fmt: skip
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "stock:reserve")
        answers = [await bed.call("POST", f"{ADDRESS}/batch", key=key, json=each) for each in wrong]

    assert [answer.status for answer in answers] == [400] * len(wrong)
    assert answers[8].json["errors"][0]["pointer"].startswith("/reservations")
    assert await owner_pool.fetchval("SELECT count(*) FROM reservation WHERE state = 'held'") == 0


async def test_a_batch_that_cannot_wait_is_told_to_come_again(database: Database, owner_pool: Pool) -> None:
    """All of it or none of it: nothing was begun, and nothing of it is kept."""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        bed.world.combiner = combiner_on(bed.world.pool, CombinerSettings(waiting_max=3))
        key = await bed.key(tenant, "stock:reserve")
        asked = {"reservations": [wish(tenant, f"k{n}") for n in range(4)]}
        busy = await bed.call("POST", f"{ADDRESS}/batch", key=key, json=asked)
        fits = await bed.call("POST", f"{ADDRESS}/batch", key=key, json={"reservations": asked["reservations"][:3]})

    assert (busy.status, busy.json["code"]) == (503, "busy")
    assert [each["status"] for each in fits.json["outcomes"]] == [201] * 3
    await check_reserved(owner_pool)
