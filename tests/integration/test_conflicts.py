"""Fields that somebody else wrote: shown with their rule, settled once, through the command line and the API."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from msgspec import structs
from tests.apibed import DOCUMENT, Tenant, add_tenant, api_bed
from tests.dispatchbed import Bed

from tidegate.config import Config
from tidegate.config.parse import examine
from tidegate.config.versions import record_version
from tidegate.dispatch import heal
from tidegate.dispatch.heal import Chosen
from tidegate.kernel.errors import ConfigurationError, ConflictError
from tidegate.kernel.ids import new_id
from tidegate.monitor.conflicts import Conflict, read_conflicts, rule_of
from tidegate.monitor.settling import choose, take_theirs
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool) -> Bed:
    made = Bed(database, owner_pool, "http://127.0.0.1:1")
    await made.create()
    return made


def config_of(policy: str) -> Config:
    config, problems = examine(f"tenant: main\nreconcile: {{default: {{heal: {{stock: {policy}}}}}}}")
    assert config is not None, problems
    return config


async def differ(
    bed: Bed, sku: str, *, ours: int, theirs: int, cause: str = "changed_there", heal: str = "waits"
) -> UUID:
    item = await bed.article(sku, on_hand=ours)
    await bed.pool.execute(
        "INSERT INTO drift (tenant_id, connection_id, run_id, external_id, field, sku, item_id, variant_id, owner, other,"
        " owner_value, other_value, cause, heal) VALUES ($1, $2, $3, $4, 'stock', $5, $6, $7, 'tidegate', 'shop_a', $8, $9, $10, $11)",
        bed.tenant_id, bed.shop, new_id(), f"art-{sku}", sku, item, bed.variants[sku], ours, theirs, cause, heal,
    )  # fmt: skip
    return item


async def found(bed: Bed, config: Config, sku: str | None = None) -> tuple[Conflict, ...]:
    async with bed.pool.acquire() as conn:
        return await read_conflicts(conn, bed.tenant_id, config, sku=sku, limit=50)


@pytest.mark.parametrize(("policy", "rule"), [("auto", "owner"), ("approve", "ask"), ("report", "show")])
async def test_the_declared_rule_is_shown(bed: Bed, policy: str, rule: str) -> None:
    config = config_of(policy)
    assert (rule_of(config, "shop_a", "stock"), rule_of(config, "shop_a", "price")) == (rule, "show")
    await differ(bed, "A", ours=7, theirs=9)
    await differ(bed, "B", ours=7, theirs=9, cause="missed_event")  # nobody wrote it: units were sold
    (one,) = await found(bed, config)
    assert (one.sku, one.rule, one.owner_value, one.other_value, one.units) == ("A", rule, 7, 9, 1)
    assert await found(bed, config, "B") == ()


async def test_the_owner_wins_for_the_one_article_that_is_meant(bed: Bed) -> None:
    """A SKU with a star in it is a SKU, and no pattern."""
    await differ(bed, "A*", ours=7, theirs=9)
    await differ(bed, "AB", ours=7, theirs=9)
    await bed.pool.execute("UPDATE channel_stock SET mode = 'live', dirty = false, dirty_at = NULL")
    conflict = choose(await found(bed, config_of("approve"), "A*"), "shop_a", "A*")
    chosen = Chosen(connection="shop_a", articles=(conflict.external_id,), only_waiting=False)
    async with bed.pool.acquire() as conn:
        done = await heal.heal(conn, tenant_id=bed.tenant_id, chosen=chosen, actor="cli:kim")
    assert (done.chosen, done.told) == (1, 1)
    rows = await bed.pool.fetch("SELECT item_id FROM channel_stock WHERE dirty")
    assert [row[0] for row in rows] == [bed.items["A*"]]
    assert [one.becomes.partition(",")[0] for one in await found(bed, config_of("approve"), "A*")] == [
        "the owner's value was written again; the next look shows what became of it"
    ]


async def test_what_cannot_be_settled_says_why(bed: Bed) -> None:
    with pytest.raises(ConfigurationError, match="say the same"):
        choose((), "shop_a", "A")
    await differ(bed, "A", ours=7, theirs=9)
    twice = await found(bed, config_of("auto")) * 2
    with pytest.raises(ConflictError, match="several articles"):
        choose(twice, "shop_a", "A")


async def test_the_api_shows_owners_writers_and_conflicts_of_its_tenant(database: Database, owner_pool: Pool) -> None:
    one, two = await add_tenant(owner_pool, "one"), await add_tenant(owner_pool, "two")
    for tenant in (one, two):
        await conflict_of(owner_pool, tenant)
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(one, "config:read", "drift:read", "stock:read")
        owners = await bed.call("GET", "/v1/owners", key=key)
        writers = await bed.call("GET", f"/v1/stock/{one.sku}/writers", key=key)
        missing = await bed.call("GET", "/v1/stock/no-such-sku/writers", key=key)
        conflicts = await bed.call("GET", "/v1/conflicts", key=key)

    assert {row["field"]: row["conflict"] for row in owners.json["items"]}["stock.on_hand"] == "owner"
    assert writers.status == 200
    assert {row["field"] for row in writers.json["items"]} <= {"stock.on_hand", "stock.available", "price"}
    assert missing.status in (404, 422)
    rows: list[dict[str, Any]] = conflicts.json["items"]
    assert [(row["sku"], row["owner_value"], row["other_value"], row["rule"]) for row in rows] == [
        (one.sku, "7", "3", "owner")
    ]


async def conflict_of(pool: Pool, tenant: Tenant) -> None:
    await pool.execute("DELETE FROM drift WHERE tenant_id = $1", tenant.tenant_id)
    await pool.execute(
        "INSERT INTO drift (tenant_id, connection_id, run_id, external_id, field, sku, item_id, owner, other, owner_value,"
        " other_value, cause, heal) VALUES ($1, $2, $3, 'x', 'stock', $4, $5, 'tidegate', 'shop', 7, 3, 'changed_there', 'due')",
        tenant.tenant_id, tenant.shop, tenant.run, tenant.sku, tenant.item,
    )  # fmt: skip


async def test_what_they_wrote_is_taken_for_a_count_once(bed: Bed) -> None:
    await differ(bed, "A", ours=7, theirs=9)
    config = config_of("approve")
    (conflict,) = await found(bed, config)
    async with bed.pool.acquire() as conn:
        first = await take_theirs(conn, bed.tenant_id, config, conflict, location=None, actor="cli:kim")
        again = await take_theirs(conn, bed.tenant_id, config, conflict, location=None, actor="cli:kim")
    assert (first.posted, first.is_new, again.posted, again.is_new) == (2, True, 0, False)
    entries = await bed.pool.fetch("SELECT on_hand_delta, on_hand_after FROM stock_entry ORDER BY version DESC LIMIT 1")
    assert [tuple(row) for row in entries] == [(2, 9)]
    assert await bed.pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'conflict.settled'") == 1


async def test_what_was_corrected_since_the_look_is_not_corrected_again(bed: Bed) -> None:
    """Two channels show what the same person typed into both: it is one correction, whichever look found which."""
    await differ(bed, "A", ours=7, theirs=9)
    config = config_of("approve")
    (conflict,) = await found(bed, config)
    other = structs.replace(conflict, connection="shop_b", run_id=new_id())
    same_look = structs.replace(conflict, connection="shop_b", other_value=Decimal(12))
    async with bed.pool.acquire() as conn:
        await take_theirs(conn, bed.tenant_id, config, conflict, location=None, actor="cli:kim")
        for old in (other, same_look):
            with pytest.raises(ConflictError) as refused:
                await take_theirs(conn, bed.tenant_id, config, old, location=None, actor="cli:kim")
            assert refused.value.code == "conflict_outdated"
    assert await bed.pool.fetchval("SELECT sum(on_hand_delta) FROM stock_entry") == 9


async def test_theirs_says_nothing_about_a_kit(bed: Bed) -> None:
    await differ(bed, "SET", ours=7, theirs=9)
    part = await bed.article("PART", on_hand=7)
    await bed.pool.execute(
        "INSERT INTO kit_part (tenant_id, item_id, part_id, units) VALUES ($1, $2, $3, 1)",
        bed.tenant_id, bed.items["SET"], part,
    )  # fmt: skip
    config = config_of("approve")
    (conflict,) = await found(bed, config)
    async with bed.pool.acquire() as conn:
        with pytest.raises(ConflictError, match="made of other articles"):
            await take_theirs(conn, bed.tenant_id, config, conflict, location=None, actor="cli:kim")


async def test_the_api_settles_a_conflict_either_way_once(database: Database, owner_pool: Pool) -> None:
    """SECURITY G10: telling ours is healing, taking theirs changes stock; each with its scope, and an answer per key."""
    tenant = await add_tenant(owner_pool, "one")
    await conflict_of(owner_pool, tenant)
    wish = {"connection": "shop", "sku": tenant.sku}
    async with api_bed(database, owner_pool) as bed:
        healer, keeper = await bed.key(tenant, "drift:heal"), await bed.key(tenant, "stock:write")
        denied = [
            (await bed.call("POST", f"/v1/conflicts/{side}", key=key, json=wish, once="a")).status
            for side, key in (("ours", keeper), ("theirs", healer))
        ]
        await owner_pool.execute("UPDATE channel_stock SET dirty = false, dirty_at = NULL, mode = 'live'")
        ours = await bed.call("POST", "/v1/conflicts/ours", key=healer, json=wish, once="a")
        owned = await bed.call("POST", "/v1/conflicts/theirs", key=keeper, json=wish, once="a")
        uncounted = DOCUMENT.format(name="one").replace("stock.on_hand: erp, ", "").rpartition("  stock:")[0]
        async with owner_pool.acquire() as conn:
            await record_version(conn, uncounted, applied_by="test")
        unknown = await bed.call("POST", "/v1/conflicts/theirs", key=keeper, json={**wish, "sku": "x"}, once="b")
        theirs = await bed.call("POST", "/v1/conflicts/theirs", key=keeper, json=wish, once="c")
        again = await bed.call("POST", "/v1/conflicts/theirs", key=keeper, json=wish, once="d")

    assert denied == [403, 403]
    assert (ours.status, ours.json["told"], ours.json["is_new"]) == (200, 1, True)
    assert (owned.status, owned.json["code"]) == (409, "not_owner")
    assert (unknown.status, unknown.json["code"]) == (404, "conflict_unknown")
    assert (theirs.status, theirs.json["posted"], theirs.json["location"]) == (200, -4, "main")
    assert (again.json["posted"], again.json["is_new"]) == (0, False)
    assert await owner_pool.fetchval("SELECT sum(on_hand_delta) FROM stock_entry WHERE item_id = $1", tenant.item) == 6
    actions = await owner_pool.fetch("SELECT action FROM audit_log WHERE action ~ '^(conflict|drift)' ORDER BY 1")
    assert [row[0] for row in actions] == ["conflict.settled", "drift.healed"]
