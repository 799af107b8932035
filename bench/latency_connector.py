"""The connector of `bench.arrivals`: the test kit's, with an API that takes orders in batches and has no limit of its own.

`PACED` has the limit of a usual platform, and holds the money of shoppers as well: it says of payments that their money is
reserved, and captures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import msgspec

from tidegate.commerce.changes import CanonicalChange, PaymentObserved
from tidegate.commerce.commands import CapturePayment, CommandKind, CreateOrder, Payload
from tidegate.sdk.connector import CommandSpec, Done, ItemOutcome, RawEvent, TokenBucket
from tidegate.sdk.http import Api
from tidegate.sdk.testing.hostile_connector import build_connector, mapper
from tidegate.sdk.testing.hostile_connector.client import find_order, read_wanted

BULK_MAX = 50
PAYMENT_RESERVED = "payment.reserved"
"""Topic of what a provider says of a payment."""


class _Made(msgspec.Struct):
    id: str
    lines: dict[str, str]


class _AllMade(msgspec.Struct):
    items: list[_Made]


async def create_orders(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Create orders in one request."""
    orders = [
        {
            "reference": order.reference,
            "number": order.number,
            "lines": [
                {"reference": line.reference, "article_id": line.item_external_id, "quantity": line.quantity}
                for line in order.lines
            ],
        }
        for order in payloads
        if isinstance(order, CreateOrder)
    ]
    response = await api.request(
        "POST", "/api/erp/orders/batch", json={"orders": orders}, headers={"Idempotency-Key": key}
    )
    return [Done(external_id=made.id, bindings=made.lines) for made in read_wanted(response, _AllMade).items]


class _Reserved(msgspec.Struct):
    type: str
    order_id: str = ""
    amount_minor: int = 0
    currency: str = ""


def normalize(event: RawEvent) -> Sequence[CanonicalChange]:
    """Return what an event says, of payments too."""
    if event.topic != PAYMENT_RESERVED:
        return mapper.normalize(event)
    raw = msgspec.json.decode(event.body, type=_Reserved)
    return [
        PaymentObserved(
            external_id=raw.order_id,
            state="authorised",
            currency=raw.currency,
            amount_minor=raw.amount_minor,
            capturable_minor=raw.amount_minor,
            version=1,
        )
    ]


async def capture(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Capture one payment."""
    (payload,) = payloads
    assert isinstance(payload, CapturePayment)
    number = payload.payment_external_id.removeprefix("pi-")
    headers = {"Idempotency-Key": key}
    response = await api.request("POST", "/api/erp/captures", json={"number": number}, headers=headers)
    return [Done(external_id=read_wanted(response, _Made).id)]


_BASE = build_connector(
    stock_number="available",
    feed_interval=timedelta(hours=1),
    budget=TokenBucket(capacity=10_000, per_second=10_000, source="no limit"),
)
PACED_BUDGET = TokenBucket(capacity=40, per_second=20, source="a platform of the usual kind")
CONNECTOR = replace(
    _BASE,
    commands={
        **_BASE.commands,
        CommandKind.ORDER_CREATE: CommandSpec(
            execute=create_orders, find=find_order, bulk_max=BULK_MAX, readback_settle=timedelta(seconds=1)
        ),
    },
)
PACED = replace(
    CONNECTOR,
    budget=PACED_BUDGET,
    roles=CONNECTOR.roles | {"payment"},
    normalize=normalize,
    commands={
        **CONNECTOR.commands,
        CommandKind.PAYMENT_CAPTURE: CommandSpec(
            execute=capture, safe_to_resend=True, readback_settle=timedelta(seconds=1)
        ),
    },
)
"""What `bench.critical` saturates."""
