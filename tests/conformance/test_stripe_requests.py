"""Every request that the Stripe connector sends is one that Stripe's own description of its API takes.

The description is looked for where TIDEGATE_SPECS says, or in `../shared/specs` beside the checkout; without it the tests
are skipped. Form bodies are checked as they arrive: put together from their brackets, typed by the schema.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.house.repository import ROOT

from tidegate.commerce.changes import PaymentObserved, RefundSeen
from tidegate.connectors import stripe
from tidegate.connectors.stripe.client import API_VERSION, EVENTS
from tidegate.connectors.stripe.forms import flatten
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.testing.conformance.fixtures import ExchangeFixture, load
from tidegate.sdk.testing.conformance.script import SentRequest, call

SPECS = Path(os.environ.get("TIDEGATE_SPECS", ROOT.parent / "shared" / "specs"))
DESCRIPTION = SPECS / "stripe" / f"stripe_{API_VERSION}.derived.openapi.json.gz"
OBJECTS = SPECS / "stripe" / "fixtures3.json"
FIXTURES = load(Path(stripe.__file__).parent / "fixtures" / "exchanges", ExchangeFixture)
needs_description = pytest.mark.skipif(not DESCRIPTION.exists(), reason=f"there is no {DESCRIPTION}")


@cache
def description() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(DESCRIPTION.read_bytes()))
    return found


def sent_by(fixture: ExchangeFixture) -> list[SentRequest]:
    return asyncio.run(call(stripe.CONNECTOR, fixture))[1].sent


def nested(pairs: dict[str, str]) -> Any:
    """Undo the brackets: what Stripe makes of a form or a query."""
    root: dict[str, Any] = {}
    for name, value in pairs.items():
        steps = re.findall(r"[^\[\]]+", name)
        part = root
        for step in steps[:-1]:
            part = part.setdefault(step, {})
        part[steps[-1]] = value
    return _lists(root)


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    found = {key: _lists(inner) for key, inner in value.items()}
    if found and all(key.isdigit() for key in found):
        assert sorted(found, key=int) == [str(number) for number in range(len(found))], "gaps in a list"
        return [found[key] for key in sorted(found, key=int)]
    return found


def misfits(value: Any, schema: dict[str, Any], place: str = "") -> list[str]:
    """Return what of a value, all of whose leaves are text, does not fit a schema of the description."""
    if "$ref" in schema:
        return misfits(value, description()["components"]["schemas"][schema["$ref"].rpartition("/")[2]], place)
    if "anyOf" in schema:
        tried = [misfits(value, option, place) for option in schema["anyOf"]]
        return [] if [] in tried else min(tried, key=len)
    if "allOf" in schema:
        return [found for part in schema["allOf"] for found in misfits(value, part, place)]
    kind = schema.get("type")
    if kind == "object":
        return _misfits_of_object(value, schema, place)
    if kind == "array":
        if not isinstance(value, list):
            return [f"{place} is no list"]
        return [
            found for index, one in enumerate(value) for found in misfits(one, schema["items"], f"{place}[{index}]")
        ]
    if not isinstance(value, str):
        return [f"{place} is no text"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{place} is {value}"]
    pattern = {"integer": r"-?\d+", "boolean": "true|false", "number": r"-?[\d.]+"}.get(str(kind), ".*")
    return [] if re.fullmatch(pattern, value, re.DOTALL) else [f"{place} is no {kind}: {value}"]


def _misfits_of_object(value: Any, schema: dict[str, Any], place: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{place} is no object"]
    known, further = schema.get("properties", {}), schema.get("additionalProperties", True)
    found = [f"{place}{name} is missing" for name in schema.get("required", ()) if name not in value]
    for name, inner in value.items():
        if name in known:
            found += misfits(inner, known[name], f"{place}{name}.")
        elif further is False:
            found.append(f"there is no {place}{name}")
        elif isinstance(further, dict):
            found += misfits(inner, further, f"{place}{name}.")
    return found


def operation_of(request: SentRequest) -> dict[str, Any]:
    for path, operations in description()["paths"].items():
        pattern = re.sub(r"\\{[^}]+\\}", "[^/]+", re.escape(path))
        if re.fullmatch(pattern, request.path) and request.method.lower() in operations:
            found: dict[str, Any] = operations[request.method.lower()]
            return found
    raise AssertionError(f"Stripe has no {request.method} {request.path}")


def problems_of(request: SentRequest) -> list[str]:
    operation = operation_of(request)
    parameters = {each["name"]: each["schema"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    found = misfits(nested(request.params), {"type": "object", "properties": parameters, "additionalProperties": False})
    if request.body is None:
        return found
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/x-www-form-urlencoded", {}).get("schema")
    return [*found, *(misfits(nested(request.body), schema) if schema is not None else ["it takes no body"])]


@needs_description
@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_a_request_is_what_stripe_takes(fixture: ExchangeFixture) -> None:
    for request in sent_by(fixture):
        assert problems_of(request) == []


@needs_description
def test_what_stripe_does_not_take_would_be_noticed() -> None:
    """Among it the parameter that the pinned version took away."""
    base = SentRequest(method="POST", path="/v1/payment_intents", params={}, headers={}, body=None, changes_state=True)
    bad: list[dict[str, Any]] = [
        {"amount": 10, "currency": "eur", "payment_method_types": ["card"]},
        {"amount": "ten", "currency": "eur"},
        {"currency": "eur"},
        {"amount": 10, "currency": "eur", "metadata": ["a"]},
    ]

    for form in bad:
        assert problems_of(SentRequest(**{**_fields(base), "body": flatten(form)})), form
    assert not problems_of(SentRequest(**{**_fields(base), "body": flatten({"amount": 10, "currency": "eur"})}))


def _fields(request: SentRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__struct_fields__}


@needs_description
def test_every_endpoint_of_the_connector_is_among_the_recorded_ones() -> None:
    source = "".join(path.read_text() for path in Path(stripe.__file__).parent.glob("*.py"))
    written = set(re.findall(r'"/v1/(\w+(?:/\w+)?)', source))
    recorded = {part for fixture in FIXTURES for request in sent_by(fixture) for part in [request.path.split("/")[2]]}

    assert {path.split("/")[0] for path in written} <= recorded


@needs_description
def test_the_topics_that_the_endpoint_asks_for_exist() -> None:
    schema = description()["components"]["schemas"]["WebhookEndpointCreateParams"]["properties"]
    assert set(EVENTS) <= set(schema["enabled_events"]["items"]["enum"])
    assert API_VERSION in schema["api_version"]["enum"]


@pytest.mark.skipif(not OBJECTS.exists(), reason=f"there is no {OBJECTS}")
@pytest.mark.parametrize(
    ("name", "topic", "kind"),
    [
        ("payment_intent", "payment_intent.succeeded", PaymentObserved),
        ("refund", "refund.created", RefundSeen),
        ("dispute", "charge.dispute.created", RefundSeen),
    ],
)
def test_stripes_own_example_objects_are_read(name: str, topic: str, kind: type) -> None:
    shown = json.loads(OBJECTS.read_text())["resources"][name]
    if name == "dispute":
        shown["status"] = "needs_response"
    if name != "payment_intent":
        shown["payment_intent"] = "pi_1"
    event = {"id": "evt_1", "object": "event", "type": topic, "created": 1795600000, "data": {"object": shown}}

    (change,) = stripe.CONNECTOR.normalize(RawEvent(source="webhook", topic=topic, body=json.dumps(event).encode()))

    assert isinstance(change, kind)
