"""The web process's transactions: each stands for one tenant, and sees the rows of no other.

The database itself keeps to that: row security for the role of this process compares every row's tenant with the
setting `app.tenant` of the transaction, and a transaction without the setting fails (see `store/grants.sql`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from tidegate.kernel.errors import RejectedError, TransientError
from tidegate.store.connections import Connection, Pool, is_outage
from tidegate.store.pool import BY_KEY, Access, create_pool
from tidegate.sync.combiner import Combiner, CombinerSettings
from tidegate.web.key_finder import KeyFinder
from tidegate.web.keys import find_keys
from tidegate.web.world import World

_log = structlog.get_logger("web.database")
EVERY_TENANT = "every"
"""Value of `app.tenant` for what belongs to the installation: health, metrics, whose API key it is."""
PROMISE_SECONDS = 5.0
"""How long a batch of the combiner waits for a connection."""
_SET_TENANT = "SELECT set_config('app.tenant', $1, true)"


@asynccontextmanager
async def reading(world: World, tenant_id: UUID | None) -> AsyncIterator[Connection]:
    """A read-only transaction on one snapshot, for one tenant (None: for the whole installation).

    Raises TransientError when the database is away or has no connection to spare, or a statement took too long.
    """
    async with _acquired(world) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        await set_tenant(conn, tenant_id)
        yield conn


@asynccontextmanager
async def writing(world: World, tenant_id: UUID | None) -> AsyncIterator[Connection]:
    """A transaction that commits at the end of the block, for one tenant. What is called inside opens savepoints.

    Raises TransientError as `reading` does.
    """
    async with _acquired(world) as conn, conn.transaction():
        await set_tenant(conn, tenant_id)
        yield conn


async def set_tenant(conn: Connection, tenant_id: UUID | None) -> None:
    """Let the open transaction see the rows of one tenant, or of every tenant."""
    await conn.execute(_SET_TENANT, EVERY_TENANT if tenant_id is None else str(tenant_id))


@asynccontextmanager
async def promising(pool: Pool, tenant_id: UUID) -> AsyncIterator[Connection]:
    """A transaction of the combiner for one tenant: what the database says of data and of meetings is left to it.

    Raises TransientError as `writing` does when the database is away or too slow.
    """
    with _outages_told():
        async with pool.acquire(timeout=PROMISE_SECONDS) as conn, conn.transaction():
            await set_tenant(conn, tenant_id)
            yield conn


def combiner_on(pool: Pool, settings: CombinerSettings | None = None) -> Combiner:
    """Return a combiner whose transactions are those of the web process. `pool` needs a connection per lane."""
    return Combiner(partial(promising, pool), settings)


async def key_pool(access: Access, *, application_name: str) -> Pool:
    """Open a pool of one session, which looks API keys up and nothing else: before that, nobody knows whose a key is."""
    return await create_pool(
        access,
        application_name=application_name,
        size_min=0,
        size_max=1,
        server_settings={**BY_KEY, "app.tenant": EVERY_TENANT},
    )


def key_finder_on(pool: Pool, *, acquire_seconds: float) -> KeyFinder:
    """Return a finder over a pool of `key_pool`. It raises TransientError when the database is away or too slow."""

    async def read(key_ids: Sequence[UUID]) -> Mapping[UUID, Any]:
        with _outages_told():
            async with pool.acquire(timeout=acquire_seconds) as conn:
                return await find_keys(conn, key_ids)

    return KeyFinder(read)


@asynccontextmanager
async def _acquired(world: World) -> AsyncIterator[Connection]:
    with _outages_told():
        try:
            async with world.pool.acquire(timeout=world.settings.acquire_seconds) as conn:
                yield conn
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
            raise TransientError("somebody else is changing the same thing", code="busy", wait_seconds=1) from error
        except asyncpg.DataError as error:
            # What requests may hold is checked before; this is the net below, and no reason to tell what the database said.
            _log.warning("database.value_refused", sqlstate=error.sqlstate, error_class=type(error).__name__)
            raise RejectedError("a value is not one that can be stored", code="value_invalid") from error


@contextmanager
def _outages_told() -> Iterator[None]:
    """Tell in our words that the database is away, too slow, or held by somebody else."""
    try:
        yield
    except asyncpg.QueryCanceledError as error:
        raise TransientError("the database took too long", code="too_slow", wait_seconds=5) from error
    except asyncpg.LockNotAvailableError as error:
        raise TransientError("somebody else is changing the same thing", code="busy", wait_seconds=1) from error
    except Exception as error:
        if not is_outage(error):
            raise
        raise TransientError("the database does not answer", code="database_away", wait_seconds=5) from error
