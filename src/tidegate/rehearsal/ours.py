"""What our own database says during a rehearsal: what is open, which order is which, and when each step happened."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

import asyncpg
import msgspec

from tidegate.kernel.errors import TidegateError
from tidegate.kernel.ids import public_id
from tidegate.monitor.conservation import read_balances, total_imbalance
from tidegate.rehearsal.waits import Waiting
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.runtime.project import Project
from tidegate.store.connections import DirectConnection
from tidegate.store.database import embedded_database
from tidegate.store.pool import direct_connection
from tidegate.store.roles import Role
from tidegate.store.sql import query

_OPEN = query("rehearsal_open")
_WAITING = query("rehearsal_waiting")
_ORDERS = query("rehearsal_orders")
_STEPS = query("rehearsal_steps")
_NEWEST = query("rehearsal_newest")
_SHARED = query("rehearsal_shared")
_WRONG = query("rehearsal_wrong_entries")
BACK_SECONDS = 60.0
AGAIN_SECONDS = 0.3
T = TypeVar("T")
_AWAY = (TidegateError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """What is not finished."""

    events_waiting: int
    events_parked: int
    events_quarantined: int
    commands_waiting: int
    commands_in_doubt: int
    commands_failed: int
    marks_dirty: int
    fetches_waiting: int

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way; what needs a person is not under way."""
        return not (
            self.events_waiting
            or self.events_parked
            or self.commands_waiting
            or self.commands_in_doubt
            or self.marks_dirty
            or self.fetches_waiting
        )


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """When the parts of one order's way were done, in seconds since the epoch; None: not yet, or not known."""

    channel: str
    order: str
    received: float | None
    applied: float | None
    sent: float | None
    answered: float | None


class Ours:
    """Eyes on the database of one project. The database may be killed: then a look fails, and the next one connects anew."""

    def __init__(self, project: Project, cell: str) -> None:
        self._project = project
        self._cell = cell
        self._conn: DirectConnection | None = None
        self._turn = asyncio.Lock()
        """One look at a time: they share the connection."""

    async def close(self) -> None:
        """Look no more."""
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(*_AWAY):
                await conn.close(timeout=2)

    async def read_open(self) -> Open | None:
        """Return what is open; None while the database is away."""
        rows = await self._fetch(_OPEN)
        return Open(**rows[0]) if rows else None

    async def read_waiting(self, older_than_seconds: float, merges: Mapping[str, float]) -> dict[str, Waiting]:
        """Return what of each connection waits for longer than that, and what its lane does meanwhile.

        Numbers wait for company first: `merges` says how many seconds, by connection.
        """
        rows = await self._fetch(_WAITING, older_than_seconds, msgspec.json.encode(merges).decode())
        return {row["connection"]: Waiting(**row) for row in rows or ()}

    async def read_orders(self) -> dict[str, tuple[str, str]]:
        """Return reference at the ERP -> (channel, order's id there). Raises TransientError when the database is away."""
        return {
            public_id("ord", self._cell, row["order_id"]): (row["connection"], row["external_id"])
            for row in await self._need(_ORDERS)
        }

    async def read_steps(self) -> list[Step]:
        """Return the times of each order's steps."""
        return [
            Step(
                channel=row["connection"],
                order=row["external_id"],
                received=_time_of(row["event_id"]),
                applied=_seconds(row["applied_at"]),
                sent=_seconds(row["sent_at"]),
                answered=_seconds(row["answered_at"]),
            )
            for row in await self._need(_STEPS)
        ]

    async def read_newest_number(self) -> str | None:
        """Return what people call the newest order that arrived at the ERP."""
        rows = await self._need(_NEWEST)
        return str(rows[0]["number"]) if rows else None

    async def read_shared(self) -> tuple[frozenset[str], int]:
        """Return the articles whose units are shared out, and how often units were withdrawn."""
        rows = await self._need(_SHARED)
        return frozenset(row["sku"] for row in rows), sum(row["withdrawals"] for row in rows)

    async def read_imbalance(self) -> int:
        """Return events that are accounted for wrongly, plus ledger entries and levels that contradict each other."""

        async def read(conn: DirectConnection) -> int:
            balances = await read_balances(conn, since=datetime.now(UTC) - timedelta(days=1))
            return total_imbalance(balances) + int(await conn.fetchval(_WRONG))

        return await self._insist(read)

    async def _need(self, statement: str) -> list[asyncpg.Record]:
        async def read(conn: DirectConnection) -> list[asyncpg.Record]:
            return list(await conn.fetch(statement))

        return await self._insist(read)

    async def _insist(self, read: Callable[[DirectConnection], Awaitable[T]]) -> T:
        """Read, and begin anew while the database comes back from a kill. Raises when it does not come back."""
        deadline = time.monotonic() + BACK_SECONDS
        while True:
            async with self._turn:
                try:
                    return await read(await self._connect())
                except _AWAY:
                    await self.close()
                    if time.monotonic() > deadline:
                        raise
            await asyncio.sleep(AGAIN_SECONDS)

    async def _fetch(self, statement: str, *values: object) -> list[asyncpg.Record] | None:
        async with self._turn:
            try:
                conn = await self._connect()
                return list(await conn.fetch(statement, *values, timeout=10))
            except _AWAY:
                await self.close()
                return None

    async def _connect(self) -> DirectConnection:
        if self._conn is None or self._conn.is_closed():
            postgres = EmbeddedPostgres(self._project.postgres_dir, run_dir=self._project.run_dir)
            access = embedded_database(postgres.dsn).access(Role.MIGRATOR)
            self._conn = await direct_connection(access, application_name="tidegate-rehearsal")
        return self._conn


def _time_of(event_id: UUID | None) -> float | None:
    return None if event_id is None else (event_id.int >> 80) / 1000


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
