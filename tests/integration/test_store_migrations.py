"""Migrations run once, whoever starts them, and give the schema that the project states."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from tidegate.kernel.errors import ConfigurationError, TransientError
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.connections import DirectConnection
from tidegate.store.database import Database, embedded_database, ensure_embedded_database, owner_connection
from tidegate.store.migrate import Migration, load_migrations, migrate, migration_lock, read_applied
from tidegate.store.roles import SUPERUSER, Role
from tidegate.store.schema_check import describe_schema
from tidegate.store.sql import load_queries

MIGRATE_PROGRAM = """
import asyncio, sys
from tidegate.store.database import Database, Separation
from tidegate.store.pool import Access
from tidegate.store.roles import Role

access = Access(role=Role.MIGRATOR, dsn=sys.stdin.readline().strip())
database = Database(accesses={Role.MIGRATOR: access}, separation=Separation.LOGINS)
print(len(asyncio.run(database.migrate())))
"""


@pytest_asyncio.fixture
async def empty_database(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    """A database without any schema."""
    name = f"empty_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres.dsn(SUPERUSER, "postgres"), command_timeout=200)
    await admin.execute(f"CREATE DATABASE {name} OWNER {Role.MIGRATOR}")
    yield embedded_database(postgres.dsn, name=name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest_asyncio.fixture
async def owner(empty_database: Database) -> AsyncIterator[DirectConnection]:
    """The schema's owner in a database without any schema."""
    async with owner_connection(empty_database) as connection:
        yield connection


async def migrate_in_a_process(dsn: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        MIGRATE_PROGRAM,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate(dsn.encode() + b"\n")
    assert process.returncode == 0
    return int(output)


@pytest.mark.asyncio
async def test_four_migrators_at_once_apply_each_file_once(empty_database: Database) -> None:
    dsn = empty_database.access(Role.MIGRATOR).dsn

    counts = await asyncio.gather(*(migrate_in_a_process(dsn) for _ in range(4)))

    assert sorted(counts) == [0, 0, 0, len(load_migrations())]


@pytest.mark.asyncio
async def test_preparing_the_database_twice_at_once_is_harmless(postgres: EmbeddedPostgres) -> None:
    name = f"both_{secrets.token_hex(6)}"

    await asyncio.gather(*(ensure_embedded_database(postgres.dsn, postgres.password, name=name) for _ in range(3)))

    async with owner_connection(embedded_database(postgres.dsn, name=name)) as connection:
        assert len(await read_applied(connection)) == len(load_migrations()) + 1  # and the grants
    admin = await asyncpg.connect(postgres.dsn(SUPERUSER, "postgres"), command_timeout=200)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.mark.asyncio
async def test_an_edited_applied_migration_is_refused_and_changes_nothing(owner: DirectConnection) -> None:
    first = Migration(version=1, name="initial", sql="CREATE TABLE a (id int)")
    await migrate(owner, [first])

    with pytest.raises(ConfigurationError, match="0001_initial was changed"):
        await migrate(owner, [replace(first, sql="CREATE TABLE z ()")])

    assert await owner.fetchval("SELECT to_regclass('z')") is None


@pytest.mark.asyncio
async def test_a_failing_migration_leaves_those_before_it_and_nothing_of_itself(
    owner: DirectConnection,
) -> None:
    good = Migration(version=1, name="good", sql="CREATE TABLE a (id int)")
    bad = Migration(version=2, name="bad", sql="CREATE TABLE b (id int); SELECT 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(owner, [good, bad])

    assert set(await read_applied(owner)) == {1}
    assert await owner.fetchval("SELECT to_regclass('b')") is None
    assert await migrate(owner, [good]) == []


@pytest.mark.asyncio
async def test_waiting_for_another_migrator_is_bounded(empty_database: Database) -> None:
    async with owner_connection(empty_database) as busy, owner_connection(empty_database) as late:
        async with migration_lock(busy, wait_seconds=1):
            with pytest.raises(TransientError, match="another migration has been running"):
                await migrate(late, [], lock_wait_seconds=0.2)

        assert await migrate(late, [], lock_wait_seconds=0.2) == []


@pytest.mark.asyncio
async def test_migrating_from_nothing_always_gives_the_same_schema(
    empty_database: Database, database: Database
) -> None:
    await empty_database.migrate()

    async with owner_connection(empty_database) as fresh, owner_connection(database) as cloned:
        described = await describe_schema(fresh)
        assert "table event PARTITION BY RANGE (event_id) ROW SECURITY\n" in described
        assert described == await describe_schema(cloned)


@pytest.mark.asyncio
async def test_the_description_tells_small_differences_apart(owner: DirectConnection) -> None:
    await owner.execute("CREATE TABLE a (id int PRIMARY KEY, n int DEFAULT 1) PARTITION BY RANGE (id)")
    before = await describe_schema(owner)
    differences = {
        "ALTER TABLE a ALTER n SET DEFAULT 2",
        "ALTER TABLE a ALTER n SET NOT NULL",
        "ALTER TABLE a ALTER n TYPE bigint",
        "ALTER TABLE a ADD CONSTRAINT positive CHECK (n > 0)",
        "CREATE INDEX later ON a (n)",
        "CREATE TABLE b PARTITION OF a DEFAULT",
        "CREATE SEQUENCE s CACHE 5",
        "CREATE VIEW v AS SELECT 1",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON a USING (true)",
    }

    seen = set()
    for statement in differences:
        transaction = owner.transaction()
        await transaction.start()
        await owner.execute(statement)
        seen.add(await describe_schema(owner))
        await transaction.rollback()

    assert len(seen - {before}) == len(differences)
    assert await describe_schema(owner) == before


@pytest.mark.asyncio
async def test_every_named_statement_fits_the_schema(database: Database) -> None:
    """PREPARE parses and resolves each statement: a renamed column fails here, not in production."""
    failures: list[str] = []
    async with owner_connection(database) as connection:
        for name, text in load_queries().items():
            try:
                await connection.prepare(text)
            except asyncpg.PostgresError as error:
                failures.append(f"{name}: {error}")

    assert failures == []


@pytest.mark.asyncio
async def test_balances_survive_the_step_from_counters_to_entries(owner: DirectConnection) -> None:
    """0002 takes the counters off the levels: what they said must be what the newest entries say."""
    migrations = load_migrations()
    await migrate(owner, migrations[:1])
    facts = [  # item, what moves: on hand, unavailable, committed, reserved
        (1, (10, 0, 0, 0)),
        (1, (0, 3, 2, 0)),
        (2, (4, 0, 0, 1)),
        (1, (-1, -2, -1, 4)),
    ]
    level = {1: [0, 0, 0, 0, 0], 2: [0, 0, 0, 0, 0]}
    for number, (item, deltas) in enumerate(facts):
        level[item] = [*(old + delta for old, delta in zip(level[item], deltas, strict=False)), level[item][4] + 1]
        await owner.execute(
            "INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, on_hand_delta, unavailable_delta,"
            " committed_delta, reserved_delta, on_hand_after, committed_after, cause_key, actor) VALUES"
            " ($1, $2, $1, $3, 'adjust', $4, $5, $6, $7, $8, $9, $10, 'test')",
            UUID(int=9), UUID(int=item), level[item][4], *deltas, level[item][0], level[item][2], str(number),
        )  # fmt: skip
    for item, counters in {**level, 3: [0, 0, 0, 0, 0]}.items():
        await owner.execute(
            "INSERT INTO stock_level (tenant_id, item_id, location_id, on_hand, unavailable, committed, reserved, version)"
            " VALUES ($1, $2, $1, $3, $4, $5, $6, $7)",
            UUID(int=9), UUID(int=item), *counters,
        )  # fmt: skip

    await migrate(owner, migrations)

    rows = await owner.fetch(
        "SELECT on_hand, unavailable, committed, reserved, version, available FROM stock_balance ORDER BY item_id"
    )
    assert [tuple(row) for row in rows] == [(9, 1, 1, 4, 3, 3), (4, 0, 0, 1, 1, 3), (0, 0, 0, 0, 0, 0)]
