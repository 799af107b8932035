"""A day with Shopify, Stripe and a Tryton as the sandbox plays them: their books say that nothing is lost, doubled or oversold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.acceptance.installation import InOrder, Installation, eventually, installed
from tests.sandboxbed import RunningSandbox, running
from tests.sandboxshop import SECRET

pytestmark = pytest.mark.timeout(900)
ORDERS = 12
PAID_ORDERS = 8
PATIENCE_SECONDS = 300.0
"""A shipment costs Shopify up to 660 points, of which 1,000 a second flow in on this plan."""
PAY_KEY = "sk_live_sandbox"
PRICE_MINOR = 1290
STOCK = {"TEA": 200, "CUP": 40, "HOT": 12}
FLOWS = """
  shop: {use: shopify, url: "%s", transactions: "yes"}
  erp: {use: tryton, url: "%s", database: tryton}
  pay: {use: stripe, url: "%s"}
owns: {stock.on_hand: erp, shipment: erp, payment: pay}
flows:
  orders:    {from: [shop], to: erp, since: 2020-01-01, mode: live}
  shipments: {from: erp, to: origin, mode: live, capture: pay}
  payments:  {from: pay, mode: live}
  stock:     {from: erp, to: [shop], mode: live}
"""
BAD_DAY = {
    "shop": {
        "duplicated": 0.3,
        "reordered": 0.5,
        "dropped": 0.1,
        "lost_replies": 0.05,
        "broken": 0.05,
        "broken_after": 0.02,
        "throttled": 0.05,
    },
    "erp": {"lost_replies": 0.03, "broken": 0.03},
}
BAD_PAY = {
    "duplicated": 0.3,
    "reordered": 0.3,
    "dropped": 0.1,
    "lost_replies": 0.2,
    "broken": 0.1,
    "broken_after": 0.1,
    "throttled": 0.05,
}
LOSSY_SHOP = {**BAD_DAY["shop"], "dropped": 0.4}
"""An order's payment is told by a delivery of its own, and four of ten never come."""


@dataclass
class Day:
    tidegate: Installation
    sandbox: RunningSandbox

    def number(self, sku: str, platform: str) -> int:
        """Return what can be sold of an article, by the platform's own books."""
        items = self.sandbox.ask("GET", f"/books/{platform}/items")["items"]
        return sum(level["available"] for level in items[sku]["levels"].values())

    def books(self, platform: str) -> Any:
        return self.sandbox.ask("GET", f"/books/{platform}")

    def report(self) -> str:
        """Return what the sandbox saw, for a failed test."""
        return "\n".join(
            f"{name}: {self.books(name)}\n{self.sandbox.ask('GET', f'/calls/{name}?last=0')}"
            for name in ("shop", "erp", "pay")
        )


@contextmanager
def opened(folder: Path) -> Iterator[Day]:
    world = {
        "seed": 5,
        "items": [
            *(
                {"sku": sku, "title": sku.title(), "price_minor": PRICE_MINOR, "stock": units}
                for sku, units in STOCK.items()
            ),
            {"sku": "SHIPPING", "price_minor": 0},
            {"sku": "DISCOUNT", "price_minor": 0},
        ],
        "platforms": {
            "shop": {
                "kind": "shopify",
                "options": {"plan": "plus"},
                "skus": list(STOCK),
                "stock": dict.fromkeys(STOCK, 0),
            },
            "erp": {"kind": "erp", "options": {"ships_per_second": 0.0}},
            "pay": {"kind": "stripe", "options": {"api_key": PAY_KEY}},
        },
    }
    with running(world, folder, kinds=()) as sandbox, installed() as tidegate:
        tidegate.configure({}, FLOWS % (sandbox.url("shop"), sandbox.url("erp"), sandbox.url("pay")))
        tidegate.do("up", "--detach")
        erp = {"rest_key": "sandbox-rest-key"}
        tidegate.do("connect", "erp", "--from-json", "-", "--yes", stdin=msgspec.json.encode(erp).decode())
        shop = {"client_secret": SECRET, "access_token": "shpat_sandbox"}
        tidegate.do("connect", "shop", "--from-json", "-", "--yes", stdin=msgspec.json.encode(shop).decode())
        tidegate.do("connect", "pay", "--set", f"api_key={PAY_KEY}", "--yes")
        day = Day(tidegate, sandbox)
        for sku, units in STOCK.items():
            eventually(lambda sku=sku, units=units: day.number(sku, "shop") == units, f"no {sku} in the shop", tidegate)
        yield day


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InOrder[Day]]:
    with closing(InOrder(lambda: opened(tmp_path_factory.mktemp("sandbox")))) as shared:
        yield shared


@pytest.fixture
def day(request: pytest.FixtureRequest, shared: InOrder[Day]) -> Day:
    return shared.of(request)


def test_the_shop_is_told_what_the_erp_has(day: Day) -> None:
    """Numbers arrived by compare-and-set before anything was sold, and the app's webhooks are subscribed."""
    assert {one["topic"] for one in day.books("shop")["details"]["subscriptions"]} >= {
        "ORDERS_CREATE",
        "ORDERS_UPDATED",
    }


def test_a_bad_day_loses_doubles_and_oversells_nothing(day: Day) -> None:
    """Orders under duplicates, drops, lost replies and refusals: one sale and one shipment each, and equal stock."""
    set_faults(day, BAD_DAY)
    for number in range(ORDERS):
        assert day.sandbox.buy("shop", ("TEA", "CUP", "HOT")[number % 3], 1 + number % 2, key=f"key-{number}")["sold"]

    patiently(lambda: day.books("erp")["orders"] == ORDERS, "sales are missing", day)
    day.sandbox.ask("POST", "/do/erp/clerk", {"per_second": 20.0})
    patiently(lambda: keys_of(day, "shop", "fulfillment") == ORDERS, "shipments are missing", day)
    set_faults(day, {})
    for sku in STOCK:
        patiently(lambda sku=sku: day.number(sku, "shop") == day.number(sku, "erp"), f"{sku} differs", day)

    shop, erp = day.books("shop"), day.books("erp")
    assert erp["orders"] == ORDERS
    assert shop["effects"]["fulfillment"]["doubled"] == {}
    orders = day.sandbox.ask("GET", "/books/shop/orders?after=0")["orders"].values()
    assert all(o["placed_at"] < line["shipped_at"] <= time.time() for o in orders for line in o["lines"])
    assert (shop["units_shipped"], erp["units_shipped"]) == (shop["units_sold"], shop["units_sold"])
    assert (shop["oversold"], erp["oversold"]) == ({}, {})
    limits = day.sandbox.ask("GET", "/limits/shop")
    assert {name: limit["violations"] for name, limit in limits.items()} == {"points": 0}
    assert day.tidegate.do("conservation", "--json").json["imbalance"] == 0


def test_money_is_captured_once_per_shipped_order_through_lost_replies(day: Day) -> None:
    """By the payment provider's own books: every authorisation of a shipped order, to the cent, none of them twice."""
    set_faults(day, {"pay": BAD_PAY, "shop": LOSSY_SHOP})
    day.sandbox.ask("POST", "/do/erp/clerk", {"per_second": 20.0})
    shipped_before = keys_of(day, "shop", "fulfillment")
    for number in range(PAID_ORDERS):
        asked = {"amount_minor": PRICE_MINOR, "order": f"paid-{number}"}
        intent = day.sandbox.ask("POST", "/do/pay/pay", asked)["payment_intent"]
        extra = {"payment": "authorized", "gateway": "stripe", "psp_reference": intent}
        assert day.sandbox.buy("shop", "TEA", 1, key=f"paid-{number}", extra=extra)["sold"]

    patiently(lambda: keys_of(day, "shop", "fulfillment") == shipped_before + PAID_ORDERS, "shipments are missing", day)
    patiently(lambda: keys_of(day, "pay", "capture") == PAID_ORDERS, "captures are missing", day)
    set_faults(day, {})

    pay = day.books("pay")
    assert pay["effects"]["capture"]["doubled"] == {}
    assert pay["captured_minor"] == pay["authorised_minor"] == PAID_ORDERS * PRICE_MINOR
    limits = day.sandbox.ask("GET", "/limits/pay")
    assert sum(limit["violations"] for limit in limits.values()) == 0


def set_faults(day: Day, profiles: Mapping[str, Mapping[str, float]]) -> None:
    """Let these things go wrong from now on, and nothing else."""
    for platform in ("shop", "erp", "pay"):
        day.sandbox.ask("PUT", f"/faults/{platform}", {"profile": profiles.get(platform, {})})


def keys_of(day: Day, platform: str, effect: str) -> int:
    """Return under how many keys an effect happened, by the platform's own books."""
    count: int = day.books(platform)["effects"].get(effect, {}).get("keys", 0)
    return count


def patiently(check: Callable[[], bool], what: str, day: Day) -> None:
    """Wait until `check` holds; fail with `what`, and what the sandbox and Tidegate say, when it does not in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not check():
        assert time.monotonic() < deadline, f"{what}\n{day.report()}{day.tidegate.report()}"
        time.sleep(0.2)
