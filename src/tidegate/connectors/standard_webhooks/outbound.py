"""Commands as the events that a receiver is sent. Pure; amounts are decimal texts in major units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tidegate.commerce.changes import OrderPrivate
from tidegate.commerce.commands import CancelOrder, CreateFulfillment, CreateOrder, OrderLineOut, Payload, SetInventory
from tidegate.commerce.money import decimal_text

STOCK_TYPE = "inventory.set"


def type_of(payload: Payload) -> str:
    """Return the type of a command's event: the command's own name, because it asks and does not tell."""
    return str(payload.__struct_config__.tag)


def data_of(payload: Payload) -> dict[str, Any]:
    """Return what a receiver is asked to do. Raises TypeError for a kind that is not sent."""
    match payload:
        case CreateOrder():
            return _order(payload)
        case CancelOrder():
            own = {"own": True, "reason": "not in stock"} if payload.is_own else {}
            return {"id": payload.reference, "external_id": payload.order_external_id, **own}
        case CreateFulfillment():
            return _fulfillment(payload)
        case _:
            raise TypeError(f"{type(payload).__name__} is not sent as an event")


def stock_data(commands: Sequence[SetInventory]) -> dict[str, Any]:
    """Return the numbers that a receiver is to show: what it may sell of each article, absolute."""
    return {
        "items": [
            {"sku": command.sku, "location": command.location_external_id, "quantity": command.quantity}
            for command in commands
        ]
    }


def _order(order: CreateOrder) -> dict[str, Any]:
    """Return an order to be carried out. It is released: its money is authorised at least."""
    data: dict[str, Any] = {
        "id": order.reference,
        "number": order.number,
        "channel": order.channel,
        "state": "open",
        "payment_state": "authorised",
        "placed_at": order.placed_at,
        "currency": order.currency,
        "lines": [_line(line, order.currency) for line in order.lines],
        "shipping": decimal_text(order.shipping_minor, order.currency),
        "discount": decimal_text(order.discount_minor, order.currency),
        "total": decimal_text(order.total_minor, order.currency),
        "shipping_method": order.shipping_ref or order.shipping_method,
        **private_data(order.private),
    }
    further = {
        "customer_ref": order.customer_ref,
        "payment_method": order.payment_method,
        "note": order.note,
        "fields": dict(order.fields),
    }
    return {**data, **{name: value for name, value in further.items() if value}}


def _line(line: OrderLineOut, currency: str) -> dict[str, Any]:
    data: dict[str, Any] = {
        "id": line.reference,
        "sku": line.sku,
        "article_id": line.item_external_id,
        "title": line.title,
        "quantity": line.quantity,
        "unit_price": line.unit_price,
        "total": decimal_text(line.total_minor, currency),
    }
    further = {"location": line.location_external_id, "tax_code": line.tax_code, "fields": dict(line.fields)}
    return {**data, **{name: value for name, value in further.items() if value}}


def private_data(private: OrderPrivate) -> dict[str, Any]:
    """Return customer and addresses, what is empty left out."""
    parts = msgspec.to_builtins(private)
    return {name: part for name, part in parts.items() if part}


def _fulfillment(command: CreateFulfillment) -> dict[str, Any]:
    return {
        "id": command.reference,
        "order": command.order_external_id,
        "lines": [{"line": line.line_external_id, "quantity": line.quantity} for line in command.lines],
        "tracking": command.tracking,
        "carrier": command.carrier,
        "shipped_at": command.shipped_at,
        **({"fields": dict(command.fields)} if command.fields else {}),
    }
