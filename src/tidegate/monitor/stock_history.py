"""The ledger of one item as people and programs read it: what moved, from what to what, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.stock_view import find_item
from tidegate.store.connections import Connection
from tidegate.store.sql import query

COUNTERS = ("on_hand", "unavailable", "committed", "reserved")
KINDS = (
    "receive", "adjust", "count", "transfer_out", "transfer_in", "reserve", "reserve_expire", "release", "claim", "commit",
    "ship", "unship", "return_receive", "return_scrap", "kit_explode", "sync_correction",
)  # fmt: skip
"""Kinds of entries."""
_HISTORY = query("stock_history")
_LOCATION = query("stock_location")


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of a level."""

    on_hand: int
    unavailable: int
    committed: int
    reserved: int

    @property
    def available(self) -> int:
        """on_hand - unavailable - committed - reserved; a fact may make it negative."""
        return self.on_hand - self.unavailable - self.committed - self.reserved


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """One entry."""

    at: datetime
    location: str
    location_id: UUID
    version: int
    """Its number in the level: 1, 2, 3, without gaps."""
    kind: str
    reason: str | None
    """What a person gave as the reason, or why units are set aside."""
    note: str | None
    actor: str
    cause_key: str
    """Unique for ever: the same fact posts once."""
    delta: Counts
    before: Counts
    after: Counts
    event_id: UUID | None
    event_topic: str | None
    connection: str | None
    """Where the event came from."""
    order_id: UUID | None
    order_number: str | None
    reservation_id: UUID | None


class HistoryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries."""

    location: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Not included."""
    kinds: tuple[str, ...] = ()
    behind: tuple[datetime, UUID, int] | None = None
    """Only entries that come after this one in the list: its time, location and number."""


async def read_history(
    conn: Connection, tenant_id: UUID, sku: str, chosen: HistoryFilter, *, limit: int
) -> list[EntryView]:
    """Return entries of one SKU, newest first. Raises ConfigurationError when there is no such item or location."""
    item = await find_item(conn, tenant_id, sku)
    location_id = None
    if chosen.location is not None:
        location_id = await conn.fetchval(_LOCATION, tenant_id, chosen.location)
        if location_id is None:
            raise ConfigurationError(
                f"there is no location {chosen.location!r}",
                code="location_unknown",
                hint="tidegate stock show SKU names the locations of an item",
            )
    behind = chosen.behind or (None, None, None)
    kinds = list(chosen.kinds) or None
    rows = await conn.fetch(
        _HISTORY, tenant_id, item["item_id"], location_id, chosen.since, chosen.until, kinds, *behind, limit
    )
    return [_entry(row) for row in rows]


def _entry(row: Any) -> EntryView:
    return EntryView(
        delta=Counts(**{name: row[f"{name}_delta"] for name in COUNTERS}),
        before=Counts(**{name: row[f"{name}_after"] - row[f"{name}_delta"] for name in COUNTERS}),
        after=Counts(**{name: row[f"{name}_after"] for name in COUNTERS}),
        **{name: row[name] for name in EntryView.__struct_fields__ if name not in ("delta", "before", "after")},
    )
