"""Binds the articles and locations of a connection: reads what we have, asks `match`, stores the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.sdk.connector import Location, Variant
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.going_live import refresh_modes
from tidegate.sync.match import KnownVariant, Matches, Places, match_locations, match_variants
from tidegate.sync.open_matches import OpenMatch, list_open
from tidegate.sync.rebinding import follow_bindings, lock_catalogue, moves_of

_VARIANTS = query("variants_known")
_UNBOUND_HERE = query("variants_unbound_here")
_ADD_VARIANTS = query("variants_add")
_ADD_ITEMS = query("inventory_items_add")
_ADD_BILLS = query("variant_items_add")
_VARIANTS_OF_SKUS = query("variants_of_skus")
_BINDINGS = query("bindings_of")
_ADD_BINDINGS = query("bindings_add")
_BURIED = query("bindings_buried")
_KEEP_PARENTS = query("bindings_parents")
_KEEP_BINDINGS = query("bindings_keep")
_LOCATIONS = query("locations_of")
_ADD_LOCATION = query("location_add")
_ADD_CHANNEL_STOCK = query("channel_stock_add")
_KEEP_COUNTED = query("counted_articles_keep")
_DECISIONS = query("matches_decisions")
_KEEP_OPEN = query("matches_replace")
_SET_BARCODES = query("variants_set_barcodes")
_WAITS = """
SELECT EXISTS (SELECT FROM command WHERE tenant_id = $1 AND state = 'failed' AND code = 'sku_unbound')
"""
BARCODE_MAX = 64


async def bind_variants(
    conn: Connection,
    tenant_id: UUID,
    connection_id: UUID,
    found: Sequence[Variant],
    *,
    name: str,
    leads: bool,
    is_channel: bool,
    counts: bool = False,
) -> Matches:
    """Bind a connection's articles and, for a channel, keep book of what it is told of their items.

    What people decided is done, and what was deleted and is there again stands for what it stood for; then ids, SKUs and barcodes are compared (`match`). `leads` makes variants of SKUs that
    nobody has. What stays open is kept for `tidegate matches`. Belongs into the caller's transaction. Safe to repeat.
    """
    rows = await conn.fetch(_VARIANTS, tenant_id)
    known = [KnownVariant(variant_id=row[0], sku=row[1], barcode=row[2]) for row in rows]
    bound = dict(await _bindings(conn, tenant_id, connection_id, "variant"))
    decided = await conn.fetch(_DECISIONS, tenant_id, connection_id)
    buried = await conn.fetch(_BURIED, tenant_id, connection_id)
    decisions = {row["external_id"]: row["variant_id"] for row in (*buried, *decided)}
    matches = match_variants(found, known, bound, leads=leads, decisions=decisions)
    made = await make_variants(conn, tenant_id, matches.new)
    pairs = [*matches.pairs, *((one.external_id, made[one.sku.strip()]) for one in matches.new)]
    if pairs:
        await lock_catalogue(conn, tenant_id)
    await _bind(conn, tenant_id, connection_id, "variant", pairs)
    if is_channel:
        await conn.execute(_ADD_CHANNEL_STOCK, tenant_id, connection_id)
        await refresh_modes(conn, tenant_id)
    await _follow(conn, tenant_id, connection_id, found, pairs, is_channel=is_channel, counts=counts)
    parents = {one.external_id: one.parent_external_id for one in found if one.parent_external_id}
    if parents:
        await conn.execute(_KEEP_PARENTS, tenant_id, connection_id, list(parents), list(parents.values()))
    counted = {one.external_id: one.counted_external_id for one in found if one.counted_external_id}
    if counted:
        await conn.execute(_KEEP_COUNTED, tenant_id, connection_id, list(counted), list(counted.values()))
    now_bound = {**bound, **dict(pairs)}
    await _keep_barcodes(conn, tenant_id, found, now_bound)
    rows_open = list_open(name, found, matches, known, set(now_bound.values()))
    await _keep_open(conn, tenant_id, connection_id, rows_open)
    return matches


async def bind_ours(
    conn: Connection, tenant_id: UUID, connection_id: UUID, *, is_channel: bool, counts: bool = False
) -> Matches:
    """Bind every article of ours, under its SKU, to a system that has no list of its own.

    Belongs into the caller's transaction. Safe to repeat: what is new is bound.
    """
    bound = await _bindings(conn, tenant_id, connection_id, "variant")
    rows = await conn.fetch(_UNBOUND_HERE, tenant_id, connection_id)
    pairs = [(row["sku"], row["variant_id"]) for row in rows]
    if pairs:
        await lock_catalogue(conn, tenant_id)
    await _bind(conn, tenant_id, connection_id, "variant", pairs)
    if is_channel:
        await conn.execute(_ADD_CHANNEL_STOCK, tenant_id, connection_id)
        await refresh_modes(conn, tenant_id)
    found = [Variant(external_id=sku, sku=sku, title=sku) for sku, _ in pairs]
    await _follow(conn, tenant_id, connection_id, found, pairs, is_channel=is_channel, counts=counts)
    return Matches(kept=tuple(bound), exact=tuple(pairs))


async def _follow(
    conn: Connection,
    tenant_id: UUID,
    connection_id: UUID,
    found: Sequence[Variant],
    pairs: Sequence[tuple[str, UUID]],
    *,
    is_channel: bool,
    counts: bool,
) -> None:
    """Do what follows from new bindings; see `rebinding`."""
    skus = {variant.external_id: variant.sku for variant in found}
    changes = [(external_id, skus[external_id], None, variant_id) for external_id, variant_id in pairs]
    moves = await moves_of(conn, tenant_id, connection_id, changes)
    if moves or await conn.fetchval(_WAITS, tenant_id):
        await follow_bindings(
            conn,
            tenant_id,
            connection_id,
            moves=moves,
            bound=[variant_id for _, variant_id in pairs],
            is_channel=is_channel,
            counts=counts,
        )


async def _keep_barcodes(
    conn: Connection, tenant_id: UUID, found: Sequence[Variant], bound: Mapping[str, UUID]
) -> None:
    told = {bound[one.external_id]: one.barcode for one in found if one.barcode and one.external_id in bound}
    await conn.execute(_SET_BARCODES, tenant_id, list(told), [barcode[:BARCODE_MAX] for barcode in told.values()])


async def _keep_open(conn: Connection, tenant_id: UUID, connection_id: UUID, rows: Sequence[OpenMatch]) -> None:
    await conn.execute(
        _KEEP_OPEN,
        tenant_id,
        connection_id,
        *([getattr(row, name) for row in rows] for name in ("external_id", "sku", "title", "barcode", "reason")),
        [msgspec.json.encode(row.candidates).decode() for row in rows],
    )


async def bind_locations(
    conn: Connection,
    tenant_id: UUID,
    connection_id: UUID,
    found: Sequence[Location],
    *,
    is_channel: bool,
    chosen: str | None,
) -> Places:
    """Bind a connection's locations to ours; ours are made when they are new. Belongs into the caller's transaction.

    Raises ConfigurationError when a channel has several locations and none, or one that is not there, was chosen.
    """
    ours: dict[str, UUID] = {row[0]: row[1] for row in await conn.fetch(_LOCATIONS, tenant_id)}
    name_of = {location_id: name for name, location_id in ours.items()}
    bound = await _bindings(conn, tenant_id, connection_id, "location")
    names = {external_id: name_of[location_id] for external_id, location_id in bound if location_id in name_of}
    try:
        places = match_locations(found, names, is_channel=is_channel, chosen=chosen)
    except ValueError as error:
        choices = ", ".join(f"{location.external_id} ({location.name})" for location in found)
        raise ConfigurationError(
            f"the channel's stock location is not clear: {error}",
            code="stock_location",
            hint=f"choose with --location ID; there are: {choices or 'none'}",
        ) from error
    for _, name in places.bindings:
        if name not in ours:
            ours[name] = new_id()
            await conn.execute(_ADD_LOCATION, tenant_id, ours[name], name)
    pairs = [(external_id, ours[name]) for external_id, name in places.bindings]
    external_ids, location_ids = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    await conn.execute(_KEEP_BINDINGS, tenant_id, connection_id, "location", external_ids, location_ids)
    await _bind(conn, tenant_id, connection_id, "location", pairs)
    return places


async def make_variants(conn: Connection, tenant_id: UUID, new: Iterable[Variant]) -> dict[str, UUID]:
    """Make variants and their items; return SKU -> variant, also of those that somebody else made just now."""
    titles = {variant.sku.strip(): variant.title for variant in new}
    if not titles:
        return {}
    skus = list(titles)
    rows = await conn.fetch(_ADD_VARIANTS, tenant_id, [new_id() for _ in skus], skus, list(titles.values()))
    await conn.execute(_ADD_ITEMS, tenant_id, [new_id() for _ in skus], skus)
    await conn.execute(_ADD_BILLS, tenant_id, [row[0] for row in rows])
    return {row[0]: row[1] for row in await conn.fetch(_VARIANTS_OF_SKUS, tenant_id, skus)}


async def _bindings(conn: Connection, tenant_id: UUID, connection_id: UUID, kind: str) -> list[tuple[str, UUID]]:
    return [(row[0], row[1]) for row in await conn.fetch(_BINDINGS, tenant_id, connection_id, kind)]


async def _bind(
    conn: Connection, tenant_id: UUID, connection_id: UUID, kind: str, pairs: Sequence[tuple[str, UUID]]
) -> None:
    if pairs:
        external_ids, ours = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        await conn.execute(_ADD_BINDINGS, tenant_id, connection_id, kind, external_ids, ours)
