"""Names for asyncpg's connection types (asyncpg's classes take no parameters at run time)."""

from typing import TYPE_CHECKING, TypeAlias

import asyncpg
import asyncpg.pool

if TYPE_CHECKING:
    DirectConnection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    PooledConnection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    DirectConnection = asyncpg.Connection
    PooledConnection = asyncpg.pool.PoolConnectionProxy
    Pool = asyncpg.Pool

Connection: TypeAlias = DirectConnection | PooledConnection
"""What functions that run statements accept: a pooled connection or a direct one."""

DATABASE_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""Everything a statement or a connection attempt raises when the database refuses, restarts or is away.

`InternalClientError` belongs here: a connection that was lost between two statements of a killed server answers the
next statement with it.
"""


def is_outage(error: BaseException) -> bool:
    """Whether the database was away or restarting, so that the same work may succeed a little later.

    A COMMIT that ended so may have happened: repeat the whole unit under the same keys.
    """
    if isinstance(error, asyncpg.PostgresError):
        return str(getattr(error, "sqlstate", "")).startswith(_OUTAGE_CLASSES)
    return isinstance(error, DATABASE_ERRORS)


_OUTAGE_CLASSES = ("08", "57P01", "57P02", "57P03", "57P05")
"""SQLSTATE: connection exceptions; shutdown by an administrator or a crash; starting up; idle session ended."""
