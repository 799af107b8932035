"""Smoke run of two real shops: orders, signatures, lost deliveries, crashes. `python -m realsystems.vendure`."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from typing import Any

from realsystems.graphql_client import ShopError
from realsystems.vendure import VendureShop
from realsystems.vendure_driver import PlacedOrder, SoldOut
from realsystems.webhook_sink import Delivery, WebhookSink, new_secret
from realsystems.worldpg import WorldPostgres

RETRY_CAP_MS = "2000"
CATALOGUE = [
    ("TEA-1", "Green tea", 1299, 60),
    ("MUG-1", "Mug", 850, 60),
    ("POT-1", "Teapot", 4900, 60),
]
SUBSCRIBE = "mutation ($url: String!, $secret: String!) { tidegateSubscribe(url: $url, secret: $secret) }"
PENDING = "{ tidegateSubscriptions { pending lastError } }"


class SmokeFailedError(AssertionError):
    """A promise of the plugin did not hold."""


def main() -> None:
    """Run everything, print what happened, exit with 1 when a promise did not hold."""
    world = WorldPostgres()
    world.start()
    environment = {"TIDEGATE_RETRY_CAP_MS": RETRY_CAP_MS}
    shops = [VendureShop(name, world=world, environment=environment) for name in ("smoke_a", "smoke_b")]
    try:
        sinks = [_open(shop) for shop in shops]
        for shop, sink in zip(shops, sinks, strict=True):
            _three_orders(shop, sink)
        _crash_with_nobody_listening(shops[0], sinks[0])
        _crashes_under_load(shops[0], sinks[0], rounds=2)
        _last_units(shops[1])
        _transactions(shops[1])
        for shop, sink in zip(shops, sinks, strict=True):
            sink.stop()
            print(f"{shop.name}: {len(sink.deliveries)} deliveries, all signatures good")
    except (SmokeFailedError, ShopError) as error:
        print(f"FAILED {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        for shop in shops:
            shop.stop()
    print("OK")


def _require(promise: str, *, holds: bool) -> None:
    if not holds:
        raise SmokeFailedError(promise)
    print(f"  ok  {promise}")


def _open(shop: VendureShop) -> WebhookSink:
    started = time.monotonic()
    shop.start(fresh=True)
    print(f"{shop.name}: up after {time.monotonic() - started:.1f} s at {shop.base_url}, {shop.memory_kb() // 1024} MB")
    secret = new_secret()
    sink = WebhookSink(secret)
    sink.start()
    shop.seed_catalogue(CATALOGUE)
    ids = {shop.admin(SUBSCRIBE, {"url": sink.url, "secret": secret})["tidegateSubscribe"] for _ in range(3)}
    _require("subscribing three times makes one subscription", holds=len(ids) == 1)
    return sink


def _three_orders(shop: VendureShop, sink: WebhookSink) -> None:
    baskets = [{"TEA-1": 1}, {"MUG-1": 2, "POT-1": 1}, {"TEA-1": 5, "MUG-1": 5}]
    placed = [shop.place_order(basket, f"shopper{number}@example.com") for number, basket in enumerate(baskets)]
    codes = [order.code for order in placed if isinstance(order, PlacedOrder)]
    arrived = sink.wait_for(lambda deliveries: set(codes) <= {_order(delivery)["code"] for delivery in deliveries})
    for delivery in sink.accepted():
        order = _order(delivery)
        lines = ", ".join(f"{line['quantity']} x {line['sku']}" for line in order["lines"])
        print(f"      {delivery.raw_event['type']} v{delivery.raw_event['version']} {order['code']} {lines}")
    _require(f"{shop.name}: three orders, three authentic webhooks", holds=arrived and len(codes) == 3)
    _check_everything_told(shop, sink)


def _crash_with_nobody_listening(shop: VendureShop, sink: WebhookSink) -> None:
    sink.stop()
    order = shop.place_order({"POT-1": 1}, "unlucky@example.com")
    shop.kill()
    if isinstance(order, SoldOut):
        raise SmokeFailedError("the shop had teapots")
    print(f"{shop.name}: killed with -9 right after {order.code} was placed, nobody listening")
    started = time.monotonic()
    shop.start()
    print(f"      up again after {time.monotonic() - started:.1f} s")
    pending = shop.admin(PENDING)["tidegateSubscriptions"][0]["pending"]
    _require("the event is still there", holds=pending == 1)
    sink.start()
    arrived = sink.wait_for(lambda deliveries: any(_order(each)["code"] == order.code for each in deliveries))
    _require(f"the webhook of {order.code} arrived after all", holds=arrived)


def _crashes_under_load(shop: VendureShop, sink: WebhookSink, *, rounds: int) -> None:
    """Kill the shop at random moments while shoppers order and the receiver fails one time in three."""
    generator = random.Random(20261123)
    sink.answer = lambda _number, _event: 503 if generator.random() < 1 / 3 else None
    for _ in range(rounds):
        with ThreadPoolExecutor(4) as shoppers:
            visits = [shoppers.submit(_visit, shop, number) for number in range(16)]
            next(islice(as_completed(visits), 4, None))
            time.sleep(generator.uniform(0, 0.5))
            shop.kill()
            shop.start()
            print(f"      killed among {Counter(visit.result() for visit in visits)}")
    sink.answer = lambda _number, _event: None
    _check_everything_told(shop, sink)


def _visit(shop: VendureShop, number: int) -> str:
    try:
        return type(shop.place_order({"TEA-1": 1}, f"visitor{number}@example.com")).__name__
    except ShopError:
        return "no answer"


def _last_units(shop: VendureShop) -> None:
    """Twenty shoppers, ten units: ten orders."""
    shop.seed_catalogue([("LAST-1", "Last units", 500, 10)])
    with ThreadPoolExecutor(20) as shoppers:
        outcomes = list(
            shoppers.map(
                lambda number: shop.place_order({"LAST-1": 1}, f"late{number}@example.com"),
                range(20),
            )
        )
    sold = sum(isinstance(outcome, PlacedOrder) for outcome in outcomes)
    _require(f"of 10 units {sold} were sold", holds=sold == 10)
    _require("the shop counts them all as allocated", holds=shop.stock_levels()["LAST-1"] == (10, 10))


def _transactions(shop: VendureShop) -> None:
    """Prove inside the shop that events follow its transactions."""
    shop.seed_catalogue([("PROOF-1", "Proof", 100, 20)])
    for _ in range(2):
        shop.place_order({"PROOF-1": 8}, "prover@example.com")
    shop.stop()
    output = shop.run_script("prove_outbox.js")
    for line in output.splitlines():
        if line.startswith("PROVED"):
            print(f"  ok  {line.removeprefix('PROVED ')}")
    _require("all transaction proofs ran", holds="ALL PROVED" in output)


def _check_everything_told(shop: VendureShop, sink: WebhookSink) -> None:
    """Every placed order is known to the receiver exactly as the shop has it, by the highest version."""
    wanted = {order["id"]: (order["state"], order["updatedAt"]) for order in shop.orders()}

    def is_told(deliveries: list[Delivery]) -> bool:
        newest = {_order(each)["id"]: _order(each) for each in sorted(deliveries, key=_version)}
        return {key: (order["state"], order["updatedAt"]) for key, order in newest.items()} == wanted

    _require(
        f"{shop.name}: the receiver knows all {len(wanted)} orders as they are",
        holds=sink.wait_for(is_told, 60),
    )
    _require("every signature was good", holds=all(each.is_authentic for each in sink.deliveries))
    repeats = Counter(each.message_id for each in sink.accepted())
    print(
        f"      {len(repeats)} events in {len(sink.deliveries)} deliveries, {sum(repeats.values()) - len(repeats)} repeats"
    )


def _order(delivery: Delivery) -> dict[str, Any]:
    order: dict[str, Any] = delivery.raw_event["data"]["order"]
    return order


def _version(delivery: Delivery) -> int:
    version: int = delivery.raw_event["version"]
    return version
