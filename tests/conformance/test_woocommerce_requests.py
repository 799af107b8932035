"""Every request that the WooCommerce connector can send is one of the API's own description; the recordings of a real shop fit."""

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.commerce.changes import NeedsFetch, OrderSeen
from tidegate.connectors import woocommerce
from tidegate.connectors.woocommerce.errors import error_of
from tidegate.connectors.woocommerce.webhooks import WEBHOOK, is_ping
from tidegate.kernel.errors import OutcomeUnknownError
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.failures import refusal_of
from tidegate.sdk.http import Response
from tidegate.sdk.testing.conformance.fixtures import Exchange, ExchangeFixture, load
from tidegate.sdk.testing.conformance.script import NOW

schemas = pytest.importorskip("jsonschema_rs", reason="no JSON Schema validator is installed")

SHARED = Path(os.environ.get("TIDEGATE_SHARED", Path(__file__).parents[2] / ".." / "shared"))
SPECS = SHARED / "specs" / "woocommerce"
DESCRIPTION = SPECS / "wc_v3_10.9.1.derived.openapi.json"
ANSWERS = SPECS / "live_interactions_10.9.1.json"
DELIVERIES = SPECS / "live_webhook_deliveries_10.9.1.jsonl"
needs_description = pytest.mark.skipif(not DESCRIPTION.exists(), reason="the API description is not beside the project")
needs_recordings = pytest.mark.skipif(not DELIVERIES.exists(), reason="the recordings are not beside the project")

ROOT = "/wp-json"
GLOBAL = frozenset(("_fields",))
"""Query parameters that WordPress takes everywhere."""
SECRET = "whsecret & £ test"
"""Of the shared recordings."""


def recorded() -> Iterator[tuple[str, Exchange]]:
    for fixture in load(Path(woocommerce.__file__).parent / "fixtures" / "exchanges", ExchangeFixture):
        for number, exchange in enumerate(fixture.exchanges):
            yield f"{fixture.name}-{number}", exchange


class Description:
    """The operations of the API, found by a request's method and path."""

    def __init__(self) -> None:
        raw = json.loads(DESCRIPTION.read_text())
        self._paths: dict[str, Any] = raw["paths"]

    def operation(self, method: str, path: str) -> Any:
        """Return the operation of a request. Raises LookupError when there is none."""
        found = []
        for template, operations in self._paths.items():
            # a placeholder is a number there, or a word in the paths of settings
            pattern = re.sub(r"\{[a-z_]+\}", "[A-Za-z0-9_]+", template)
            if re.fullmatch(ROOT + pattern, path) and method.lower() in operations:
                found.append((template.count("{"), template))
        if not found:
            raise LookupError(f"{method} {path} is not in the description")
        return self._paths[min(found)[1]][method.lower()]

    def problems(self, exchange: Exchange) -> list[str]:
        """Return what is wrong with a request."""
        request = exchange.request
        operation = self.operation(request.method, request.path)
        found = list(self._query_problems(operation, request.params or {}))
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        if request.body is not None:
            if body is None:
                return [*found, "it takes no body"]
            known = body.get("properties", {}).keys()
            found += [f"unknown field {name}" for name in request.body if name not in known]
            found += [error.message for error in schemas.Draft7Validator(body).iter_errors(request.body)]
        return found

    @staticmethod
    def _query_problems(operation: Any, params: dict[str, str]) -> Iterator[str]:
        known = {one["name"]: one["schema"] for one in operation["parameters"] if one["in"] == "query"}
        for name, value in params.items():
            if name in GLOBAL:
                continue
            if name not in known:
                yield f"unknown parameter {name}"
                continue
            schema = known[name]
            typed: Any = value
            if schema.get("format") == "date-time":  # the shop reads a time without a zone as it says `dates_are_gmt`
                typed = f"{value}Z"
            elif schema["type"] == "integer":
                typed = int(value)
            elif schema["type"] == "boolean":
                typed = {"true": True, "false": False}[value]
            elif schema["type"] == "array":
                of_numbers = schema.get("items", {}).get("type") == "integer"
                typed = [int(each) if of_numbers else each for each in value.split(",")]
            yield from (f"{name}: {error.message}" for error in schemas.Draft7Validator(schema).iter_errors(typed))


@needs_description
@pytest.mark.parametrize("exchange", [pytest.param(each, id=name) for name, each in recorded()])
def test_a_recorded_request_is_one_of_the_description(exchange: Exchange) -> None:
    assert Description().problems(exchange) == []


@needs_description
def test_what_is_not_in_the_description_would_be_noticed() -> None:
    name, good = next((name, each) for name, each in recorded() if each.request.params)
    description = Description()
    good.request.params = {"per_page": "1000", "ordered_by": "id"}

    assert len(description.problems(good)) == 2, name
    with pytest.raises(LookupError):
        description.operation("GET", "/wp-json/wc/v3/stocks")


def deliveries() -> Iterator[tuple[dict[str, str], bytes]]:
    for line in DELIVERIES.read_text().splitlines() if DELIVERIES.exists() else ():
        raw = json.loads(line)
        yield {name.lower(): value for name, value in raw["headers"]}, base64.b64decode(raw["body_b64"])


@needs_recordings
def test_deliveries_of_a_real_shop_are_verified_keyed_and_read() -> None:
    pings = events = orders = hints = 0
    keys = set()
    for headers, body in deliveries():
        if is_ping(headers, body):
            pings += 1
            continue
        events += 1
        WEBHOOK.verify(headers, body, [SECRET], NOW.timestamp())
        found = WEBHOOK.read_keys(headers, body)
        keys.add((found.sender_event_id, found.topic))
        (change,) = woocommerce.CONNECTOR.normalize(RawEvent(source="webhook", topic=found.topic, body=body))
        orders += isinstance(change, OrderSeen)
        hints += change == NeedsFetch(topic="order", external_id="11")

    # order 11 has a refund by now: it is read again to learn where its money went
    assert (pings, events, orders, hints) == (8, 7, 2, 3)
    assert len(keys) == events, "two orders of one second share a delivery id, and must not share a key"


@needs_recordings
def test_a_delivery_id_is_shared_by_two_orders_there() -> None:
    ids = [headers["x-wc-webhook-delivery-id"] for headers, _ in deliveries() if "x-wc-webhook-delivery-id" in headers]

    assert len(set(ids)) < len(ids)


@needs_recordings
def test_every_refusal_of_a_real_shop_has_a_class() -> None:
    seen = {}
    for raw in json.loads(ANSWERS.read_text()):
        if raw["status"] < 400:
            continue
        answer = Response(status=raw["status"], headers={}, body=raw["body"].encode())
        changes_state = raw["method"] != "GET"
        error = refusal_of(raw["status"], {}, changes_state=changes_state, now=NOW) or error_of(
            answer, changes_state=changes_state
        )
        assert not isinstance(error, OutcomeUnknownError), raw["tag"]
        seen[raw["tag"]] = error.code

    assert seen == {
        "dup sku": "sku_taken",
        "bad param": "bad_input",
        "404": "not_found",
        "bad status": "bad_input",
        "batch 101": "batch_too_large",
        "basic over http": "unauthorized",
        "query over http": "unauthorized",
        "bad sig": "unauthorized",
    }
