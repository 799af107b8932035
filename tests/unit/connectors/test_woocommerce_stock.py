"""A push over many products with variations: each product is a request, and a call makes no more of them than it can answer for."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec

from tidegate.commerce.commands import SetInventory
from tidegate.connectors.woocommerce.stock import REQUESTS_MAX, set_inventory
from tidegate.sdk.connector import SIBLING_REFUSED, Done, Failed
from tidegate.sdk.http import Api, Response


class Shop:
    """Sets whatever it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def request(self, _method: str, path: str, *, json: Any, **_options: Any) -> Response:
        self.asked.append((path, len(json["update"])))
        update = [{**item, "manage_stock": True} for item in json["update"]]
        return Response(status=200, headers={}, body=msgspec.json.encode({"update": update}))


def number(external_id: str) -> SetInventory:
    return SetInventory(
        reference=f"cmd_{external_id}",
        variant_external_id=external_id,
        sku=external_id,
        location_external_id="shop",
        quantity=3,
    )


def push(*external_ids: str) -> tuple[Shop, list[Any]]:
    shop = Shop()
    payloads = [number(external_id) for external_id in external_ids]
    return shop, list(asyncio.run(set_inventory(cast("Api", shop), payloads, "key")))


def test_simple_articles_are_one_request_and_each_product_with_variations_one_more() -> None:
    shop, outcomes = push("1", "7-71", "2", "7-72", "8-81")

    assert outcomes == [Done()] * 5
    assert shop.asked == [
        ("/wp-json/wc/v3/products/batch", 2),
        ("/wp-json/wc/v3/products/7/variations/batch", 2),
        ("/wp-json/wc/v3/products/8/variations/batch", 1),
    ]


def test_what_needs_more_requests_than_a_call_makes_is_left_for_the_next_and_nothing_is_wrong_with_it() -> None:
    shop, outcomes = push(*(f"{product}-{product}1" for product in range(1, 101)))

    assert len(shop.asked) == REQUESTS_MAX
    assert outcomes[:REQUESTS_MAX] == [Done()] * REQUESTS_MAX
    left = outcomes[REQUESTS_MAX:]
    assert len(left) == 100 - REQUESTS_MAX
    assert all(isinstance(one, Failed) and one.error.code == SIBLING_REFUSED for one in left)
