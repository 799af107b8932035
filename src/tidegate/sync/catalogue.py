"""Which variant and which inventory items an article of a connection is. Resolved before T2, in transactions of its own.

A variant that nobody knows is made from its SKU: an order for it is a fact and must be kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from uuid import UUID

from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.sync import statements

CACHE_SECONDS = 10.0
MAIN_LOCATION = "main"

ArticleKey = tuple[UUID, str, str]
"""(connection_id, external id of the variant there, SKU)"""


class Catalogue:
    """Articles and locations of one tenant, cached for a few seconds."""

    def __init__(self, tenant_id: UUID) -> None:
        """Start empty."""
        self._tenant_id = tenant_id
        self._variants: dict[ArticleKey, UUID] = {}
        self._bills: dict[UUID, list[tuple[UUID, int]]] = {}
        self._sold: dict[UUID, list[tuple[UUID, int]]] = {}
        self._locations: dict[tuple[UUID, str], UUID] = {}
        self._default_location: UUID | None = None
        self._fresh_until = 0.0
        self.version: int | None = None
        """Of the bindings that were looked up; None before."""

    def forget(self) -> None:
        """Look everything up anew at the next `resolve`."""
        self._fresh_until = 0.0

    def variant(self, key: ArticleKey) -> UUID:
        """Return the variant of a resolved article."""
        return self._variants[key]

    def bill(self, variant_id: UUID) -> list[tuple[UUID, int]]:
        """Return (item, units of it in one variant), sorted by item: what the ledger moves. Of a kit these are its parts."""
        return self._bills[variant_id]

    def sold_as(self, variant_id: UUID) -> list[tuple[UUID, int]]:
        """Return (item, units of it in one variant) that channels count: a kit is told a number as a whole."""
        return self._sold[variant_id]

    def location(self, connection_id: UUID, external_id: str) -> UUID:
        """Return our location for an external one; the default where it is not bound."""
        return self._locations.get((connection_id, external_id), self.default_location())

    def default_location(self) -> UUID:
        """Return the location where orders stand committed until they are routed."""
        if self._default_location is None:
            raise LookupError("the catalogue is not loaded")
        return self._default_location

    async def resolve(
        self, conn: Connection, articles: Iterable[ArticleKey], external_locations: set[tuple[UUID, str]]
    ) -> None:
        """Make every article and location answerable; creates unknown variants. Call it outside of T2's transaction."""
        if time.monotonic() > self._fresh_until:
            self._variants.clear()
            self._bills.clear()
            self._sold.clear()
            self._default_location = None
            self._locations.clear()
            self.version = await conn.fetchval(statements.CATALOGUE_VERSION, self._tenant_id)  # before what it is of
            self._fresh_until = time.monotonic() + CACHE_SECONDS
        if self._default_location is None or any(key not in self._locations for key in external_locations):
            await self._load_locations(conn)
        wanted = set(articles)
        missing = wanted - self._variants.keys()
        if missing:
            await self._load_variants(conn, missing)
        # Asked for each time: the last time may have been cut off between the two.
        await self.load_bills(conn, {self._variants[key] for key in wanted})

    async def load_bills(self, conn: Connection, variant_ids: Iterable[UUID]) -> None:
        """Make `bill` and `sold_as` answerable for variants."""
        missing = {variant_id for variant_id in variant_ids if variant_id not in self._bills}
        if not missing:
            return
        bills: dict[UUID, list[tuple[UUID, int]]] = {variant_id: [] for variant_id in missing}
        sold: dict[UUID, list[tuple[UUID, int]]] = {variant_id: [] for variant_id in missing}
        for variant_id, item_id, units, part_id, part_units in await conn.fetch(
            statements.FIND_BILLS, self._tenant_id, list(missing)
        ):
            bills[variant_id].append((part_id, part_units))
            sold[variant_id] = [(item_id, units)]
        self._sold.update(sold)
        self._bills.update(bills)

    async def _load_locations(self, conn: Connection) -> None:
        found = await conn.fetchval(statements.DEFAULT_LOCATION, self._tenant_id)
        if found is None:
            await conn.execute(statements.CREATE_LOCATION, self._tenant_id, new_id(), MAIN_LOCATION)
            found = await conn.fetchval(statements.DEFAULT_LOCATION, self._tenant_id)
        self._default_location = found
        rows = await conn.fetch(statements.FIND_LOCATIONS, self._tenant_id)
        self._locations = {(row[0], row[1]): row[2] for row in rows}

    async def _load_variants(self, conn: Connection, missing: set[ArticleKey]) -> None:
        keys = sorted({(key[0], key[1]) for key in missing if key[1]})
        bound = await conn.fetch(
            statements.FIND_BOUND_VARIANTS, self._tenant_id, [k[0] for k in keys], [k[1] for k in keys]
        )
        by_external = {(row[0], row[1]): row[2] for row in bound}
        unbound = {key for key in missing if (key[0], key[1]) not in by_external}
        by_sku = await self._variants_by_sku(conn, sorted({sku_of(*key) for key in unbound})) if unbound else {}
        for key in missing:
            self._variants[key] = by_external.get((key[0], key[1])) or by_sku[sku_of(*key)]

    async def _variants_by_sku(self, conn: Connection, skus: list[str]) -> dict[str, UUID]:
        found = {row[0]: row[1] for row in await conn.fetch(statements.FIND_VARIANTS_BY_SKU, self._tenant_id, skus)}
        unknown = [sku for sku in skus if sku not in found]
        if unknown:
            ids = [new_id() for _ in unknown]
            items = [new_id() for _ in unknown]
            await conn.execute(statements.CREATE_VARIANTS, self._tenant_id, unknown, unknown, ids, items)
            rows = await conn.fetch(statements.FIND_VARIANTS_BY_SKU, self._tenant_id, unknown)
            found.update({row[0]: row[1] for row in rows})
        return found


def sku_of(connection_id: UUID, external_id: str, sku: str) -> str:
    """Return the SKU, or a name for an article that has none."""
    return sku.strip() or f"no-sku:{connection_id}:{external_id}"
