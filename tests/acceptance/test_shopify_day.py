"""A day with a Shopify shop and a Tryton ERP, both of the sandbox: connect, sell, count, look at everything."""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path
from typing import Any

from tests.acceptance.installation import Installation, eventually, installed
from tests.sandboxbed import RunningSandbox, call, running

SECRET = "shpss_sandbox_0123456789abcdef0123456789"
WORLD = {
    "seed": 3,
    "items": [{"sku": f"S{n}", "title": f"Tea {n}", "stock": 100, "price_minor": 1290} for n in range(1, 6)],
    "platforms": {
        "shop": {"kind": "shopify"},
        "erp": {"kind": "erp", "options": {"database": "rec_tryton", "rest_key": "key-of-the-test"}},
    },
}
FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders: {from: [shop], to: erp, since: 2026-01-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
  stock: {from: erp, to: [shop], mode: live}
"""


def configure(day: Installation, sandbox: RunningSandbox) -> None:
    text = f"""
listen: {{host: 127.0.0.1, port: {day.port}, web_port: {day.web_port}}}
network: {{allow: ["127.0.0.0/8"]}}
connections:
  shop: {{use: shopify, store: sandbox.myshopify.com, url: "{sandbox.url("shop")}"}}
  erp: {{use: tryton, url: "{sandbox.url("erp")}", database: rec_tryton}}
{FLOWS}"""
    (day.folder / "tidegate.yaml").write_text(text)


def told(day: Installation, sku: str) -> Any:
    (channel,) = day.do("stock", "show", sku, "--json").json["channels"]
    return channel["was_told"]


def deliver(address: str, topic: str) -> None:
    """Deliver as Shopify does what no API can subscribe to."""
    body = json.dumps(
        {"shop_id": 1, "shop_domain": "sandbox.myshopify.com", "customer": {"id": 7}, "topic": topic}
    ).encode()
    signature = base64.b64encode(hmac.digest(SECRET.encode(), body, "sha256")).decode()
    headers = {
        "Content-Type": "application/json",
        "X-Shopify-Topic": topic,
        "X-Shopify-Hmac-Sha256": signature,
        "X-Shopify-Webhook-Id": topic,
        "X-Shopify-Shop-Domain": "sandbox.myshopify.com",
        "X-Shopify-API-Version": "2026-10",
    }
    assert call(address, "POST", body, headers).status == 200


def issues(day: Installation) -> set[str]:
    return {issue["code"] for issue in day.do("issues", "list", "--json").json}


def test_a_shop_is_connected_sells_and_is_told(tmp_path: Path) -> None:
    with running(WORLD, tmp_path, kinds=()) as sandbox, installed() as day:
        configure(day, sandbox)
        day.do("up", "--detach")
        answers = {"database": "rec_tryton", "rest_key": "key-of-the-test"}
        day.do("connect", "erp", "--from-json", "-", "--yes", stdin=json.dumps(answers))
        answers = {"access_token": "shpat_sandbox", "client_secret": SECRET}
        connected = day.do("connect", "shop", "--from-json", "-", "--yes", "--json", stdin=json.dumps(answers)).json
        assert connected["external_account"] == "sandbox.myshopify.com"
        assert connected["webhook"]["registered"]
        eventually(lambda: told(day, "S1") == told(day, "S5") == 100, "the shop is told all numbers", day)

        sandbox.buy("shop", "S1", 2)
        sandbox.buy("shop", "S2")
        eventually(lambda: sandbox.ask("GET", "/books/erp")["orders"] == 2, "the orders are in the ERP", day)
        eventually(lambda: told(day, "S1") == 98, "its own sale is known to be off its number", day)
        sets = sandbox.ask("GET", "/books/shop")["effects"]["stock_set"]["times"]
        assert sets == 5, "a shop that lowered its number by itself is not told again"

        sandbox.ask("POST", "/stock", {"platform": "erp", "sku": "S3", "quantity": 42})
        eventually(lambda: told(day, "S3") == 42, "the new count is told", day)

        found = day.do("drift", "--refresh", "--json")
        assert found.json["rows"] == [], "what the shop shows by a bulk operation is what it was told"
        judged = day.run("doctor", "--json").json
        assert not [one for one in judged if one["verdict"] == "fail"]
        assert any(one["code"] == "api_version" for one in judged)
        assert sandbox.ask("GET", "/limits/shop")["points"]["violations"] == 0

        address = sandbox.ask("GET", "/books/shop")["details"]["subscriptions"][0]["uri"]
        for topic in ("customers/data_request", "customers/redact", "shop/redact"):
            deliver(address, topic)
        codes = {"customer_data_request", "customer_redact", "shop_redact"}
        eventually(lambda: codes <= issues(day), "what privacy laws ask for waits for a person", day)
