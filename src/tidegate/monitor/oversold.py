"""What is sold more often than there is: which article, how many units, and which orders cannot all be shipped.

It is read from the ledger: a sale that takes more than there is says so in its own entry, in the transaction that took it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from tidegate.store.connections import Connection
from tidegate.store.sql import query

_OVERSOLD = query("oversold")
_ORDERS = query("oversold_orders")
DAYS = 30
ITEMS_MAX = 100
ORDERS_MAX = 200


class ShortOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that holds units which nobody has."""

    order_id: UUID
    number: str
    channel: str
    placed_at: datetime
    units: int
    """Units of the article that it waits for."""
    missing: int
    """How many of these are not there, when older orders are served first."""


class OversoldItem(msgspec.Struct, frozen=True, kw_only=True):
    """An article of which orders hold more than there is."""

    sku: str
    missing: int
    """How many units more."""
    since: datetime
    """When a sale took more than there was for the first time."""
    orders: tuple[ShortOrder, ...]
    """Those that cannot be served, newest first."""


async def read_oversold(conn: Connection, tenant_id: UUID, *, limit: int = ITEMS_MAX) -> tuple[OversoldItem, ...]:
    """Return what is oversold, the most units first."""
    since = datetime.now(UTC) - timedelta(days=DAYS)
    found = []
    for row in await conn.fetch(_OVERSOLD, tenant_id, since, limit):
        orders = await conn.fetch(_ORDERS, tenant_id, row["item_id"], ORDERS_MAX)
        found.append(
            OversoldItem(
                sku=row["sku"], missing=row["missing"], since=row["since"], orders=short_orders(row["missing"], orders)
            )
        )
    return tuple(found)


def short_orders(missing: int, orders: Sequence[Any]) -> tuple[ShortOrder, ...]:
    """Return which of the orders, newest first, hold the units that are not there: whoever came first is served. Pure."""
    left, found = missing, []
    for row in orders:
        if left <= 0:
            break
        lacks = min(left, row["units"])
        left -= lacks
        found.append(
            ShortOrder(
                order_id=row["order_id"],
                number=row["number"],
                channel=row["channel"],
                placed_at=row["placed_at"],
                units=row["units"],
                missing=lacks,
            )
        )
    return tuple(found)
