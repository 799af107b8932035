"""Smoke run: install, start, sell, ship, receive, count, stop. Prints what it did and how long it took."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import TypeVar

from realsystems.tryton.erp import TrytonErp
from realsystems.tryton.rest import RawRecord, RestClient, decimal_value
from realsystems.tryton.warehouse import Article
from realsystems.worldpg import WorldPostgres

T = TypeVar("T")

ARTICLES = [
    Article(sku=f"SMOKE-{number}", name=f"Smoke article {number}", price=Decimal("12.50"), quantity=10)
    for number in range(1, 6)
]


def main() -> None:
    """Run every step against a real server on a copy of the template database, then stop the server."""
    world = WorldPostgres()
    erp = TrytonErp(world, database="tryton_smoke")
    timed("world's PostgreSQL", world.start)
    timed("install packages", erp.install)
    erp.stop()
    world.drop_database(erp.database)
    timed("prepare database", erp.prepare)
    timed("start server", erp.start)
    try:
        work(erp)
    finally:
        timed("stop server", erp.stop)
        world.drop_database(erp.database)


def work(erp: TrytonErp) -> None:
    """Sell three web orders, ship one whole and one in two parcels, receive goods, count a shelf."""
    warehouse = erp.warehouse
    products = timed("add articles", lambda: warehouse.add_articles(ARTICLES))
    connector = RestClient(erp.base_url, erp.database, erp.rest_key, erp.facts["company"])
    for number, (sku, quantity) in enumerate([("SMOKE-1", 2), ("SMOKE-2", 5), ("SMOKE-3", 14)], start=1):
        web_id = f"{uuid.uuid4()}"
        values = sale_values(erp, web_id, f"#{1000 + number}", products[sku], quantity)
        timed(f"sell {quantity} x {sku}", partial(sell, connector, values))
    whole, parted, short = warehouse.open_shipments()
    shipped = timed("ship all of the first", lambda: warehouse.ship(whole.shipment_id, "TRACK-1"))
    print(f"  left: {shipped}")
    shipped = timed(
        "ship part of the second",
        lambda: warehouse.ship(parted.shipment_id, "TRACK-2", {"SMOKE-2": 3}),
    )
    print(f"  left: {shipped}")
    shipped = timed("ship the third, short of stock", lambda: warehouse.ship(short.shipment_id, "TRACK-3"))
    print(f"  left: {shipped}")
    timed("receive 6 x SMOKE-3", lambda: warehouse.receive_goods("SMOKE-3", 6))
    shipped = timed("ship the third again", lambda: warehouse.ship(short.shipment_id, "TRACK-3"))
    print(f"  left: {shipped}")
    timed("count SMOKE-4", lambda: warehouse.count("SMOKE-4", 9))
    for sale in warehouse.sales():
        print(sale)
    for shipment in warehouse.shipments_done() + warehouse.open_shipments():
        print(shipment)
    print("stock   ", warehouse.stock())
    print("sellable", warehouse.sellable())


def sale_values(erp: TrytonErp, web_id: str, reference: str, product: int, quantity: int) -> RawRecord:
    """Return a web order of one article and shipping as the ERP's REST protocol wants a sale."""
    facts = erp.facts
    goods = {
        "product": product,
        "quantity": float(quantity),
        "unit_price": decimal_value(Decimal("12.50")),
        "note": "line-1",
    }
    shipping = {
        "product": facts["services"]["SHIPPING"],
        "quantity": 1.0,
        "unit_price": decimal_value(Decimal("4.90")),
        "note": "shipping",
    }
    lines = [{**line, "type": "line", "unit": facts["unit"]} for line in (goods, shipping)]
    return {
        "company": facts["company"],
        "currency": facts["currency"],
        "party": facts["customer"],
        "invoice_address": facts["customer_address"],
        "shipment_address": facts["customer_address"],
        "payment_term": facts["payment_term"],
        "warehouse": facts["warehouse"],
        "invoice_method": "manual",
        "shipment_method": "order",
        "web_shop": facts["web_shop"],
        "web_id": web_id,
        "reference": reference,
        "lines": [["create", lines]],
    }


def sell(connector: RestClient, values: RawRecord) -> None:
    """Create a sale and bring it to processing, as the connector's user."""
    sale = connector.create("sale.sale", values)
    for button in ("quote", "confirm"):
        connector.press("sale.sale", sale["id"], button)


def timed(label: str, run: Callable[[], T]) -> T:
    """Run a step, print how long it took and return its result."""
    started = time.monotonic()
    result = run()
    print(f"{label}: {time.monotonic() - started:.1f} s", flush=True)
    return result


if __name__ == "__main__":
    main()
