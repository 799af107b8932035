"""What people say is on its way: purchase orders, transfers, returns, until they are received. Part of nothing that can be sold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from uuid import UUID

import msgspec

from tidegate.inventory.decide import Refusal
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.adjust import choose_place, find_items, read_places

REFERENCE_MAX = 120
UNITS_MAX = 1_000_000_000
_LOCK = "SELECT FROM tenant WHERE tenant_id = $1 FOR NO KEY UPDATE"
_OF_PEOPLE = query("incoming_of_people")
_DROP = query("incoming_drop")
_ADD = query("incoming_add")


class Expectation(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Units of an article that are on their way to a location, under a name that people gave it."""

    reference: str
    sku: str
    location: str
    units: int
    expected_on: date | None = None
    """None: nobody knows when."""


class ExpectedChange(msgspec.Struct, frozen=True, kw_only=True):
    """What was expected under a reference and what is from now on."""

    reference: str
    before: tuple[Expectation, ...]
    after: tuple[Expectation, ...]


async def expect(
    conn: Connection,
    tenant_id: UUID,
    wanted: Sequence[Expectation],
    *,
    references: Sequence[str] | None,
    actor: str,
) -> tuple[ExpectedChange, ...] | Refusal:
    """Let `wanted` be all that is expected under these references, None: under any that people gave. In the caller's transaction.

    `location` may be empty where there is only one. Returns what changed, or why nothing does; safe to repeat. What connections say
    is not touched. Raises ConfigurationError: a location is not known, or none was named and there are several.
    """
    await conn.fetch(_LOCK, tenant_id)  # two who replace everything at once: one after the other
    places = await read_places(conn, tenant_id)
    items = await find_items(conn, tenant_id, {each.sku for each in wanted})
    for item in items.values():
        if isinstance(item, Refusal):
            return item
    at = {each.location: choose_place(places, each.location or None) for each in wanted}
    ids = {place.name: place.location_id for place in at.values()}
    named = [msgspec.structs.replace(each, location=at[each.location].name) for each in wanted]
    chosen = list(references) if references is not None else None
    old = [Expectation(**dict(row)) for row in await conn.fetch(_OF_PEOPLE, tenant_id, chosen)]
    changes = changes_of(old, named)
    if changes:
        changed = [change.reference for change in changes]
        await conn.execute(_DROP, tenant_id, changed)
        rows = [
            (each.reference, items[each.sku], ids[each.location], each.units, each.expected_on)
            for change in changes
            for each in change.after
        ]
        if rows:
            await conn.execute(_ADD, tenant_id, *(list(column) for column in zip(*rows, strict=True)), actor)
    return changes


def changes_of(old: Sequence[Expectation], new: Sequence[Expectation]) -> tuple[ExpectedChange, ...]:
    """Return the references under which something else is expected, sorted. Pure."""
    names = sorted({each.reference for each in (*old, *new)})
    found = []
    for name in names:
        before = tuple(sorted((e for e in old if e.reference == name), key=_key))
        after = tuple(sorted((e for e in new if e.reference == name), key=_key))
        if before != after:
            found.append(ExpectedChange(reference=name, before=before, after=after))
    return tuple(found)


def _key(each: Expectation) -> tuple[str, str]:
    return (each.sku, each.location)
