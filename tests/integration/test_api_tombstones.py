"""`/v1/tombstones`: what was deleted over there; a person binds what took the place, or has it forgotten, once."""

from __future__ import annotations

import pytest
from tests.apibed import Answer, ApiBed, Tenant, add_tenant, api_bed

from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
BURY = """
INSERT INTO tombstone (tenant_id, connection_id, external_id, variant_id, parent_id)
SELECT tenant_id, $2, $3, variant_id, '' FROM variant WHERE tenant_id = $1 AND sku = $4
"""
WAIT = """
INSERT INTO match_open (tenant_id, connection_id, external_id, sku, title, reason, candidates)
VALUES ($1, $2, $3, $4, 'A shirt', 'recreated', ARRAY[$4])
"""


async def bury(owner: Pool, tenant: Tenant, *articles: str, waiting: tuple[str, ...] = ()) -> None:
    for article in articles:
        await owner.execute(BURY, tenant.tenant_id, tenant.shop, article, tenant.sku)
    for article in waiting:
        await owner.execute(WAIT, tenant.tenant_id, tenant.shop, article, tenant.sku)


async def post(bed: ApiBed, key: str, verb: str, once: str, article: str, successor: str | None = None) -> Answer:
    wish = {"connection": "shop", "external_id": article} | ({"successor": successor} if successor else {})
    return await bed.call("POST", f"/v1/tombstones/{verb}", key=key, json=wish, once=once)


async def test_deleted_articles_are_listed_page_by_page(database: Database, owner_pool: Pool) -> None:
    one, two = await add_tenant(owner_pool, "one"), await add_tenant(owner_pool, "two")
    await bury(owner_pool, one, "a 1", "a 2", "a 3", waiting=("new",))
    await bury(owner_pool, two, "foreign")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(one, "matches:read")
        first = await bed.call("GET", "/v1/tombstones?limit=2&connection=shop", key=key)
        address = f"/v1/tombstones?limit=2&connection=shop&cursor={first.json['next_cursor']}"
        second = await bed.call("GET", address, key=key)
        nowhere = await bed.call("GET", "/v1/tombstones?connection=other", key=key)
        invented = await bed.call("GET", "/v1/tombstones?cursor=WzEsInRvbWJzdG9uZXMiLCJ4Il0", key=key)

    rows = first.json["items"] + second.json["items"]
    assert [row["external_id"] for row in rows] == ["a 3", "a 2", "a 1"]
    assert second.json["next_cursor"] is None
    assert [(row["sku"], row["replaced_by"], row["waiting"]) for row in rows[:1]] == [(one.sku, None, ["new"])]
    assert [(answer.status, answer.json["code"]) for answer in (nowhere, invented)] == [
        (404, "connection_unknown"),
        (404, "cursor_unknown"),
    ]


async def test_what_was_made_anew_is_bound_in_the_place_once(database: Database, owner_pool: Pool) -> None:
    """SECURITY G10: with the scope, and the same whoever asks again; the channel is told the number of the new article."""
    tenant = await add_tenant(owner_pool, "one")
    await bury(owner_pool, tenant, "old", waiting=("new", "newer"))
    await owner_pool.execute("DELETE FROM channel_stock")  # nothing is told there since it was deleted
    async with api_bed(database, owner_pool) as bed:
        reader, key = await bed.key(tenant, "matches:read"), await bed.key(tenant, "matches:write")
        answers = [
            await post(bed, reader, "relink", "a", "old", "new"),
            await post(bed, key, "relink", "a", "never", "new"),
            await post(bed, key, "relink", "b", "old"),
            await post(bed, key, "relink", "c", "old", "nobody"),
            await post(bed, key, "relink", "d", "old", "new"),
            await post(bed, key, "relink", "e", "old"),
            await post(bed, key, "relink", "f", "old", "newer"),
        ]

    assert [(each.status, each.json.get("code")) for each in answers] == [
        (403, "scope_missing"),
        (404, "tombstone_unknown"),
        (409, "successor_ambiguous"),
        (404, "article_unknown"),
        (200, None),
        (200, None),
        (409, "place_taken"),
    ]
    assert [(each.json["successor"], each.json["is_new"]) for each in answers[4:6]] == [("new", True), ("new", False)]
    bound = await owner_pool.fetch("SELECT external_id FROM binding WHERE kind = 'variant'")
    assert [row[0] for row in bound] == ["new"]
    marks = await owner_pool.fetch("SELECT item_id, dirty, mode FROM channel_stock")
    assert [tuple(row) for row in marks] == [(tenant.item, True, "live")]
    assert [row[0] for row in await owner_pool.fetch("SELECT external_id FROM match_open")] == ["newer"]
    assert await owner_pool.fetchval("SELECT count(*) FROM tombstone") == 1
    told = await owner_pool.fetch("SELECT kind, external_id FROM drift_entry")
    assert [tuple(row) for row in told] == [("relinked", "new")]
    actions = await owner_pool.fetch("SELECT action FROM audit_log WHERE action LIKE 'tombstone%'")
    assert [row[0] for row in actions] == ["tombstone.relinked"]


async def test_what_was_deleted_is_forgotten_unless_orders_need_it(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    await bury(owner_pool, tenant, "old")
    await owner_pool.execute("UPDATE order_line SET sku = 'RENAMED'")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "matches:write")
        needed = await post(bed, key, "forget", "a", "old")
        await owner_pool.execute("UPDATE order_line SET fulfilled = current")
        before = await owner_pool.fetchval("SELECT catalogue_version FROM tenant")
        done = await post(bed, key, "forget", "b", "old")
        gone = await post(bed, key, "forget", "c", "old")

    assert (needed.status, needed.json["code"]) == (409, "tombstone_in_use")
    assert (done.status, done.json["sku"]) == (200, tenant.sku)
    assert (gone.status, gone.json["code"]) == (404, "tombstone_unknown")
    assert await owner_pool.fetchval("SELECT count(*) FROM tombstone") == 0
    assert await owner_pool.fetchval("SELECT catalogue_version FROM tenant") > before
