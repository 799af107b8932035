"""What goes back of an order that its channel cancelled because it was asked to."""

from __future__ import annotations

from uuid import UUID

from tests.foldbed import MAIN, NOW, SHOP

from tidegate.commerce.states import FulfillmentState, OrderState, PaymentState
from tidegate.kernel.ids import new_id
from tidegate.orders.payments import CALLED_OFF, pay_back, plan_refunds
from tidegate.orders.records import Line, Order, PspPayment


def order_of(*captured: int) -> Order:
    order = Order(
        UUID(int=1), SHOP, "1", "N1", 2, OrderState.CANCELLED, PaymentState.PAID, FulfillmentState.UNFULFILLED, "EUR", 5000, 0, 0, 0,
        totals_mismatch=False, shipping_method="", placed_at=NOW,
    )  # fmt: skip
    order.psp = [
        PspPayment(
            UUID(int=10 + n), UUID(int=9), f"pi_{n}", order.order_id, n, "captured", "EUR", units, captured_minor=units
        )
        for n, units in enumerate(captured, 1)
    ]
    return order


def test_what_was_captured_goes_back_once_whatever_comes_later() -> None:
    order = order_of(3000, 2000)
    for _ in range(3):
        pay_back(order, make_id=new_id)
        plans = plan_refunds(order, to_provider=True, to_channel=False, leave=None)

    assert [(refund.amount_minor, refund.reason) for refund in order.refunds] == [
        (3000, CALLED_OFF),
        (2000, CALLED_OFF),
    ]
    assert [(plan.refund.amount_minor, plan.to_provider) for plan in plans] == [(3000, True), (2000, True)]
    assert [payment.refunding_minor for payment in order.psp] == [3000, 2000]


def test_what_went_back_already_or_has_left_with_goods_is_left_alone() -> None:
    order = order_of(3000)
    pay_back(order, make_id=new_id)
    order.refunds[0].amount_minor, order.refunds[0].state = 1000, "succeeded"
    pay_back(order, make_id=new_id)
    assert [refund.amount_minor for refund in order.refunds] == [1000, 2000]

    shipped = order_of(3000)
    shipped.lines["1"] = Line(new_id(), "1", 0, new_id(), "A", "A", 1, 1, 1, 0, "30", 3000, MAIN)
    pay_back(shipped, make_id=new_id)
    assert shipped.refunds == []
