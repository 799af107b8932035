"""Letting orders that hold units which nobody has wait for goods: by the policy of the stock flow in T2, or because a person says so."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal
from uuid import UUID

from tidegate.inventory.backorder import Receipt, promised_on, short_of
from tidegate.inventory.ledger import Entry, available_changes
from tidegate.kernel.crashpoint import reach
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import public_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.adjust import note_action
from tidegate.sync.calling_off import let_stand
from tidegate.sync.urgent import Stock

ORDERS_MAX = 200
"""Of one article; the newest ones lack."""
_ORDERS = query("oversold_orders")
_RECEIPTS = query("backorder_receipts")
_ADD = query("backorder_add")
_DROP = query("backorder_drop")
_MISSING = query("backorder_missing")


def oversold_now(entries: Iterable[Entry], stock: Stock) -> dict[UUID, int]:
    """Return item -> missing units, of items that a sale among the entries took more of than there is. Pure."""
    entries = list(entries)
    sold = {entry.posting.item_id for entry in entries if entry.committed_delta > 0}
    changes = available_changes(entries, stock.counted)
    left = {
        item_id: stock.available[item_id] + changes.get(item_id, 0) for item_id in sold if item_id in stock.available
    }
    return {item_id: -units for item_id, units in sorted(left.items()) if units < 0}


async def put_on_backorder(
    conn: Connection, tenant_id: UUID, missing: Mapping[UUID, int], *, by: str, orders: Collection[UUID] | None = None
) -> list[UUID]:
    """Let the orders that lack the missing units of items wait, with when what is on its way covers them; return those that were new.

    `orders`: only these. In the caller's transaction, after the levels are locked or while nobody needs them to be. Safe to repeat.
    """
    done: list[UUID] = []
    for item_id, units in missing.items():
        short = short_of(units, await conn.fetch(_ORDERS, tenant_id, item_id, ORDERS_MAX))
        receipts = [Receipt(*row) for row in await conn.fetch(_RECEIPTS, tenant_id, item_id)]
        days = promised_on(units, [lacks for _, lacks in short], receipts)
        rows: dict[UUID, tuple[int, object]] = {}
        for (order, lacks), day in zip(short, days, strict=True):
            if order["called_off_at"] is not None:
                continue
            if orders is None or order["order_id"] in orders:  # an order may hold it in two lines
                before = rows.get(order["order_id"], (0, day))
                rows[order["order_id"]] = (before[0] + lacks, before[1])
        if rows:
            columns = (list(rows), [row[0] for row in rows.values()], [row[1] for row in rows.values()])
            done += [row["order_id"] for row in await conn.fetch(_ADD, tenant_id, item_id, *columns, by)]
    reach("backorder.decided")
    return done


async def end_backorder(
    conn: Connection, tenant_id: UUID, item_id: UUID, orders: Collection[UUID] | None = None
) -> list[UUID]:
    """Have orders wait for units of an item no longer: they are alarmed again while they lack; return which."""
    chosen = list(orders) if orders is not None else None
    return [row["order_id"] for row in await conn.fetch(_DROP, tenant_id, item_id, chosen)]


async def missing_of(conn: Connection, tenant_id: UUID, sku: str) -> tuple[UUID, int]:
    """Return the item of a SKU, and how many units orders hold that nobody has. Raises ConfigurationError: there is no such item."""
    item = await conn.fetchrow(_MISSING, tenant_id, sku)
    if item is None:
        raise ConfigurationError(
            f"no item has the SKU {sku!r}", code="sku_unknown", hint="tidegate stock oversold lists what lacks"
        )
    return item["item_id"], item["missing"]


async def settle(
    conn: Connection,
    tenant_id: UUID,
    sku: str,
    decision: Literal["wait", "undo"],
    *,
    by: str,
    cell: str,
    orders: Collection[UUID] | None = None,
) -> list[UUID]:
    """Carry out what a person decided about the orders that lack units of a SKU; return those that it changed anything for.

    `orders`: only these. In the caller's transaction, with a row in the audit log. Safe to repeat. Raises ConfigurationError: there is no
    such item.
    """
    item_id, units = await missing_of(conn, tenant_id, sku)
    if decision == "wait":
        done = await put_on_backorder(conn, tenant_id, {item_id: units} if units else {}, by=by, orders=orders)
    else:
        chosen = list(orders) if orders is not None else None
        done = await let_stand(conn, tenant_id, item_id, chosen, by=by)  # orders before what waits for them
        done += await end_backorder(conn, tenant_id, item_id, orders)
    if done:
        detail = {"decision": decision, "orders": [public_id("ord", cell, order) for order in done][:100]}
        await note_action(conn, tenant_id, actor=by, action="stock.settled", subject=sku, detail=detail)
    return done
