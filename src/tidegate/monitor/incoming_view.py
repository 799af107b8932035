"""What is on its way, by who says so."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

import msgspec

from tidegate.store.connections import Connection
from tidegate.store.sql import query

_LIST = query("incoming_list")
SHOWN_MAX = 200
"""Of one article."""


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """Units of an article that are on their way to a location."""

    reference: str
    """What the source calls it."""
    source: str | None
    """The connection that says so; None: people."""
    sku: str
    location: str
    units: int
    expected_on: date | None
    """None: nobody knows when."""
    actor: str
    changed_at: datetime


async def read_incoming(
    conn: Connection, tenant_id: UUID, item_id: UUID | None = None, *, limit: int = SHOWN_MAX
) -> tuple[Incoming, ...]:
    """Return what is on its way, of one item or of all, soonest first. Reads only."""
    return tuple(Incoming(**dict(row)) for row in await conn.fetch(_LIST, tenant_id, item_id, limit))
