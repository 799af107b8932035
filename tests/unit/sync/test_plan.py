"""What the other systems must be told of an order, and when nothing is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from tests.foldbed import ERP, OTHER_SHOP, PLACED_AT, POLICY, SHOP, observing

from tidegate.commerce.states import RELEASING_PAYMENTS, FulfillmentState, OrderState, PaymentState
from tidegate.config.records import Mode
from tidegate.kernel.ids import new_id
from tidegate.orders.records import Order
from tidegate.sync.plan import plan_fulfillment, plan_order
from tidegate.sync.policy import EMPTY_POLICY, Policy

CAUSE = UUID(int=99)


def order(
    state: OrderState = OrderState.OPEN, payment: PaymentState = PaymentState.PAID, *, was_cancelled: bool = False
) -> Order:
    return Order(
        order_id=new_id(), connection_id=SHOP, external_id="1", number="N1", version=7, order_state=state,
        payment_state=payment, fulfillment_state=FulfillmentState.UNFULFILLED, currency="EUR", total_minor=0,
        shipping_minor=0, discount_minor=0, tax_minor=0, totals_mismatch=False, shipping_method="",
        placed_at=PLACED_AT, was_cancelled=was_cancelled,
    )  # fmt: skip


@pytest.mark.parametrize("payment", [PaymentState.AUTHORISED, PaymentState.PAID, PaymentState.PARTIALLY_REFUNDED])
def test_an_open_order_with_its_money_goes_to_the_erp_under_one_key(payment: PaymentState) -> None:
    one = order(payment=payment)

    plan = plan_order(one, POLICY, CAUSE)

    assert plan.cancel is None
    assert plan.create is not None
    assert (plan.create.connection_id, plan.create.entity_id, plan.create.version) == (ERP, one.order_id, 1)
    assert plan.create.cause_event_id == CAUSE
    assert plan_order(replace(one, version=8), POLICY, CAUSE) == plan, "planned again, it is the same command"


@pytest.mark.parametrize(
    ("state", "payment"),
    [
        (OrderState.PENDING, PaymentState.PAID),
        (OrderState.ON_HOLD, PaymentState.PAID),
        (OrderState.DRAFT, PaymentState.PAID),
        (OrderState.CLOSED, PaymentState.PAID),
        *((OrderState.OPEN, state) for state in PaymentState if state not in RELEASING_PAYMENTS),
    ],
)
def test_an_order_that_is_not_released_waits(state: OrderState, payment: PaymentState) -> None:
    plan = plan_order(order(state, payment), POLICY, CAUSE)

    assert (plan.create, plan.cancel, plan.code) == (None, None, "not_released")


def test_a_cancelled_order_is_cancelled_when_it_becomes_so_and_not_again() -> None:
    one = order(OrderState.CANCELLED)

    first, again = plan_order(one, POLICY, CAUSE), plan_order(replace(one, was_cancelled=True), POLICY, CAUSE)

    assert first.create is None
    assert first.cancel is not None
    created = plan_order(replace(one, order_state=OrderState.OPEN), POLICY, CAUSE).create
    assert created is not None
    assert first.cancel.target_key == created.target_key, "or it could overtake the order"
    assert (again.create, again.cancel, again.code) == (None, None, "cancelled")


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (EMPTY_POLICY, "no_flow"),
        (observing(order_channels=frozenset({OTHER_SHOP})), "no_flow"),
        (observing(orders_since=PLACED_AT + timedelta(seconds=1)), "before_since"),
        (observing(orders_mode="observe"), "observed"),
    ],
)
def test_what_the_configuration_does_not_ask_for_is_not_sent(policy: Policy, code: str) -> None:
    plan = plan_order(order(), policy, CAUSE)

    assert (plan.create, plan.cancel, plan.code) == (None, None, code)


@pytest.mark.parametrize(
    "policy", [observing(orders_since=PLACED_AT + timedelta(seconds=1)), observing(orders_mode="observe")]
)
def test_a_cancel_is_planned_whatever_the_flow_does_now(policy: Policy) -> None:
    """Its create may have left before; where none did, nothing is sent either."""
    plan = plan_order(order(OrderState.CANCELLED), policy, CAUSE)

    assert plan.create is None
    assert plan.cancel is not None


def test_since_means_from_that_moment_on() -> None:
    assert plan_order(order(), observing(orders_since=PLACED_AT), CAUSE).create is not None


def test_a_fulfillment_follows_its_order() -> None:
    one, fulfillment_id = order(), new_id()

    command = plan_fulfillment(one, fulfillment_id, POLICY, CAUSE).command

    assert command is not None
    assert (command.connection_id, command.entity_id, command.version) == (SHOP, fulfillment_id, 1)
    assert command.target_key == f"order:{one.order_id}"


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (observing(shipments_modes={}), "observed"),
        (observing(shipments_modes={OTHER_SHOP: "live"}), "observed"),
        (observing(shipments_since=PLACED_AT + timedelta(seconds=1)), "before_since"),
    ],
)
def test_a_shipment_that_is_not_told_says_why(policy: Policy, code: str) -> None:
    plan = plan_fulfillment(order(), new_id(), policy, CAUSE)

    assert (plan.command, plan.code) == (None, code)
    assert plan.reason


def test_an_order_placed_before_the_switch_is_left_alone_and_one_placed_at_it_is_not() -> None:
    before = plan_order(order(), observing(orders_live_from=PLACED_AT + timedelta(seconds=1)), CAUSE)

    assert (before.create, before.code) == (None, "before_switch")
    assert "stopped observing" in str(before.reason)
    assert plan_order(order(), observing(orders_live_from=PLACED_AT), CAUSE).create is not None


@pytest.mark.parametrize(("mode", "state"), [("propose", "proposed"), ("live", "pending")])
def test_the_mode_says_what_a_command_begins_as(mode: Mode, state: str) -> None:
    policy = observing(orders_mode=mode, shipments_modes={SHOP: mode})
    created = plan_order(order(), policy, CAUSE).create
    cancelled = plan_order(order(OrderState.CANCELLED), policy, CAUSE).cancel
    told = plan_fulfillment(order(), new_id(), policy, CAUSE).command

    assert [command and command.state for command in (created, cancelled, told)] == [state] * 3


def test_a_cancel_that_is_observed_is_kept_and_cannot_be_sent() -> None:
    cancel = plan_order(order(OrderState.CANCELLED), observing(orders_mode="observe"), CAUSE).cancel

    assert cancel is not None
    assert (cancel.state, cancel.code) == ("cancelled", "observed")
