"""Laws of money: whatever ships, fails and is planned again, no more is asked for than there is, and never twice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tidegate.commerce.changes import PaymentSeen, RefundSeen
from tidegate.commerce.states import FulfillmentState, OrderState, PaymentState
from tidegate.kernel.ids import new_id
from tidegate.orders.payments import (
    add_refund,
    plan_captures,
    plan_refunds,
    refundable,
    see_channel_refund,
    see_provider_refund,
    value_left,
)
from tidegate.orders.records import Line, Order, PspPayment

amounts = st.integers(min_value=1, max_value=50_000)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    order = Order(
        order_id=new_id(), connection_id=new_id(), external_id="1", number="1", version=1, order_state=OrderState.OPEN,
        payment_state=PaymentState.AUTHORISED, fulfillment_state=FulfillmentState.UNFULFILLED, currency="EUR",
        total_minor=0, shipping_minor=draw(st.integers(0, 900)), discount_minor=0, tax_minor=0, totals_mismatch=False,
        shipping_method="", placed_at=datetime(2026, 11, 27, tzinfo=UTC),
    )  # fmt: skip
    for index in range(draw(st.integers(1, 4))):
        units = draw(st.integers(1, 5))
        order.lines[str(index)] = Line(
            line_id=new_id(), external_id=str(index), position=index, variant_id=new_id(), sku="A", title="A",
            ordered=units, current=units, shipped=0, fulfilled=0, unit_price="1", total_minor=draw(st.integers(0, 9_000)),
            location_id=new_id(),
        )  # fmt: skip
    worth = sum(line.total_minor for line in order.lines.values())
    order.total_minor = max(0, worth + order.shipping_minor - draw(st.integers(0, 500)))
    return order


def pay(order: Order, amount: int, *, multi: bool, state: str = "authorised") -> PspPayment:
    payment = PspPayment(
        new_id(), new_id(), f"pi_{len(order.psp)}", order.order_id, len(order.psp) + 1, state=state, currency="EUR",
        amount_minor=amount, capturable_minor=amount if state == "authorised" else 0,
        captured_minor=amount if state == "captured" else 0, multi_capture=multi,
    )  # fmt: skip
    order.psp.append(payment)
    return payment


def ship(order: Order, data: st.DataObject) -> None:
    for line in order.lines.values():
        line.announced = data.draw(st.integers(line.announced, line.current))


@given(orders(), st.lists(st.tuples(amounts, st.booleans()), min_size=1, max_size=3), st.booleans(), st.data())
def test_no_more_is_captured_than_authorised_and_owed(
    order: Order, payments: list[tuple[int, bool]], per_shipment: bool, data: st.DataObject
) -> None:
    for amount, multi in payments:
        pay(order, amount, multi=multi)
    for _ in range(3):
        ship(order, data)
        plan_captures(order, per_shipment=per_shipment, make_id=new_id)
        assert plan_captures(order, per_shipment=per_shipment, make_id=new_id) == [], "planned again, nothing is new"
        assert all(payment.claimed_minor <= payment.amount_minor for payment in order.psp)
        assert sum(capture.amount_minor for capture in order.captures) <= order.total_minor

    finals = [capture.payment_id for capture in order.captures if capture.is_final]
    assert len(finals) == len(set(finals)), "a payment is captured to its end once"
    single = [c.payment_id for c in order.captures if not per_shipment]
    assert len(single) == len(set(single))


@given(orders(), st.data())
def test_when_everything_has_left_everything_is_captured(order: Order, data: st.DataObject) -> None:
    payment = pay(order, order.total_minor + 100, multi=True)
    ship(order, data)
    plan_captures(order, per_shipment=True, make_id=new_id)
    for line in order.lines.values():
        line.announced = line.current
    plan_captures(order, per_shipment=True, make_id=new_id)

    assert payment.claimed_minor == order.total_minor


@given(orders(), st.data())
def test_the_value_of_what_left_grows_and_stays_below_the_total(order: Order, data: st.DataObject) -> None:
    ship(order, data)
    first = value_left(order)
    ship(order, data)

    assert 0 <= first <= value_left(order) <= order.total_minor


MOVES = st.lists(
    st.tuples(st.sampled_from(("channel", "provider", "plan", "fail")), st.integers(1, 400), st.integers(0, 5)),
    max_size=14,
)


@given(orders(), st.integers(1, 1_000), MOVES)
def test_no_more_goes_back_than_was_captured(order: Order, captured: int, moves: list[tuple[str, int, int]]) -> None:
    """Refunds of both sides, in any order: what we give back, with what went back by itself, stays within the capture."""
    payment = pay(order, captured, multi=False, state="captured")
    for kind, amount, number in moves:
        if kind == "channel":
            seen = PaymentSeen(external_id=f"r-{number}", kind="refund", state="ok", amount_minor=amount, method="")
            see_channel_refund(order, seen, ours=None, make_id=new_id)
        elif kind == "provider" and amount <= refundable(payment, order.refunds):
            shown = RefundSeen(
                external_id=f"re_{number}_{amount}", payment_external_id=payment.external_id, state="succeeded",
                amount_minor=amount, currency="EUR", version=1,
            )  # fmt: skip
            refund = see_provider_refund(payment, order.refunds, shown, ours=None, make_id=new_id)
            if refund not in order.refunds:
                add_refund(order, refund)
        else:
            plan_refunds(order, to_provider=True, to_channel=True, leave=None)

        given = [r for r in order.refunds if r.psp_ref is not None or r.carry in ("planned", "sent")]
        outward: list[Any] = [r for r in given if r.payment_id == payment.payment_id]
        assert sum(refund.amount_minor for refund in outward) <= captured
        assert 0 <= payment.refunding_minor <= payment.captured_minor
        refs = [refund.psp_ref for refund in order.refunds if refund.psp_ref is not None]
        assert len(refs) == len(set(refs)), "one refund of the provider's is one refund here"
        names = [refund.channel_ref for refund in order.refunds if refund.channel_ref is not None]
        assert len(names) == len(set(names))
