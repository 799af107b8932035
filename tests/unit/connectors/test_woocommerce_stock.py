"""A push over many products with variations: each product is a request, and a call makes no more of them than it can answer for."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from tidegate.commerce.commands import SetInventory
from tidegate.connectors.woocommerce.stock import REQUESTS_MAX, set_inventory
from tidegate.kernel.errors import RateLimitedError
from tidegate.sdk.connector import SIBLING_REFUSED, Done, Failed
from tidegate.sdk.http import Api, Response


class Shop:
    """Sets whatever it is told to."""

    def __init__(self, *, fails_at: int = 0, shows: object = None) -> None:
        self.asked: list[tuple[str, int]] = []
        self.fails_at, self.shows = fails_at, shows

    async def request(self, _method: str, path: str, *, json: Any, **_options: Any) -> Response:
        self.asked.append((path, len(json["update"])))
        if len(self.asked) == self.fails_at:
            raise RateLimitedError("slow down", code="rate_limited")
        more = {} if self.shows is None else {"stock_quantity": self.shows}
        update = [{**item, "manage_stock": True, **more} for item in json["update"]]
        return Response(status=200, headers={}, body=msgspec.json.encode({"update": update}))


def number(external_id: str) -> SetInventory:
    return SetInventory(
        reference=f"cmd_{external_id}",
        variant_external_id=external_id,
        sku=external_id,
        location_external_id="shop",
        quantity=3,
    )


def push(*external_ids: str, **more: Any) -> tuple[Shop, list[Any]]:
    shop = Shop(**more)
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


def test_what_was_set_before_a_request_failed_is_set() -> None:
    """Else the number would count as never told, while the shop sells by it."""
    shop, outcomes = push("1", "7-71", "8-81", fails_at=2)

    assert len(shop.asked) == 2
    assert outcomes[0] == Done()
    assert [one.error.code for one in outcomes[1:]] == ["rate_limited", SIBLING_REFUSED]


def test_a_call_that_fails_at_once_has_set_nothing() -> None:
    with pytest.raises(RateLimitedError):
        push("1", "7-71", fails_at=1)


@pytest.mark.parametrize(("shows", "told"), [(9, 9), (4.5, 5), (-2, -2)])
def test_another_number_than_was_set_is_told(shows: float, told: int) -> None:
    _, (outcome,) = push("1", shows=shows)

    assert (outcome.error.code, outcome.error.context["shown"]) == ("stock_differs", told)
