"""The web process's transactions: each stands for one tenant, and sees the rows of no other.

The database itself keeps to that: row security for the role of this process compares every row's tenant with the
setting `app.tenant` of the transaction, and a transaction without the setting fails (see `store/grants.sql`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import structlog

from tidegate.kernel.errors import RejectedError, TransientError
from tidegate.store.connections import Connection, is_outage
from tidegate.web.world import World

_log = structlog.get_logger("web.database")
EVERY_TENANT = "every"
"""Value of `app.tenant` for what belongs to the installation: health, metrics, whose API key it is."""
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
async def _acquired(world: World) -> AsyncIterator[Connection]:
    try:
        async with world.pool.acquire(timeout=world.settings.acquire_seconds) as conn:
            yield conn
    except asyncpg.QueryCanceledError as error:
        raise TransientError("the database took too long", code="too_slow", wait_seconds=5) from error
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
        raise TransientError("somebody else is changing the same thing", code="busy", wait_seconds=1) from error
    except asyncpg.DataError as error:
        # What requests may hold is checked before; this is the net below, and no reason to tell what the database said.
        _log.warning("database.value_refused", sqlstate=error.sqlstate, error_class=type(error).__name__)
        raise RejectedError("a value is not one that can be stored", code="value_invalid") from error
    except Exception as error:
        if not is_outage(error):
            raise
        raise TransientError("the database does not answer", code="database_away", wait_seconds=5) from error
