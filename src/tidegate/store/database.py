"""The database of one installation: embedded or given by `TIDEGATE_DATABASE_URL`.

It knows how each role gets in and brings roles, schema and grants up to date.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

import asyncpg

from tidegate.kernel.errors import ConfigurationError, TransientError
from tidegate.store.connections import DirectConnection, Pool
from tidegate.store.migrate import (
    LOCK_WAIT_SECONDS,
    Migration,
    load_migrations,
    migrate,
    migration_lock,
    plan_migrations,
    read_applied,
)
from tidegate.store.pool import CONNECT_TIMEOUT_SECONDS, Access, create_pool, direct_connection
from tidegate.store.roles import (
    LOGIN_ROLES,
    SERVICE_ROLES,
    SUPERUSER,
    Role,
    ensure_assumable_roles,
    ensure_login_roles,
    find_assumable_roles,
    may_create_roles,
)
from tidegate.store.statistics import expect_few

DATABASE_NAME = "tidegate"
URL_VARIABLE = "TIDEGATE_DATABASE_URL"
SERVER_VERSION_MIN = 16
_GRANTS_RECORD = 0
"""Row of `schema_migration` that remembers which grants were applied; migrations begin at 1."""


class Separation(StrEnum):
    """How well the roles are kept apart."""

    LOGINS = "logins"
    """One login with its own password per role."""
    ASSUMED = "assumed"
    """One login that takes on a role per session: stops mistakes, not a hostile process."""
    NONE = "none"
    """One login for everything; `tidegate doctor` warns."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """Ways into one database. Make it with `embedded_database` or `external_database`."""

    accesses: Mapping[Role, Access]
    separation: Separation

    def access(self, role: Role) -> Access:
        """How `role` gets in. Holds a password: hand it on, never log it."""
        return self.accesses[role]

    async def pool(self, role: Role, *, application_name: str, size_min: int = 1, size_max: int = 8) -> Pool:
        """Open a pool as `role`; see `tidegate.store.pool.create_pool`."""
        return await create_pool(
            self.access(role),
            application_name=application_name,
            size_min=size_min,
            size_max=size_max,
        )

    async def migrate(self, *, lock_wait_seconds: float = LOCK_WAIT_SECONDS) -> list[Migration]:
        """Apply pending migrations, then the grants if they changed, and say what to expect of new tables; return what was applied.

        Safe from several processes at once.
        """
        async with owner_connection(self) as connection:
            applied = await migrate(connection, lock_wait_seconds=lock_wait_seconds)
            async with migration_lock(connection, wait_seconds=lock_wait_seconds):
                if applied:
                    await expect_few(connection)  # locks tables, as the grants do, in another order
                if self.separation is not Separation.NONE:
                    await _apply_grants(connection, changed=bool(applied))
        return applied

    async def pending_migrations(self) -> list[Migration]:
        """What `migrate` would apply; changes nothing.

        Raises:
            ConfigurationError: an applied migration was edited.
        """
        async with owner_connection(self) as connection:
            known = await connection.fetchval("SELECT to_regclass('schema_migration') IS NOT NULL")
            applied = await read_applied(connection) if known else {}
            return plan_migrations(load_migrations(), applied)


@asynccontextmanager
async def owner_connection(
    database: Database,
) -> AsyncIterator[DirectConnection]:
    """A direct connection as the schema's owner, closed at the end."""
    connection = await direct_connection(database.access(Role.MIGRATOR), application_name="tidegate-migrate")
    try:
        yield connection
    finally:
        await connection.close()


def embedded_database(dsn_for: Callable[[str, str], str], *, name: str = DATABASE_NAME) -> Database:
    """Describe database `name` of the embedded cluster; `dsn_for(role, database)` gives addresses."""
    accesses = {role: Access(role=role, dsn=dsn_for(role, name)) for role in LOGIN_ROLES}
    return Database(accesses=accesses, separation=Separation.LOGINS)


async def ensure_embedded_database(
    dsn_for: Callable[[str, str], str],
    password_for: Callable[[str], str],
    *,
    name: str = DATABASE_NAME,
) -> Database:
    """Create roles and database in the running embedded cluster and migrate it; return it.

    Safe to repeat and to run from several processes at once.
    """
    connection = await asyncpg.connect(
        dsn_for(SUPERUSER, "postgres"),
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=60,
        server_settings={"application_name": "tidegate-setup"},
    )
    try:
        async with migration_lock(connection, wait_seconds=LOCK_WAIT_SECONDS):
            await ensure_login_roles(connection, {r: password_for(r) for r in LOGIN_ROLES})
            await _create_database(connection, name)
    finally:
        await connection.close()
    database = embedded_database(dsn_for, name=name)
    await database.migrate()
    return database


async def external_database(url: str, role_urls: Mapping[Role, str] | None = None) -> Database:
    """Look at the database behind `url` and describe how each role gets in; creates nothing.

    Args:
        url: address of the owner of the schema, naming an existing database.
        role_urls: addresses of roles that have a login of their own.

    Raises:
        ConfigurationError: the address is refused, or the server is older than the floor.
        TransientError: the server does not answer.
    """
    connection = await _connect_external(url)
    try:
        assumable = await find_assumable_roles(connection)
    finally:
        await connection.close()
    return _describe_external(url, dict(role_urls or {}), assumable)


async def ensure_external_database(url: str, role_urls: Mapping[Role, str] | None = None) -> Database:
    """Create the service roles where we may, migrate, apply grants; return the database.

    Raises:
        ConfigurationError, TransientError: see `external_database`.
    """
    connection = await _connect_external(url)
    try:
        async with migration_lock(connection, wait_seconds=LOCK_WAIT_SECONDS):
            if await may_create_roles(connection):
                await ensure_assumable_roles(connection)
    finally:
        await connection.close()
    database = await external_database(url, role_urls)
    await database.migrate()
    return database


def role_url_variable(role: Role) -> str:
    """Environment variable with the address of one role, e.g. `TIDEGATE_DATABASE_URL_DOOR`."""
    return f"{URL_VARIABLE}_{role.name}"


def _describe_external(url: str, role_urls: Mapping[Role, str], assumable: set[Role]) -> Database:
    accesses = {Role.MIGRATOR: Access(role=Role.MIGRATOR, dsn=url)}
    for role in SERVICE_ROLES:
        own = role_urls.get(role)
        accesses[role] = Access(role=role, dsn=own or url, assume_role=own is None and role in assumable)
    if all(role in role_urls for role in SERVICE_ROLES):
        separation = Separation.LOGINS
    elif all(role in role_urls or role in assumable for role in SERVICE_ROLES):
        separation = Separation.ASSUMED
    else:
        separation = Separation.NONE
    return Database(accesses=accesses, separation=separation)


async def _connect_external(url: str) -> DirectConnection:
    try:
        connection = await direct_connection(Access(role=Role.MIGRATOR, dsn=url), application_name="tidegate-setup")
    except (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        ValueError,
        OverflowError,
    ) as error:
        raise ConfigurationError(
            f"the database in {URL_VARIABLE} refuses us: {error}",
            hint="check user, password and database name; the database must exist",
        ) from error
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
        raise TransientError(f"the database in {URL_VARIABLE} does not answer: {error}") from error
    version = connection.get_server_version()
    if version.major < SERVER_VERSION_MIN:
        await connection.close()
        raise ConfigurationError(
            f"the database in {URL_VARIABLE} is PostgreSQL {version.major}; {SERVER_VERSION_MIN} or newer is needed"
        )
    return connection


async def _create_database(connection: DirectConnection, name: str) -> None:
    if await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
        return
    quoted = '"' + name.replace('"', '""') + '"'
    await connection.execute(f"CREATE DATABASE {quoted} OWNER {Role.MIGRATOR}")
    await connection.execute(f"REVOKE ALL ON DATABASE {quoted} FROM PUBLIC")
    roles = ", ".join(SERVICE_ROLES)
    await connection.execute(f"GRANT CONNECT ON DATABASE {quoted} TO {roles}")


async def _apply_grants(connection: DirectConnection, *, changed: bool) -> None:
    """Apply `grants.sql` in one transaction when it, or the schema under it, changed."""
    text = (files("tidegate.store") / "grants.sql").read_text(encoding="utf-8")
    checksum = hashlib.sha256(text.encode()).hexdigest()
    recorded = (await read_applied(connection)).get(_GRANTS_RECORD, ("", ""))[1]
    if recorded == checksum and not changed:
        return
    async with connection.transaction():
        await connection.execute(text)
        await connection.execute(
            "INSERT INTO schema_migration (version, name, checksum) VALUES ($1, 'grants', $2) "
            "ON CONFLICT (version) DO UPDATE SET checksum = $2, applied_at = now()",
            _GRANTS_RECORD,
            checksum,
        )
