"""Let reservations end whose time is over: when it is over, and not by looking around."""

from __future__ import annotations

import asyncpg
import structlog

from tidegate.kernel.crashpoint import reach
from tidegate.store.connections import Pool
from tidegate.sync import reservation_statements as sql
from tidegate.sync.reservations import DUE_MAX, ReservationsMoved, sweep

TENANTS_MAX = 1_000
"""Of so many due reservations the tenants are looked at in one go."""
ROUNDS_MAX = 20
"""Transactions for one tenant in one go; what is left comes with the next look."""
_MET = (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, ReservationsMoved)
log = structlog.get_logger()


async def expire_due(pool: Pool) -> int:
    """Let everything that is due expire, of all tenants, and return how many reservations it were.

    Safe to run in several processes at once: one of them does it. Raises what asyncpg raises when the database is away.
    """
    ended = 0
    for row in await pool.fetch(sql.TENANTS_WITH_DUE, TENANTS_MAX):
        tenant_id = row[0]
        for _ in range(ROUNDS_MAX):
            try:
                async with pool.acquire() as conn, conn.transaction():
                    done = await sweep(conn, tenant_id)
            except _MET as error:  # somebody is at these levels; the next look finds what is left
                log.info("apply.expiry_delayed", tenant_id=tenant_id, error_class=type(error).__name__)
                break
            reach("reserve.expired")
            ended += done
            if done < DUE_MAX:
                break
    return ended
