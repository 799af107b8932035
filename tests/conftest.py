"""Real PostgreSQL for every test that asks: one cluster per process, one fresh database per test.

`TIDEGATE_TEST_PG=16` runs everything on the oldest supported version.
"""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from tidegate.runtime.postgres import DEFAULT_VERSION, EmbeddedPostgres
from tidegate.store.connections import Pool
from tidegate.store.database import Database, embedded_database, ensure_embedded_database
from tidegate.store.roles import SUPERUSER, Role

settings.register_profile("tidegate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tidegate")
"""A law holds on a slow machine, too: no example has a deadline."""
TEMPLATE_NAME = "tidegate_template"
SMALL_SETTINGS = {"shared_buffers": "32MB", "max_wal_size": "256MB", "autovacuum_naptime": "5s"}
"""Sizes only; everything else is as in production, but for `UNSYNCED`."""
UNSYNCED = ("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()")
"""Tests kill processes, the server's too, and never the machine: what was written lies in the page cache, and outlives them.
Installations under test (`tests/acceptance`, `tests/integration/test_postgres_runtime.py`) sync as in production."""


@pytest.fixture(scope="session")
def postgres_version() -> int:
    """Major version under test."""
    return int(os.environ.get("TIDEGATE_TEST_PG", DEFAULT_VERSION))


@contextmanager
def short_folder() -> Iterator[Path]:
    """A fresh folder with a short path that the server's account can pass (unlike `tmp_path` as root)."""
    folder = Path(tempfile.mkdtemp(prefix="tdg-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_postgres(version: int) -> Iterator[EmbeddedPostgres]:
    """A new cluster, stopped and removed at the end."""
    with short_folder() as folder:
        server = EmbeddedPostgres(folder / "pg", version=version, settings=SMALL_SETTINGS)
        try:
            server.start()
            yield server
        finally:
            server.stop("immediate")


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """See `short_folder`."""
    with short_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres(postgres_version: int) -> Iterator[EmbeddedPostgres]:
    """A running cluster with the roles and a migrated template database."""
    with running_postgres(postgres_version) as server:
        asyncio.run(_forget_syncing(server))
        asyncio.run(ensure_embedded_database(server.dsn, server.password, name=TEMPLATE_NAME))
        yield server


async def _forget_syncing(server: EmbeddedPostgres) -> None:
    admin = await asyncpg.connect(server.dsn(SUPERUSER, "postgres"))
    for statement in UNSYNCED:
        await admin.execute(statement)
    await admin.close()


@asynccontextmanager
async def fresh_database(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    """A migrated database of its own, entered by role; dropped at the end."""
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres.dsn(SUPERUSER, "postgres"), command_timeout=200)
    try:
        await admin.execute(
            f"CREATE DATABASE {name} TEMPLATE {TEMPLATE_NAME} OWNER {Role.MIGRATOR} STRATEGY FILE_COPY"
        )  # two checkpoints that sync nothing, instead of the whole template in the log
        yield embedded_database(postgres.dsn, name=name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest_asyncio.fixture
async def database(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    """A database of this test alone."""
    async with fresh_database(postgres) as made:
        yield made


@pytest_asyncio.fixture
async def owner_pool(database: Database) -> AsyncIterator[Pool]:
    """A pool as the owner of the schema, for arranging and checking rows."""
    pool = await database.pool(Role.MIGRATOR, application_name="test")
    yield pool
    await pool.close()
