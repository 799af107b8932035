"""Telling a shop that goods left: our record in the order's meta data, a note for the buyer, and the status when all left.

WooCommerce has no shipments. What left is therefore kept with the order under our reference, so that a repetition is
recognised; the order is completed only when every unit that is still to be shipped has left, and stays as it is before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tidegate.commerce.commands import CreateFulfillment, Payload
from tidegate.connectors.woocommerce.wire import Raw, id_of, read, write
from tidegate.kernel.errors import ConflictError, RejectedError
from tidegate.sdk.connector import Done, FindOutcome, ItemOutcome, NotFound, Partly
from tidegate.sdk.http import Api

META_PREFIX = "_tidegate_shipment_"
"""Followed by our reference. Meta of one key is replaced, never doubled; what begins with `_` is hidden from buyers."""
COMPLETED = "completed"
SHIPPABLE = frozenset(("processing", "on-hold", "completed"))
"""WooCommerce's own statuses of an order that may be shipped; statuses of plugins are taken too."""
_ENDED = frozenset(("pending", "cancelled", "refunded", "failed", "trash", "checkout-draft", "auto-draft"))


class _Meta(msgspec.Struct):
    key: str = ""
    value: Any = None


class _Line(msgspec.Struct):
    id: int
    quantity: int
    sku: str | None = None
    name: str | None = None


class _Order(msgspec.Struct):
    id: int
    status: str
    meta_data: list[_Meta] = []
    line_items: list[_Line] = []


class _Note(msgspec.Struct):
    id: int
    note: str = ""


class Shipment(msgspec.Struct, frozen=True):
    """What the order's meta data keeps of one shipment."""

    lines: dict[str, int] = {}
    tracking: str = ""
    carrier: str = ""
    shipped_at: str = ""


async def create_fulfillment(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Record the shipment under its reference, complete the order when nothing is left to ship, and tell the buyer.

    Three requests, each of which can be repeated: what is there already is not written again.
    """
    (payload,) = payloads
    command = _command(payload)
    path = f"/orders/{id_of(command.order_external_id)}"
    order = await read(api, path, _Order, {"_fields": "id,status,meta_data,line_items"})
    known = shipments_of(order.meta_data)
    if command.reference not in known:
        _check(order, command)
        ours = Shipment(
            lines={line.line_external_id: line.quantity for line in command.lines},
            tracking=command.tracking,
            carrier=command.carrier,
            shipped_at=command.shipped_at.isoformat(timespec="seconds"),
        )
        known = {**known, command.reference: ours}
        value = msgspec.json.encode(ours).decode()
        change: Raw = {"meta_data": [{"key": META_PREFIX + command.reference, "value": value}]}
        if order.status != COMPLETED and is_complete(order, known):
            change["status"] = COMPLETED
        order = await write(api, "PUT", path, change, _Order)
    elif await _is_told(api, command):
        return [Done(external_id=command.reference, detail=order.status)]
    await write(api, "POST", f"{path}/notes", {"note": note_of(command, order), "customer_note": True}, _Note)
    return [Done(external_id=command.reference, detail=order.status)]


async def find_fulfillment(api: Api, payload: Payload) -> FindOutcome:
    """Look for our reference in the order's meta data, and for the note. One without the other is half made."""
    command = _command(payload)
    path = f"/orders/{id_of(command.order_external_id)}"
    order = await read(api, path, _Order, {"_fields": "id,status,meta_data,line_items"})
    if command.reference not in shipments_of(order.meta_data):
        return NotFound()
    if not await _is_told(api, command):
        return Partly(detail="the shipment is recorded, its note is missing")
    return Done(external_id=command.reference, detail=order.status)


def shipments_of(meta_data: Sequence[_Meta]) -> dict[str, Shipment]:
    """Return the shipments that the order keeps, by reference. What somebody wrote over counts as a shipment of nothing."""
    found = {}
    for meta in meta_data:
        if meta.key.startswith(META_PREFIX):
            found[meta.key.removeprefix(META_PREFIX)] = _shipment(meta.value)
    return found


def is_complete(order: _Order, known: Mapping[str, Shipment]) -> bool:
    """Return whether every unit of the order is in one of the shipments."""
    shipped: Counter[str] = Counter()
    for shipment in known.values():
        shipped.update(shipment.lines)
    return all(shipped[str(line.id)] >= line.quantity for line in order.line_items)


def note_of(command: CreateFulfillment, order: _Order) -> str:
    """Return what the buyer reads: everything or which part of the order left, by whom, under which number."""
    units = {line.line_external_id: line.quantity for line in command.lines}
    is_all = all(units.get(str(line.id), 0) >= line.quantity for line in order.line_items)
    titles = {str(line.id): line.name or line.sku or str(line.id) for line in order.line_items}
    parts = ", ".join(f"{quantity} x {titles.get(line, line)}" for line, quantity in units.items())
    words = "Your order was shipped" if is_all else f"Part of your order was shipped: {parts}"
    by = f" with {command.carrier}" if command.carrier else ""
    number = f", tracking number {command.tracking}" if command.tracking else ""
    return f"{words}{by}{number}. (Shipment {command.reference})"


def _check(order: _Order, command: CreateFulfillment) -> None:
    """Refuse what the order cannot have. Raises ConflictError (its status) and RejectedError (its lines)."""
    if order.status in _ENDED:
        raise ConflictError(
            f"the order is {order.status}", code="order_not_shippable", hint="compare the order there with the shipment"
        )
    lines = {str(line.id) for line in order.line_items}
    unknown = [line.line_external_id for line in command.lines if line.line_external_id not in lines]
    if unknown:
        raise RejectedError(f"the order has no line {', '.join(unknown)[:80]}", code="lines_unknown")


async def _is_told(api: Api, command: CreateFulfillment) -> bool:
    path = f"/orders/{id_of(command.order_external_id)}/notes"
    notes = await read(api, path, list[_Note], {"type": "customer"})
    return any(f"(Shipment {command.reference})" in note.note for note in notes)


def _shipment(value: Any) -> Shipment:
    try:
        return msgspec.json.decode(str(value), type=Shipment)
    except ValueError:
        return Shipment()


def _command(payload: Payload) -> CreateFulfillment:
    if not isinstance(payload, CreateFulfillment):
        raise TypeError(f"CreateFulfillment expected, not {type(payload).__name__}")
    return payload
