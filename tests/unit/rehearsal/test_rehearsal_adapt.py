"""The user's configuration with its connections pointed at simulated platforms, and nothing else changed."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import yaml

from tidegate.config.parse import parse
from tidegate.kernel.errors import ConfigurationError
from tidegate.rehearsal.adapt import adapt, choose_cast

TEXT = """
tenant: acme
public_url: https://hooks.acme.example
listen: {host: 0.0.0.0, port: 7480}
network: {allow: [10.0.0.0/8]}
connections:
  shop: {use: shopify, store: acme.myshopify.com, share: 0.7}
  old: {use: vendure, url: https://old.acme.example}
  erp: {use: tryton, url: https://erp.acme.example, database: acme}
owns: {stock.on_hand: erp, stock.available: tidegate, order: origin, shipment: erp, price: old}
flows:
  orders: {from: [shop, old], to: erp, since: 2026-01-01, mode: observe}
  shipments: {from: erp, to: origin, mode: live}
  stock: {from: erp, to: [shop, old], mode: propose, safety: 3, blackout: [{cron: "0 2 * * *", for: 2h}]}
profiles: {peak: {stock.safety: 5}}
overrides:
  - {match: "sku:A-*", stock.mode: observe}
  - {match: "sku:B-*", stock.mode: observe, stock.safety: 9}
alerts: {rules: {}}
maps: {orders: {note: "'x'"}}
"""
SIMULATED = {"shopify", "tryton"}


def adapted(text: str = TEXT, **changes: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    root = yaml.safe_load(text)
    cast = choose_cast(root, SIMULATED)
    settings = {"shop": {"url": "http://127.0.0.1:1"}, "erp": {"url": "http://127.0.0.1:2", "company": "1"}}
    listen = {"host": "127.0.0.1", "port": 3, "web_port": 4}
    told, notes = adapt(root, cast, settings=settings, listen=listen, since=date(2026, 11, 26), **changes)
    return yaml.safe_load(told), notes


def test_what_comes_out_is_a_configuration() -> None:
    """It is read without complaint."""
    document, _ = adapted(profile="peak")
    root = yaml.safe_load(TEXT)
    cast = choose_cast(root, SIMULATED)
    settings = {"shop": {"url": "http://127.0.0.1:1"}, "erp": {"url": "http://127.0.0.1:2"}}
    listen = {"host": "127.0.0.1", "port": 3, "web_port": 4}
    text, _ = adapt(root, cast, settings=settings, listen=listen, since=date(2026, 11, 26), profile="peak")
    config = parse(text)
    assert (config.tenant, sorted(config.connections)) == ("acme", ["erp", "shop"])
    assert document["tenant"] == "acme"


def test_who_plays() -> None:
    """Channels of the orders flow and its ERP; what cannot be simulated is left out."""
    cast = choose_cast(yaml.safe_load(TEXT), SIMULATED)
    assert (cast.channels, cast.erp, cast.others) == (("shop",), "erp", ())
    assert cast.left_out == {"old": "vendure"}


def test_nothing_leaves_the_machine() -> None:
    """No address of the user's is left in it, nobody is alerted, and only the loopback may be reached."""
    document, _ = adapted()
    assert "acme.example" not in yaml.safe_dump(document)
    assert "myshopify" not in yaml.safe_dump(document)
    assert document["network"] == {"allow": ["127.0.0.0/8"]}
    assert document["listen"] == {"host": "127.0.0.1", "port": 3, "web_port": 4}
    assert not {"public_url", "alerts"} & document.keys()


def test_the_rest_is_the_users() -> None:
    """Settings, safety, maps, profiles and tenant stay."""
    document, _ = adapted()
    assert document["connections"]["shop"] == {"use": "shopify", "share": 0.7, "url": "http://127.0.0.1:1"}
    assert document["connections"]["erp"]["database"] == "acme"
    assert document["flows"]["stock"]["safety"] == 3
    assert document["maps"] == {"orders": {"note": "'x'"}}
    assert (document["tenant"], document["profiles"]) == ("acme", {"peak": {"stock.safety": 5}})


def test_flows_are_live_and_go_to_those_who_play() -> None:
    """Without windows in which nothing is written, and from yesterday on."""
    document, _ = adapted()
    flows = document["flows"]
    assert {flow["mode"] for flow in flows.values()} == {"live"}
    assert flows["orders"]["from"] == ["shop"]
    assert flows["stock"]["to"] == ["shop"]
    assert flows["shipments"]["to"] == "origin"
    assert "blackout" not in flows["stock"]
    assert "price" not in document["owns"]
    assert document["overrides"] == [{"match": "sku:B-*", "stock.safety": 9}]


def test_only_the_orders_flow_begins_at_a_day() -> None:
    """The others take no `since`, or need none: what is not in the file of a flow is not put into it."""
    text = """
connections: {web: {use: woocommerce}, out: {use: standard_webhooks}}
flows:
  orders: {from: web, to: out, since: 2026-01-01, mode: live}
  events: {to: out, types: ["order.*"], mode: live}
"""
    root = yaml.safe_load(text)
    cast = choose_cast(root, {"woocommerce", "standard_webhooks"})
    settings = {"web": {"url": "http://127.0.0.1:1"}, "out": {"url": "http://127.0.0.1:2"}}
    listen = {"host": "127.0.0.1", "port": 3, "web_port": 4}
    told, _ = adapt(root, cast, settings=settings, listen=listen, since=date(2026, 11, 26))
    flows = yaml.safe_load(told)["flows"]
    assert flows["orders"]["since"] == date(2026, 11, 26)
    assert flows["events"] == {"to": "out", "types": ["order.*"], "mode": "live"}
    parse(told)


def test_every_change_is_told() -> None:
    """Left out, made live, blackout."""
    _, notes = adapted()
    said = " / ".join(notes)
    assert "old (vendure)" in said
    assert "orders, stock" in said
    assert "blackout" in said


def test_a_profile_of_the_file_can_be_on_meanwhile() -> None:
    """The way to rehearse what is set for the peak."""
    document, _ = adapted(profile="peak")
    assert document["overrides"][-1] == {"during": "2026-11-26/2099-12-31", "profile": "peak"}
    with pytest.raises(ConfigurationError, match="no profile 'other'"):
        adapted(profile="other")


@pytest.mark.parametrize(
    "text",
    [
        "connections: {}",
        "connections: {shop: {use: shopify}}\nflows: {}",
        "connections: {shop: {use: vendure}, erp: {use: tryton}}\nflows: {orders: {from: [shop], to: erp}}",
        "connections: {shop: {use: shopify}, erp: {use: odoo}}\nflows: {orders: {from: [shop], to: erp}}",
    ],
)
def test_nothing_to_rehearse_is_said(text: str) -> None:
    """With what can be simulated, and the way to the built-in shops."""
    with pytest.raises(ConfigurationError) as refused:
        choose_cast(yaml.safe_load(text), SIMULATED)
    assert "--example" in str(refused.value.hint)
