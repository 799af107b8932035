"""The conservation audit: per connection and hour, everything that was received ended somewhere or still waits.

received = applied + superseded + duplicate + ignored + quarantined + pending. `received` is counted at the door before
dedupe, the other terms where they happen, so the equation can fail; when it does, something was lost or doubled.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from tidegate.store.connections import Connection
from tidegate.store.sql import query

_BALANCES = query("conservation_balances")


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """The equation of one connection in one hour of receipt."""

    connection: str
    hour: datetime
    received: int
    duplicate: int
    applied: int
    superseded: int
    ignored: int
    quarantined: int
    pending: int

    @property
    def difference(self) -> int:
        """What was received and is nowhere (positive), or is somewhere and was never received (negative)."""
        ended = self.duplicate + self.applied + self.superseded + self.ignored + self.quarantined
        return self.received - ended - self.pending


async def read_balances(conn: Connection, *, since: datetime, tenant_id: UUID | None = None) -> list[Balance]:
    """Return the balances of all hours from `since` on, by connection and hour, from one snapshot. Reads only."""
    return [Balance(**row) for row in await conn.fetch(_BALANCES, tenant_id, since)]


def total_imbalance(balances: list[Balance]) -> int:
    """Return the sum of the absolute differences: 0 when all is well."""
    return sum(abs(balance.difference) for balance in balances)
