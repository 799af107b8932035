"""Records of the feeds as canonical changes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from tidegate.commerce.changes import CanonicalChange, Ignored, ShipmentLine, ShipmentSeen, StockMoved
from tidegate.kernel.clock import EPOCH
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.decoding import decode_body

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
UNITS_MAX = 2**31 - 1
Quantity = Annotated[float, msgspec.Meta(ge=0, le=UNITS_MAX)]
Number = Annotated[int, msgspec.Meta(ge=1)]


class _Place(msgspec.Struct, gc=False):
    type: str
    warehouse: int | None = None


class _Move(msgspec.Struct, gc=False, rename={"source": "from", "target": "to"}):
    id: Number
    product: Number
    sku: str
    quantity: Quantity
    source: _Place
    target: _Place
    changed: Instant
    order_reference: str = ""
    line_reference: str = ""


class _Line(msgspec.Struct, gc=False):
    sku: str
    quantity: Quantity
    order_reference: str = ""
    line_reference: str = ""


class _Shipment(msgspec.Struct):
    id: Number
    number: str
    changed: Instant
    tracking: str = ""
    lines: list[_Line] = []


class _Event(msgspec.Struct):
    move: _Move | None = None
    shipment: _Shipment | None = None


_DECODER = msgspec.json.Decoder(_Event)


def normalize(event: RawEvent) -> Sequence[CanonicalChange]:
    """Return the changes of one record. The version is its `write_date` in microseconds."""
    raw = decode_body(_DECODER, event.body)
    if raw.move is not None:
        return _moved(raw.move)
    if raw.shipment is not None:
        return _shipped(raw.shipment)
    return [Ignored(code="unknown_topic", reason="neither a movement nor a shipment")]


def _moved(raw: _Move) -> Sequence[CanonicalChange]:
    """Return one change per warehouse whose stock the movement changes; moves inside of a warehouse change none."""
    leaves = raw.source.warehouse if raw.source.type == "storage" else None
    arrives = raw.target.warehouse if raw.target.type == "storage" else None
    units = _units(raw.quantity)
    if leaves == arrives:
        return [Ignored(code="internal_move", reason="the goods stay in the same warehouse")]
    found = []
    if leaves is not None:
        kind = "ship" if raw.target.type == "customer" else "adjust" if arrives is None else "transfer_out"
        found.append(_change(raw, leaves, -units, kind, suffix="out" if arrives is not None else ""))
    if arrives is not None:
        kind = {"supplier": "receive", "customer": "return_receive", "storage": "transfer_in"}.get(
            raw.source.type, "adjust"
        )
        found.append(_change(raw, arrives, units, kind, suffix="in" if leaves is not None else ""))
    return found


def _change(raw: _Move, warehouse: int, delta: int, kind: str, *, suffix: str) -> StockMoved:
    return StockMoved(
        external_id=f"{raw.id}{':' + suffix if suffix else ''}",
        sku=raw.sku,
        item_external_id=str(raw.product),
        location_external_id=str(warehouse),
        kind=kind,  # type: ignore[arg-type]
        quantity_delta=delta,
        order_reference=raw.order_reference if kind == "ship" else "",
        line_reference=raw.line_reference if kind == "ship" else "",
        moved_at=raw.changed,
        version=_version(raw.changed),
    )


def _shipped(raw: _Shipment) -> Sequence[CanonicalChange]:
    """Return one change per order in the shipment; nearly always there is just one."""
    by_order: dict[str, list[ShipmentLine]] = {}
    for line in raw.lines:
        part = ShipmentLine(line_reference=line.line_reference, sku=line.sku, quantity=_units(line.quantity))
        by_order.setdefault(line.order_reference, []).append(part)
    if not by_order:
        return [Ignored(code="empty_shipment", reason="nothing left with it")]
    return [
        ShipmentSeen(
            external_id=str(raw.id) if len(by_order) == 1 else f"{raw.id}:{reference}",
            order_reference=reference,
            lines=tuple(lines),
            tracking=raw.tracking or raw.number,
            shipped_at=raw.changed,
            version=_version(raw.changed),
        )
        for reference, lines in by_order.items()
    ]


def _units(quantity: float) -> int:
    """Return whole units. Raises ValueError for a part of a unit: channels cannot sell parts."""
    if quantity != int(quantity):
        raise ValueError("a quantity is not a whole number of units")
    return int(quantity)


def _version(changed: datetime) -> int:
    return max(0, (changed - EPOCH) // timedelta(microseconds=1))
