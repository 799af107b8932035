"""Whether each stock counter is the sum of its ledger entries (I8), read page by page: memory does not grow with the catalogue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from uuid import UUID

import msgspec

from tidegate.store.connections import Connection
from tidegate.store.sql import query

_IMBALANCE = query("stock_imbalance")
_FIRST = UUID(int=0)
PAGE_LEVELS = 500
_COUNTERS = ("on_hand", "unavailable", "committed", "reserved")


class WrongLevel(msgspec.Struct, frozen=True, kw_only=True):
    """A level whose counters and entries disagree."""

    sku: str
    location: str
    counted: Mapping[str, int]
    """What the counters say, in units, and the version of the level."""
    summed: Mapping[str, int]
    """What the entries add up to, and how many there are."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A page of levels that were compared."""

    levels: int
    wrong: tuple[WrongLevel, ...]


async def check_levels(conn: Connection, tenant_id: UUID, *, page_levels: int = PAGE_LEVELS) -> AsyncIterator[Checked]:
    """Compare all levels of a tenant with their entries, `page_levels` at a time. A level that changes meanwhile is right in any snapshot."""
    item_id, location_id = _FIRST, _FIRST
    while True:
        rows = await conn.fetch(_IMBALANCE, tenant_id, item_id, location_id, page_levels)
        if not rows:
            return
        yield Checked(
            levels=len(rows),
            wrong=tuple(
                WrongLevel(
                    sku=row["sku"],
                    location=row["location"],
                    counted={name: row[name] for name in _COUNTERS} | {"version": row["version"]},
                    summed={name: row[f"{name}_sum"] for name in _COUNTERS} | {"version": row["entries"]},
                )
                for row in rows
                if row["is_wrong"]
            ),
        )
        item_id, location_id = rows[-1]["item_id"], rows[-1]["location_id"]
