"""Each role may do its work and nothing else; every statement ends in bounded time."""

import secrets
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import pytest_asyncio
from tests.conftest import running_postgres

from tidegate.kernel.errors import ConfigurationError, TransientError
from tidegate.kernel.ids import new_id
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.connections import DirectConnection, Pool
from tidegate.store.database import (
    Database,
    Separation,
    ensure_embedded_database,
    ensure_external_database,
    external_database,
    owner_connection,
)
from tidegate.store.pool import Access, create_pool, direct_connection
from tidegate.store.roles import ROLE_LIMITS, SERVICE_ROLES, SUPERUSER, Role


async def refused(access: Access, statement: str) -> bool:
    connection = await direct_connection(access, application_name="test")
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    else:
        return False
    finally:
        await connection.close()


@pytest.mark.parametrize("role", SERVICE_ROLES)
@pytest.mark.asyncio
async def test_a_service_role_owns_nothing_and_changes_no_schema(database: Database, role: Role) -> None:
    access = database.access(role)

    assert await refused(access, "CREATE TABLE mine ()")
    assert await refused(access, "DROP TABLE event")
    assert await refused(access, "TRUNCATE event")
    assert await refused(access, "UPDATE schema_migration SET checksum = ''")
    assert await refused(access, f"SET ROLE {Role.MIGRATOR}")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT body FROM event",
        'SELECT private FROM "order"',
        "SELECT * FROM event_dedupe, stock_level",
        "DELETE FROM event",
        "UPDATE event SET body = ''",
        "DELETE FROM event_queue",
        "SELECT * FROM command",
        "INSERT INTO command DEFAULT VALUES",
        "SELECT payload FROM call",
        "INSERT INTO stock_entry DEFAULT VALUES",
        "UPDATE connection SET state = 'active'",
        "INSERT INTO credential DEFAULT VALUES",
    ],
)
@pytest.mark.asyncio
async def test_the_door_can_neither_read_back_nor_act(database: Database, statement: str) -> None:
    assert await refused(database.access(Role.DOOR), statement)


@pytest.mark.parametrize("role", [Role.APPLY, Role.DISPATCH, Role.WEB])
@pytest.mark.asyncio
async def test_the_ledger_and_the_log_are_append_only_for_everybody(database: Database, role: Role) -> None:
    access = database.access(role)

    for table in ("stock_entry", "event", "audit_log"):
        assert await refused(access, f"DELETE FROM {table}")
        assert await refused(access, f"UPDATE {table} SET tenant_id = tenant_id")


@pytest.mark.asyncio
async def test_the_door_sees_webhook_secrets_and_no_api_credential(database: Database, owner_pool: Pool) -> None:
    """Not even the ciphertext; the dispatcher sees both."""
    tenant, connection = new_id(), new_id()
    await owner_pool.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, 'main')", tenant)
    await owner_pool.execute(
        "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account)"
        " VALUES ($1, $2, 'shop', 'vendure', 'a')",
        tenant,
        connection,
    )
    for key_class, field in (("intake", "webhook_secret"), ("credential", "token")):
        await owner_pool.execute(
            "INSERT INTO credential (tenant_id, connection_id, key_class, field, record_version, data_key_id,"
            " ciphertext, fingerprint) VALUES ($1, $2, $3, $4, 1, $1, '', '')",
            tenant,
            connection,
            key_class,
            field,
        )

    seen = {}
    for role in (Role.DOOR, Role.DISPATCH):
        direct = await direct_connection(database.access(role), application_name="test")
        seen[role] = {row["field"] for row in await direct.fetch("SELECT field FROM credential")}
        await direct.close()

    assert seen == {Role.DOOR: {"webhook_secret"}, Role.DISPATCH: {"webhook_secret", "token"}}


@pytest.mark.parametrize("role", [Role.APPLY, Role.WEB])
@pytest.mark.asyncio
async def test_apply_and_web_never_see_a_credential(database: Database, role: Role) -> None:
    assert await refused(database.access(role), "SELECT ciphertext FROM credential")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tenant SET name = 'other'",
        "UPDATE flow_mode SET tenant_id = gen_random_uuid()",
        "UPDATE flow_mode SET flow = 'orders'",
        "UPDATE channel_stock SET item_id = gen_random_uuid()",
        "UPDATE config_version SET document = ''",
        "UPDATE config_bundle SET files = '{}'",
        "UPDATE alert_target SET address = ''",
        "UPDATE login SET password_hash = ''",
        "DELETE FROM audit_log",
    ],
)
@pytest.mark.asyncio
async def test_web_renames_nothing_and_rewrites_no_history(database: Database, statement: str) -> None:
    """SECURITY A10: it may lock what it only reads, and add versions, but not change what is there."""
    assert await refused(database.access(Role.WEB), statement)


@pytest.mark.asyncio
async def test_time_limits_hold_in_pools_and_at_the_login(database: Database) -> None:
    for role, limits in ROLE_LIMITS.items():
        connection = await asyncpg.connect(database.access(role).dsn)
        pool = await database.pool(role, application_name="test-limits")
        for name in limits.server_settings():
            by_login = await connection.fetchval(f"SELECT current_setting('{name}')")
            assert by_login not in ("0", ""), (role, name)
            assert await pool.fetchval(f"SELECT current_setting('{name}')") == by_login
        assert await pool.fetchval("SHOW application_name") == "test-limits"
        await pool.close()
        await connection.close()


@pytest.mark.asyncio
async def test_the_client_gives_up_when_the_server_does_not(database: Database) -> None:
    pool = await create_pool(
        database.access(Role.MIGRATOR),
        application_name="test",
        command_timeout_seconds=0.2,
        server_settings={"statement_timeout": "0"},
    )

    with pytest.raises(TimeoutError):
        await pool.execute("SELECT pg_sleep(600)")

    assert await pool.fetchval("SELECT 1") == 1
    await pool.close()


@pytest.mark.asyncio
async def test_an_abandoned_transaction_is_rolled_back_when_the_connection_returns(database: Database) -> None:
    pool = await create_pool(database.access(Role.MIGRATOR), application_name="test", size_max=1)
    async with pool.acquire() as connection:
        await connection.execute("BEGIN")
        await connection.execute("UPDATE switch SET reason = 'half'")

    assert await pool.fetchval("SELECT count(*) FROM switch WHERE reason = 'half'") == 0
    await pool.close()


@pytest.mark.asyncio
async def test_an_address_never_shows_its_password(database: Database, postgres: EmbeddedPostgres) -> None:
    assert postgres.password(Role.DOOR) not in repr(database)


# ---- a database that somebody else runs


@pytest.fixture(scope="module")
def foreign(postgres_version: int) -> Iterator[EmbeddedPostgres]:
    """A server that has never heard of our roles."""
    with running_postgres(postgres_version) as server:
        yield server


@pytest_asyncio.fixture
async def admin(foreign: EmbeddedPostgres) -> AsyncIterator[DirectConnection]:
    connection = await asyncpg.connect(foreign.dsn(SUPERUSER, "postgres"), command_timeout=200)
    yield connection
    await connection.close()


async def make_tenant_of_the_server(admin: DirectConnection, foreign: EmbeddedPostgres, options: str) -> str:
    """Create a user with a database of its own, as a hosting company would; return its address."""
    name = f"guest_{secrets.token_hex(4)}"
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'guest' {options}")
    await admin.execute(f"CREATE DATABASE {name} OWNER {name}")
    socket_dir = str(foreign.socket_dir)
    return f"postgresql://{name}:guest@/{name}?host={socket_dir}"


@pytest.mark.asyncio
async def test_where_roles_may_be_made_they_are_assumed_and_kept_apart(
    admin: DirectConnection, foreign: EmbeddedPostgres
) -> None:
    url = await make_tenant_of_the_server(admin, foreign, "CREATEROLE")

    database = await ensure_external_database(url)

    assert database.separation is Separation.ASSUMED
    assert await external_database(url) == database
    assert await refused(database.access(Role.DOOR), "SELECT body FROM event")
    pool = await database.pool(Role.DISPATCH, application_name="test")
    assert await pool.fetchval("SELECT current_user") == Role.DISPATCH
    assert await pool.fetchval("SELECT count(*) FROM schema_migration") > 0
    await pool.close()


@pytest.mark.asyncio
async def test_where_roles_may_not_be_made_one_user_does_everything_and_it_is_known(
    admin: DirectConnection, foreign: EmbeddedPostgres
) -> None:
    url = await make_tenant_of_the_server(admin, foreign, "NOCREATEROLE")

    database = await ensure_external_database(url)

    assert database.separation is Separation.NONE
    pool = await database.pool(Role.DOOR, application_name="test")
    assert await pool.fetchval("SELECT count(*) FROM event") == 0
    assert await pool.fetchval("SHOW statement_timeout") == "3s"
    await pool.close()
    assert await database.pending_migrations() == []


@pytest.mark.asyncio
async def test_a_refused_or_silent_external_database_is_explained(
    admin: DirectConnection, foreign: EmbeddedPostgres
) -> None:
    url = await make_tenant_of_the_server(admin, foreign, "")

    with pytest.raises(ConfigurationError, match="refuses us"):
        await external_database(url.replace(":guest@", ":wrong@"))
    with pytest.raises(ConfigurationError, match="refuses us"):
        await external_database(url.replace("@/guest", "@/missing"))
    with pytest.raises(TransientError, match="does not answer"):
        await external_database("postgresql://guest@/x?host=/nonexistent")


@pytest.mark.asyncio
async def test_preparing_again_repairs_a_role(postgres: EmbeddedPostgres) -> None:
    admin = await asyncpg.connect(postgres.dsn(SUPERUSER, "postgres"), command_timeout=200)
    await admin.execute(f"ALTER ROLE {Role.WEB} PASSWORD 'changed by hand' CREATEDB")

    name = f"again_{secrets.token_hex(4)}"
    database = await ensure_embedded_database(postgres.dsn, postgres.password, name=name)

    connection = await direct_connection(database.access(Role.WEB), application_name="test")
    assert not await connection.fetchval("SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user")
    await connection.close()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.mark.asyncio
async def test_pending_migrations_are_seen_without_running_them(database: Database) -> None:
    assert await database.pending_migrations() == []
    async with owner_connection(database) as connection:
        newest = await connection.fetchval(
            "DELETE FROM schema_migration WHERE version = (SELECT max(version) FROM schema_migration) RETURNING version"
        )
    assert [m.version for m in await database.pending_migrations()] == [newest]
