"""What a provider's word on payments means for an order, and what is to be captured, released and given back. Pure.

Everything is decided from what is stored, so that it does not matter in which order news came: goods may leave before the
provider tells of the payment, the payment may be told before there is an order, and each side may tell of a refund first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

import msgspec

from tidegate.commerce.changes import PaymentObserved, PaymentSeen, RefundSeen
from tidegate.commerce.states import RELEASING_PAYMENTS, OrderState, PaymentState
from tidegate.orders.records import Capture, ChannelMoney, Order, PspPayment, Refund

EXCEEDS_CAPTURED = "exceeds_captured"
"""A channel's refund that no payment of its order has the money for, so far."""
TAKEN_FOR_ONE = "taken_for_one"
"""Refunds of both sides that only payment and amount say are the same: whoever meant two gives the other one back anew."""
_PENDING_CARRIES = ("open", "planned")
"""Nothing was sent to the other side yet: what turns up there may still be the same refund."""
_OFF_WORDS = {"failed": "failed", "cancelled": "cancelled", "canceled": "cancelled"}


def fold_payment(payment: PspPayment, seen: PaymentObserved) -> None:
    """Bring a payment to what its provider shows, which has passed the version gate. What was taken or given never shrinks."""
    payment.state = seen.state
    payment.currency = seen.currency
    payment.amount_minor = max(seen.amount_minor, payment.claimed_minor)
    payment.capturable_minor = max(0, seen.capturable_minor)
    payment.captured_minor = max(payment.captured_minor, seen.captured_minor)
    payment.refunded_minor = max(payment.refunded_minor, seen.refunded_minor)
    payment.multi_capture = seen.multi_capture if seen.multi_capture is not None else payment.multi_capture
    payment.method = seen.method or payment.method
    payment.expires_at = seen.expires_at or payment.expires_at
    payment.is_changed = True


def join(order: Order, payment: PspPayment, waiting: Iterable[Refund]) -> None:
    """Make `payment` one of the order's, with the refunds of it that waited for the order."""
    if payment.order_id is not None:
        return
    payment.order_id = order.order_id
    payment.number = 1 + max((each.number or 0 for each in order.psp), default=0)
    payment.is_changed = True
    order.psp.append(payment)
    for refund in waiting:
        add_refund(order, refund)


def add_refund(order: Order, refund: Refund) -> None:
    """Make `refund` one of the order's."""
    refund.order_id = order.order_id
    refund.number = 1 + max((each.number or 0 for each in order.refunds), default=0)
    refund.is_changed = True
    order.refunds.append(refund)


CALLED_OFF = "cancelled: not in stock"
"""Reason of a refund of an order that its channel was asked to cancel."""
TENDERS = ("authorise", "sale")
"""Kinds of a channel's payment that bring money in."""


def money_of(order: Order, stored: ChannelMoney | None) -> ChannelMoney:
    """Return what the channel says of the money of an order that a batch holds; `stored` is what was told of it before."""
    told = sum(
        payment.amount_minor
        for payment in order.payments.values()
        if payment.kind in TENDERS and payment.state.lower() not in _OFF_WORDS
    )
    return ChannelMoney(
        placed_at=order.placed_at,
        payment_state=order.channel_payment_state or order.payment_state,
        total_minor=order.total_minor,
        told_minor=max(told, stored.told_minor if stored is not None else 0),
    )


def is_untold(money: ChannelMoney) -> bool:
    """Return whether an order is authorised or paid, and the channel did not show by which payments.

    Its deliveries of orders name none, and the one that does may be lost. Payments without an id at a provider (cash on
    delivery, a bank transfer, a gift card) count as told: to read such an order again would bring nothing.
    """
    return money.payment_state in RELEASING_PAYMENTS and money.told_minor < money.total_minor


def payment_state_of(order: Order, channel: PaymentState) -> PaymentState:
    """Return the state of the order's money: what its payments at the provider say, the channel's word where none was seen."""
    seen = [payment for payment in order.psp if payment.state != "unseen"]
    if not seen:
        return channel
    if any(refund.kind == "dispute" and refund.state == "pending" for refund in order.refunds):
        return PaymentState.DISPUTED
    captured = sum(payment.captured_minor for payment in seen)
    if captured:
        refunded = _refunded(seen, order.refunds)
        if refunded:
            return PaymentState.REFUNDED if refunded >= captured else PaymentState.PARTIALLY_REFUNDED
        is_open = captured < order.total_minor and any(payment.capturable_minor for payment in seen)
        return PaymentState.AUTHORISED if is_open else PaymentState.PAID
    states = {payment.state for payment in seen}
    for state, meaning in _UNCAPTURED:
        if state in states:
            return meaning
    return channel


_UNCAPTURED = (
    ("captured", PaymentState.PAID),
    ("authorised", PaymentState.AUTHORISED),
    ("pending", PaymentState.PENDING),
    ("voided", PaymentState.VOIDED),
    ("failed", PaymentState.FAILED),
)
"""The best of several payments counts: a shopper whose first card was declined pays with another one."""


def _refunded(payments: Iterable[PspPayment], refunds: Iterable[Refund]) -> int:
    """Return what went back, by the payments' own sums or by the refunds that are known, whichever is more."""
    known: dict[UUID | None, int] = {}
    for refund in refunds:
        if refund.psp_ref is not None and refund.state == "succeeded":
            known[refund.payment_id] = known.get(refund.payment_id, 0) + refund.amount_minor
    return sum(max(payment.refunded_minor, known.get(payment.payment_id, 0)) for payment in payments)


# --- captures and releases -------------------------------------------------------------------------------------------
def plan_captures(order: Order, *, per_shipment: bool, make_id: Callable[[], UUID]) -> list[Capture]:
    """Return the captures that are due and were not planned yet: none before goods have left, never more than is authorised.

    With `per_shipment` a payment that can be captured in parts gives what has left; any other gives all that the order
    still costs, once. Adds them to `order` and raises the payments' claims.
    """
    if not order.has_left():
        return []
    has_left_whole = _has_left_whole(order)
    left_minor = order.total_minor if has_left_whole else value_left(order)
    planned = []
    for payment in sorted(order.psp, key=lambda each: each.number or 0):
        in_parts = per_shipment and payment.multi_capture
        if payment.state != "authorised" or (payment.claimed_minor and not in_parts):
            continue
        taken = sum(each.taken_minor for each in order.psp)
        due = (left_minor if in_parts else order.total_minor) - taken
        amount = min(due, _room(payment))
        if amount <= 0:
            continue
        number = 1 + max((each.number for each in order.captures), default=0)
        is_final = has_left_whole or not in_parts
        capture = Capture(order.order_id, number, make_id(), payment.payment_id, amount, is_final, is_new=True)
        payment.claimed_minor += amount
        payment.is_changed = True
        order.captures.append(capture)
        planned.append(capture)
    return planned


def _room(payment: PspPayment) -> int:
    """Return what may still be asked for: what its provider says, less what is on its way there."""
    under_way = max(0, payment.claimed_minor - payment.captured_minor)
    return min(payment.amount_minor - payment.taken_minor, payment.capturable_minor - under_way)


def _has_left_whole(order: Order) -> bool:
    return all(max(line.announced, line.shipped) >= line.current for line in order.lines.values())


def value_left(order: Order) -> int:
    """Return what the goods that have left cost, with the whole shipping and their share of discounts and extras."""
    worth = sum(line.total_minor for line in order.lines.values() if line.current)
    gone = sum(
        line.total_minor * min(max(line.announced, line.shipped), line.current) // line.current
        for line in order.lines.values()
        if line.current
    )
    if worth <= 0:
        return order.total_minor
    return min(order.total_minor, order.shipping_minor + (order.total_minor - order.shipping_minor) * gone // worth)


def plan_voids(order: Order) -> list[PspPayment]:
    """Return the payments to release: of a cancelled order that nothing has left of, authorised, and nothing captured."""
    if order.order_state is not OrderState.CANCELLED or order.has_left():
        return []
    asked = {capture.payment_id for capture in order.captures if capture.state in ("sent", "captured")}
    return [
        payment
        for payment in order.psp
        if payment.state == "authorised" and not payment.captured_minor and payment.payment_id not in asked
    ]


def pay_back(order: Order, *, make_id: Callable[[], UUID]) -> None:
    """Note refunds of what was captured and nobody gave back: of an order that was cancelled because we asked its channel to."""
    if order.order_state is not OrderState.CANCELLED or order.has_left():
        return
    due = sum(payment.captured_minor for payment in order.psp)
    due -= sum(refund.amount_minor for refund in order.refunds if not refund.is_off)
    for payment in order.psp:
        part = min(due, payment.captured_minor - payment.refunded_minor)
        if part > 0:
            due -= part
            refund = Refund(make_id(), "channel", part, order.currency, "pending", reason=CALLED_OFF, is_new=True)
            add_refund(order, refund)


# --- refunds ---------------------------------------------------------------------------------------------------------
def see_channel_refund(order: Order, seen: PaymentSeen, *, ours: UUID | None, make_id: Callable[[], UUID]) -> None:
    """Note a refund that the order's channel shows. `ours` is the id in its reference, where it is our own.

    It is the one that is known already by the channel's id, by our reference, or by the provider's id. Without any of
    these it is taken for one of the provider's of the same amount that the channel was not told of yet; else it is new.
    """
    state = _OFF_WORDS.get(seen.state.lower(), "succeeded")
    amount = abs(seen.amount_minor)
    refund = next((each for each in order.refunds if each.channel_ref == seen.external_id), None)
    refund = refund or next((each for each in order.refunds if ours is not None and each.refund_id == ours), None)
    if refund is None and seen.psp_reference:
        refund = next((each for each in order.refunds if each.psp_ref == seen.psp_reference), None)
    if refund is None:
        refund = _take_for_one(order.refunds, "provider", amount)
    if refund is None:
        if not order.psp or not amount:
            return
        refund = Refund(make_id(), "channel", amount, order.currency, state, is_new=True)
        add_refund(order, refund)
    if refund.channel_ref is None:
        refund.channel_ref = seen.external_id
        refund.is_changed = True
        if refund.origin == "provider":
            refund.carry = "done"
    if refund.origin == "channel":
        if seen.psp_reference and refund.psp_ref is None and refund.carry in _PENDING_CARRIES:
            refund.psp_ref, refund.carry, refund.is_changed = seen.psp_reference, "done", True
        if refund.carry in _PENDING_CARRIES:
            payment = next((each for each in order.psp if each.payment_id == refund.payment_id), None)
            _set_state(refund, state, payment)


def see_provider_refund(
    payment: PspPayment, known: list[Refund], seen: RefundSeen, *, ours: UUID | None, make_id: Callable[[], UUID]
) -> Refund:
    """Note a refund or dispute that the provider shows; return it. `known` are the refunds of the payment and of its order.

    It is the one that is known already by the provider's id or by our reference. Without these a refund is taken for one
    of the channel's of the same amount that the provider was not asked for yet; else it is new.
    """
    refund = next(
        (each for each in known if each.psp_ref == seen.external_id and each.payment_id in (payment.payment_id, None)),
        None,
    )
    refund = refund or next((each for each in known if ours is not None and each.refund_id == ours), None)
    if refund is not None and refund.psp_ref not in (None, seen.external_id):
        refund = None  # two under one reference: the second one is looked at as somebody else's
    if refund is None and seen.kind == "refund":
        refund = _take_for_one(known, "channel", seen.amount_minor)
    if refund is None:
        refund = Refund(make_id(), "provider", seen.amount_minor, seen.currency, seen.state, seen.kind, is_new=True)
    if refund.psp_ref is None:
        refund.psp_ref = seen.external_id
        if refund.origin == "channel":
            refund.carry = "done"
    refund.payment_id = payment.payment_id
    _set_state(refund, seen.state, payment)
    refund.reason = seen.reason or refund.reason
    refund.is_changed = True
    return refund


def _set_state(refund: Refund, state: str, payment: PspPayment | None) -> None:
    """Set what became of the money. A refund of ours that came to nothing claims none any more."""
    was_off = refund.is_off
    if refund.state == state:
        return
    refund.state, refund.is_changed = state, True
    is_claimed = refund.origin == "channel" and refund.carry in ("planned", "sent", "done")
    if payment is not None and is_claimed and refund.is_off and not was_off:
        payment.refunding_minor = max(0, payment.refunding_minor - refund.amount_minor)
        payment.is_changed = True


def _take_for_one(known: Iterable[Refund], origin: str, amount_minor: int) -> Refund | None:
    """Return the first refund that may be the one seen at the other side, and note that only its amount says so.

    Two refunds that two people made at once are one refund then: too little goes back rather than too much, and it shows.
    """
    refund = next((each for each in known if _may_be_same(each, origin, amount_minor)), None)
    if refund is not None:
        refund.code, refund.is_changed = TAKEN_FOR_ONE, True
    return refund


def _may_be_same(refund: Refund, origin: str, amount_minor: int) -> bool:
    """Return whether a refund that `origin` showed, and the other side was not told of, may be the one seen there now."""
    there = refund.channel_ref if origin == "provider" else refund.psp_ref
    is_told = refund.carry not in (*_PENDING_CARRIES, "left")
    return (
        refund.origin == origin
        and refund.kind == "refund"
        and there is None
        and not is_told
        and not refund.is_off
        and refund.amount_minor == amount_minor
    )


class RefundPlan(msgspec.Struct, frozen=True, gc=False):
    """A refund that is to be carried over."""

    refund: Refund
    to_provider: bool


def plan_refunds(order: Order, *, to_provider: bool, to_channel: bool, leave: str | None) -> list[RefundPlan]:
    """Return the refunds to carry over; those that were planned before are among them.

    A channel's refund needs a payment that has captured the money and not given it back. `leave` is a code that says why
    nothing new is carried over: such refunds are left alone for good. Changes refunds and payments.
    """
    planned = []
    for refund in sorted(order.refunds, key=lambda each: each.number or 0):
        is_outward = refund.origin == "channel"
        is_there = (refund.psp_ref if is_outward else refund.channel_ref) is not None
        if refund.is_off or is_there or refund.carry not in (*_PENDING_CARRIES, "sent"):
            continue
        if refund.carry == "open":
            wanted = to_provider if is_outward else to_channel
            code = leave if leave is not None else None if wanted else "direction_off"
            if code is not None:
                refund.carry, refund.code, refund.is_changed = "left", code, True
                continue
            if not is_outward and refund.state != "succeeded":
                continue
            if is_outward and not _claim(order, refund):
                continue
            refund.carry, refund.code, refund.is_changed = "planned", None, True
        planned.append(RefundPlan(refund, is_outward))
    return planned


def _claim(order: Order, refund: Refund) -> bool:
    """Choose the payment that gives the money back and claim it; return False, with a code, while none has enough."""
    for payment in order.psp:
        if refundable(payment, order.refunds) >= refund.amount_minor:
            payment.refunding_minor += refund.amount_minor
            payment.is_changed = True
            refund.payment_id = payment.payment_id
            return True
    if refund.code != EXCEEDS_CAPTURED:
        refund.code, refund.is_changed = EXCEEDS_CAPTURED, True
    return False


def refundable(payment: PspPayment, refunds: Iterable[Refund]) -> int:
    """Return what a payment may still give back: what was captured, less what went back and what is on its way."""
    gone = under_way = 0
    for refund in refunds:
        if refund.payment_id != payment.payment_id or refund.is_off:
            continue
        if refund.psp_ref is not None:
            gone += refund.amount_minor
        elif refund.carry in ("planned", "sent"):
            under_way += refund.amount_minor
    return payment.captured_minor - max(gone, payment.refunded_minor) - under_way
