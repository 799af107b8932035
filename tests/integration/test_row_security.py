"""SECURITY A5: the database itself keeps the web process inside of one tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from tidegate.kernel.ids import new_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role

pytestmark = pytest.mark.asyncio

OF_NO_TENANT = {"alert_evaluator", "alert_witness", "node", "slot", "switch", "schema_migration", "intake_refusal"}
"""What belongs to the whole installation."""
SET = "SELECT set_config('app.tenant', $1, true)"


@pytest_asyncio.fixture
async def web_pool(database: Database) -> AsyncIterator[Pool]:
    pool = await database.pool(Role.WEB, application_name="test-web", size_max=1)
    yield pool
    await pool.close()


async def make_tenants(owner_pool: Pool) -> tuple[UUID, UUID]:
    """Two tenants with a connection, an item and its level each."""
    tenants = (new_id(), new_id())
    for tenant, name in zip(tenants, ("one", "two"), strict=True):
        item, place = new_id(), new_id()
        await owner_pool.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, $2)", tenant, name)
        await owner_pool.execute(
            "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account)"
            " VALUES ($1, $2, $3, 'x', 'y')",
            tenant,
            new_id(),
            f"shop_{name}",
        )
        await owner_pool.execute(
            "INSERT INTO inventory_item (tenant_id, item_id, sku) VALUES ($1, $2, $3)", tenant, item, f"SKU-{name}"
        )
        await owner_pool.execute(
            "INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, 'main')", tenant, place
        )
        await owner_pool.execute(
            "INSERT INTO stock_level (tenant_id, item_id, location_id) VALUES ($1, $2, $3)", tenant, item, place
        )
    return tenants


async def test_every_table_that_web_may_touch_has_its_policy(owner_pool: Pool) -> None:
    """By the catalogue: a table that is granted later is in it by itself, and cannot be forgotten."""
    rows = await owner_pool.fetch(
        "SELECT c.relname, c.relrowsecurity, EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid"
        "  AND p.polname = 'web_of_tenant' AND NOT p.polpermissive) AS narrowed"
        " FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
        " AND (has_any_column_privilege('tidegate_web', c.oid, 'SELECT, INSERT, UPDATE')"
        "      OR has_table_privilege('tidegate_web', c.oid, 'DELETE'))"
    )
    open_tables = {row["relname"] for row in rows if not (row["relrowsecurity"] and row["narrowed"])}

    assert len(rows) > 25
    assert open_tables - OF_NO_TENANT == set()


async def test_every_view_that_web_may_read_runs_under_its_own_rights(owner_pool: Pool) -> None:
    """A view of the owner would look past row security."""
    rows = await owner_pool.fetch(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('v', 'm')"
        " AND has_table_privilege('tidegate_web', c.oid, 'SELECT')"
        " AND NOT coalesce('security_invoker=true' = ANY(c.reloptions), false)"
    )
    assert [row["relname"] for row in rows] == []


async def test_web_is_neither_owner_nor_above_row_security(owner_pool: Pool) -> None:
    row = await owner_pool.fetchrow(
        "SELECT rolbypassrls, rolsuper, (SELECT count(*) FROM pg_class c WHERE c.relowner = r.oid) AS owned"
        " FROM pg_roles r WHERE rolname = 'tidegate_web'"
    )
    assert row is not None
    assert tuple(row) == (False, False, 0)


async def test_without_the_setting_a_read_fails(owner_pool: Pool, web_pool: Pool) -> None:
    """It does not look as if there were nothing."""
    await make_tenants(owner_pool)
    for table in ("connection", "stock_balance", "inventory_item"):
        with pytest.raises(asyncpg.UndefinedObjectError, match=r"app\.tenant"):
            await web_pool.fetch(f"SELECT tenant_id FROM {table}")


async def test_a_transaction_sees_its_tenant_and_leaves_nothing_to_the_next(owner_pool: Pool, web_pool: Pool) -> None:
    """The pool has one connection, so the second transaction runs on the session of the first."""
    one, two = await make_tenants(owner_pool)
    seen = []
    async with web_pool.acquire() as conn:
        for tenant in (one, two):
            async with conn.transaction():
                await conn.execute(SET, str(tenant))
                names = {row["name"] for row in await conn.fetch("SELECT name FROM connection")}
                levels = {row["tenant_id"] for row in await conn.fetch("SELECT tenant_id FROM stock_balance")}
                seen.append((names, levels))
    async with web_pool.acquire() as conn:
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            await conn.fetch("SELECT name FROM connection")

    assert seen == [({"shop_one"}, {one}), ({"shop_two"}, {two})]


async def test_nothing_is_written_for_another_tenant(owner_pool: Pool, web_pool: Pool) -> None:
    one, two = await make_tenants(owner_pool)
    record = "INSERT INTO audit_log (tenant_id, audit_id, actor, action, subject) VALUES ($1, $2, 'a', 'b', 'c')"
    async with web_pool.acquire() as conn, conn.transaction():
        await conn.execute(SET, str(one))
        await conn.execute(record, one, new_id())
        assert await conn.execute("UPDATE channel_stock SET dirty = true WHERE tenant_id = $1", two) == "UPDATE 0"
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await conn.execute(record, two, new_id())


async def test_the_whole_installation_is_read_only_when_it_is_asked_for(owner_pool: Pool, web_pool: Pool) -> None:
    await make_tenants(owner_pool)
    async with web_pool.acquire() as conn, conn.transaction():
        await conn.execute(SET, "every")
        assert await conn.fetchval("SELECT count(*) FROM connection") == 2


async def test_other_roles_are_not_narrowed(database: Database, owner_pool: Pool) -> None:
    await make_tenants(owner_pool)
    for role in (Role.APPLY, Role.DISPATCH):
        pool = await database.pool(role, application_name="test")
        assert await pool.fetchval("SELECT count(*) FROM connection") == 2
        assert await pool.fetchval("SELECT count(*) FROM stock_balance") == 2
        await pool.close()
