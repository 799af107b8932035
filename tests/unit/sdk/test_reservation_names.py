"""What an order may carry to claim reservations, and what of it is believed: never so much that the order is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tidegate.app import connectors
from tidegate.commerce.changes import OrderSeen
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.values import RESERVATION_NAME, RESERVATIONS_MAX, reservations_of

FIXTURES = Path(__file__).parents[3] / "src" / "tidegate" / "connectors"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("res_c0_1", ("res_c0_1",)),
        (" cart-1 , cart-2,cart-1,", ("cart-1", "cart-2")),
        ("", ()),
        (None, ()),
        (7, ()),
        (["cart-1"], ()),
        ("x" * 121, ()),
        ("two\nlines", ()),
        (",".join(f"c{n}" for n in range(99)), tuple(f"c{n}" for n in range(RESERVATIONS_MAX))),
    ],
)
def test_only_what_can_be_a_reservation_is_read(value: object, found: tuple[str, ...]) -> None:
    assert reservations_of([(RESERVATION_NAME, value), ("gift", "cart-9")]) == found


def seen(name: str, topic: str, body: dict[str, Any]) -> OrderSeen:
    event = RawEvent(source="webhook", topic=topic, body=json.dumps(body).encode())
    (change,) = connectors()[name].normalize(event)
    assert isinstance(change, OrderSeen)
    return change


def test_shopify_tells_them_in_note_attributes() -> None:
    body = {
        "id": 1, "name": "#1", "updated_at": "2026-11-27T10:00:00Z", "created_at": "2026-11-27T10:00:00Z",
        "currency": "EUR", "line_items": [], "current_total_price_set": {"shop_money": {"amount": "0.00"}},
    }  # fmt: skip
    noted = [{"name": RESERVATION_NAME, "value": "cart-1"}, {"name": "gift", "value": "yes"}, "nonsense"]
    assert seen("shopify", "orders/create", {**body, "note_attributes": noted}).reservations == ("cart-1",)
    assert seen("shopify", "orders/create", {**body, "note_attributes": "nonsense"}).reservations == ()


def test_woocommerce_tells_them_in_meta_data() -> None:
    body = json.loads((FIXTURES / "woocommerce" / "fixtures" / "order_created.json").read_text())
    body = body.get("body", body)
    noted = [
        {"id": 1, "key": RESERVATION_NAME, "value": "cart-1,cart-2"},
        {"key": RESERVATION_NAME + "s", "value": "x"},
    ]
    assert seen("woocommerce", "order.created", {**body, "meta_data": noted}).reservations == ("cart-1", "cart-2")
