"""Signed deliveries of about 1.7 kB, as the Vendure plugin sends them, made before the clock runs."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass

from tidegate.sdk.signatures import sign_standard_webhooks

BODY_BYTES = 1_700


@dataclass(frozen=True)
class Target:
    """Where a sender delivers."""

    path: str
    secret: str


def build_requests(targets: list[Target], count: int, *, seed: int) -> list[bytes]:
    """Return `count` whole HTTP requests, each with an id of its own, spread over the targets and 5,000 orders."""
    rng = random.Random(seed)
    template = json.dumps(_event("EVENT-ID", "ORDER-ID"), separators=(",", ":"))
    now = int(time.time())
    requests = []
    for number in range(count):
        target = targets[number % len(targets)]
        event_id = f"{seed:04x}{number:028x}"
        body = template.replace("EVENT-ID", event_id).replace("ORDER-ID", str(rng.randrange(5_000))).encode()
        signature = sign_standard_webhooks(target.secret, event_id, now, body)
        head = (
            f"POST {target.path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench/1\r\naccept: */*\r\n"
            f"content-type: application/json\r\nwebhook-id: {event_id}\r\nwebhook-timestamp: {now}\r\n"
            f"webhook-signature: {signature}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        requests.append(head.encode() + body)
    return requests


def _event(event_id: str, order_id: str) -> dict[str, object]:
    lines = [
        {
            "id": f"{order_id}-{n}",
            "variantId": f"{n + 40}",
            "sku": f"SKU-{n:05d}",
            "name": f"Article number {n}",
            "orderPlacedQuantity": 2,
            "quantity": 2,
            "unitPriceWithTax": 129900 + n,
            "proratedLinePriceWithTax": 259800 + 2 * n,
        }
        for n in range(5)
    ]
    order = {
        "id": order_id,
        "code": "T1CKET0FSALE",
        "state": "PaymentSettled",
        "currencyCode": "EUR",
        "updatedAt": "2026-11-21T10:00:00.000Z",
        "customer": {"emailAddress": "jane@example.org", "firstName": "Jane", "lastName": "Doe"},
        "lines": lines,
        "shippingWithTax": 500,
        "totalWithTax": 1299520,
    }
    event = {"id": event_id, "type": "order.updated", "timestamp": "2026-11-21T10:00:00.000Z", "data": {"order": order}}
    missing = BODY_BYTES - len(json.dumps(event, separators=(",", ":")))
    order["note"] = "x" * max(0, missing - 12)
    return event
