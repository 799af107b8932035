"""Reservations as people and programs look at them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast
from uuid import UUID

import msgspec

from tidegate.inventory.reserve import ReservationState
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import time_of
from tidegate.monitor.stock_view import find_item
from tidegate.store.connections import Connection
from tidegate.store.sql import query

LAST_ID = UUID(int=(1 << 128) - 1)
KEPT_FOR = timedelta(days=30)
"""How long a reservation is remembered after its end. The ledger remembers for ever."""
PURGED_MAX = 50_000
_LIST = query("reservations_list")
_ONE = query("reservations_one")
_HOLDS = query("reservations_holds")
_OF_ITEM = query("reservations_of_item")
_PURGE = query("reservations_purge")


class HeldUnits(msgspec.Struct, frozen=True, kw_only=True):
    """Units of an item that are held now."""

    sku: str
    location: str
    units: int


class ReservationView(msgspec.Struct, frozen=True, kw_only=True):
    """One reservation."""

    reservation_id: UUID
    state: Literal["held", "claimed", "released", "expired"]
    """A held one whose time is over is expired, although nobody has noted it yet."""
    reference: str | None
    asked: tuple[tuple[str, int], ...]
    holds: tuple[HeldUnits, ...]
    location: str | None
    created_at: datetime
    due_at: datetime
    awaits_order: bool
    order_id: UUID | None
    channel: str | None
    order_reference: str | None
    actor: str
    ended_at: datetime | None
    ended_by: str | None


class ReservationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which reservations."""

    state: ReservationState | None = None
    sku: str | None = None
    reference: str | None = None
    before: UUID | None = None


async def list_reservations(
    conn: Connection, tenant_id: UUID, chosen: ReservationFilter, limit: int
) -> list[ReservationView]:
    """Return reservations, newest first. Raises ConfigurationError when no item has the SKU."""
    item_id = None
    if chosen.sku is not None:
        item_id = (await find_item(conn, tenant_id, chosen.sku))["item_id"]
    rows = await conn.fetch(_LIST, tenant_id, chosen.state, item_id, chosen.reference, chosen.before or LAST_ID, limit)
    return await _with_holds(conn, tenant_id, rows)


async def read_reservation(conn: Connection, tenant_id: UUID, reservation_id: UUID) -> ReservationView:
    """Return one reservation. Raises ConfigurationError when there is no such one."""
    row = await conn.fetchrow(_ONE, tenant_id, reservation_id)
    if row is None:
        raise ConfigurationError(
            "there is no such reservation",
            code="reservation_unknown",
            hint="tidegate stock reservations lists them; those that ended 30 days ago are forgotten",
        )
    return (await _with_holds(conn, tenant_id, [row]))[0]


async def purge_reservations(conn: Connection, *, kept_for: timedelta = KEPT_FOR, at_most: int = PURGED_MAX) -> int:
    """Forget reservations that ended longer ago; return how many. Run as the owner of the schema; safe to repeat."""
    status = await conn.execute(_PURGE, kept_for, at_most)
    return int(status.rpartition(" ")[2])


async def read_holders(conn: Connection, tenant_id: UUID, item_id: UUID, limit: int) -> list[Any]:
    """Return rows of `reservations_of_item`: what holds units of an item, due first."""
    return list(await conn.fetch(_OF_ITEM, tenant_id, item_id, limit))


async def _with_holds(conn: Connection, tenant_id: UUID, rows: Iterable[Any]) -> list[ReservationView]:
    found = list(rows)
    holds: dict[UUID, list[HeldUnits]] = {}
    for row in await conn.fetch(_HOLDS, tenant_id, [row["reservation_id"] for row in found]):
        units = HeldUnits(sku=row["sku"], location=row["location"], units=row["units"])
        holds.setdefault(row["reservation_id"], []).append(units)
    now = datetime.now(UTC)
    plain = ("reservation_id", "reference", "location", "due_at", "awaits_order", "order_id", "channel", "order_reference",
             "actor", "ended_at", "ended_by")  # fmt: skip
    return [
        ReservationView(
            state=cast("Any", "expired" if row["state"] == "held" and row["due_at"] <= now else row["state"]),
            asked=msgspec.json.decode(row["asked"], type=tuple[tuple[str, int], ...]),
            holds=tuple(holds.get(row["reservation_id"], ())),
            created_at=time_of(row["reservation_id"]),
            **{name: row[name] for name in plain},
        )
        for row in found
    ]
