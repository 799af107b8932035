"""The plugin in a real Vendure shop: what it promises to Tidegate. Needs Node and npm."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from realsystems.vendure import SHOP_FILES, VendureShop
from realsystems.vendure_driver import PlacedOrder, SoldOut
from realsystems.webhook_sink import WebhookSink, new_secret
from realsystems.worldpg import WorldPostgres

SUBSCRIBE = "mutation ($url: String!, $secret: String!) { tidegateSubscribe(url: $url, secret: $secret) }"
UNSUBSCRIBE = "mutation ($id: ID!) { tidegateUnsubscribe(id: $id) }"
FULFILL = """mutation ($input: TidegateFulfillOrderInput!) {
    tidegateFulfillOrder(input: $input) { created errorCode fulfillment { id state customFields { tidegateRef } } }
}"""
SET_STOCK = """mutation ($input: [TidegateSetStockInput!]!) {
    tidegateSetStock(input: $input) { outcome onHand allocated }
}"""
CHANGED_ORDERS = """query ($after: DateTime!) {
    orders(options: {filter: {updatedAt: {after: $after}}}) { items { code state updatedAt } }
}"""

needs_node = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")), reason="Node and npm are not installed"
)
real = pytest.mark.real


@pytest.fixture(scope="module")
def shop() -> Iterator[VendureShop]:
    """A running shop with a fresh database."""
    world = WorldPostgres()
    world.start()
    shop = VendureShop("test_shop", world=world, environment={"TIDEGATE_RETRY_CAP_MS": "2000"})
    shop.start(fresh=True)
    yield shop
    shop.stop()


@pytest.fixture
def sink(shop: VendureShop) -> Iterator[WebhookSink]:
    """A subscribed receiver."""
    secret = new_secret()
    sink = WebhookSink(secret)
    sink.start()
    subscription = shop.admin(SUBSCRIBE, {"url": sink.url, "secret": secret})["tidegateSubscribe"]
    yield sink
    shop.admin(UNSUBSCRIBE, {"id": subscription})
    sink.stop()


def place(shop: VendureShop, lines: dict[str, int], **options: Any) -> dict[str, Any]:
    """Place an order that must succeed and return it as the Admin API shows it."""
    placed = shop.place_order(lines, "buyer@example.com", **options)
    assert isinstance(placed, PlacedOrder)
    return next(order for order in shop.orders() if order["id"] == placed.id)


def codes(sink: WebhookSink) -> list[str]:
    """Return the codes of the orders that the receiver accepted, in order of arrival."""
    return [delivery.raw_event["data"]["order"]["code"] for delivery in sink.accepted()]


@needs_node
def test_pure_parts_of_the_plugin() -> None:
    """Signatures, pauses, identifiers and snapshots are right (tests in JavaScript)."""
    ended = subprocess.run(
        ["node", "--test", str(SHOP_FILES / "plugin.test.js")], check=False, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stdout


@real
@needs_node
@pytest.mark.timeout(300)
def test_every_change_of_an_order_is_told_and_moves_updated_at(shop: VendureShop, sink: WebhookSink) -> None:
    """Settling, shipping, refunding, cancelling: each is one authentic event, and a poll finds each."""
    shop.seed_catalogue([("TOLD-1", "Told", 1000, 50)])
    order = place(shop, {"TOLD-1": 3}, payment_method="invoice")
    line, payment = order["lines"][0]["id"], order["payments"][0]["id"]
    shipment = {"orderId": order["id"], "reference": "told", "lines": [{"orderLineId": line, "quantity": 1}]}

    changes: dict[str, Callable[[], object]] = {
        "payment.updated": lambda: shop.driver.settle_payment(payment),
        "fulfillment.created": lambda: shop.admin(FULFILL, {"input": shipment}),
        "refund.created": lambda: shop.driver.refund(payment, 100),
        "order.updated": lambda: shop.driver.cancel(order["id"], [{"orderLineId": line, "quantity": 1}]),
    }
    for change in changes.values():
        before = next(each["updatedAt"] for each in shop.orders() if each["id"] == order["id"])
        change()
        found = shop.admin(CHANGED_ORDERS, {"after": before})["orders"]["items"]
        assert order["code"] in [each["code"] for each in found]

    assert sink.wait_for(lambda deliveries: len(deliveries) >= 5)
    told = sorted(sink.accepted(), key=lambda delivery: delivery.raw_event["version"])
    assert [delivery.raw_event["type"] for delivery in told] == ["order.placed", *changes]
    assert all(delivery.is_authentic for delivery in sink.deliveries)
    moments = [delivery.raw_event["data"]["order"]["updatedAt"] for delivery in told]
    assert moments == sorted(set(moments))
    last = told[-1].raw_event["data"]["order"]
    assert [each["reference"] for each in last["fulfillments"]] == ["told"]
    assert [each["total"] for each in last["refunds"]] == [100]


@real
@needs_node
@pytest.mark.timeout(300)
def test_a_refused_event_waits_alone(shop: VendureShop, sink: WebhookSink) -> None:
    """One event that the receiver calls invalid is tried again and again and stops no other."""
    shop.seed_catalogue([("POISON-1", "Poison", 1000, 5), ("GOOD-1", "Good", 1000, 5)])

    def refuse_poison(_number: int, event: dict[str, Any]) -> int | None:
        return 422 if event["data"]["order"]["lines"][0]["sku"] == "POISON-1" else None

    sink.answer = refuse_poison
    poison = place(shop, {"POISON-1": 1})["code"]
    good = [place(shop, {"GOOD-1": 1})["code"] for _ in range(2)]

    assert sink.wait_for(lambda _: sorted(codes(sink)) == sorted(good))
    sink.answer = lambda _number, _event: None
    assert sink.wait_for(lambda _: poison in codes(sink))
    assert len({each.message_id for each in sink.deliveries if each.raw_event["data"]["order"]["code"] == poison}) == 1


@real
@needs_node
@pytest.mark.timeout(300)
def test_retry_after_is_honoured(shop: VendureShop, sink: WebhookSink) -> None:
    """A receiver that asks for three seconds is left alone for three seconds, by every event."""
    shop.seed_catalogue([("WAIT-1", "Wait", 1000, 9)])
    moments: list[float] = []

    def refuse_once(_number: int, _event: dict[str, Any]) -> int | None:
        moments.append(time.monotonic())
        sink.answer_headers = {"retry-after": "3"} if len(moments) == 1 else {}
        return 503 if len(moments) == 1 else None

    sink.answer = refuse_once
    wanted = [place(shop, {"WAIT-1": 1})["code"] for _ in range(3)]

    assert sink.wait_for(lambda _: sorted(codes(sink)) == sorted(wanted))
    assert moments[1] - moments[0] >= 2.9


@real
@needs_node
@pytest.mark.timeout(300)
def test_a_repeated_fulfillment_is_made_once(shop: VendureShop) -> None:
    """Six equal requests at the same time make one fulfillment and take the stock once."""
    shop.seed_catalogue([("SHIP-1", "Ship", 1000, 10)])
    order = place(shop, {"SHIP-1": 2})
    lines = [{"orderLineId": order["lines"][0]["id"], "quantity": 2}]
    request = {"input": {"orderId": order["id"], "reference": "ship-once", "lines": lines, "trackingCode": "T1"}}

    with ThreadPoolExecutor(6) as callers:
        answers = list(callers.map(lambda _: shop.admin(FULFILL, request)["tidegateFulfillOrder"], range(6)))

    assert Counter(answer["created"] for answer in answers) == {True: 1, False: 5}
    assert {(answer["fulfillment"]["id"], answer["fulfillment"]["state"]) for answer in answers} == {
        (answers[0]["fulfillment"]["id"], "Shipped")
    }
    assert shop.stock_levels()["SHIP-1"] == (8, 0)
    again = {"input": {**request["input"], "reference": "another"}}
    assert shop.admin(FULFILL, again)["tidegateFulfillOrder"]["errorCode"] == "ITEMS_ALREADY_FULFILLED_ERROR"


@real
@needs_node
@pytest.mark.timeout(300)
def test_stock_is_set_only_where_the_picture_holds(shop: VendureShop) -> None:
    """A sale between reading and setting is noticed; without expectations the number is set."""
    variant = shop.seed_catalogue([("CAS-1", "Compare", 1000, 10)])["CAS-1"]
    location = shop.driver.locations()[0]["id"]
    place(shop, {"CAS-1": 1})
    target = {"variantId": variant, "locationId": location, "onHand": 4}

    stale, fine = (
        shop.admin(SET_STOCK, {"input": [{**target, "expectedOnHand": 10, "expectedAllocated": allocated}]})
        for allocated in (0, 1)
    )

    assert stale["tidegateSetStock"] == [{"outcome": "STALE", "onHand": 10, "allocated": 1}]
    assert fine["tidegateSetStock"] == [{"outcome": "SET", "onHand": 4, "allocated": 1}]
    assert shop.stock_levels()["CAS-1"] == (4, 1)

    fresh = shop.create_location("Fresh location")
    elsewhere = [{**target, "locationId": fresh, "expectedOnHand": 0}, {**target, "locationId": "999"}]
    answers = shop.admin(SET_STOCK, {"input": elsewhere})["tidegateSetStock"]
    assert [answer["outcome"] for answer in answers] == ["SET", "UNKNOWN"]
    assert shop.stock_levels()["CAS-1"] == (8, 1)


@real
@needs_node
@pytest.mark.timeout(300)
def test_the_last_units_are_sold_once(shop: VendureShop) -> None:
    """Twelve shoppers at the same time, six units: six orders, and nobody else paid."""
    shop.seed_catalogue([("LAST-1", "Last", 1000, 6)])

    with ThreadPoolExecutor(12) as shoppers:
        outcomes = list(shoppers.map(lambda n: shop.place_order({"LAST-1": 1}, f"late{n}@example.com"), range(12)))

    assert Counter(type(outcome) for outcome in outcomes) == {PlacedOrder: 6, SoldOut: 6}
    assert shop.stock_levels()["LAST-1"] == (6, 6)


def test_shop_files_hold_no_addresses() -> None:
    """The lock file names versions and hashes; where packages come from is the machine's business."""
    text = Path(SHOP_FILES / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert "integrity" in text
