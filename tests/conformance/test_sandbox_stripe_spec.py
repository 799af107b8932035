"""The sandbox's Stripe held to the official description: its parameters, and the objects that it shows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tests.sandboxbed import running
from tests.sandboxpay import FIXTURES, SPEC, PayHand, official_missing, pay_world

from tidegate.sandbox.stripe.forms import OPERATIONS, parameters_of

pytestmark = pytest.mark.skipif(
    official_missing(), reason="the official description of Stripe's API is not beside this checkout"
)
KINDS = {"integer": {"int"}, "boolean": {"bool"}, "array": {"list"}, "object": {"hash", "map"}, "string": {"str"}}


@pytest.fixture(scope="module")
def spec() -> Any:
    return json.loads(gzip.decompress(SPEC.read_bytes()))


@pytest.fixture(scope="module")
def shapes() -> Any:
    found = json.loads(FIXTURES.read_text())
    return found.get("resources", found)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_takes_what_it_takes_there(spec: Any, operation: str) -> None:
    """The same names, the same ones required, and kinds that fit."""
    method, _, path = operation.partition(" ")
    there = _operation(spec, method.lower(), path)
    official = _parameters(spec, there)
    ours = parameters_of(operation)
    assert ours.keys() == official.keys()
    assert {name for name, kind in ours.items() if kind.endswith("!")} == {
        name for name, (_, required) in official.items() if required
    }
    for name, (types, _) in official.items():
        allowed = set().union(*(KINDS.get(kind, set()) for kind in types)) if types else None
        kind = ours[name].rstrip("!")
        assert kind == "range" or allowed is None or kind in allowed or "str" in allowed, (name, types)


def test_objects_have_the_fields_of_the_official_examples(tmp_path: Path, shapes: Any) -> None:
    """No field that Stripe does not have; payments, charges, refunds and disputes have them all."""
    with running(pay_world(options={"api_key": "sk_live_sandbox"}), tmp_path) as sandbox:
        pay = PayHand(sandbox, "sk_live_sandbox")
        made = sandbox.ask(
            "POST", "/do/pay/pay", {"amount_minor": 1000, "capture_method": "automatic", "session": True}
        )
        intent = made["payment_intent"]
        refund = pay.do("POST", "/v1/refunds", {"payment_intent": intent, "amount": 1})["id"]
        dispute = sandbox.ask("POST", "/do/pay/dispute", {"payment_intent": intent})["dispute"]
        endpoint = pay.do("POST", "/v1/webhook_endpoints", "url=http://127.0.0.1:9/&enabled_events[]=*")["id"]
        whole = {
            "payment_intent": f"/v1/payment_intents/{intent}",
            "charge": f"/v1/charges/{made['charge']}",
            "refund": f"/v1/refunds/{refund}",
            "dispute": f"/v1/disputes/{dispute}",
            "webhook_endpoint": f"/v1/webhook_endpoints/{endpoint}",
        }
        for kind, path in whole.items():
            shown, expected = pay.do("GET", path), shapes[kind]
            assert set(shown) - set(expected) == set(), kind
            assert set(expected) - set(shown) - {"managed_payments", "refunds"} == set(), kind
        for kind, path in {
            "checkout.session": f"/v1/checkout/sessions/{made['session']}",
            "account": "/v1/account",
        }.items():
            assert set(pay.do("GET", path)) - set(shapes[kind]) == set(), kind
        event = pay.do("GET", "/v1/events", {"limit": 1})["data"][0]
        assert set(event) == set(shapes["event"])


def _operation(spec: Any, method: str, path: str) -> Any:
    for known, operations in spec["paths"].items():
        names = known.replace("{", "}").split("}")
        if "".join(part if place % 2 == 0 else "{id}" for place, part in enumerate(names)) == path:
            return operations[method]
    raise AssertionError(f"{method} {path} is not there")


def _parameters(spec: Any, operation: Any) -> dict[str, tuple[set[str], bool]]:
    found = {
        one["name"]: (_types(spec, one.get("schema", {})), bool(one.get("required")))
        for one in operation.get("parameters", [])
        if one["in"] == "query"
    }
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = _resolved(spec, content["schema"])
        required = set(schema.get("required", []))
        for name, inner in schema.get("properties", {}).items():
            found[name] = (_types(spec, inner), name in required)
    return found


def _types(spec: Any, schema: Any) -> set[str]:
    schema = _resolved(spec, schema)
    if "anyOf" in schema or "oneOf" in schema:
        return set().union(*(_types(spec, one) for one in schema.get("anyOf", schema.get("oneOf"))))
    return {schema["type"]} if "type" in schema else set()


def _resolved(spec: Any, schema: Any) -> Any:
    while "$ref" in schema:
        schema = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema
