"""Connections to PostgreSQL: pools with a time limit on every statement, and direct ones.

Two limits stand behind each other: the server ends a statement by the role's own timeouts, and the
client gives up a little later by itself, for the case that the server does not answer at all.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import asyncpg

from tidegate.kernel.errors import TransientError
from tidegate.store.connections import DATABASE_ERRORS, DirectConnection, Pool, is_outage
from tidegate.store.roles import ROLE_LIMITS, Role

CONNECT_TIMEOUT_SECONDS = 10.0
CLIENT_MARGIN_SECONDS = 2.0
"""How much longer than the server's statement timeout the client waits before it gives up."""
IDLE_CONNECTION_SECONDS = 300.0
TRANSACTION_TIMEOUT_SINCE = 17
"""First version of PostgreSQL that can end a transaction for its age."""
TRANSACTION_TIMEOUT_FACTOR = 3
"""A transaction of ours may last as long as so many of its role's longest statements."""
START_WAIT_SECONDS = 30.0
START_RETRY_SECONDS = 0.1
BY_INDEX: Mapping[str, str] = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""Session settings of what is planned once and kept, perhaps while the tables are empty or have just filled: only the way
through the indexes is right at every size, and no plan is made again for each execution."""
BY_KEY: Mapping[str, str] = {**BY_INDEX, "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""The same for sessions that read by key and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a process enters the database as one role. The address holds a password: not in repr."""

    role: Role
    dsn: str = field(repr=False)
    assume_role: bool = False
    """True when the address belongs to another user who takes on `role` for the session."""

    def server_settings(self, application_name: str) -> dict[str, str]:
        """Session settings: name, time limits, isolation, and the role where it is assumed.

        What reads after a lock must see what was committed before it: that is READ COMMITTED, whatever the server's
        own default is.
        """
        settings = {
            "application_name": application_name,
            "timezone": "UTC",
            "default_transaction_isolation": "read committed",
        }
        settings |= ROLE_LIMITS[self.role].server_settings()
        if self.assume_role:
            settings["role"] = self.role.value
        return settings


async def create_pool(
    access: Access,
    *,
    application_name: str,
    size_min: int = 1,
    size_max: int = 8,
    command_timeout_seconds: float | None = None,
    server_settings: Mapping[str, str] | None = None,
    start_wait_seconds: float = START_WAIT_SECONDS,
) -> Pool:
    """Open a pool whose every statement ends in bounded time.

    Args:
        access: role and address.
        application_name: shown by `pg_stat_activity`, for example `tidegate-apply-1`.
        size_min: connections opened at once.
        size_max: connections at most; `acquire` waits beyond that, give it a timeout.
        command_timeout_seconds: the client's limit per statement; by default the server's limit
            for the role plus `CLIENT_MARGIN_SECONDS`.
        server_settings: further session settings.
        start_wait_seconds: how long to wait for a database that is away or starting.

    A connection goes back to the pool without the usual reset round trip, so code must not change
    session state (use SET LOCAL; advisory locks and LISTEN belong on a direct connection). An open
    transaction is still rolled back.

    Raises:
        TransientError: the database did not answer within `start_wait_seconds`.
    """
    limit = ROLE_LIMITS[access.role].statement_timeout_seconds + CLIENT_MARGIN_SECONDS
    give_up_at = time.monotonic() + start_wait_seconds
    while True:
        try:
            return await asyncpg.create_pool(
                access.dsn,
                min_size=size_min,
                max_size=size_max,
                timeout=CONNECT_TIMEOUT_SECONDS,
                command_timeout=command_timeout_seconds or limit,
                max_inactive_connection_lifetime=IDLE_CONNECTION_SECONDS,
                server_settings={**access.server_settings(application_name), **(server_settings or {})},
                init=partial(_limit_transactions, access.role),
                reset=_keep_session,
            )
        except DATABASE_ERRORS as error:
            if not is_outage(error):
                raise
            if time.monotonic() >= give_up_at:
                raise TransientError("the database does not answer") from error
            await asyncio.sleep(START_RETRY_SECONDS)


async def direct_connection(
    access: Access, *, application_name: str, command_timeout_seconds: float | None = None
) -> DirectConnection:
    """Open one connection of its own, for session advisory locks, LISTEN and migrations.

    It must not pass a transaction-mode pooler: its locks live and die with the session.
    """
    limit = ROLE_LIMITS[access.role].statement_timeout_seconds + CLIENT_MARGIN_SECONDS
    return await asyncpg.connect(
        access.dsn,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=command_timeout_seconds or limit,
        server_settings=access.server_settings(application_name),
    )


async def _limit_transactions(role: Role, connection: DirectConnection) -> None:
    """Bound whole transactions where the server can (PostgreSQL 17 and newer).

    A process that freezes between the parts of one statement counts neither as idle nor as running, so no other limit
    ends its session, and its row locks would keep others off for as long as it is frozen.
    """
    if connection.get_server_version().major >= TRANSACTION_TIMEOUT_SINCE:
        seconds = ROLE_LIMITS[role].statement_timeout_seconds * TRANSACTION_TIMEOUT_FACTOR
        await connection.execute(f"SET transaction_timeout = '{round(seconds * 1000)}ms'")


async def _keep_session(_connection: DirectConnection) -> None:
    """Nothing to reset: sessions are never changed."""
