"""Reads what a story is made of."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tidegate.kernel.ids import first_id_at, parse_public_id
from tidegate.monitor.commands_view import describe_lane
from tidegate.monitor.story import Facts, Story, tell
from tidegate.store.connections import Connection
from tidegate.store.sql import query

PUSH_WINDOW = timedelta(hours=6)
"""How long after an entry the pushes of its item are looked at; later ones carry later entries too."""
_FIND_ORDERS = query("explain_find_orders")
_LINES = query("explain_lines")
_FULFILLMENTS = query("explain_fulfillments")
_PAYMENTS = query("explain_payments")
_REFUNDS = query("explain_refunds")
_EVENT_IDS = query("explain_event_ids")
_ENTRIES = query("explain_entries")
_EVENTS = query("explain_events")
_COMMANDS = query("explain_commands")
_PUSHES = query("explain_pushes")
_BACKORDERS = query("explain_backorders")
_OVERSOLD = query("oversold_done")
_ATTEMPTS = query("explain_attempts")
_BINDINGS = query("explain_bindings")
_LANES = query("explain_lanes")
_OLDER = query("explain_older")


async def find_orders(conn: Connection, tenant_id: UUID, text: str) -> list[Any]:
    """Return the orders that `text` names (our id, the number, or the channel's id), newest first, at most 20."""
    try:
        order_id: UUID | None = parse_public_id(text, kind="ord")
    except ValueError:
        order_id = None
    return list(await conn.fetch(_FIND_ORDERS, tenant_id, order_id, text))


async def explain_order(conn: Connection, tenant_id: UUID, order: Any, *, cell: str, now: datetime) -> Story:
    """Return the story of an order that `find_orders` returned, read from one snapshot."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        facts = await _read_facts(conn, tenant_id, order)
    return tell(facts, cell=cell, now=now)


async def _read_facts(conn: Connection, tenant_id: UUID, order: Any) -> Facts:
    order_id: UUID = order["order_id"]
    lines = await conn.fetch(_LINES, tenant_id, order_id)
    fulfillments = await conn.fetch(_FULFILLMENTS, tenant_id, order_id)
    payments = await conn.fetch(_PAYMENTS, tenant_id, order_id)
    entities = [order_id, *(row["fulfillment_id"] for row in fulfillments)]
    entries = await conn.fetch(_ENTRIES, tenant_id, order_id, [row["line_id"] for row in lines])
    commands = await conn.fetch(_COMMANDS, tenant_id, entities)
    told = [*entities, *(row["payment_id"] for row in payments)]
    event_ids = {row["event_id"] for row in await conn.fetch(_EVENT_IDS, tenant_id, told)}
    event_ids.update(row["event_id"] for row in entries if row["event_id"] is not None)
    event_ids.update(row["cause_event_id"] for row in commands if row["cause_event_id"] is not None)
    pushes = await _read_pushes(conn, tenant_id, entries)
    calls = sorted({row["call_id"] for row in [*commands, *pushes] if row["call_id"] is not None})
    targets = sorted({(row["connection_id"], row["target_key"]) for row in [*commands, *pushes]})
    older = await conn.fetch(_OLDER, tenant_id, [target[0] for target in targets], [target[1] for target in targets])
    bound = [*entities, *(row["line_id"] for row in lines)]
    return Facts(
        order=order,
        lines=lines,
        fulfillments=fulfillments,
        payments=payments,
        refunds=await conn.fetch(_REFUNDS, tenant_id, order_id),
        events=await conn.fetch(_EVENTS, tenant_id, sorted(event_ids)),
        entries=entries,
        oversold=await conn.fetch(_OVERSOLD, tenant_id, order_id),
        backorders=await conn.fetch(_BACKORDERS, tenant_id, order_id),
        commands=commands,
        pushes=pushes,
        attempts=await conn.fetch(_ATTEMPTS, tenant_id, calls),
        bindings=await conn.fetch(_BINDINGS, tenant_id, bound),
        lanes={row["connection_id"]: describe_lane(row) for row in await conn.fetch(_LANES, tenant_id)},
        older={(row["connection_id"], row["target_key"]): (row["command_id"], row["state"]) for row in older},
    )


async def _read_pushes(conn: Connection, tenant_id: UUID, entries: list[Any]) -> list[Any]:
    if not entries:
        return []
    items = sorted({row["item_id"] for row in entries})
    first = min(row["at"] for row in entries)
    last = max(row["at"] for row in entries) + PUSH_WINDOW
    return list(await conn.fetch(_PUSHES, tenant_id, items, first_id_at(first), first_id_at(last)))
