"""Finding things by what people have in hand: an id of ours, an order's number, a SKU."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from tidegate.kernel.ids import parse_public_id
from tidegate.monitor.explain import find_orders
from tidegate.store.connections import Connection
from tidegate.store.sql import query

ITEMS_MAX = 20
_ITEMS = query("search_items")
_FULFILLMENTS = query("search_fulfillments")
_EVENT_IDS = query("explain_event_ids")
_CONNECTIONS = query("search_connections")
_PARKED = query("search_event_keys")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a text names."""

    event_id: UUID | None = None
    command_id: UUID | None = None
    orders: tuple[Any, ...] = ()
    """Rows of `explain_find_orders`, newest first."""
    items: tuple[Any, ...] = ()
    """item_id and sku of items whose SKU begins so; an exact one is the first."""

    def exact_item(self, text: str) -> Any | None:
        """Return the item that is called exactly so."""
        return next((item for item in self.items if item["sku"] == text), None)


async def find(conn: Connection, tenant_id: UUID, text: str) -> Found:
    """Return what `text` names: an event or a command by its id, orders by id or number, items by SKU. Reads only."""
    if text.startswith(("evt_", "cmd_")):
        try:
            identifier = parse_public_id(text, kind=text[:3])
        except ValueError:
            return Found()
        return Found(event_id=identifier) if text.startswith("evt_") else Found(command_id=identifier)
    orders = await find_orders(conn, tenant_id, text)
    items = await conn.fetch(_ITEMS, tenant_id, text, ITEMS_MAX)
    return Found(orders=tuple(orders), items=tuple(items))


async def entities_of(conn: Connection, tenant_id: UUID, found: Found, text: str) -> list[UUID]:
    """Return what commands and events about the found things name: orders, their fulfillments, the item."""
    orders = [row["order_id"] for row in found.orders]
    fulfillments = await conn.fetch(_FULFILLMENTS, tenant_id, orders) if orders else []
    item = found.exact_item(text)
    return [*orders, *(row["fulfillment_id"] for row in fulfillments), *([item["item_id"]] if item else [])]


async def events_about(conn: Connection, tenant_id: UUID, entities: list[UUID]) -> list[UUID]:
    """Return the events that ended at one of the entities."""
    return [row["event_id"] for row in await conn.fetch(_EVENT_IDS, tenant_id, entities)] if entities else []


async def list_connections(conn: Connection, tenant_id: UUID) -> list[Any]:
    """Return the connections by name."""
    return list(await conn.fetch(_CONNECTIONS, tenant_id))


async def read_parking(conn: Connection, tenant_id: UUID, event_id: UUID) -> Any | None:
    """Return why an event is parked or in quarantine, None when it is not."""
    return await conn.fetchrow(_PARKED, tenant_id, event_id)
