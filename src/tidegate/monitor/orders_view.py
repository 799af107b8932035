"""Orders as people look at them: lists, and one order with its lines, payments and fulfillments. Never whose they are."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import first_id_at, public_id
from tidegate.monitor.explain import find_orders
from tidegate.store.connections import Connection
from tidegate.store.sql import query

FIRST_ID = UUID(int=0)
LAST_ID = UUID(int=(1 << 128) - 1)
_LIST = query("orders_list")
_ONE = query("orders_one")
_LINES = query("orders_lines")
_PAYMENTS = query("orders_payments")
_BACKORDERS = query("explain_backorders")
_FULFILLMENTS = query("explain_fulfillments")


class OrderFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which orders; what is None filters nothing."""

    connection_id: UUID | None = None
    order_state: str | None = None
    payment_state: str | None = None
    fulfillment_state: str | None = None
    number: str | None = None
    since: datetime | None = None
    """First seen since."""
    before: UUID | None = None
    """Only orders with a smaller id."""


class OrderRows(msgspec.Struct, frozen=True, kw_only=True):
    """One order as the statements of `orders_view.sql` give it."""

    order: Any
    lines: list[Any]
    payments: list[Any]
    fulfillments: list[Any]
    backorders: list[Any]


async def list_orders(conn: Connection, tenant_id: UUID, chosen: OrderFilter, limit: int) -> list[Any]:
    """Return rows of `orders_list`, those that came last first."""
    return list(
        await conn.fetch(
            _LIST,
            tenant_id,
            chosen.connection_id,
            chosen.order_state,
            chosen.payment_state,
            chosen.fulfillment_state,
            chosen.number,
            first_id_at(chosen.since) if chosen.since is not None else FIRST_ID,
            chosen.before or LAST_ID,
            limit,
        )
    )


async def find_order(conn: Connection, tenant_id: UUID, reference: str, *, cell: str) -> Any:
    """Return the row of `explain_find_orders` that an id, a number or a channel's id names.

    Raises ConfigurationError when there is none, or when several are called so: `order_unknown`, `order_ambiguous`.
    """
    found = await find_orders(conn, tenant_id, reference)
    if not found:
        raise ConfigurationError(
            f"no order is called {reference!r}",
            code="order_unknown",
            hint="has it come in? look with: tidegate events list --limit 20",
        )
    if len(found) > 1:
        names = ", ".join(f"{public_id('ord', cell, row['order_id'])} ({row['channel']})" for row in found)
        raise ConfigurationError(
            f"{len(found)} orders are called {reference!r}", code="order_ambiguous", hint=f"name one by its id: {names}"
        )
    return found[0]


async def read_order(conn: Connection, tenant_id: UUID, order_id: UUID) -> OrderRows:
    """Return one order. Raises ConfigurationError when there is no such order."""
    order = await conn.fetchrow(_ONE, tenant_id, order_id)
    if order is None:
        raise ConfigurationError("there is no such order", code="order_unknown")
    return OrderRows(
        order=order,
        lines=list(await conn.fetch(_LINES, tenant_id, order_id)),
        payments=list(await conn.fetch(_PAYMENTS, tenant_id, order_id)),
        fulfillments=list(await conn.fetch(_FULFILLMENTS, tenant_id, order_id)),
        backorders=list(await conn.fetch(_BACKORDERS, tenant_id, order_id)),
    )
