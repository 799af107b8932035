"""Reads the figures of the overview. Cheap ones every few seconds, dear ones seldom; each reader is one round of queries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from tidegate.commerce.states import RELEASING_PAYMENTS
from tidegate.config import Config
from tidegate.kernel.ids import first_id_at
from tidegate.monitor.figures import (
    AtRisk,
    Lag,
    Minute,
    Waiting,
    at_risk_of,
    lags_of,
    waiting_of,
)
from tidegate.store.connections import Connection
from tidegate.store.sql import query

MINUTES = 30
"""How far back the rates go."""
LAG_WINDOW = timedelta(minutes=10)
LAG_SAMPLES_MAX = 500
UNPLANNED_WINDOW = timedelta(days=7)
"""How far back paid orders are looked for that nothing was planned for."""
_RECEIVED = query("overview_received")
_SENT = query("overview_sent")
_APPLIED = query("overview_applied")
_CALLS = query("overview_calls")
_WAITING = query("overview_waiting")
_MONEY_IN_COMMANDS = query("overview_money_in_commands")
_MONEY_UNPLANNED = query("overview_money_unplanned")


class Rates:
    """Counts per minute, kept so that a minute that is over is counted once."""

    def __init__(self, minutes: int = MINUTES) -> None:
        """Keep the last `minutes` whole minutes and the one that runs."""
        self._minutes = minutes
        self._done: dict[datetime, Minute] = {}

    async def read(self, conn: Connection, tenant_id: UUID, now: datetime) -> tuple[Minute, ...]:
        """Return the minutes, oldest first; the last one is not over yet. Reads only.

        The minute that has just ended is counted once more, because an id is made a moment before its row is committed.
        """
        current = now.replace(second=0, microsecond=0)
        wanted = [current - timedelta(minutes=back) for back in range(self._minutes, -1, -1)]
        missing = [at for at in wanted if at not in self._done]
        counted = await _count(conn, tenant_id, missing)
        last_done = current - timedelta(minutes=1)
        known = {**self._done, **counted}
        self._done = {at: minute for at, minute in known.items() if wanted[0] <= at < last_done}
        return tuple(known[at] for at in wanted)


async def _count(conn: Connection, tenant_id: UUID, minutes: Sequence[datetime]) -> dict[datetime, Minute]:
    firsts = [first_id_at(at) for at in minutes]
    ends = [first_id_at(at + timedelta(minutes=1)) for at in minutes]
    received = {row["first_id"]: row["number"] for row in await conn.fetch(_RECEIVED, tenant_id, firsts, ends)}
    sent = {row["first_id"]: row["number"] for row in await conn.fetch(_SENT, tenant_id, firsts, ends)}
    return {
        at: Minute(at=at, received=received[first], sent=sent[first]) for at, first in zip(minutes, firsts, strict=True)
    }


async def read_lags(conn: Connection, tenant_id: UUID, now: datetime) -> tuple[Lag, ...]:
    """Return the lag of each step from what happened in the last minutes. Reads only."""
    first = first_id_at(now - LAG_WINDOW)
    applied = await conn.fetch(_APPLIED, tenant_id, first, LAG_SAMPLES_MAX)
    calls = await conn.fetch(_CALLS, tenant_id, first, LAG_SAMPLES_MAX)
    return lags_of(applied, calls)


async def read_waiting(conn: Connection, tenant_id: UUID) -> tuple[Waiting, ...]:
    """Return what waits at each stage; nothing is left out. Reads only."""
    return waiting_of(await conn.fetch(_WAITING, tenant_id))


async def read_at_risk(conn: Connection, tenant_id: UUID, config: Config, now: datetime) -> tuple[AtRisk, ...]:
    """Return the value of orders that are not where they should be. Reads only.

    Paid orders that nothing was planned for count while the orders flow is not merely observed: then each of them should
    have a command.
    """
    in_commands = await conn.fetch(_MONEY_IN_COMMANDS, tenant_id)
    orders = config.flows.orders
    unplanned = []
    if orders is not None and orders.mode != "observe":
        first = first_id_at(now - UNPLANNED_WINDOW)
        states = sorted(RELEASING_PAYMENTS)
        unplanned = await conn.fetch(_MONEY_UNPLANNED, tenant_id, orders.target, first, orders.since, states)
    return at_risk_of(in_commands, unplanned)
