"""A tenant with stock in a real database, and combiners on it as processes have them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from tests.stockbed import move_stock
from tidegate.inventory.decide import Claim, Refusal, Release, Reservation
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.pool import BY_KEY, create_pool
from tidegate.store.roles import Role
from tidegate.sync.combiner import Combiner, Wish
from tidegate.sync.reservations import Reply
from tidegate.web.database import combiner_on

ADD_VARIANT = "INSERT INTO variant (tenant_id, variant_id, sku) VALUES ($1, $2, $3)"
ADD_ITEM = "INSERT INTO inventory_item (tenant_id, item_id, sku) VALUES ($1, $2, $3)"
ADD_BILL = "INSERT INTO variant_item (tenant_id, variant_id, item_id, required_qty) VALUES ($1, $2, $3, $4)"
ADD_PART = "INSERT INTO kit_part (tenant_id, item_id, part_id, units) VALUES ($1, $2, $3, $4)"
BOOKS = """
SELECT i.sku, b.on_hand, b.unavailable, b.committed, b.reserved, b.available, b.safety_stock,
       coalesce((SELECT sum(h.units) FROM reservation_hold h JOIN reservation r USING (tenant_id, reservation_id)
                 WHERE h.tenant_id = b.tenant_id AND h.item_id = b.item_id AND h.location_id = b.location_id
                   AND r.state = 'held'), 0) AS held,
       coalesce((SELECT sum(e.reserved_delta) FROM stock_entry e WHERE e.tenant_id = b.tenant_id AND e.item_id = b.item_id
                   AND e.location_id = b.location_id), 0) AS posted
FROM stock_balance b JOIN inventory_item i USING (tenant_id, item_id)
"""


@dataclass
class ReserveBed:
    """The tenant and its articles."""

    tenant_id: UUID
    owner: Pool
    pool: Pool
    combiner: Combiner
    items: dict[str, UUID] = field(default_factory=dict)
    places: dict[str, UUID] = field(default_factory=dict)

    async def reserve(self, *lines: tuple[str, int], seconds: int = 600, **more: str) -> Reservation | Refusal:
        """Ask for units; return what it was answered."""
        reply = await self.combiner.reserve(self.tenant_id, Wish(lines, seconds, "test", **more))
        return result_of(reply)

    async def release(self, reservation_id: UUID) -> Reservation | Refusal:
        return result_of(await self.combiner.change(self.tenant_id, Release(reservation_id, "test")))

    async def claim(
        self, reservation_id: UUID, connection_id: UUID | None = None, order: str | None = None
    ) -> Reservation | Refusal:
        ask = Claim(reservation_id, "test", connection_id, order)
        return result_of(await self.combiner.change(self.tenant_id, ask))

    async def count(self, sku: str, units: int, place: str = "main") -> None:
        """Put units on the shelf, or take them off."""
        async with self.owner.acquire() as conn, conn.transaction():
            await move_stock(conn, self.tenant_id, self.items[sku], self.places[place], on_hand=units)

    async def level(self, sku: str) -> tuple[int, int, int]:
        """Return (on_hand, committed, reserved) over all locations."""
        row = await self.owner.fetchrow(
            "SELECT sum(on_hand)::int, sum(committed)::int, sum(reserved)::int FROM stock_balance WHERE item_id = $1",
            self.items[sku],
        )
        assert row is not None
        return (row[0] or 0, row[1] or 0, row[2] or 0)

    async def check(self) -> None:
        """Assert I10: what is reserved is what held reservations hold, by counters and by entries, and never too much."""
        await check_reserved(self.owner)


def result_of(reply: Reply) -> Reservation | Refusal:
    """Return what was decided."""
    assert reply.result is not None
    return reply.result


async def check_reserved(owner: Pool) -> None:
    """Assert I10 for every level of the database."""
    for row in await owner.fetch(BOOKS):
        assert row["reserved"] == row["held"] == row["posted"], dict(row)
    stray = await owner.fetch(
        "SELECT h.reservation_id FROM reservation_hold h JOIN reservation r USING (tenant_id, reservation_id)"
        " WHERE r.state <> 'held' AND NOT r.awaits_order"
    )
    assert not stray, "units that nobody holds"


async def reserve_pool(database: Database, size: int = 2) -> Pool:
    """Return a pool as the web process has it for its combiner."""
    return await create_pool(
        database.access(Role.WEB),
        application_name="test-reserve",
        size_min=0,
        size_max=size,
        server_settings=BY_KEY,
    )


@asynccontextmanager
async def reserve_bed(
    database: Database, owner: Pool, *, stock: Mapping[str, int], bundles: Mapping[str, Mapping[str, int]] | None = None
) -> AsyncIterator[ReserveBed]:
    """A tenant whose articles have so many units in `main`; `bundles` are articles made of others."""
    tenant_id, place = new_id(), new_id()
    await owner.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, $2)", tenant_id, f"t{tenant_id}")
    await owner.execute("INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, 'main')", tenant_id, place)
    pool = await reserve_pool(database)
    bed = ReserveBed(tenant_id, owner, pool, combiner_on(pool), places={"main": place})
    for sku, units in stock.items():
        variant_id, item_id = new_id(), new_id()
        bed.items[sku] = item_id
        await owner.execute(ADD_VARIANT, tenant_id, variant_id, sku)
        await owner.execute(ADD_ITEM, tenant_id, item_id, sku)
        await owner.execute(ADD_BILL, tenant_id, variant_id, item_id, 1)
        await bed.count(sku, units)
    for sku, parts in (bundles or {}).items():
        variant_id, kit_id = new_id(), new_id()
        await owner.execute(ADD_VARIANT, tenant_id, variant_id, sku)
        await owner.execute(ADD_ITEM, tenant_id, kit_id, sku)
        await owner.execute(ADD_BILL, tenant_id, variant_id, kit_id, 1)
        for part, units in parts.items():
            await owner.execute(ADD_PART, tenant_id, kit_id, bed.items[part], units)
    try:
        yield bed
    finally:
        await pool.close()
