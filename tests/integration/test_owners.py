"""Who may write which field, and who wrote it last."""

from __future__ import annotations

import pytest
from tests.applybed import make_bed, move_event, order_event, shipment_event

from tidegate.config import parse
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import parse_public_id
from tidegate.monitor.orders_view import find_order
from tidegate.monitor.ownership import field_rules, read_order_writers, read_sku_writers
from tidegate.store.connections import Pool
from tidegate.store.database import Database

CONFIG = parse(
    """
connections: {shop_a: {use: vendure}, shop_b: {use: vendure}, erp: {use: tryton}}
owns: {stock.on_hand: erp, shipment: erp, price: shop_a}
flows:
  orders: {from: [shop_a, shop_b], to: erp, since: 2026-11-01}
  shipments: {from: erp}
  stock: {from: erp, to: [shop_a, shop_b]}
"""
)


def test_each_field_has_one_writer_and_a_rule_for_everybody_else() -> None:
    rules = {rule.field: rule for rule in field_rules(CONFIG)}

    assert {name: (rule.owner, rule.told, rule.conflict) for name, rule in rules.items()} == {
        "stock.on_hand": ("erp", (), "owner"),
        "stock.available": ("tidegate", ("shop_a", "shop_b"), "owner"),
        "price": ("shop_a", (), "person"),
        "order": ("origin", ("erp",), "newest"),
        "shipment": ("erp", ("shop_a", "shop_b"), "owner"),
        "payment": ("origin", (), "newest"),
        "customer": ("origin", ("erp",), "newest"),
        "article": (None, (), "person"),
    }
    assert all(rule.others for rule in rules.values())
    assert next(rule.owner for rule in field_rules(parse("tenant: main"))) is None


@pytest.mark.asyncio
async def test_the_last_writer_of_each_value_is_known(database: Database, owner_pool: Pool) -> None:
    """What a system says that owns nothing of it leaves neither a value nor a writer behind."""
    bed = await make_bed(database, owner_pool)
    await bed.append([("erp", move_event("m1", "A", 10)), ("shop_b", order_event("7", [("A", 4)]))])
    await bed.apply()
    order_id = await owner_pool.fetchval('SELECT order_id FROM "order"')
    await bed.append([("shop_b", order_event("7", [("A", 3)], revision=2, ordered=[4]))])
    await bed.append([("erp", shipment_event("s1", order_id, [("A", 3)], tracking="T1"))])
    await bed.append([("shop_a", move_event("m9", "A", 500))])
    await bed.apply()
    newest = await owner_pool.fetchval(
        "SELECT event_id FROM event_outcome WHERE entity_kind = 'order' AND outcome = 'applied' ORDER BY at DESC LIMIT 1"
    )

    async with owner_pool.acquire() as conn:
        row = await find_order(conn, bed.tenant_id, "7", cell="c0")
        order = {each.field: each for each in await read_order_writers(conn, bed.tenant_id, row, CONFIG)}
        numbers = await read_sku_writers(conn, bed.tenant_id, "A", CONFIG)
        with pytest.raises(ConfigurationError):
            await read_sku_writers(conn, bed.tenant_id, "NONE", CONFIG)

    assert {field: (each.writer, each.owner, each.is_owner) for field, each in order.items()} == {
        "order": ("shop_b", "shop_b", True),
        "payment": ("shop_b", "shop_b", True),
        "shipment": ("erp", "erp", True),
    }
    assert parse_public_id(order["order"].source, kind="evt") == newest
    (counted,) = [each for each in numbers if each.field == "stock.on_hand"]
    assert (counted.value, counted.writer, counted.owner, counted.is_owner) == ("10", "erp", "erp", True)
    assert counted.source.startswith("evt_")
