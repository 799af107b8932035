"""Calling off the newest orders that lack goods, by the policy of the stock flow: their channels are asked to cancel them.

An order that is called off goes nowhere any more, and holds its units until its channel shows it as cancelled: then everything follows
as for any order that was cancelled there. So nothing is undone here that the channel might refuse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from tidegate.inventory.backorder import BY_POLICY
from tidegate.inventory.calling_off import choose_newest
from tidegate.kernel.crashpoint import reach
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.plan import plan_call_off
from tidegate.sync.policy import Policy
from tidegate.sync.records import Result, State, WiderLocks

ORDERS_MAX = 200
"""Of one article; the newest ones lack."""
_CANCELLABLE = query("oversold_cancellable")
_CALL_OFF = query("oversold_call_off")
_NOTE = query("oversold_note")
_LOCK = query("oversold_lock")
_LET_STAND = query("oversold_let_stand")


class CalledOff(NamedTuple):
    """An order that its channel is to cancel."""

    order_id: UUID
    item_id: UUID
    units: int
    """That it lacks of the item."""
    location_id: UUID


async def choose_orders(
    conn: Connection, tenant_id: UUID, policy: Policy, state: State, missing: Mapping[UUID, int], *, may_widen: bool
) -> list[CalledOff]:
    """Return the orders that are called off because units of items are missing. Nothing is changed.

    Raises WiderLocks where orders have to be locked before, if `may_widen`; else those that are not locked stay.
    """
    channels = sorted(channel for channel in policy.order_channels if policy.cancels_mode(channel) != "observe")
    found: dict[UUID, CalledOff] = {}
    for item_id, units in missing.items() if channels else ():
        rows = [
            dict(row)
            for row in await conn.fetch(
                _CANCELLABLE, tenant_id, item_id, ORDERS_MAX, channels, policy.erp, policy.orders_from
            )
        ]
        for row in rows:
            row["may_be_called_off"] &= may_widen or row["order_id"] in state.orders
        for row, lacks in choose_newest(units, rows, found):
            found[row["order_id"]] = CalledOff(row["order_id"], item_id, lacks, row["location_id"])
    unlocked = found.keys() - state.orders.keys()
    if unlocked:
        raise WiderLocks(unlocked, ())
    return list(found.values())


async def call_off(
    conn: Connection,
    tenant_id: UUID,
    policy: Policy,
    state: State,
    result: Result,
    chosen: Sequence[CalledOff],
    event_id: UUID | None,
) -> None:
    """Hold orders back and plan what channel and ERP are told. The orders are locked; commands are stored by the caller, later."""
    if not chosen:
        return
    orders = [state.orders[each.order_id] for each in chosen]
    names = {order.order_id for order in orders}
    for order in orders:
        order.is_called_off = True
        plan = plan_call_off(order, policy, event_id)
        result.call_offs.append(plan.channel)
        if plan.erp is not None:
            result.cancels.append(plan.erp)
    result.commands = [
        command for command in result.commands if command.kind != "order.create" or command.entity_id not in names
    ]
    await conn.execute(_CALL_OFF, tenant_id, sorted(names), 0)
    rows = [
        (
            each.order_id,
            state.orders[each.order_id].version,
            each.item_id,
            "called_off",
            each.units,
            each.location_id,
            None,
        )
        for each in chosen
    ]
    await conn.execute(_NOTE, tenant_id, *[list(column) for column in zip(*rows, strict=True)], BY_POLICY)
    reach("calling_off.stored")


async def let_stand(
    conn: Connection, tenant_id: UUID, item_id: UUID, orders: Sequence[UUID] | None, *, by: str
) -> list[UUID]:
    """Let called-off orders that lack an item stand after all, where their channel was not asked yet or refused; return which.

    `orders`: only these. In the caller's transaction. They go to the ERP as they would have.
    """
    locked = [row["order_id"] for row in await conn.fetch(_LOCK, tenant_id, item_id, orders)]
    if not locked:
        return []
    return [row["order_id"] for row in await conn.fetch(_LET_STAND, tenant_id, locked, item_id, by)]
