"""Plan commands, pure: (order before and after, policy) -> what other systems must be told."""

from __future__ import annotations

from uuid import UUID

import msgspec

from tidegate.commerce.commands import CommandKind
from tidegate.commerce.states import OrderState
from tidegate.orders.fold import is_released
from tidegate.orders.records import Order
from tidegate.sync.policy import Policy


class PlannedCommand(msgspec.Struct, frozen=True, gc=False):
    """A command under its key (connection, kind, entity, version): planned twice, it exists once."""

    connection_id: UUID
    kind: CommandKind
    entity_id: UUID
    version: int
    target_key: str
    cause_event_id: UUID | None


class OrderPlan(msgspec.Struct, frozen=True, gc=False):
    """What follows from an order's change."""

    create: PlannedCommand | None = None
    cancel: PlannedCommand | None = None
    """Only sent when a create was sent before; an unsent create and its cancel annihilate each other."""
    code: str = "applied"
    """Why nothing is sent, where nothing is."""


def plan_order(order: Order, policy: Policy, cause_event_id: UUID) -> OrderPlan:
    """Return what the ERP must be told of `order` after a change."""
    if policy.erp is None or order.connection_id not in policy.order_channels:
        return OrderPlan(code="no_flow")
    target = f"order:{order.order_id}"
    if order.order_state is OrderState.CANCELLED:  # whatever the flow does now: a create may have left before
        cancel = PlannedCommand(
            policy.erp, CommandKind.ORDER_CANCEL, order.order_id, order.version, target, cause_event_id
        )
        return OrderPlan(cancel=None if order.was_cancelled else cancel, code="cancelled")
    if policy.orders_since is not None and order.placed_at < policy.orders_since:
        return OrderPlan(code="before_since")
    if not policy.orders_live:
        return OrderPlan(code="observed")
    if not is_released(order):
        return OrderPlan(code="not_released")
    create = PlannedCommand(policy.erp, CommandKind.ORDER_CREATE, order.order_id, 1, target, cause_event_id)
    return OrderPlan(create=create)


def plan_fulfillment(
    order_id: UUID, channel_id: UUID, fulfillment_id: UUID, policy: Policy, cause_event_id: UUID
) -> PlannedCommand | None:
    """Return the command that tells the order's channel of a shipment, None while the flow observes."""
    if not policy.shipments_live:
        return None
    return PlannedCommand(
        channel_id, CommandKind.FULFILLMENT_CREATE, fulfillment_id, 1, f"order:{order_id}", cause_event_id
    )
