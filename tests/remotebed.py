"""A hostile remote inside the test's own process, an api connected to it, and payloads to send."""

import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

from tidegate.commerce.changes import OrderPrivate
from tidegate.commerce.commands import CreateFulfillment, CreateOrder, FulfillmentLineOut, OrderLineOut, SetInventory
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.redaction import Secret
from tidegate.sdk.client import HttpApi
from tidegate.sdk.connector import Connector
from tidegate.sdk.http import Api, Session
from tidegate.sdk.testing import hostile_erp, hostile_shop
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_connector import CONNECTOR
from tidegate.sdk.testing.hostile_world import World

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
MOMENT = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def open_fixed_session(api: Api, secrets: Mapping[str, Secret], settings: Mapping[str, Any]) -> Session:
    return Session(headers={"Authorization": "Bearer very-secret-token"})


OPEN = dataclasses.replace(CONNECTOR, open_session=open_fixed_session, request_deadline=timedelta(seconds=60))
HASTY = dataclasses.replace(OPEN, request_deadline=timedelta(seconds=0.2))
"""Connectors whose session needs no request: for servers that say other things."""


def running_remote() -> HostileServer:
    return HostileServer()


@asynccontextmanager
async def api_of(
    remote: HostileServer | str, connector: Connector = CONNECTOR, **options: Any
) -> AsyncIterator[HttpApi]:
    base_url = remote if isinstance(remote, str) else remote.base_url
    secrets = {"api_key": Secret("hostile-api-key")}
    api = HttpApi(connector, base_url, {}, secrets, **{"allow": LOOPBACK, "clock": SystemClock(), **options})
    try:
        yield api
    finally:
        await api.close()


def fill(world: World, *, orders: int = 1, units: int = 1000) -> None:
    """One article, `orders` shop orders of it, the same orders in the ERP, each shipped."""
    now = MOMENT.isoformat()
    hostile_erp.put_articles(world, [{"sku": "TEA-1", "shop_on_hand": units, "erp_on_hand": units}], now)
    for number in range(1, orders + 1):
        hostile_shop.place_order(world, {"lines": [{"sku": "TEA-1", "quantity": 1}]}, now)
        line = {"reference": f"lin_c0_{number}", "article_id": "art-TEA-1", "sku": "TEA-1", "quantity": 1}
        hostile_erp.create_order(world, {"reference": f"ord_c0_{number}", "lines": [line]})
        hostile_erp.ship(world, {"reference": f"ord_c0_{number}"}, now)


def order(reference: str = "ord_c0_x") -> CreateOrder:
    line = OrderLineOut(
        reference=f"{reference}-line",
        sku="TEA-1",
        item_external_id="art-TEA-1",
        title="Tea",
        quantity=1,
        unit_price="12.50",
        total_minor=1250,
    )
    return CreateOrder(
        reference=reference,
        number="1001",
        channel="shop",
        placed_at=MOMENT,
        currency="EUR",
        lines=(line,),
        shipping_minor=0,
        shipping_method="",
        discount_minor=0,
        total_minor=1250,
        private=OrderPrivate(),
    )


def fulfillment(reference: str = "ful_c0_x", *, order_id: str = "o-1", line_id: str = "1-1") -> CreateFulfillment:
    return CreateFulfillment(
        reference=reference,
        order_external_id=order_id,
        lines=(FulfillmentLineOut(line_external_id=line_id, quantity=1),),
        tracking="T-1",
        carrier="post",
        shipped_at=MOMENT,
    )


def stock(quantity: int, *, article_id: str = "art-TEA-1") -> SetInventory:
    return SetInventory(
        reference=f"cmd_{article_id}",
        sku="TEA-1",
        variant_external_id=article_id,
        location_external_id="",
        quantity=quantity,
    )
