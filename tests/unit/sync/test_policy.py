"""The configuration as T2 reads it: names become ids, flows that only observe ask for nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from tidegate.config.parse import parse
from tidegate.sync.policy import EMPTY_POLICY, Policy
from tidegate.sync.reading import build_policy

DOCUMENT = """
tenant: main
cell: c7
connections:
  shop_a: {use: hostile, url: http://127.0.0.1:1}
  shop_b: {use: hostile, url: http://127.0.0.1:2}
  erp: {use: hostile, url: http://127.0.0.1:3}
owns: {stock.on_hand: erp, stock.available: tidegate, order: origin, shipment: erp}
flows:
  orders: {from: [shop_a, shop_b], to: erp, since: 2026-11-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
  stock: {from: erp, to: [shop_b, shop_a], mode: live}
"""
IDS = {"shop_a": UUID(int=1), "shop_b": UUID(int=2), "erp": UUID(int=3)}


def policy(document: str = DOCUMENT, ids: dict[str, UUID] = IDS) -> Policy:
    return build_policy(parse(document), 5, ids)


def test_names_become_ids() -> None:
    assert policy() == Policy(
        config_version=5,
        cell="c7",
        order_channels=frozenset({IDS["shop_a"], IDS["shop_b"]}),
        erp=IDS["erp"],
        orders_since=datetime(2026, 11, 1, tzinfo=UTC),
        orders_mode="live",
        shipments_modes=dict.fromkeys(IDS.values(), "live"),
        stock_channels=(IDS["shop_a"], IDS["shop_b"]),
        stock_owner=IDS["erp"],
        shipment_owner=IDS["erp"],
        cancels_modes={IDS["shop_a"]: "live", IDS["shop_b"]: "live"},
    )


def test_flows_that_observe_send_nothing() -> None:
    found = policy(DOCUMENT.replace("mode: live", "mode: observe"))

    assert (found.orders_mode, set(found.shipments_modes.values()), found.stock_channels) == (
        "observe",
        {"observe"},
        (),
    )
    assert found.stock_owner == IDS["erp"], "the books are kept all the same"


def test_a_connection_that_is_not_connected_yet_is_left_out() -> None:
    found = policy(ids={"shop_a": IDS["shop_a"]})

    assert found.order_channels == frozenset({IDS["shop_a"]})
    assert found.stock_channels == (IDS["shop_a"],)
    assert (found.erp, found.stock_owner) == (None, None)


def test_without_flows_nothing_is_asked() -> None:
    found = policy("tenant: main\n")

    assert (found.order_channels, found.erp, found.stock_channels) == (
        EMPTY_POLICY.order_channels, EMPTY_POLICY.erp, EMPTY_POLICY.stock_channels,
    )  # fmt: skip
    assert (found.orders_mode, found.shipments_modes) == ("observe", {})
