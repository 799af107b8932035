"""One item as people look at it: what is there, how it came to be, what each channel was told and should be told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.config.effective import effective
from tidegate.dispatch.numbers import read_numbers, read_parts
from tidegate.dispatch.payloads import quantity_of
from tidegate.dispatch.safety import SafetyRules, safety_rules
from tidegate.dispatch.settings import DEFAULTS
from tidegate.inventory.kits import kits_of
from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.incoming_view import Incoming, read_incoming
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_ITEM = query("stock_item")
_SIMILAR = query("stock_similar")
_LEVELS = query("stock_levels")
_ENTRIES = query("stock_entries")
_CHANNELS = query("stock_channels")
_LIST = query("stock_list")
_TOLD = query("stock_told")


class Unseen(msgspec.Struct, frozen=True, kw_only=True):
    """Units of which a channel shows more or fewer than we expect, and no order explains it yet."""

    gone: int
    """Missing there: they count as sold, in every channel, until that is explained."""
    back: int
    """Shown there although we expect them to be sold."""
    since: datetime
    until: datetime
    """Explained at the earliest, unless their orders come before."""
    words: str


class ChannelView(msgspec.Struct, frozen=True, kw_only=True):
    """One channel's belief about an item."""

    connection: str
    was_told: int | None
    """None: never, or not known any more."""
    told_at: datetime | None
    should_be_told: int | None
    """None when its connector is not there. Where units are shared out, what it was told: more comes out of the free pool."""
    is_dirty: bool
    waits: str
    """Why the difference stands; '' when there is none."""
    unseen: Unseen | None = None
    """What it shows and nobody can explain; None when there is nothing of the kind."""


class PartView(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a kit."""

    sku: str
    units: int
    """So many are in one kit."""
    available: int
    """Of them, over all active locations: what nobody was promised and nothing keeps back."""
    kits: int
    """For how many kits it lasts; below zero where it lacks."""
    is_shared: bool
    """Its units may be shared out among channels: no kits can be sold of it."""


class StockView(msgspec.Struct, frozen=True, kw_only=True):
    """An item."""

    sku: str
    levels: tuple[Mapping[str, Any], ...]
    entries: tuple[Mapping[str, Any], ...]
    channels: tuple[ChannelView, ...]
    parts: tuple[PartView, ...] = ()
    """Of a kit; a plain item has none."""
    kits: int | None = None
    """How many can be made of what the parts leave; None for a plain item."""
    incoming: tuple[Incoming, ...] = ()
    """What is on its way, soonest first."""


async def read_stock(
    conn: Connection, tenant_id: UUID, sku: str, connectors: Mapping[str, Connector], config: Config, *, entries: int
) -> StockView:
    """Return the view of one SKU, from one snapshot. Raises ConfigurationError when there is no such item."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        item = await find_item(conn, tenant_id, sku)
        item_id = item["item_id"]
        levels = await conn.fetch(_LEVELS, tenant_id, item_id)
        tail = await conn.fetch(_ENTRIES, tenant_id, item_id, entries)
        channels = await read_channels(conn, tenant_id, item_id, connectors, config)
        incoming = await read_incoming(conn, tenant_id, item_id)
        parts = await read_parts(conn, tenant_id, item_id, safety_rules(effective(config, datetime.now(UTC)).planned))
    return StockView(
        sku=item["sku"],
        levels=tuple(dict(row) for row in levels),
        entries=tuple(dict(row) for row in tail[:entries]),
        channels=tuple(view for view, _ in channels),
        parts=tuple(
            PartView(
                sku=name,
                units=part.units,
                available=part.available - part.withheld,
                kits=part.kits,
                is_shared=part.is_shared,
            )
            for name, part in parts
        ),
        kits=kits_of(part for _, part in parts) if parts else None,
        incoming=incoming,
    )


async def list_stock(
    conn: Connection, tenant_id: UUID, *, after: str, prefix: str | None, limit: int
) -> list[tuple[Any, list[Any]]]:
    """Return rows of `stock_list` by SKU, each with the rows of `stock_told` of its channels."""
    items = await conn.fetch(_LIST, tenant_id, after, prefix, limit)
    told: dict[UUID, list[Any]] = {row["item_id"]: [] for row in items}
    for row in await conn.fetch(_TOLD, tenant_id, list(told)):
        told[row["item_id"]].append(row)
    return [(row, told[row["item_id"]]) for row in items]


async def find_item(conn: Connection, tenant_id: UUID, sku: str) -> Any:
    """Return id and SKU of an item. Raises ConfigurationError when there is none, with those that begin alike."""
    item = await conn.fetchrow(_ITEM, tenant_id, sku)
    if item is None:
        similar = ", ".join(row["sku"] for row in await conn.fetch(_SIMILAR, tenant_id, sku[:3]))
        hint = f"there are: {similar}" if similar else "connect a system that has it: tidegate connect NAME"
        raise ConfigurationError(f"no item has the SKU {sku!r}", code="sku_unknown", hint=hint)
    return item


async def read_channels(
    conn: Connection, tenant_id: UUID, item_id: UUID, connectors: Mapping[str, Connector], config: Config
) -> list[tuple[ChannelView, Any]]:
    """Return what each channel is believed to show of an item, with the mark behind it, by name of the channel."""
    planned, found = effective(config, datetime.now(UTC)).planned, []
    for row in await conn.fetch(_CHANNELS, tenant_id, item_id):
        rules = safety_rules(planned, row["connection"])
        connector = connectors.get(row["connector"])
        means = connector.stock_number if connector is not None else "available"
        (number,) = await read_numbers(conn, tenant_id, row["connection_id"], [item_id], rules, stock_number=means)
        found.append((_channel(row, number, connector, rules), row))
    return found


def _channel(row: Any, number: Any, connector: Connector | None, rules: SafetyRules) -> ChannelView:
    wanted = None
    if connector is not None:
        wanted = quantity_of(number, connector.stock_number, rules, held=row["held"])
    if row["is_shared"]:
        wanted = row["acked_quantity"]
    return ChannelView(
        connection=row["connection"],
        was_told=row["acked_quantity"],
        told_at=row["acked_at"],
        should_be_told=wanted,
        is_dirty=row["dirty"],
        waits=_waits(row, wanted),
        unseen=describe_unseen(row),
    )


def describe_unseen(row: Any) -> Unseen | None:
    """Return the unexplained units of a mark, with the reason and what ends it; None when it has none. Pure."""
    gone, back, since = row["unseen"], row["unseen_back"], row["unseen_at"]
    if not gone + back or since is None:
        return None
    until = since + timedelta(seconds=DEFAULTS.unseen_settle_seconds)
    parts = []
    if gone:
        parts.append(
            f"{_units(gone)} gone there, and no order that we know explains it: counted as sold in every channel"
        )
    if back:
        parts.append(f"{_units(back)} back there, and no order that we know explains it")
    end = "until the orders come, or all its feeds were read later than that and what they told is applied"
    return Unseen(gone=gone, back=back, since=since, until=until, words=f"{'; '.join(parts)}; {end}")


def _units(count: int) -> str:
    return f"{count} unit is" if count == 1 else f"{count} units are"


def _waits(row: Any, wanted: int | None) -> str:
    if row["blocked_by"] is None and row["is_draining"]:
        return "units are shared out: orders are read that may tell what it sold before it was lowered"
    if row["blocked_by"] is not None:
        return "a number is on its way, or it is being verified whether it arrived"
    if row["is_shared"] and row["dirty"] and not row["tries"]:
        return (
            "units are shared out: it is looked at again" if row["not_before"] is not None else "it waits for its turn"
        )
    if row["not_before"] is not None and row["dirty"]:
        return f"parked after {row['tries']} failures until {row['not_before'].isoformat(timespec='seconds')}"
    if row["dirty"]:
        return "it waits for its turn"
    if wanted is not None and row["acked_quantity"] != wanted:
        return "it is told when the stock changes next, and the stock flow is live"
    return ""
