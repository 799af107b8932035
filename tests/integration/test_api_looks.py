"""`/v1/looks` and healing through the API, as the role of web may do it."""

from __future__ import annotations

import pytest
from tests.apibed import Tenant, add_tenant, api_bed

from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
MORE_DRIFT = """
INSERT INTO drift (tenant_id, connection_id, run_id, external_id, field, sku, owner, other, owner_value, other_value, cause, risk)
SELECT $1, $2, $3, 'more-' || n, 'stock', 'M' || n, 'tidegate', 'shop', 7, 3, 'changed_there', risk
FROM unnest($4::numeric[]) WITH ORDINALITY AS r(risk, n)
"""


async def schedule(pool: Pool, tenant: Tenant) -> None:
    """The shop is looked at; its item differs, and waits for a person."""
    await pool.execute(
        "INSERT INTO sync_schedule (tenant_id, connection_id, due_at, interval_seconds, rules)"
        " VALUES ($1, $2, now() + interval '1 hour', 900, 'x')", tenant.tenant_id, tenant.shop,
    )  # fmt: skip
    await pool.execute("DELETE FROM drift WHERE tenant_id = $1", tenant.tenant_id)
    await pool.execute(
        "INSERT INTO drift (tenant_id, connection_id, run_id, external_id, field, sku, item_id, owner, other, owner_value,"
        " other_value, cause, heal) VALUES ($1, $2, $3, 'x', 'stock', $4, $5, 'tidegate', 'shop', 7, 3, 'changed_there', 'waits')",
        tenant.tenant_id, tenant.shop, tenant.run, tenant.sku, tenant.item,
    )  # fmt: skip
    await pool.execute("UPDATE channel_stock SET mode = 'live', dirty = false, dirty_at = NULL, blocked_by = NULL")


async def test_looks_are_listed_paused_and_resumed(database: Database, owner_pool: Pool) -> None:
    one, two = await add_tenant(owner_pool, "one"), await add_tenant(owner_pool, "two")
    await schedule(owner_pool, one)
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(one, "runs:read", "drift:run")
        name = (await bed.call("GET", "/v1/looks", key=key)).json["items"][0]["connection"]
        paused = await bed.call("POST", "/v1/looks/pause", key=key, json={"seconds": 3600}, once="a")
        again = await bed.call("POST", "/v1/looks/pause", key=key, json={"seconds": 3600}, once="a")
        others = await bed.call(
            "POST", "/v1/looks/pause", key=await bed.key(two, "drift:run"), json={"seconds": 60}, once="a"
        )
        shown = (await bed.call("GET", "/v1/looks", key=key)).json["items"]
        resumed = await bed.call("POST", "/v1/looks/resume", key=key, json={}, once="b")
        nobody = await bed.call("POST", "/v1/looks/pause", key=key, json={"connection": "nowhere"}, once="c")

    assert (paused.status, paused.json, again.json) == (200, {"connections": [name]}, paused.json)
    assert others.status in (409, 422)
    assert {look["connection"]: look["paused_until"] is not None for look in shown}[name]
    assert resumed.json == {"connections": [name]}
    assert nobody.status in (404, 422)


async def test_what_waits_is_told_anew_through_the_api(database: Database, owner_pool: Pool) -> None:
    one = await add_tenant(owner_pool, "one")
    await schedule(owner_pool, one)
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(one, "drift:read", "drift:heal")
        (shown,) = (await bed.call("GET", "/v1/drift", key=key)).json["items"]
        nothing = await bed.call("POST", "/v1/drift/heal", key=key, json={}, once="a")
        told = await bed.call("POST", "/v1/drift/heal", key=key, json={"skus": [one.sku]}, once="b")
        again = await bed.call("POST", "/v1/drift/heal", key=key, json={"skus": [one.sku]}, once="c")
        (after,) = (await bed.call("GET", "/v1/drift", key=key)).json["items"]

        await owner_pool.execute(MORE_DRIFT, one.tenant_id, one.shop, one.run, [9, 5, 5, 5, None, None])
        pages, cursor = [], ""
        while cursor is not None:
            page = (await bed.call("GET", f"/v1/drift?top=2{cursor and '&cursor='}{cursor}", key=key)).json
            pages.append([row["external_id"] for row in page["items"]])
            cursor = page["next_cursor"]
        invented = await bed.call("GET", "/v1/drift?cursor=W10", key=key)
    assert pages[0][0] == "more-1"
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert {name for page in pages for name in page} == {"x", *(f"more-{number}" for number in range(1, 7))}
    assert invented.status == 404

    assert (shown["heal"], after["heal"]) == ("waits", "healing")
    assert (nothing.status, nothing.json["code"]) == (422, "nothing_chosen")
    assert (told.status, told.json) == (200, {"told": 1, "left": 0, "has_more": False})
    assert again.json == {"told": 0, "left": 0, "has_more": False}
    mark = await owner_pool.fetchrow(
        "SELECT dirty, late_until <= now() AS is_due FROM channel_stock WHERE tenant_id = $1 AND connection_id = $2",
        one.tenant_id, one.shop,
    )  # fmt: skip
    assert mark is not None
    assert tuple(mark) == (True, True)
