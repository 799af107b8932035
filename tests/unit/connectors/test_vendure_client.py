"""Bulk stock calls are read by position; surcharges count where they belong."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidegate.commerce.changes import OrderSeen
from tidegate.commerce.commands import CancelOrder, SetInventory
from tidegate.connectors import vendure
from tidegate.connectors.vendure import cancelling, client, mapper
from tidegate.kernel.errors import OutcomeUnknownError
from tidegate.sdk.connector import Done, Failed, RawEvent
from tidegate.sdk.http import Response

PLACED = Path(vendure.__file__).parent / "fixtures" / "order_placed.json"


class Shop:
    """Answers every call with the same field."""

    def __init__(self, **data: Any) -> None:
        self.settings: dict[str, Any] = {}
        self.memory: dict[str, Any] = {}
        self._data = data

    async def request(self, _method: str, _path: str, **_options: Any) -> Response:
        return Response(status=200, headers={}, body=msgspec.json.encode({"data": self._data}))


def set_at(location_id: str) -> SetInventory:
    return SetInventory(
        reference=f"inv_c0_{location_id}",
        sku="MUG",
        variant_external_id="7",
        location_external_id=location_id,
        quantity=3,
    )


def test_one_variant_at_two_locations_has_two_outcomes() -> None:
    shop = Shop(tidegateSetStock=[{"variantId": "7", "outcome": "UNKNOWN"}, {"variantId": "7", "outcome": "SET"}])

    first, second = asyncio.run(client.set_inventory(shop, [set_at("1"), set_at("2")], "key"))

    assert isinstance(first, Failed)
    assert first.error.code == "no_stock_level"
    assert second == Done()


@pytest.mark.parametrize(
    ("state", "answer", "found"),
    [
        ("Cancelled", {}, Done(external_id="7", detail="it was cancelled already")),
        ("PaymentAuthorized", {"id": "7", "state": "Cancelled"}, Done(external_id="7", detail="Cancelled")),
        ("Modifying", {"errorCode": "ORDER_STATE_TRANSITION_ERROR"}, "state_transition"),
        ("AddingItems", {"errorCode": "CANCEL_ACTIVE_ORDER_ERROR"}, "order_not_placed"),
        ("PaymentSettled", {"errorCode": "EMPTY_ORDER_LINE_SELECTION_ERROR"}, "no_lines_left"),
    ],
)
def test_an_order_is_cancelled_once_or_it_is_said_why_not(
    state: str, answer: dict[str, str], found: Done | str
) -> None:
    shop = Shop(order={"id": "7", "state": state}, cancelOrder=answer)
    command = CancelOrder(reference="ord_c0_7", order_external_id="7", is_own=True)

    (outcome,) = asyncio.run(cancelling.cancel_order(shop, [command], "key"))

    assert (outcome.error.code if isinstance(outcome, Failed) else outcome) == found


def test_an_answer_with_another_number_of_items_leaves_all_in_doubt() -> None:
    shop = Shop(tidegateSetStock=[{"variantId": "7", "outcome": "SET"}])

    with pytest.raises(OutcomeUnknownError):
        asyncio.run(client.set_inventory(shop, [set_at("1"), set_at("2")], "key"))


def placed_with(**changes: Any) -> RawEvent:
    body = json.loads(PLACED.read_text())["body"]
    body["data"]["order"] |= changes
    return RawEvent(source="webhook", topic="order.placed", body=json.dumps(body).encode())


@pytest.mark.parametrize(
    ("prices", "shipping_more", "discount"),
    [([], 0, 0), ([250], 250, 0), ([-300], 0, 300), ([250, -300], 0, 50), ([300, -250], 50, 0)],
)
def test_surcharges_keep_the_sum_and_never_make_a_negative_discount(
    prices: list[int], shipping_more: int, discount: int
) -> None:
    (plain,) = mapper.normalize(placed_with())
    (order,) = mapper.normalize(placed_with(surcharges=[{"priceWithTax": price} for price in prices]))

    assert isinstance(plain, OrderSeen)
    assert isinstance(order, OrderSeen)
    assert (order.shipping_minor - plain.shipping_minor, order.discount_minor) == (shipping_more, discount)


def test_two_lines_of_one_id_are_no_order() -> None:
    line = json.loads(PLACED.read_text())["body"]["data"]["order"]["lines"][0]

    with pytest.raises(ValueError, match="same id"):
        mapper.normalize(placed_with(lines=[line, line]))
