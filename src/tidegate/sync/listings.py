"""Articles that were deleted over there, that came back, or that were made anew: what is known of them, and what follows.

A deleted article keeps what it stood for in a tombstone: orders that name it are taken as before, and nothing is told there
any more. Everything in T2, with locks in the one order: marks (by the caller), then rows that nobody waits for, commands last.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from tidegate.commerce import changes
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.sync import listing_statements as statements
from tidegate.sync.catalogue import Catalogue
from tidegate.sync.fold import may_be_bound
from tidegate.sync.policy import Policy
from tidegate.sync.records import Listing, ListingChange, Prepared, State

ACTOR = "tidegate"
LOOK_SECONDS = 2.0
"""How long a read of what may take a deleted article's place waits: what was deleted together is buried first."""


async def load_listings(
    conn: Connection, tenant_id: UUID, state: State, batch: Sequence[Prepared], catalogue: Catalogue
) -> None:
    """Load what is known of the articles that a batch shows or says to be gone, and note items whose marks change."""
    shown = {
        (prepared.event.connection_id, change.external_id, change.sku.strip())
        for prepared in batch
        for change in prepared.changes
        if isinstance(change, changes.VariantSeen)
    }
    gone = {
        (prepared.event.connection_id, change.external_id, change.is_product)
        for prepared in batch
        for change in prepared.changes
        if isinstance(change, changes.VariantGone)
    }
    products = [(connection_id, name) for connection_id, name, is_product in gone if is_product]
    if products:
        for row in await conn.fetch(statements.FIND_PARTS, tenant_id, *_columns(products)):
            state.parts.setdefault((row["connection_id"], row["parent_id"]), []).append(row["external_id"])
    named = {(connection_id, name, "") for connection_id, name, is_product in gone if not is_product}
    named |= {(connection_id, name, "") for (connection_id, _), names in state.parts.items() for name in names}
    if not shown and not named:
        return
    for row in await conn.fetch(statements.FIND_LISTINGS, tenant_id, *_columns(sorted(shown | named))):
        key = (row["connection_id"], row["external_id"])
        found = Listing(**{name: row[name] for name in Listing._fields})
        if key not in state.listings or found.variant_id is not None:
            state.listings[key] = found
    ending = {(connection_id, name) for connection_id, name, _ in named}
    touched = {
        listing.variant_id
        for key, listing in state.listings.items()
        if listing.variant_id is not None and (may_be_bound(listing) or (key in ending and listing.is_bound))
    }
    if touched:
        await catalogue.load_bills(conn, touched)
        state.items.update(item_id for variant_id in touched for item_id, _ in catalogue.bill(variant_id))


async def store_listings(
    conn: Connection, tenant_id: UUID, policy: Policy, done: Sequence[ListingChange]
) -> tuple[UUID, ...]:
    """Store what became of articles; return the connections whose lanes have something to do. The marks are locked.

    A deletion asks what took the article's place: whatever a look has shown of the same SKU is read.
    """
    if not done:
        return ()
    told = []
    for each in done:
        if each.kind == "relink_asked":
            values = (each.connection_id, each.external_id, each.sku, each.title, each.variant_id)
            if not await conn.fetchval(statements.ASK, tenant_id, *values):
                continue  # it is asked already
        elif each.kind == "deleted":
            await _bury(conn, tenant_id, each)
        else:
            await _bind(conn, tenant_id, policy, each)
        told.append(each)
    if told:
        kinds, columns = [each.kind for each in told], _columns([_entry(each) for each in told])
        await conn.execute(statements.ADD_ENTRIES, tenant_id, [new_id() for _ in told], kinds, *columns, ACTOR)
    return tuple(sorted({each.connection_id for each in done}))


async def end_numbers(conn: Connection, tenant_id: UUID, done: Sequence[ListingChange]) -> None:
    """End the dead letters of numbers that nobody has to be told any more. Commands come last in the lock order."""
    for each in done:
        if each.kind == "deleted":
            await conn.execute(statements.END_NUMBERS, tenant_id, each.connection_id, each.variant_id)


def _entry(each: ListingChange) -> tuple[object, ...]:
    return each.connection_id, each.external_id, each.variant_id, each.event_id


async def _bury(conn: Connection, tenant_id: UUID, each: ListingChange) -> None:
    key = (each.connection_id, each.external_id)
    await conn.execute(statements.BURY, tenant_id, *key, each.event_id)
    await conn.execute(statements.DROP_MARKS, tenant_id, each.connection_id, each.variant_id)
    await conn.execute(statements.MARK_LEFT, tenant_id, each.connection_id, each.variant_id)
    await conn.execute(
        statements.ASK_FOR_SUCCESSORS, tenant_id, each.connection_id, each.variant_id, each.event_id, LOOK_SECONDS
    )


async def _bind(conn: Connection, tenant_id: UUID, policy: Policy, each: ListingChange) -> None:
    key = (each.connection_id, each.external_id)
    if each.kind == "restored":
        await conn.execute(statements.RAISE, tenant_id, *key)
    else:
        values = (*key, each.variant_id, each.parent_id, each.counted_id)
        await conn.execute(statements.TAKE_PLACE, tenant_id, *values)
    await conn.execute(statements.CLOSE, tenant_id, *key)
    await conn.execute(statements.FORGET_LOTS, tenant_id, each.connection_id, each.variant_id)
    if each.connection_id not in policy.stock_channels:
        return
    rows = await conn.fetch(statements.SKUS_OF, tenant_id, each.variant_id)
    marks = ([row["item_id"] for row in rows], [policy.stock_mode_of(row["sku"]) for row in rows])
    await conn.execute(statements.ADD_MARKS, tenant_id, each.connection_id, *marks)


def _columns(keys: Collection[tuple[Any, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*keys, strict=True)]
