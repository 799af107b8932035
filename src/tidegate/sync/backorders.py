"""Letting orders that hold units which nobody has wait for goods: by the policy of the stock flow in T2, or because a person says so."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from tidegate.inventory.backorder import Receipt, promised_on, short_of
from tidegate.inventory.ledger import Entry, available_changes
from tidegate.kernel.crashpoint import reach
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.urgent import Stock

ORDERS_MAX = 200
"""Of one article; the newest ones lack."""
BY_POLICY = "policy"
_ORDERS = query("oversold_orders")
_RECEIPTS = query("backorder_receipts")
_ADD = query("backorder_add")
_DROP = query("backorder_drop")


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
