"""Whether each stock counter is the sum of its ledger entries (I8): all at once in pages, or a bounded piece at a time for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from tidegate.store.connections import Connection
from tidegate.store.sql import query

_IMBALANCE = query("stock_imbalance")
_AUDIT_PAGE = query("stock_audit_page")
_AUDIT = query("stock_audit")
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


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of a level that do not add up."""

    sku: str
    location: str
    first: int
    """Number of the first entry."""
    last: int


class StockAudit:
    """Walks over all levels of a tenant again and again, a bounded piece each time, and remembers what does not add up.

    A long ledger is walked in stretches: from the counters of one entry to those of a later one. What was wrong is looked at
    again with each piece, until it is right. Where the walk stands is known to the process alone: a new one begins anew.
    """

    def __init__(self, tenant_id: UUID, *, levels: int, entries: int) -> None:
        """`levels` a piece, and of each `entries` at most."""
        self._tenant_id = tenant_id
        self._levels = levels
        self._entries = entries
        self._behind = (_FIRST, _FIRST)
        self._long: dict[tuple[UUID, UUID], int] = {}
        """Levels of which the entries behind this number are still to be walked over in this pass."""
        self._wrong: dict[tuple[UUID, UUID, int], Stretch] = {}
        self.passes = 0
        """How often all levels were walked over."""

    async def step(self, conn: Connection) -> tuple[Stretch, ...]:
        """Walk over the next piece; return everything that is known to be wrong. Reads only."""
        wrong = await self._audit(conn, list(self._wrong)) if self._wrong else []
        wanted = [(*level, start) for level, start in self._long.items()]
        if len(wanted) < self._levels:
            page = await conn.fetch(_AUDIT_PAGE, self._tenant_id, *self._behind, self._levels - len(wanted))
            if page:
                self._behind = (page[-1]["item_id"], page[-1]["location_id"])
                wanted += [(row["item_id"], row["location_id"], 0) for row in page]
            elif not wanted:
                self._behind = (_FIRST, _FIRST)
                self.passes += 1
        walked = await self._audit(conn, wanted) if wanted else []
        self._long = {
            (row["item_id"], row["location_id"]): row["upto"] for row in walked if row["upto"] < row["version"]
        }
        self._wrong = {
            (row["item_id"], row["location_id"], row["start"]): Stretch(
                sku=row["sku"], location=row["location"], first=row["start"] + 1, last=row["upto"]
            )
            for row in (*wrong, *walked)
            if row["is_wrong"]
        }
        return tuple(self._wrong.values())

    async def _audit(self, conn: Connection, wanted: Sequence[tuple[UUID, UUID, int]]) -> Sequence[Any]:
        columns = [list(column) for column in zip(*wanted, strict=True)]
        return await conn.fetch(_AUDIT, self._tenant_id, *columns, self._entries)
