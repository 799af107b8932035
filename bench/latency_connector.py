"""The connector of `bench.arrivals`: the test kit's, with an API that takes orders in batches and has no limit of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import msgspec

from tidegate.commerce.commands import CommandKind, CreateOrder, Payload
from tidegate.sdk.connector import CommandSpec, Done, ItemOutcome, TokenBucket
from tidegate.sdk.http import Api
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.sdk.testing.hostile_connector.client import find_order, read_wanted

BULK_MAX = 50


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
PACED = replace(CONNECTOR, budget=PACED_BUDGET)
"""The same with the limit of a usual platform: what `bench.critical` saturates."""
