"""What is sold more often than there is, in all or where its orders stand: which article, how many units, and which orders lack.

It is read from the ledger: a sale that takes more than there is says so in its own entry, in the transaction that took it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec

from tidegate.inventory.backorder import Receipt, promised_on, short_of
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_OVERSOLD = query("oversold")
_ORDERS = query("oversold_orders")
_RECEIPTS = query("backorder_receipts")
_BACKORDERS = query("backorder_of")
_PLACES = ("place_ids", "places", "lacking")
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
    waits: bool = False
    """It was decided that it waits for goods (backorder)."""
    called_off: bool = False
    """Its channel is asked to cancel it: its units come back when it did."""
    promised_on: date | None = None
    """When, by what was on its way when that was decided."""
    expected_on: date | None = None
    """When what is on its way now covers it and all older ones; None: it does not."""
    decided_by: str | None = None


class ShortPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A location where orders stand that hold more than it has."""

    location: str
    missing: int
    """How many units more."""
    orders: tuple[str, ...]
    """The numbers of those that it cannot serve, newest first."""


class OversoldItem(msgspec.Struct, frozen=True, kw_only=True):
    """An article of which orders hold more than there is, or than there is where they stand."""

    sku: str
    missing: int
    """How many units more than all locations have; 0: there is enough, in other places."""
    since: datetime
    """When a sale took more than there was for the first time."""
    orders: tuple[ShortOrder, ...]
    """Those that cannot be served, newest first."""
    undecided: int
    """Of the missing units, those of orders that nobody decided about."""
    places: tuple[ShortPlace, ...] = ()
    """Where more is promised than there is, the most units first."""

    @property
    def elsewhere(self) -> int:
        """Units that lack where their orders stand, and are in another place."""
        return max(0, sum(place.missing for place in self.places) - self.missing)


async def read_oversold(
    conn: Connection, tenant_id: UUID, *, limit: int = ITEMS_MAX, sku: str | None = None
) -> tuple[OversoldItem, ...]:
    """Return what is oversold, the most units first; `sku`: of this one only."""
    since = datetime.now(UTC) - timedelta(days=DAYS)
    found = []
    for row in await conn.fetch(_OVERSOLD, tenant_id, since, limit, sku):
        item_id, missing = row["item_id"], row["missing"]
        rows = await conn.fetch(_ORDERS, tenant_id, item_id, ORDERS_MAX)
        orders = short_orders(
            missing,
            rows,
            [Receipt(*each) for each in await conn.fetch(_RECEIPTS, tenant_id, item_id)],
            {each["order_id"]: each for each in await conn.fetch(_BACKORDERS, tenant_id, item_id)},
        )
        waiting = sum(order.missing for order in orders if order.waits or order.called_off)
        found.append(
            OversoldItem(
                sku=row["sku"],
                missing=missing,
                since=row["since"],
                orders=orders,
                undecided=max(0, missing - waiting),
                places=tuple(
                    ShortPlace(location=name, missing=lacking, orders=_standing_at(rows, place_id, lacking))
                    for place_id, name, lacking in zip(*(row[each] or () for each in _PLACES), strict=True)
                ),
            )
        )
    return tuple(found)


def short_orders(
    missing: int,
    orders: Sequence[Any],
    receipts: Sequence[Receipt] = (),
    backorders: Mapping[UUID, Any] = MappingProxyType({}),
) -> tuple[ShortOrder, ...]:
    """Return which of the orders, newest first, hold the units that are not there: whoever came first is served. Pure."""
    short = short_of(missing, orders)
    days = promised_on(missing, [lacks for _, lacks in short], receipts)
    found = []
    for (row, lacks), day in zip(short, days, strict=True):
        decided = backorders.get(row["order_id"])
        found.append(
            ShortOrder(
                order_id=row["order_id"],
                number=row["number"],
                channel=row["channel"],
                placed_at=row["placed_at"],
                units=row["units"],
                missing=lacks,
                waits=decided is not None and decided["units"] >= lacks,
                called_off=row["called_off_at"] is not None,
                promised_on=decided["promised_on"] if decided is not None else None,
                expected_on=day,
                decided_by=decided["decided_by"] if decided is not None else None,
            )
        )
    return tuple(found)


def _standing_at(orders: Sequence[Any], place_id: UUID, missing: int) -> tuple[str, ...]:
    """Return the numbers of the newest orders at a place that hold what it has not. Pure."""
    here = [row for row in orders if row["location_id"] == place_id]
    return tuple(dict.fromkeys(row["number"] for row, _ in short_of(missing, here)))
