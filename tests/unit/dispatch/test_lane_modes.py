"""What the configuration lets out."""

from __future__ import annotations

import pytest

from tidegate.commerce.commands import CommandKind as Kind
from tidegate.config.parse import parse
from tidegate.dispatch.modes import sendable_kinds

DOCUMENT = """
connections:
  shop_a: {use: x, url: "http://127.0.0.1:1"}
  shop_b: {use: x, url: "http://127.0.0.1:2"}
  erp: {use: x, url: "http://127.0.0.1:3"}
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders: {from: [shop_a, shop_b], to: erp, since: 2026-01-01, mode: ORDERS}
  shipments: {from: erp, to: origin, mode: SHIPMENTS}
  stock: {from: erp, to: [shop_a], mode: STOCK}
"""


def kinds(name: str, *live: str) -> frozenset[Kind]:
    text = DOCUMENT
    for flow in ("ORDERS", "SHIPMENTS", "STOCK"):
        text = text.replace(flow, "live" if flow.lower() in live else "observe")
    return sendable_kinds(parse(text), name)


@pytest.mark.parametrize("name", ["shop_a", "shop_b", "erp", "unknown"])
def test_nothing_leaves_while_everything_observes(name: str) -> None:
    assert kinds(name) == frozenset()


def test_nothing_leaves_without_a_configuration() -> None:
    assert sendable_kinds(None, "erp") == frozenset()


def test_each_flow_opens_its_own_door() -> None:
    assert kinds("erp", "orders") == {Kind.ORDER_CREATE, Kind.ORDER_CANCEL}
    assert Kind.ORDER_CANCEL in kinds("shop_a", "orders"), "what somebody calls off is cancelled there"
    assert kinds("shop_b", "shipments", "stock") == {Kind.FULFILLMENT_CREATE}
    assert kinds("shop_a", "shipments", "stock") == {Kind.FULFILLMENT_CREATE, Kind.INVENTORY_SET}
