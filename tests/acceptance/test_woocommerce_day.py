"""A night and a day with a WooCommerce shop and a Tryton of the sandbox: a webhook that the shop gave up, an order deleted for good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.acceptance.installation import Installation, eventually, installed
from tests.sandboxbed import RunningSandbox, running

KEY, SECRET = "ck_0123456789abcdef0123456789abcdef01234567", "cs_0123456789abcdef0123456789abcdef01234567"
MISSED = 8
"""Orders of the night: the shop gives a webhook up after more than five failures in a row."""
WORLD = {
    "seed": 3,
    "time_scale": 60.0,
    "items": [{"sku": f"S{n}", "title": f"Tea {n}", "stock": 100, "price_minor": 1290} for n in range(1, 4)],
    "platforms": {
        "shop": {"kind": "woocommerce", "options": {"consumer_key": KEY, "consumer_secret": SECRET}},
        "erp": {"kind": "erp", "options": {"ships_per_second": 0.0}},
    },
}
FLOWS = """
  shop: {use: woocommerce, url: "%s"}
  erp: {use: tryton, url: "%s", database: tryton}
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders: {from: [shop], to: erp, since: 2026-01-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
  stock: {from: erp, to: [shop], mode: live}
"""


def committed(day: Installation, sku: str) -> Any:
    return sum(level["committed"] for level in day.do("stock", "show", sku, "--json").json["levels"])


def is_given_up(sandbox: RunningSandbox) -> bool:
    return "disabled" in sandbox.ask("GET", "/books/shop")["details"]["webhooks"].values()


def test_a_webhook_given_up_by_the_shop_is_mended_its_gap_is_polled_and_a_deleted_order_is_released(
    tmp_path: Path,
) -> None:
    with running(WORLD, tmp_path, kinds=()) as sandbox, installed() as day:
        day.configure({}, FLOWS % (sandbox.url("shop"), sandbox.url("erp")))
        day.do("up", "--detach")
        day.do("connect", "erp", "--from-json", "-", "--yes", stdin=json.dumps({"rest_key": "sandbox-rest-key"}))
        keys = json.dumps({"consumer_key": KEY, "consumer_secret": SECRET})
        assert day.do("connect", "shop", "--from-json", "-", "--yes", "--json", stdin=keys).json["webhook"][
            "registered"
        ]

        day.do("down")
        sold = [sandbox.buy("shop", "S1")["id"] for _ in range(MISSED)]
        eventually(lambda: is_given_up(sandbox), "the shop gives up a webhook that fails", day)
        day.do("up", "--detach")

        eventually(lambda: sandbox.ask("GET", "/books/erp")["orders"] == MISSED, "polls find the night's orders", day)
        eventually(lambda: not is_given_up(sandbox), "the webhook is switched on again", day)
        told = day.do("events", "list", "--json").json
        assert any(event["code"] == "webhook_switched_on" for event in told), "and that it was off is shown"
        assert committed(day, "S1") == MISSED

        sandbox.ask("POST", "/do/shop/erase", {"order": int(sold[0])})
        eventually(lambda: committed(day, "S1") == MISSED - 1, "the deleted order holds no unit any more", day)
        assert day.do("conservation", "--json").json["imbalance"] == 0
