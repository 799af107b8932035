"""What is sold more often than there is: known as soon as the sale is, told to people, over when it is over."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from tests.applybed import CONFIG, move_event
from tests.conditionalbed import Shops, make_shops

from tidegate.monitor.oversold import OversoldItem, read_oversold, short_orders
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio


async def oversold(shops: Shops) -> tuple[OversoldItem, ...]:
    async with shops.bed.pool.acquire() as conn:
        return await read_oversold(conn, shops.bed.tenant_id)


async def test_a_sale_of_what_nobody_has_is_known_with_its_order_and_over_when_goods_come(
    database: Database, owner_pool: Pool
) -> None:
    shops = await make_shops(database, owner_pool, config=CONFIG, A=2)
    await shops.bed.append([("erp", move_event("m-1", "A", 2))])
    await shops.bed.apply()
    for shop in ("shop_a", "shop_b"):
        await shops.deliver(shop, "A")
    assert await oversold(shops) == ()

    await shops.deliver("shop_b", "A")
    (item,) = await oversold(shops)
    assert (item.sku, item.missing) == ("A", 1)
    assert [(order.channel, order.units, order.missing) for order in item.orders] == [("shop_b", 1, 1)]

    await shops.bed.append([("erp", move_event("m-2", "A", 1))])
    await shops.bed.apply()
    assert await oversold(shops) == ()


async def test_whoever_ordered_first_is_served_first() -> None:
    rows = [
        {
            "order_id": UUID(int=n),
            "number": str(n),
            "channel": "shop",
            "placed_at": datetime.now(UTC),
            "units": units,
            "called_off_at": None,
        }
        for n, units in ((9, 2), (8, 3), (7, 4))
    ]
    assert [(order.number, order.missing) for order in short_orders(4, rows)] == [("9", 2), ("8", 2)]
    assert short_orders(0, rows) == ()
