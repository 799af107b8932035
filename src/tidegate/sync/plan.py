"""Plan commands, pure: (order before and after, policy) -> what other systems must be told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from tidegate.commerce.commands import CommandKind
from tidegate.commerce.events import EventType, Subject, matches, target_key
from tidegate.commerce.states import OBSERVED_CODE, OBSERVED_REASON, CommandState, OrderState
from tidegate.config.records import Mode
from tidegate.orders.fold import is_released
from tidegate.orders.payments import plan_captures, plan_refunds, plan_voids
from tidegate.orders.records import Order
from tidegate.sync.policy import Policy

_STATE_OF: dict[Mode, CommandState] = {
    "observe": CommandState.CANCELLED,
    "propose": CommandState.PROPOSED,
    "live": CommandState.PENDING,
}


class PlannedCommand(msgspec.Struct, frozen=True, gc=False):
    """A command under its key (connection, kind, entity, version): planned twice, it exists once."""

    connection_id: UUID
    kind: CommandKind
    entity_id: UUID
    version: int
    target_key: str
    cause_event_id: UUID | None
    state: CommandState = CommandState.PENDING
    """What it begins as: pending, proposed, or cancelled where it is only kept so that it is not forgotten."""
    code: str | None = None
    reason: str | None = None
    wait: timedelta | None = None
    """How long it is parked before it may be sent for the first time."""


class OrderPlan(msgspec.Struct, frozen=True, gc=False):
    """What follows from an order's change."""

    create: PlannedCommand | None = None
    cancel: PlannedCommand | None = None
    """Only sent when a create was sent before; an unsent create and its cancel annihilate each other."""
    code: str = "applied"
    """Why nothing is sent, where nothing is."""
    reason: str | None = None


NO_FLOW_REASON = "the orders flow does not come from this channel: its open units are held, and the ERP is told nothing"


class FulfillmentPlan(msgspec.Struct, frozen=True, gc=False):
    """What follows from a shipment."""

    command: PlannedCommand | None = None
    code: str = "shipped"
    """Why nothing is sent, where nothing is."""
    reason: str | None = None


def plan_order(order: Order, policy: Policy, cause_event_id: UUID) -> OrderPlan:
    """Return what the ERP must be told of `order` after a change."""
    if policy.erp is None:
        return OrderPlan(code="no_flow")
    if order.connection_id not in policy.order_channels:
        return OrderPlan(code="no_flow", reason=NO_FLOW_REASON)
    target = f"order:{order.order_id}"
    if order.order_state is OrderState.CANCELLED:  # whatever the flow does now: a create may have left before
        if order.was_cancelled:
            return OrderPlan(code="cancelled")
        cancel = _in_mode(
            policy.orders_mode,
            PlannedCommand(policy.erp, CommandKind.ORDER_CANCEL, order.order_id, order.version, target, cause_event_id),
        )
        return OrderPlan(cancel=cancel, code="cancelled")
    if order.is_called_off:
        reason = "its channel is asked to cancel it, because nobody has its goods: the ERP is told nothing"
        return OrderPlan(code="called_off", reason=reason)
    if policy.orders_since is not None and order.placed_at < policy.orders_since:
        return OrderPlan(
            code="before_since", reason=before_since_reason("orders", order.placed_at, policy.orders_since)
        )
    if policy.orders_mode == "observe":
        return OrderPlan(code=OBSERVED_CODE, reason="the orders flow observes: the ERP is told nothing")
    if policy.orders_live_from is not None and order.placed_at < policy.orders_live_from:
        reason = (
            f"placed {order.placed_at:%Y-%m-%d %H:%M}, before the orders flow stopped observing at "
            f"{policy.orders_live_from:%Y-%m-%d %H:%M} UTC: the ERP is told nothing unless that is asked for"
        )
        return OrderPlan(code="before_switch", reason=reason)
    if not is_released(order):
        return OrderPlan(code="not_released")
    create = PlannedCommand(policy.erp, CommandKind.ORDER_CREATE, order.order_id, 1, target, cause_event_id)
    return OrderPlan(create=_in_mode(policy.orders_mode, create))


class CallOffPlan(msgspec.Struct, frozen=True, gc=False):
    """What follows when an order is called off."""

    channel: PlannedCommand
    erp: PlannedCommand | None = None
    """Meets a create that was not sent; both end then."""


def plan_call_off(order: Order, policy: Policy, cause_event_id: UUID | None) -> CallOffPlan:
    """Return what the order's channel must be told so that it cancels the order, and what ends its create."""

    def cancel(connection_id: UUID, mode: Mode) -> PlannedCommand:
        target, kind = f"order:{order.order_id}", CommandKind.ORDER_CANCEL
        command = PlannedCommand(connection_id, kind, order.order_id, order.version, target, cause_event_id)
        return _in_mode(mode, command)

    erp = cancel(policy.erp, policy.orders_mode) if policy.erp is not None else None
    return CallOffPlan(cancel(order.connection_id, policy.cancels_mode(order.connection_id)), erp)


def plan_fulfillment(order: Order, fulfillment_id: UUID, policy: Policy, cause_event_id: UUID) -> FulfillmentPlan:
    """Return what the order's channel must be told of a shipment."""
    mode = policy.shipments_mode(order.connection_id)
    if policy.shipments_since is not None and order.placed_at < policy.shipments_since:
        reason = before_since_reason("shipments", order.placed_at, policy.shipments_since)
        return FulfillmentPlan(code="before_since", reason=reason)
    if mode == "observe":
        return FulfillmentPlan(code=OBSERVED_CODE, reason="the shipments flow observes: the channel is told nothing")
    kind, target = CommandKind.FULFILLMENT_CREATE, f"order:{order.order_id}"
    command = PlannedCommand(order.connection_id, kind, fulfillment_id, 1, target, cause_event_id)
    return FulfillmentPlan(command=_in_mode(mode, command))


def plan_events(
    subject: Subject, entity_id: UUID, version: int, event_type: EventType, policy: Policy, cause_event_id: UUID | None
) -> list[PlannedCommand]:
    """Return what the listeners must be told of an entity that is another one now."""
    target = target_key(subject, entity_id)
    return [
        _in_mode(
            listener.mode,
            PlannedCommand(listener.connection_id, CommandKind.EVENT_SEND, entity_id, version, target, cause_event_id),
        )
        for listener in policy.listeners
        if matches(event_type, listener.types)
    ]


def plan_waiting(
    waiting: Iterable[UUID], changed: Collection[UUID], versions: Callable[[], int], policy: Policy, cause: UUID | None
) -> list[PlannedCommand]:
    """Return what listeners must be told of orders that wait for goods from now on, besides those that `changed` anyway.

    `versions` gives numbers that nobody else has: the orders themselves are the same.
    """
    return [
        command
        for order_id in sorted(set(waiting) - set(changed))
        for command in plan_events("order", order_id, versions(), "order.updated", policy, cause)
    ]


def plan_payments(
    order: Order, policy: Policy, provider: UUID, cause_event_id: UUID, make_id: Callable[[], UUID]
) -> list[PlannedCommand]:
    """Return what provider and channel must be told about the money of an order: captures, releases and refunds.

    Those that were planned before are among them, under the same keys. Nothing of an order from before `since`, and
    nothing where the flow observes: refunds seen then are left alone for good, what is to be captured or released is
    decided anew from what is true when it does not observe any more. Changes the order's payments and refunds.
    """
    mode = policy.payments_mode(provider)
    if policy.payments_since is not None and order.placed_at < policy.payments_since:
        plan_refunds(order, to_provider=False, to_channel=False, leave="before_since")
        return []
    if mode == "observe":
        plan_refunds(order, to_provider=False, to_channel=False, leave=OBSERVED_CODE)
        return []

    def command(kind: CommandKind, version: int, target: str, connection_id: UUID = provider) -> PlannedCommand:
        planned = PlannedCommand(connection_id, kind, order.order_id, version, target, cause_event_id)
        return _in_mode(policy.payments_mode(connection_id), planned)

    if policy.captures:
        plan_captures(order, per_shipment=policy.captures_per_shipment, make_id=make_id)
    commands = [
        command(CommandKind.PAYMENT_CAPTURE, capture.number, f"payment:{capture.payment_id}")
        for capture in order.captures
        if capture.state in ("planned", "sent")  # one that was put back may have ended because the flow observed since
    ]
    commands += [
        command(CommandKind.PAYMENT_VOID, payment.number, f"payment:{payment.payment_id}")
        for payment in plan_voids(order)
        if payment.number is not None
    ]
    told = plan_refunds(order, to_provider=policy.refunds_to_provider, to_channel=policy.refunds_to_channel, leave=None)
    for plan in told:
        if plan.refund.number is not None:
            connection_id = provider if plan.to_provider else order.connection_id
            target = f"refund:{plan.refund.refund_id}"
            planned = command(CommandKind.REFUND_CREATE, plan.refund.number, target, connection_id)
            commands.append(msgspec.structs.replace(planned, wait=policy.refund_wait))
    return commands


def before_since_reason(flow: str, placed_at: datetime, since: datetime) -> str:
    """Return the sentence that says why an order is left alone."""
    return f"its order was placed {placed_at:%Y-%m-%d %H:%M}, before `since` of flow {flow}: {since:%Y-%m-%d %H:%M} UTC"


def state_in(mode: Mode) -> CommandState:
    """Return what a command begins as in a mode."""
    return _STATE_OF[mode]


def _in_mode(mode: Mode, command: PlannedCommand) -> PlannedCommand:
    """Return the command as it begins in a mode."""
    if mode != "observe":
        return msgspec.structs.replace(command, state=state_in(mode))
    return msgspec.structs.replace(command, state=state_in(mode), code=OBSERVED_CODE, reason=OBSERVED_REASON)
