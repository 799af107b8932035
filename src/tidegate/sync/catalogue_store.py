"""Binds the articles and locations of a connection: reads what we have, asks `match`, stores the answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.sdk.connector import Location, Variant
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.going_live import refresh_modes
from tidegate.sync.match import KnownVariant, Matches, Places, match_locations, match_variants

_VARIANTS = query("variants_all")
_ADD_VARIANTS = query("variants_add")
_ADD_ITEMS = query("inventory_items_add")
_ADD_BILLS = query("variant_items_add")
_VARIANTS_OF_SKUS = query("variants_of_skus")
_BINDINGS = query("bindings_of")
_ADD_BINDINGS = query("bindings_add")
_KEEP_BINDINGS = query("bindings_keep")
_LOCATIONS = query("locations_of")
_ADD_LOCATION = query("location_add")
_ADD_CHANNEL_STOCK = query("channel_stock_add")


async def bind_variants(
    conn: Connection,
    tenant_id: UUID,
    connection_id: UUID,
    found: Sequence[Variant],
    *,
    leads: bool,
    is_channel: bool,
) -> Matches:
    """Bind a connection's articles by SKU and, for a channel, keep book of what it is told of their items.

    `leads` makes variants of SKUs that nobody has. Belongs into the caller's transaction. Safe to repeat.
    """
    known = [KnownVariant(variant_id=row[0], sku=row[1]) for row in await conn.fetch(_VARIANTS, tenant_id)]
    bound = dict(await _bindings(conn, tenant_id, connection_id, "variant"))
    matches = match_variants(found, known, bound, leads=leads)
    made = await _make_variants(conn, tenant_id, matches.new)
    pairs = [*matches.exact, *matches.folded, *((one.external_id, made[one.sku.strip()]) for one in matches.new)]
    await _bind(conn, tenant_id, connection_id, "variant", pairs)
    if is_channel:
        await conn.execute(_ADD_CHANNEL_STOCK, tenant_id, connection_id)
        await refresh_modes(conn, tenant_id)
    return matches


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


async def _make_variants(conn: Connection, tenant_id: UUID, new: Iterable[Variant]) -> dict[str, UUID]:
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
