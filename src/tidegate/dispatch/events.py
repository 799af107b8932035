"""What listeners are told: how an entity stands now, read from committed state inside T2s.

Commands of one entity that wait behind this one are told by it: `COVER` runs before the state is read, so whatever planned
them is in what is read.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from tidegate.commerce.commands import SendEvent
from tidegate.commerce.events import subject_of
from tidegate.commerce.money import decimal_text
from tidegate.commerce.states import CommandState, OrderState
from tidegate.dispatch.records import ConnectionRow, PendingCommand, Unbuildable
from tidegate.kernel.ids import public_id
from tidegate.store.connections import Connection

# $4: the command that tells it. Nothing of the others was sent: they have no call.
COVER = """
UPDATE command SET state = 'superseded', code = 'told_by_a_newer', finished_at = clock_timestamp()
WHERE tenant_id = $1 AND connection_id = $2 AND target_key = $3 AND kind = 'event.send' AND state = 'pending'
  AND call_id IS NULL AND command_id <> $4
"""
ORDER = """
SELECT o.number, c.name AS channel, o.external_id, o.order_state, o.payment_state, o.fulfillment_state, o.version, o.currency,
       o.total_minor, o.shipping_minor, o.discount_minor, o.tax_minor, o.shipping_method, o.placed_at,
       statement_timestamp() AS read_at
FROM "order" o JOIN connection c ON c.tenant_id = o.tenant_id AND c.connection_id = o.connection_id
WHERE o.tenant_id = $1 AND o.order_id = $2
"""
LINES = """
SELECT line_id, sku, title, ordered, current, shipped, unit_price::text AS unit_price, total_minor
FROM order_line WHERE tenant_id = $1 AND order_id = $2 ORDER BY position, line_id
"""
BACKORDERS = """
SELECT i.sku, b.units, b.promised_on
FROM backorder b JOIN inventory_item i ON i.tenant_id = $1 AND i.item_id = b.item_id
WHERE b.tenant_id = $1 AND b.order_id = $2 ORDER BY i.sku
"""
SHIPMENT = """
SELECT f.order_id, o.number, c.name AS channel, f.tracking, f.carrier, f.shipped_at, statement_timestamp() AS read_at
FROM fulfillment f
JOIN "order" o ON o.tenant_id = $1 AND o.order_id = f.order_id
JOIN connection c ON c.tenant_id = $1 AND c.connection_id = o.connection_id
WHERE f.tenant_id = $1 AND f.fulfillment_id = $2
"""
SHIPMENT_LINES = """
SELECT l.line_id, l.sku, fl.quantity
FROM fulfillment_line fl JOIN order_line l ON l.tenant_id = $1 AND l.order_id = $3 AND l.line_id = fl.line_id
WHERE fl.tenant_id = $1 AND fl.fulfillment_id = $2 ORDER BY l.position, l.line_id
"""
LEVELS = """
SELECT i.sku, p.name AS location, s.on_hand, s.unavailable, s.committed, s.reserved, s.available,
       statement_timestamp() AS read_at
FROM inventory_item i
JOIN stock_balance s ON s.tenant_id = $1 AND s.item_id = i.item_id
JOIN location p ON p.tenant_id = $1 AND p.location_id = s.location_id
WHERE i.tenant_id = $1 AND i.item_id = $2 ORDER BY p.name
"""
_COUNTERS = ("on_hand", "unavailable", "committed", "reserved", "available")


async def build_event(
    conn: Connection, connection: ConnectionRow, command: PendingCommand, *, cell: str
) -> SendEvent | Unbuildable:
    """Return what a listener is told, after the commands that it covers were ended."""
    tenant_id, entity_id = connection.tenant_id, command.entity_id
    ids = (tenant_id, connection.connection_id)
    await conn.execute(COVER, *ids, command.target_key, command.command_id)
    match subject_of(command.target_key):
        case "order":
            return await _order(conn, tenant_id, entity_id, cell)
        case "shipment":
            return await _shipment(conn, tenant_id, entity_id, cell)
        case _:
            return await _item(conn, tenant_id, entity_id)


async def _order(conn: Connection, tenant_id: UUID, order_id: UUID, cell: str) -> SendEvent | Unbuildable:
    order = await conn.fetchrow(ORDER, tenant_id, order_id)
    if order is None:
        return _gone("order")
    currency = order["currency"]
    data: dict[str, Any] = {
        "id": public_id("ord", cell, order_id),
        "number": order["number"],
        "channel": order["channel"],
        "external_id": order["external_id"],
        "state": order["order_state"],
        "payment_state": order["payment_state"],
        "fulfillment_state": order["fulfillment_state"],
        "version": order["version"],
        "placed_at": _text(order["placed_at"]),
        "currency": currency,
        **{name: decimal_text(order[f"{name}_minor"], currency) for name in ("total", "shipping", "discount", "tax")},
        "shipping_method": order["shipping_method"] or "",
        "lines": [
            {
                "id": public_id("lin", cell, line["line_id"]),
                "sku": line["sku"],
                "title": line["title"],
                "quantity": line["ordered"],
                "quantity_left": line["current"],
                "quantity_shipped": line["shipped"],
                "unit_price": line["unit_price"],
                "total": decimal_text(line["total_minor"], currency),
            }
            for line in await conn.fetch(LINES, tenant_id, order_id)
        ],
        "backorders": [
            {
                "sku": row["sku"],
                "quantity": row["units"],
                "promised_on": row["promised_on"].isoformat() if row["promised_on"] is not None else None,
            }
            for row in await conn.fetch(BACKORDERS, tenant_id, order_id)
        ],
    }
    is_cancelled = order["order_state"] == OrderState.CANCELLED
    kind = "order.cancelled" if is_cancelled else "order.updated"
    return SendEvent(event_type=kind, occurred_at=order["read_at"], data=data)


async def _shipment(conn: Connection, tenant_id: UUID, fulfillment_id: UUID, cell: str) -> SendEvent | Unbuildable:
    row = await conn.fetchrow(SHIPMENT, tenant_id, fulfillment_id)
    if row is None:
        return _gone("shipment")
    data = {
        "id": public_id("ful", cell, fulfillment_id),
        "order": public_id("ord", cell, row["order_id"]),
        "number": row["number"],
        "channel": row["channel"],
        "tracking": row["tracking"] or "",
        "carrier": row["carrier"] or "",
        "shipped_at": _text(row["shipped_at"]),
        "lines": [
            {"line": public_id("lin", cell, line["line_id"]), "sku": line["sku"], "quantity": line["quantity"]}
            for line in await conn.fetch(SHIPMENT_LINES, tenant_id, fulfillment_id, row["order_id"])
        ],
    }
    return SendEvent(event_type="shipment.created", occurred_at=row["read_at"], data=data)


async def _item(conn: Connection, tenant_id: UUID, item_id: UUID) -> SendEvent | Unbuildable:
    rows = await conn.fetch(LEVELS, tenant_id, item_id)
    if not rows:
        return _gone("item")
    data = {
        "sku": rows[0]["sku"],
        **{name: sum(row[name] for row in rows) for name in _COUNTERS},
        "locations": [{"location": row["location"], **{name: row[name] for name in _COUNTERS}} for row in rows],
    }
    return SendEvent(event_type="stock.updated", occurred_at=rows[0]["read_at"], data=data)


def _gone(what: str) -> Unbuildable:
    return Unbuildable(state=CommandState.CANCELLED, code="nothing_left", reason=f"the {what} is not there any more")


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
