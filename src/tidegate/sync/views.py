"""What the strands of one process know of the tenants: read once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID

import asyncpg
import structlog

from tidegate.kernel.clock import Clock
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection, Pool
from tidegate.sync import statements
from tidegate.sync.going_live import refresh_modes
from tidegate.sync.reading import TenantReader, TenantView
from tidegate.sync.write import COMMAND_CHANNEL

log = structlog.get_logger()
_ONE_TENANTS = (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError, asyncpg.TransactionRollbackError)
"""What one tenant can make go wrong, by its size or by what somebody else holds of it."""


class Views:
    """Policies and connections of all tenants, as they are now. Shared by the strands of a process."""

    def __init__(self, pool: Pool, clock: Clock, seconds: float, connectors: Mapping[str, Connector]) -> None:
        """Know nothing; what is known is read again after `seconds`, or when it says something else by itself."""
        self._pool = pool
        self._clock = clock
        self._seconds = seconds
        self._reader = TenantReader(connectors)
        self._due = 0.0
        self._reading = asyncio.Lock()
        self._views: dict[UUID, TenantView] = {}

    def get(self, tenant_id: UUID) -> TenantView | None:
        """Return what is known of a tenant."""
        return self._views.get(tenant_id)

    def expire(self) -> None:
        """Have everything read again at the next refresh."""
        self._due = 0.0

    async def refresh(self) -> None:
        """Read again what is due, and have channels told of articles that they never heard of."""
        async with self._reading:
            if self._clock.monotonic() < self._due:
                return
            async with self._pool.acquire() as conn:
                await self._read(conn)
                for tenant_id, view in self._views.items():
                    try:
                        await self._attend(conn, tenant_id, view)
                    except _ONE_TENANTS as error:  # too much for the limits, or somebody holds it: the others go on
                        log.warning("apply.tenant_delayed", tenant_id=tenant_id, error_class=type(error).__name__)
            self._due = self._clock.monotonic() + self._seconds_to_next()

    async def find(self, tenant_id: UUID, connection_ids: set[UUID]) -> TenantView | None:
        """Return a tenant's view; read again at once when it does not know a connection yet."""
        view = self._views.get(tenant_id)
        if view is None or not connection_ids <= view.connectors.keys():
            async with self._reading, self._pool.acquire() as conn:
                await self._read(conn)
            view = self._views.get(tenant_id)
        return view

    async def _attend(self, conn: Connection, tenant_id: UUID, view: TenantView) -> None:
        if not view.is_settled:
            await self._settle_modes(conn, tenant_id)
        if view.policy.stock_channels:
            await _mark_untold(conn, tenant_id, view)

    async def _settle_modes(self, conn: Connection, tenant_id: UUID) -> None:
        """Make the modes of the configuration count: a timed override began or ended, or this is a new release."""
        settled = await refresh_modes(conn, tenant_id)
        log.info("apply.modes_settled", tenant_id=tenant_id, flows=len(settled.changed), marks=settled.marks)
        await self._read(conn)

    async def _read(self, conn: Connection) -> None:
        self._views = await self._reader.read(conn, self._clock.now())

    def _seconds_to_next(self) -> float:
        """Return when to look again: after a while, or when a configuration says something else by itself."""
        now = self._clock.now()
        changes = [(view.until - now).total_seconds() for view in self._views.values() if view.until is not None]
        return max(0.0, min([self._seconds, *changes]))


async def _mark_untold(conn: Connection, tenant_id: UUID, view: TenantView) -> None:
    """Have channels told of the articles that they never heard of, and wake their lanes."""
    done = await conn.execute(statements.MARK_UNTOLD, tenant_id, list(view.policy.stock_channels))
    if done != "UPDATE 0":
        await conn.execute("SELECT pg_notify($1, '')", COMMAND_CHANNEL)
