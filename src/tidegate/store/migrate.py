"""Forward-only schema migrations: numbered SQL files, one transaction each, one runner at a time.

Applied files are recorded with a checksum and may never change afterwards. A database that is ahead
of this code is accepted, so that the previous release runs beside the next one during an upgrade.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from tidegate.kernel.errors import ConfigurationError, TransientError
from tidegate.store.connections import DirectConnection

LOCK_WAIT_SECONDS = 120.0
LOCK_POLL_SECONDS = 0.1
MIGRATION_LOCK_KEY = 0x7469646567617465
"""Advisory lock of the runner: the letters of the product's name."""

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_CREATE_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version     int PRIMARY KEY,
    name        text NOT NULL,
    checksum    text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One numbered SQL file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's text, hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(folder: Traversable | None = None) -> list[Migration]:
    """Read `NNNN_name.sql` files (the package's own by default), sorted by number.

    Raises:
        ConfigurationError: a name does not fit, or numbers repeat or leave a gap.
    """
    source = folder if folder is not None else files("tidegate.store") / "migrations"
    migrations = sorted(
        (_read(entry) for entry in source.iterdir() if entry.name.endswith(".sql")),
        key=lambda migration: migration.version,
    )
    numbers = [migration.version for migration in migrations]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ConfigurationError(f"migrations must be numbered 1, 2, 3 ...; found {numbers}")
    return migrations


def plan_migrations(available: Sequence[Migration], applied: Mapping[int, tuple[str, str]]) -> list[Migration]:
    """Return the migrations still to run. `applied` maps version to (name, checksum). Pure.

    Raises:
        ConfigurationError: an applied file was edited, or one is missing between applied ones.
    """
    for migration in available:
        name, checksum = applied.get(migration.version, (migration.name, migration.checksum))
        if checksum != migration.checksum:
            raise ConfigurationError(
                f"migration {migration.version:04d}_{migration.name} was changed after it had been "
                f"applied to this database (as {name!r})",
                hint="restore the file as released and put the change into a new migration",
            )
    pending = [migration for migration in available if migration.version not in applied]
    newest_applied = max(applied, default=0)
    if pending and pending[0].version < newest_applied:
        raise ConfigurationError(
            f"migration {pending[0].version:04d} was never applied although {newest_applied:04d} was",
            hint="this database was not migrated by released versions; restore it from a backup",
        )
    return pending


async def migrate(
    connection: DirectConnection,
    migrations: Iterable[Migration] | None = None,
    *,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
) -> list[Migration]:
    """Bring the schema up to date; return what was applied now (empty when nothing was to do).

    Needs a direct connection of the schema's owner. Safe to run from several processes at once: one
    works, the others wait and then find nothing to do. A failed migration leaves those before it.

    Raises:
        ConfigurationError: see `plan_migrations`.
        TransientError: another runner did not finish within `lock_wait_seconds`.
    """
    available = list(migrations) if migrations is not None else load_migrations()
    async with migration_lock(connection, wait_seconds=lock_wait_seconds):
        await connection.execute(_CREATE_RECORD)
        pending = plan_migrations(available, await read_applied(connection))
        for migration in pending:
            await _apply(connection, migration)
    return pending


async def read_applied(
    connection: DirectConnection,
) -> dict[int, tuple[str, str]]:
    """Applied migrations: version -> (name, checksum)."""
    rows = await connection.fetch("SELECT version, name, checksum FROM schema_migration")
    return {row["version"]: (row["name"], row["checksum"]) for row in rows}


@asynccontextmanager
async def migration_lock(connection: DirectConnection, *, wait_seconds: float) -> AsyncIterator[None]:
    """Hold the runner's advisory lock on this session.

    It is polled: a session that waits inside a statement would hold a snapshot, which concurrent
    index builds wait for in turn.

    Raises:
        TransientError: the lock was not free within `wait_seconds`.
    """
    deadline = time.monotonic() + wait_seconds
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", MIGRATION_LOCK_KEY):
        if time.monotonic() >= deadline:
            raise TransientError(
                f"another migration has been running for {wait_seconds:.0f} s",
                hint="wait for it, or look for its session in pg_stat_activity",
            )
        await asyncio.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK_KEY)


async def _apply(connection: DirectConnection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO schema_migration (version, name, checksum) VALUES ($1, $2, $3)",
            migration.version,
            migration.name,
            migration.checksum,
        )


def _read(entry: Traversable) -> Migration:
    match = _FILE_NAME.fullmatch(entry.name)
    if match is None:
        raise ConfigurationError(f"migration file {entry.name!r} is not named NNNN_words.sql")
    return Migration(version=int(match[1]), name=match[2], sql=entry.read_text(encoding="utf-8"))
