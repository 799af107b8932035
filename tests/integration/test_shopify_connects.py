"""Connecting a shop of thousands of articles, against the sandbox's Shopify and its bucket of points."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.sandboxbed import RunningSandbox, running
from tests.sandboxshop import SECRET, TOKEN, ShopHand, shop_world

from tidegate.connectors.shopify import CONNECTOR, queries
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import Inspection
from tidegate.sync.connect import ConnectOrder, look

MANY = 5_000
LOOPBACK = [ip_network("127.0.0.0/8")]


def world(articles: int, **options: Any) -> dict[str, Any]:
    items = [{"sku": f"S{n}", "title": f"Tea {n}", "stock": 1, "price_minor": 1290} for n in range(1, articles + 1)]
    return {**shop_world(options=options), "items": items}


def look_at_shop(sandbox: RunningSandbox) -> Inspection:
    order = ConnectOrder(
        tenant_id=uuid4(),
        tenant="main",
        name="shop",
        connector=CONNECTOR,
        is_channel=True,
        settings={"base_url": sandbox.url("shop"), "store": "sandbox.myshopify.com"},
        secrets={"access_token": Secret(TOKEN), "client_secret": Secret(SECRET)},
        webhook_base="http://127.0.0.1:1",
    )
    return asyncio.run(look(order, allow=LOOPBACK, clock=SystemClock()))


def test_a_shop_of_5000_articles_is_connected_for_a_few_points_and_without_a_refusal(tmp_path: Path) -> None:
    with running(world(MANY), tmp_path, kinds=()) as sandbox:
        found = look_at_shop(sandbox)

        points = sandbox.ask("GET", "/limits/shop")["points"]

    assert len(found.variants) == MANY
    assert {one.sku for one in found.variants} == {f"S{n}" for n in range(1, MANY + 1)}
    assert all(one.counted_external_id for one in found.variants)
    assert points["violations"] == 0
    assert points["used"] < 400, "page by page it would be more than 10,000"


def test_a_small_shop_is_connected_without_a_bulk_operation(tmp_path: Path) -> None:
    with running(world(40), tmp_path, kinds=()) as sandbox:
        found = look_at_shop(sandbox)
        made = sandbox.ask("GET", "/calls/shop?last=0")["by_operation"]

    assert len(found.variants) == 40
    assert not [operation for operation in made if "bulk" in operation.lower()]


def test_where_no_bulk_operation_can_be_had_pages_are_read_and_none_is_refused(tmp_path: Path) -> None:
    with running(world(350, bulk_seconds=1e9), tmp_path, kinds=()) as sandbox:
        hand = ShopHand(sandbox)
        for _ in range(5):
            hand.ask(queries.RUN_BULK, query=queries.BULK_VARIANTS)

        found = look_at_shop(sandbox)

        points = sandbox.ask("GET", "/limits/shop")["points"]
    assert len(found.variants) == 350
    assert points["violations"] == 0
