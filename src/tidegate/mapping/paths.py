"""What a map may read and what it may fill, with types: the vocabulary of authors. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal, TypeAlias

Flow = Literal["orders", "shipments"]
"""A flow that has a map."""
Value: TypeAlias = str | int | Decimal | datetime
"""What a source has. An id is text and stays text; money is a Decimal and stays exact."""


class ValueType(StrEnum):
    """Types of values in a map."""

    TEXT = "text"
    MONEY = "money"
    INTEGER = "integer"
    MOMENT = "moment"
    BOOLEAN = "boolean"
    """Of conditions only."""


_TEXT, _MONEY = ValueType.TEXT, ValueType.MONEY
ADDRESS_PARTS = {
    "name": "name",
    "company": "company",
    "street1": "street1",
    "street2": "street2",
    "city": "city",
    "region": "region",
    "postal_code": "postal_code",
    "country": "country_code",
    "phone": "phone",
}
"""Part of an address in a map -> attribute of `commerce.changes.Address`."""
CUSTOMER_PARTS = {
    "id": "external_id",
    "email": "email",
    "first_name": "first_name",
    "last_name": "last_name",
    "phone": "phone",
}
"""Part of the customer in a map -> attribute of `commerce.changes.Customer`."""

ORDER_SOURCES: Mapping[str, ValueType] = {
    "reference": _TEXT,
    "number": _TEXT,
    "channel": _TEXT,
    "placed_at": ValueType.MOMENT,
    "currency": _TEXT,
    "total": _MONEY,
    "shipping_total": _MONEY,
    "discount": _MONEY,
    "shipping_method": _TEXT,
    "payment_method": _TEXT,
    "note": _TEXT,
    "email": _TEXT,
    "customer.ref": _TEXT,
    **{f"customer.{part}": _TEXT for part in CUSTOMER_PARTS},
    **{f"{kind}.{part}": _TEXT for kind in ("shipping", "billing") for part in ADDRESS_PARTS},
}
"""What an order has. `email` is short for `customer.email`; `payment_method` is what the channel calls it."""

LINE_SOURCES: Mapping[str, ValueType] = {
    "line.reference": _TEXT,
    "line.sku": _TEXT,
    "line.title": _TEXT,
    "line.quantity": ValueType.INTEGER,
    "line.unit_price": _MONEY,
    "line.total": _MONEY,
    "line.tax_code": _TEXT,
}
"""What a rule of a line has besides what the order has."""

SHIPMENT_SOURCES: Mapping[str, ValueType] = {
    "reference": _TEXT,
    "order_id": _TEXT,
    "tracking": _TEXT,
    "carrier": _TEXT,
    "shipped_at": ValueType.MOMENT,
}

ORDER_TARGETS = frozenset(
    {
        "number",
        "shipping_method",
        "payment_method",
        "note",
        "customer.ref",
        *(f"customer.{part}" for part in CUSTOMER_PARTS if part != "id"),
        *(f"{kind}.{part}" for kind in ("shipping", "billing") for part in ADDRESS_PARTS),
        "lines.sku",
        "lines.title",
        "lines.tax_code",
    }
)
SHIPMENT_TARGETS = frozenset({"tracking", "carrier"})
FIELD_TARGET = re.compile(r"(?:lines\.)?fields\.[a-z][a-z0-9_]{0,39}")
"""A field of the target's own; `lines.fields.*` for orders only."""
LINE_PREFIX = "lines."

HOOK_PLACES: Mapping[Flow, tuple[str, ...]] = {"orders": ("order", "lines", "decide"), "shipments": ("decide",)}
"""Keys of a map that name a Python hook instead of holding a rule."""
TEXT_CHARS_MAX = 4096
"""Longest text that an expression may see and that a map may make."""
LINES_MAX = 1000


def sources_of(flow: Flow, *, is_line: bool) -> dict[str, ValueType]:
    """Return what a rule may read."""
    if flow == "shipments":
        return dict(SHIPMENT_SOURCES)
    return {**ORDER_SOURCES, **LINE_SOURCES} if is_line else dict(ORDER_SOURCES)


def is_target(flow: Flow, path: str) -> bool:
    """Whether the payload of a flow has a place for a target at all, whoever takes it."""
    if FIELD_TARGET.fullmatch(path):
        return flow == "orders" or not path.startswith(LINE_PREFIX)
    return path in (ORDER_TARGETS if flow == "orders" else SHIPMENT_TARGETS)


def own_source(path: str) -> str | None:
    """Return the source that a target has by default: what stands there already. None for fields of the target's own."""
    if FIELD_TARGET.fullmatch(path):
        return None
    return f"line.{path.removeprefix(LINE_PREFIX)}" if path.startswith(LINE_PREFIX) else path
