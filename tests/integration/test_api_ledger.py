"""`/v1/stock/{sku}/history` and `/adjustments`: what a person posts, once, and what the ledger says of it."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from tests.apibed import DOCUMENT, Tenant, add_tenant, api_bed

from tidegate.config.versions import record_version
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection, Pool
from tidegate.store.database import Database
from tidegate.store.pool import create_pool
from tidegate.store.roles import Role

pytestmark = pytest.mark.asyncio
NOBODY_COUNTS = (
    DOCUMENT.replace("owns: {{stock.on_hand: erp, shipment: erp}}", "owns: {{shipment: erp}}")
    .replace("  stock: {{from: erp, to: [shop], mode: live}}\n", "")
)  # fmt: skip
"""A configuration in which no other system counts the goods."""


def address(tenant: Tenant, end: str = "adjustments") -> str:
    return f"/v1/stock/{tenant.sku}/{end}"


async def let_nobody_count(owner: Pool, name: str) -> None:
    async with owner.acquire() as conn:
        await record_version(conn, NOBODY_COUNTS.format(name=name), applied_by="test")


async def test_a_count_is_posted_once_and_told(database: Database, owner_pool: Pool) -> None:
    """Also when many send it at once. (SECURITY G10)"""
    tenant = await add_tenant(owner_pool, "one")  # 10 on hand, 1 committed
    await let_nobody_count(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed, api_bed(database, owner_pool) as elsewhere:
        key = await bed.key(tenant, "stock:*")
        wish = {"location": "main", "counted": 7, "note": "shelf 7"}
        answers = await asyncio.gather(
            *((bed, elsewhere)[n % 2].call("POST", address(tenant), key=key, json=wish, once="a") for n in range(6))
        )
        again = await bed.call("POST", address(tenant), key=key, json=wish, once="a")
        level = await bed.call("GET", f"/v1/stock/{tenant.sku}", key=key)
        history = await bed.call("GET", address(tenant, "history?limit=1"), key=key)
        rest = await bed.call("GET", address(tenant, f"history?cursor={history.json['next_cursor']}"), key=key)
        nothing = await bed.call("POST", address(tenant), key=key, json=wish, once="b")
        dirty = await owner_pool.fetchval("SELECT dirty FROM channel_stock WHERE item_id = $1", tenant.item)

    done = [answer for answer in answers if answer.status == 200]
    assert {answer.status for answer in answers} <= {200, 409}, "409: the same key is being worked on"
    assert done[0].json == again.json
    assert (again.json["before"], again.json["after"], again.json["units"], again.json["counter"]) == (
        10,
        7,
        -3,
        "on_hand",
    )
    assert (level.json["levels"][0]["on_hand"], level.json["levels"][0]["available"]) == (7, 6)
    (entry,) = history.json["items"]
    assert (entry["kind"], entry["reason"], entry["note"]) == ("count", "counted", "shelf 7")
    assert (entry["before"]["on_hand"], entry["delta"]["on_hand"], entry["after"]["on_hand"]) == (10, -3, 7)
    assert entry["actor"].startswith("api:")
    assert [each["version"] for each in rest.json["items"]] == [entry["version"] - 1]
    assert rest.json["next_cursor"] is None
    assert (nothing.status, nothing.json["units"], nothing.json["version"]) == (200, 0, None)
    assert dirty


async def test_where_an_erp_counts_units_are_set_aside_and_nothing_else(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "stock:*")
        refused = await bed.call("POST", address(tenant), key=key, json={"by": 1, "reason": "found"}, once="a")
        aside = await bed.call("POST", address(tenant), key=key, json={"by": 2, "aside": "damaged"}, once="b")
        back = await bed.call("POST", address(tenant), key=key, json={"by": -3, "aside": "damaged"}, once="c")
        other = await bed.call("POST", address(tenant), key=key, json={"by": -1, "aside": "quality_hold"}, once="d")
        level = await bed.call("GET", f"/v1/stock/{tenant.sku}", key=key)

    assert (refused.status, refused.json["code"]) == (409, "not_owner")
    assert "'erp' counts the goods" in refused.json["detail"]
    assert (aside.status, aside.json["counter"], aside.json["after"]) == (200, "unavailable", 2)
    assert (back.status, back.json["code"]) == (409, "not_set_aside")
    assert (other.status, other.json["code"]) == (409, "not_set_aside")
    assert (level.json["levels"][0]["on_hand"], level.json["levels"][0]["unavailable"]) == (10, 2)


WRONG: list[tuple[dict[str, object], int, str]] = [
    ({}, 422, "value_invalid"),
    ({"by": 1}, 422, "value_invalid"),
    ({"by": 0, "reason": "found"}, 422, "value_invalid"),
    ({"by": 1, "counted": 2, "reason": "found"}, 422, "value_invalid"),
    ({"counted": 2, "aside": "damaged"}, 422, "value_invalid"),
    ({"counted": 2, "reason": "lost"}, 422, "value_invalid"),
    ({"by": 1, "reason": "found", "counted_at": "2026-11-27T10:00:00Z"}, 422, "value_invalid"),
    ({"by": 1, "reason": "because"}, 400, "invalid_request"),
    ({"by": 1.5, "reason": "found"}, 400, "invalid_request"),
    ({"by": 10**20, "reason": "found"}, 400, "invalid_request"),
    ({"counted": -1}, 400, "invalid_request"),
    ({"counted": 1, "counted_at": "2026-11-27T10:00:00"}, 400, "invalid_request"),
    ({"counted": 1, "note": "a\u0000b"}, 400, "invalid_request"),
    ({"counted": 1, "more": True}, 400, "invalid_request"),
    ({"by": 1, "reason": "found", "location": "attic"}, 404, "location_unknown"),
    ({"by": -11, "reason": "lost"}, 409, "below_zero"),
]


async def test_what_makes_no_sense_changes_nothing(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    await let_nobody_count(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "stock:*")
        for number, (wish, status, code) in enumerate(WRONG):
            answer = await bed.call("POST", address(tenant), key=key, json=wish, once=str(number))
            assert (answer.status, answer.json["code"]) == (status, code), (wish, answer.json)
    assert await owner_pool.fetchval("SELECT count(*) FROM stock_entry WHERE actor LIKE 'api:%'") == 0


async def as_web(conn: Connection, tenant: Tenant, statement: str, *values: object) -> None:
    async with conn.transaction():
        await conn.execute("SELECT set_config('app.tenant', $1, true)", str(tenant.tenant_id))
        await conn.execute(statement, *values)


async def test_the_web_role_posts_what_people_say_and_nothing_else(database: Database, owner_pool: Pool) -> None:
    """SECURITY A10: no entry that looks like a shipment, an order or a movement of another system."""
    tenant = await add_tenant(owner_pool, "one")
    place = await owner_pool.fetchval("SELECT location_id FROM stock_level WHERE item_id = $1", tenant.item)
    statement = """
        INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, on_hand_delta, committed_delta, on_hand_after,
                                 unavailable_after, committed_after, reserved_after, cause_key, actor, reason, event_id)
        VALUES ($1, $2, $3, 99, $4, 1, $5, 1, 0, 0, 0, $6, 'x', $7, $8)
    """
    pool = await create_pool(database.access(Role.WEB), application_name="test", size_min=0, size_max=1)
    try:
        async with pool.acquire() as conn:
            for kind, committed, cause, reason, event in (
                ("ship", 0, "adjust:1", "lost", None),
                ("adjust", 1, "adjust:1", "lost", None),
                ("adjust", 0, "move:1", "lost", None),
                ("adjust", 0, "adjust:1", None, None),
                ("adjust", 0, "adjust:1", "lost", new_id()),
            ):
                values = (tenant.tenant_id, tenant.item, place, kind, committed, cause, reason, event)
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await as_web(conn, tenant, statement, *values)
    finally:
        await pool.close()
