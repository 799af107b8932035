"""Orders and articles as the REST API shows them, as canonical changes. Pure; webhooks, polls and fetches carry one shape.

A webhook's topic is only a hint: its body is built when it is delivered, so `order.created` may show a completed order.
"""

from __future__ import annotations

from collections.abc import Sequence, ValuesView
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from tidegate.commerce.changes import (
    Address,
    CanonicalChange,
    Customer,
    Ignored,
    NeedsFetch,
    NeedsPerson,
    OrderGone,
    OrderLineSeen,
    OrderPrivate,
    OrderSeen,
    PaymentSeen,
    VariantGone,
    VariantSeen,
)
from tidegate.commerce.money import currency_exponent, money_from_decimal
from tidegate.commerce.states import OrderState, PaymentState
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.decoding import decode_body
from tidegate.sdk.values import reservations_of, utc_of, version_of
from tidegate.sdk.windows import Count, counted

Id = Annotated[int, msgspec.Meta(ge=1, le=2**62)]
AnyId = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Units = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Amount = Annotated[str, msgspec.Meta(pattern=r"^(-?[0-9]{1,13}(\.[0-9]{1,8})?)?$")]
"""Decimal text in major units; '' where there is none."""
Text = str | None

GONE_TOPIC = "order.gone"
"""What a fetch brings of an order that the shop has no more."""
COUNT_TOPIC = "orders.counted"
"""How many orders were placed in a window."""
WINDOW_TOPIC = "orders.listed"
"""Which orders were placed in a window."""
VARIANT_GONE_TOPIC = "variant.gone"
PRODUCT_GONE_TOPIC = "product.gone"
"""What a read says of an article, or of a product with all that belongs to it, that the shop does not have."""
MISSING_TOPIC = "webhooks"
"""What a look found of webhooks that should be there."""
NOT_PLACED = frozenset(("checkout-draft", "auto-draft", "draft"))
"""The buyer is still at the checkout, or somebody still writes the order."""
PARENTS = frozenset(("variable", "grouped", "external", "variable-subscription"))
"""Kinds of products that are not sold and counted themselves."""


class _Line(msgspec.Struct, gc=False):
    id: Id
    quantity: Units
    total: Amount
    product_id: AnyId | None = None
    variation_id: AnyId | None = None
    total_tax: Amount = ""
    sku: Text = None
    name: Text = None


class _Fee(msgspec.Struct, gc=False):
    total: Amount = ""
    total_tax: Amount = ""


class _Shipping(msgspec.Struct, gc=False):
    method_id: Text = None
    instance_id: str | int | None = None


class _Refund(msgspec.Struct, gc=False):
    """A refund of an order. Only a fetch tells more than id and total."""

    id: Id
    total: Amount
    refunded_payment: bool | None = None
    psp_reference: str = ""
    reference: str = ""


class _Address(msgspec.Struct, gc=False):
    first_name: Text = None
    last_name: Text = None
    company: Text = None
    address_1: Text = None
    address_2: Text = None
    city: Text = None
    state: Text = None
    postcode: Text = None
    country: Text = None
    email: Text = None
    phone: Text = None


class _Order(msgspec.Struct):
    id: Id
    status: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    total: Amount
    date_created_gmt: datetime | None = None
    date_modified_gmt: datetime | None = None
    """Both are null of a draft that was never saved."""
    number: str | int | None = None
    """Plugins that number orders make what they like of it."""
    total_tax: Amount = ""
    shipping_total: Amount = ""
    shipping_tax: Amount = ""
    date_paid_gmt: datetime | None = None
    date_completed_gmt: datetime | None = None
    customer_id: AnyId | None = None
    payment_method: Text = None
    transaction_id: Text = None
    billing: _Address = msgspec.field(default_factory=_Address)
    shipping: _Address = msgspec.field(default_factory=_Address)
    meta_data: Any = None
    """Plugins fill it with everything; PHP makes an object of a list with a gap."""
    line_items: list[_Line] = []
    fee_lines: list[_Fee] = []
    shipping_lines: list[_Shipping] = []
    refunds: list[_Refund] = []


class _Product(msgspec.Struct, gc=False):
    id: Id
    type: str = "simple"
    parent_id: AnyId | None = None
    sku: Text = None
    name: Text = None


class _Reference(msgspec.Struct, gc=False):
    id: Id


class _Gone(msgspec.Struct, gc=False):
    id: Id
    asked_at: datetime | None = None


class _Listed(msgspec.Struct, gc=False):
    id: Id
    date_created_gmt: datetime | None = None
    date_modified_gmt: datetime | None = None


class _GoneArticle(msgspec.Struct, gc=False):
    id: Annotated[str, msgspec.Meta(pattern="^[0-9]{1,20}(-[0-9]{1,20})?$")]


class _Hook(msgspec.Struct, gc=False):
    topic: str
    status: str


class _Missing(msgspec.Struct, gc=False):
    missing: list[str]


class _Action(msgspec.Struct, gc=False):
    action: str
    arg: Id


_ORDER = msgspec.json.Decoder(_Order)
_PRODUCT = msgspec.json.Decoder(_Product)
_REFERENCE = msgspec.json.Decoder(_Reference)
_GONE = msgspec.json.Decoder(_Gone)
_COUNT = msgspec.json.Decoder(Count)
_LIST = msgspec.json.Decoder(list[_Listed])
_GONE_ARTICLE = msgspec.json.Decoder(_GoneArticle)
_HOOK = msgspec.json.Decoder(_Hook)
_MISSING = msgspec.json.Decoder(_Missing)
_ACTION = msgspec.json.Decoder(_Action)


def normalize(event: RawEvent) -> Sequence[CanonicalChange]:
    """Return what the shop shows of an order or an article. Raises ValueError for a body that is neither.

    Version: `date_modified_gmt`, which counts seconds; two states of one second are told apart by a fetch.
    """
    kind, _, verb = event.topic.partition(".")
    if kind == "order":
        if verb == "deleted":  # holds the id alone
            return [NeedsFetch(topic="order", external_id=str(decode_body(_REFERENCE, event.body).id))]
        if event.topic == GONE_TOPIC:
            gone = decode_body(_GONE, event.body)
            version = version_of(gone.asked_at) if gone.asked_at is not None else 0
            return [OrderGone(external_id=str(gone.id), version=version)]
        return [_order(decode_body(_ORDER, event.body))]
    if event.topic == COUNT_TOPIC:
        return [counted(decode_body(_COUNT, event.body))]
    if event.topic == WINDOW_TOPIC:
        return [_listed(raw) for raw in decode_body(_LIST, event.body)]
    if kind == "action" and verb.startswith("woocommerce_order_"):
        return [NeedsFetch(topic="order", external_id=str(decode_body(_ACTION, event.body).arg))]
    if kind in ("product", "variant"):
        if event.topic in (VARIANT_GONE_TOPIC, PRODUCT_GONE_TOPIC):
            name = decode_body(_GONE_ARTICLE, event.body).id
            return [VariantGone(external_id=name, is_product=event.topic == PRODUCT_GONE_TOPIC)]
        if verb in ("deleted", "restored"):  # names the product alone: what a read of it says counts
            return [NeedsFetch(topic="product", external_id=str(decode_body(_REFERENCE, event.body).id))]
        return [_variant(decode_body(_PRODUCT, event.body))]
    if event.topic == "webhook":
        hook = decode_body(_HOOK, event.body)
        if hook.status == "disabled":
            return [
                Ignored(code="webhook_switched_on", reason=f"the shop had switched {hook.topic} off; it is on again")
            ]
        return [Ignored(code="webhook_seen", reason=f"the webhook {hook.topic} is {hook.status}")]
    if event.topic == MISSING_TOPIC:
        return [_hooks_missing(decode_body(_MISSING, event.body).missing)]
    return [Ignored(code="topic_not_used", reason="Tidegate keeps nothing of this topic")]


def _listed(raw: _Listed) -> CanonicalChange:
    return NeedsFetch(
        topic="order",
        external_id=str(raw.id),
        version=version_of(raw.date_modified_gmt) if raw.date_modified_gmt is not None else 0,
        placed_at=utc_of(raw.date_created_gmt) if raw.date_created_gmt is not None else None,
    )


def _hooks_missing(topics: list[str]) -> CanonicalChange:
    if not topics:
        return Ignored(code="webhook_seen", reason="every topic is delivered to us")
    return NeedsPerson(
        code="webhooks_gone",
        reason=f"somebody deleted the webhooks {', '.join(topics)[:200]}: run `tidegate doctor --fix`, then "
        "`tidegate issues resolve` it; polls find the orders meanwhile",
    )


def article_id(product_id: int, variation_id: int) -> str:
    """Return the id of an article: that of the product, or `<product>-<variation>`, which the API needs to reach it."""
    return f"{product_id}-{variation_id}" if variation_id else str(product_id)


# --- orders --------------------------------------------------------------------------------------------------------
def _order(raw: _Order) -> CanonicalChange:
    if raw.status in NOT_PLACED:
        return Ignored(code="not_placed", reason="the order is not placed yet")
    changed_at = raw.date_modified_gmt or raw.date_created_gmt
    if changed_at is None:
        raise ValueError("the order has no time of change")
    if any(refund.refunded_payment is None for refund in raw.refunds):
        return NeedsFetch(topic="order", external_id=str(raw.id))
    if len({line.id for line in raw.line_items}) < len(raw.line_items):
        raise ValueError("two lines of the order have the same id")
    fees = sum(_minor(fee.total, raw) + _minor(fee.total_tax, raw) for fee in raw.fee_lines)
    return OrderSeen(
        external_id=str(raw.id),
        number=str(raw.number or raw.id),
        version=version_of(changed_at),
        placed_at=utc_of(raw.date_created_gmt or changed_at),
        currency=raw.currency,
        order_state=_order_state(raw),
        payment_state=_payment_state(raw),
        lines=tuple(_line(line, raw) for line in sorted(raw.line_items, key=lambda line: line.id)),
        total_minor=_minor(raw.total, raw),
        shipping_minor=_minor(raw.shipping_total, raw) + _minor(raw.shipping_tax, raw) + max(0, fees),
        discount_minor=max(0, -fees),
        tax_minor=_minor(raw.total_tax, raw),
        shipping_method=_shipping_method(raw),
        payments=_payments(raw),
        private=OrderPrivate(
            customer=Customer(
                external_id=str(raw.customer_id) if raw.customer_id else "",
                email=raw.billing.email or "",
                first_name=raw.billing.first_name or "",
                last_name=raw.billing.last_name or "",
                phone=raw.billing.phone or "",
            ),
            shipping_address=_address(raw.shipping if _is_told(raw.shipping) else raw.billing),
            billing_address=_address(raw.billing),
        ),
        reservations=reservations_of(_kept(raw).items()),
    )


def _line(raw: _Line, order: _Order) -> OrderLineSeen:
    """Return a line; its unit price is what one unit really costs after coupons and with tax, exact to six digits.

    The shop's own `price` is a float and is not used. A refund leaves quantities as they are.
    """
    total = _minor(raw.total, order) + _minor(raw.total_tax, order)
    unit = Decimal(total) / raw.quantity if raw.quantity else Decimal(0)
    variant = article_id(raw.product_id or 0, raw.variation_id or 0)
    return OrderLineSeen(
        external_id=str(raw.id),
        sku=raw.sku or "",
        variant_external_id=variant,
        title=raw.name or raw.sku or variant,
        ordered=raw.quantity,
        current=raw.quantity,
        unit_price=format(round(unit.scaleb(-currency_exponent(order.currency)), 6), "f"),
        total_minor=total,
        tax_minor=_minor(raw.total_tax, order),
    )


def _order_state(raw: _Order) -> OrderState:
    """Return the state. What is completed stays open: only a shipment ends the units that are promised.

    A failed payment promises nothing until the buyer tries again. A status that a plugin brought is open: whether the
    order may leave is for its money to say.
    """
    if raw.status in ("cancelled", "trash"):
        return OrderState.CANCELLED
    if raw.status == "refunded":
        return OrderState.CLOSED if raw.date_completed_gmt else OrderState.CANCELLED
    if raw.status == "failed":
        return OrderState.DRAFT
    if raw.status == "pending":
        return OrderState.PENDING
    if raw.status == "on-hold" and not _is_authorised(raw):
        return OrderState.ON_HOLD
    return OrderState.OPEN


def _payment_state(raw: _Order) -> PaymentState:
    total = _minor(raw.total, raw)
    refunded = sum(abs(_minor(refund.total, raw)) for refund in raw.refunds)
    if raw.status == "refunded" or (refunded and refunded >= total):
        return PaymentState.REFUNDED
    if refunded:
        return PaymentState.PARTIALLY_REFUNDED
    if raw.status == "failed":
        return PaymentState.FAILED
    if _is_authorised(raw):
        return PaymentState.VOIDED if raw.status == "cancelled" else PaymentState.AUTHORISED
    if raw.date_paid_gmt is not None:
        return PaymentState.PAID
    return PaymentState.VOIDED if raw.status in ("cancelled", "trash") else PaymentState.PENDING


def _is_authorised(raw: _Order) -> bool:
    """Return whether the payment plugin says that the money is authorised and not captured yet."""
    return _kept(raw).get("_stripe_charge_captured") == "no"


def _kept(raw: _Order) -> dict[str, str]:
    """Return the order's meta data that is text, by key."""
    found = raw.meta_data.values() if isinstance(raw.meta_data, dict) else raw.meta_data
    pieces = [one for one in found if isinstance(one, dict)] if isinstance(found, list | ValuesView) else []
    return {str(one.get("key")): one["value"] for one in pieces if isinstance(one.get("value"), str)}


def _payments(raw: _Order) -> tuple[PaymentSeen, ...]:
    """Return the payment, where there is one, and the refunds. The shop keeps no transactions of its own."""
    method = raw.payment_method or ""
    seen = []
    if raw.date_paid_gmt is not None or _is_authorised(raw):
        is_open = _is_authorised(raw)
        seen.append(
            PaymentSeen(
                external_id=f"payment:{raw.id}",
                kind="authorise" if is_open else "sale",
                state="authorised" if is_open else "paid",
                amount_minor=_minor(raw.total, raw),
                method=method,
                psp_reference=_psp_payment(raw),
            )
        )
    seen += [
        PaymentSeen(
            external_id=f"refund:{refund.id}",
            kind="refund",
            state="refunded",
            amount_minor=abs(_minor(refund.total, raw)),
            method=method,
            psp_reference=_psp_refund(refund),
            reference=refund.reference,
        )
        for refund in sorted(raw.refunds, key=lambda refund: refund.id)
    ]
    return tuple(seen)


def _psp_payment(raw: _Order) -> str:
    """Return the payment's id at the provider: what the Stripe plugins keep, else what the shop calls the transaction."""
    kept = _kept(raw)
    return kept.get("_stripe_intent_id") or kept.get("_intent_id") or raw.transaction_id or ""


def _psp_refund(raw: _Refund) -> str:
    """Return the refund's id at the provider, '' where the shop only recorded it. Not every plugin keeps the id."""
    return (raw.psp_reference or f"woocommerce:{raw.id}") if raw.refunded_payment else ""


def _shipping_method(raw: _Order) -> str:
    """Return the rate as WooCommerce names it: `flat_rate:3`."""
    for line in raw.shipping_lines:
        if line.method_id:
            return f"{line.method_id}:{line.instance_id}" if line.instance_id else line.method_id
    return ""


def _address(raw: _Address) -> Address:
    return Address(
        name=" ".join(part for part in (raw.first_name, raw.last_name) if part),
        company=raw.company or "",
        street1=raw.address_1 or "",
        street2=raw.address_2 or "",
        city=raw.city or "",
        region=raw.state or "",
        postal_code=raw.postcode or "",
        country_code=raw.country or "",
        phone=raw.phone or "",
    )


def _is_told(raw: _Address) -> bool:
    return bool(raw.address_1 or raw.city or raw.postcode)


# --- articles ------------------------------------------------------------------------------------------------------
def _variant(raw: _Product) -> CanonicalChange:
    """Return the article. It has no version: its time of change moves with every number that is set.

    Another name or SKU under the same version makes the engine fetch the article, and the fetch is believed.
    """
    if raw.type in PARENTS and not raw.parent_id:
        return Ignored(code="not_an_article", reason=f"a product of type {raw.type} is not counted itself")
    parent, own = (raw.parent_id, raw.id) if raw.parent_id else (raw.id, 0)
    return VariantSeen(
        external_id=article_id(parent, own),
        sku=raw.sku or "",
        title=raw.name or raw.sku or str(raw.id),
        version=1,
        parent_external_id=str(parent),
    )


# --- values --------------------------------------------------------------------------------------------------------
def _minor(text: str, order: _Order) -> int:
    return money_from_decimal(text, order.currency).amount_minor if text else 0
