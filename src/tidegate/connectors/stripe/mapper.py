"""Stripe's events as canonical changes. Pure; webhooks, the events feed and fetches all carry the same shape.

Stripe's objects have no version: an event's `created`, whole seconds, stands for it. Two different states in one second
are told apart by a fetch, which carries the time at which it was answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from tidegate.commerce.changes import CanonicalChange, Ignored, NeedsFetch, PaymentObserved, RefundSeen
from tidegate.connectors.stripe.amounts import from_stripe
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.decoding import decode_body

Amount = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=10**10)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Za-z]{3}$")]
Id = Annotated[str, msgspec.Meta(min_length=1)]
VERSION_UNITS = 1_000_000
"""Versions count microseconds, so that a finer clock has room."""
ORDER_KEY = "order_id"
"""Metadata of a payment: the shop's id of its order, where the shop's plugin writes it there, as WooCommerce's does."""
_ORDER_HINT = re.compile(r"[A-Za-z0-9_-]{1,64}")
REFERENCE_KEY = "tidegate_refund"
"""Metadata of a refund: our public refund id."""


class _Multicapture(msgspec.Struct, gc=False):
    status: str = ""


class _CardUsed(msgspec.Struct, gc=False):
    capture_before: Seconds | None = None
    multicapture: _Multicapture | None = None


class _MethodUsed(msgspec.Struct, gc=False):
    type: str = ""
    card: _CardUsed | None = None


class _Charge(msgspec.Struct, gc=False):
    id: str = ""
    amount: Amount = 0
    amount_captured: Amount | None = None
    amount_refunded: Amount = 0
    captured: bool = False
    payment_intent: str | None = None
    payment_method_details: _MethodUsed | None = None


class _CardOptions(msgspec.Struct, gc=False):
    request_multicapture: str | None = None


class _Options(msgspec.Struct, gc=False):
    card: _CardOptions | None = None


Status = Literal[
    "requires_payment_method", "requires_confirmation", "requires_action", "processing", "requires_capture", "canceled",
    "succeeded",
]  # fmt: skip


class _Intent(msgspec.Struct, gc=False):
    id: Id
    status: Status
    amount: Amount
    currency: Currency
    amount_capturable: Amount | None = None
    amount_received: Amount | None = None
    latest_charge: _Charge | str | None = None
    last_payment_error: Any = None
    payment_method_options: _Options | None = None
    metadata: dict[str, Any] | None = None


class _Refund(msgspec.Struct, gc=False):
    id: Id
    amount: Amount
    currency: Currency
    payment_intent: str | None = None
    status: str | None = None
    reason: str | None = None
    failure_reason: str | None = None
    metadata: dict[str, Any] | None = None


class _Dispute(msgspec.Struct, gc=False):
    id: Id
    amount: Amount
    currency: Currency
    status: str
    payment_intent: str | None = None
    reason: str | None = None


class _Checkout(msgspec.Struct, gc=False):
    id: str = ""
    payment_intent: str | None = None


class _Data(msgspec.Struct, gc=False):
    object: msgspec.Raw = msgspec.Raw(b"null")


class _Event(msgspec.Struct, gc=False):
    id: str = ""
    type: str = ""
    object: str = ""
    created: Any = None
    data: _Data = msgspec.field(default_factory=_Data)


_EVENT = msgspec.json.Decoder(_Event)
_INTENT = msgspec.json.Decoder(_Intent)
_REFUND = msgspec.json.Decoder(_Refund)
_DISPUTE = msgspec.json.Decoder(_Dispute)
_CHARGE = msgspec.json.Decoder(_Charge)
_CHECKOUT = msgspec.json.Decoder(_Checkout)


def normalize(event: RawEvent) -> Sequence[CanonicalChange]:
    """Return what an event says. Raises ValueError for a body that it cannot read; what it does not use is ignored."""
    raw = decode_body(_EVENT, event.body)
    if raw.object == "v2.core.event":
        return [Ignored(code="thin_event", reason=f"{raw.type[:60]} is a thin event: Tidegate uses snapshot events")]
    for prefix, read in _READERS.items():
        if raw.type.startswith(prefix):
            return read(raw)
    return [Ignored(code="unknown_topic", reason=f"topic {raw.type[:60]!r} is not used")]


def is_used(topic: str) -> bool:
    """Return whether events of a type can say anything here."""
    return topic.startswith(tuple(_READERS))


def _version(raw: _Event) -> int:
    if not isinstance(raw.created, int) or isinstance(raw.created, bool) or not 0 < raw.created < 10**10:
        raise ValueError("the event has no time")
    return raw.created * VERSION_UNITS


def _decoded(decoder: Any, raw: _Event) -> Any:
    return decode_body(decoder, bytes(raw.data.object))


# --- payments --------------------------------------------------------------------------------------------------------
def _intent(raw: _Event) -> Sequence[CanonicalChange]:
    intent: _Intent = _decoded(_INTENT, raw)
    charge = intent.latest_charge if isinstance(intent.latest_charge, _Charge) else None
    currency = intent.currency.upper()
    used = charge.payment_method_details if charge is not None else None
    card = used.card if used is not None else None
    observed = PaymentObserved(
        external_id=intent.id,
        state=_state(intent),
        currency=currency,
        amount_minor=from_stripe(intent.amount, currency),
        capturable_minor=from_stripe(_capturable(intent), currency),
        captured_minor=from_stripe(_captured(intent, charge), currency),
        refunded_minor=from_stripe(charge.amount_refunded, currency) if charge is not None else 0,
        multi_capture=card.multicapture.status == "available" if card is not None and card.multicapture else None,
        method=used.type if used is not None else "",
        expires_at=datetime.fromtimestamp(card.capture_before, UTC)
        if card is not None and card.capture_before
        else None,
        order_hint=_order_hint(intent),
        version=_version(raw),
    )
    options = intent.payment_method_options.card if intent.payment_method_options is not None else None
    wants_parts = options is not None and options.request_multicapture == "if_available"
    if intent.status == "requires_capture" and wants_parts and charge is None:
        return [observed, NeedsFetch(topic="payment", external_id=intent.id)]  # whether it can, only the charge says
    return [observed]


def _order_hint(intent: _Intent) -> str:
    named = (intent.metadata or {}).get(ORDER_KEY)
    return named if isinstance(named, str) and _ORDER_HINT.fullmatch(named) else ""


def _state(intent: _Intent) -> Literal["pending", "authorised", "captured", "voided", "failed"]:
    match intent.status:
        case "requires_capture":
            return "authorised"
        case "succeeded":
            return "captured"
        case "canceled":
            return "voided"
        case "requires_payment_method" if intent.last_payment_error:
            return "failed"
        case _:
            return "pending"


def _capturable(intent: _Intent) -> int:
    if intent.amount_capturable is not None:
        return intent.amount_capturable
    return intent.amount if intent.status == "requires_capture" else 0


def _captured(intent: _Intent, charge: _Charge | None) -> int:
    """Return what was captured; versions of the API from before `amount_received` tell it by state and charge."""
    if intent.amount_received is not None:
        return intent.amount_received
    if charge is not None and charge.amount_captured is not None:
        return charge.amount_captured
    return intent.amount if intent.status == "succeeded" else 0


def _charge(raw: _Event) -> Sequence[CanonicalChange]:
    """A charge tells in other words what its payment and its refunds tell, but for a capture of a part."""
    charge: _Charge = _decoded(_CHARGE, raw)
    is_part = raw.type == "charge.captured" and charge.amount_captured not in (None, charge.amount)
    if is_part and charge.payment_intent:
        return [NeedsFetch(topic="payment", external_id=charge.payment_intent)]
    return [Ignored(code="told_elsewhere", reason=f"{raw.type[:60]}: its payment and its refunds tell it")]


def _checkout(raw: _Event) -> Sequence[CanonicalChange]:
    session: _Checkout = _decoded(_CHECKOUT, raw)
    if session.payment_intent:
        return [NeedsFetch(topic="payment", external_id=session.payment_intent)]
    return [Ignored(code="no_payment", reason="the checkout session has no payment intent")]


# --- refunds and disputes ----------------------------------------------------------------------------------------------
def _refund(raw: _Event) -> Sequence[CanonicalChange]:
    refund: _Refund = _decoded(_REFUND, raw)
    if not refund.payment_intent or not refund.amount:
        return [Ignored(code="no_payment", reason="the refund is of no payment intent")]
    reference = (refund.metadata or {}).get(REFERENCE_KEY)
    currency = refund.currency.upper()
    return [
        RefundSeen(
            external_id=refund.id,
            payment_external_id=refund.payment_intent,
            state=_REFUND_STATES.get(refund.status or "succeeded", "pending"),
            amount_minor=from_stripe(refund.amount, currency),
            currency=currency,
            reference=reference if isinstance(reference, str) else "",
            reason=(refund.failure_reason or refund.reason or "").replace("_", " ")[:200],
            version=_version(raw),
        )
    ]


RefundState = Literal["pending", "succeeded", "failed", "cancelled"]
_REFUND_STATES: Mapping[str, RefundState] = {
    "pending": "pending",
    "requires_action": "pending",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "cancelled",
}
_DISPUTE_STATES: Mapping[str, RefundState] = {
    "needs_response": "pending",
    "under_review": "pending",
    "won": "cancelled",
    "lost": "succeeded",
    "prevented": "cancelled",
}
"""While a dispute is open the money is held back, not gone: the shop is told when it is lost."""


def _dispute(raw: _Event) -> Sequence[CanonicalChange]:
    dispute: _Dispute = _decoded(_DISPUTE, raw)
    if dispute.status.startswith("warning_"):
        return [Ignored(code="inquiry", reason="a bank asks about a payment: no money is held back")]
    if not dispute.payment_intent or not dispute.amount:
        return [Ignored(code="no_payment", reason="the dispute is of no payment intent")]
    currency = dispute.currency.upper()
    return [
        RefundSeen(
            external_id=dispute.id,
            payment_external_id=dispute.payment_intent,
            state=_DISPUTE_STATES.get(dispute.status, "pending"),
            amount_minor=from_stripe(dispute.amount, currency),
            currency=currency,
            kind="dispute",
            reason=(dispute.reason or "").replace("_", " ")[:200],
            version=_version(raw),
        )
    ]


_READERS: Mapping[str, Callable[[_Event], Sequence[CanonicalChange]]] = {
    "payment_intent.": _intent,
    "refund.": _refund,
    "charge.dispute.": _dispute,
    "charge.refund.": _refund,
    "charge.": _charge,
    "checkout.session.": _checkout,
}
"""Beginning of a type -> who reads it; the first that fits."""
