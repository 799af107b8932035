"""Shopify's events as canonical changes. Pure; anything that cannot be read exactly raises ValueError.

One mapper reads deliveries and fetched orders: `orders.order_body` brings a fetched order into the shape of a delivery.
Amounts are those of the shop's own currency, exact to its smallest unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from tidegate.commerce.changes import (
    Address,
    CanonicalChange,
    Customer,
    FulfillmentSeen,
    Ignored,
    NeedsFetch,
    NeedsPerson,
    OrderLineSeen,
    OrderPrivate,
    OrderSeen,
    PaymentSeen,
    VariantGone,
    VariantSeen,
)
from tidegate.commerce.money import allocate
from tidegate.commerce.states import OrderState, PaymentState
from tidegate.connectors.shopify.webhooks import COMPLIANCE
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.decoding import decode_body
from tidegate.sdk.values import checked_amount, minor_of, reservations_of, version_of
from tidegate.sdk.windows import Count, counted

ORDER_TOPIC = "order"
"""A whole order that was fetched."""
HINT_TOPIC = "order.changed"
"""What the feed says of an order: that it changed, and when."""
SUBSCRIPTIONS_TOPIC = "subscriptions"
"""What a look at our webhook subscriptions found."""

COUNT_TOPIC = "orders.counted"
"""How many orders were placed in a window."""
WINDOW_TOPIC = "orders.listed"
"""Which orders were placed in a window."""
VARIANT_TOPIC = "variant"
"""An article that was fetched."""
VARIANT_GONE_TOPIC = "variant.gone"
PRODUCT_GONE_TOPIC = "product.gone"
"""What a fetch says of a product that the shop does not have."""

Number = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Units = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]

_ZERO = Decimal(0)


# --- bodies ----------------------------------------------------------------------------------------------------------
class _Money(msgspec.Struct, gc=False):
    amount: Decimal


class _Both(msgspec.Struct, gc=False):
    """An amount in the shop's currency; what the shopper saw is of no interest to the books."""

    shop_money: _Money


class _Allocation(msgspec.Struct, gc=False):
    amount_set: _Both


class _Tax(msgspec.Struct, gc=False):
    price_set: _Both


class _Line(msgspec.Struct, gc=False):
    id: Number
    quantity: Units
    price_set: _Both
    current_quantity: Units | None = None
    variant_id: Number | None = None
    tip: dict[str, Any] | None = None
    """Of a line that is a tip at the point of sale."""
    sku: str | None = None
    name: str | None = None
    title: str | None = None
    discount_allocations: list[_Allocation] | None = None
    tax_lines: list[_Tax] | None = None


class _ShippingLine(msgspec.Struct, gc=False):
    price_set: _Both
    code: str | None = None
    title: str | None = None
    is_removed: bool = False
    discount_allocations: list[_Allocation] | None = None
    tax_lines: list[_Tax] | None = None


class _Transaction(msgspec.Struct, gc=False):
    id: Number
    kind: str
    status: str
    amount: Decimal
    currency: str | None = None
    gateway: str | None = None
    payment_id: str | None = None
    authorization: str | None = None
    amount_set: _Both | None = None
    receipt: Any = None
    """What the provider answered: an object as a rule."""


class _Refund(msgspec.Struct):
    id: Number
    note: str | None = None
    transactions: list[_Transaction] | None = None
    """In a delivery."""
    transaction_ids: list[Number] = []
    """In a fetched order, where the transactions stand with the order."""


class _Customer(msgspec.Struct, gc=False):
    id: Number | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None


class _Address(msgspec.Struct, gc=False):
    name: str | None = None
    company: str | None = None
    address1: str | None = None
    address2: str | None = None
    city: str | None = None
    province_code: str | None = None
    province: str | None = None
    zip: str | None = None
    country_code: str | None = None
    phone: str | None = None


class _Order(msgspec.Struct):
    id: Number
    name: str
    updated_at: Instant
    created_at: Instant
    currency: Currency
    line_items: list[_Line]
    current_total_price_set: _Both
    current_total_tax_set: _Both | None = None
    current_total_duties_set: _Both | None = None
    total_tip_received: Decimal | None = None
    processed_at: Instant | None = None
    cancelled_at: Instant | None = None
    closed_at: Instant | None = None
    financial_status: str | None = None
    taxes_included: bool = False
    shipping_lines: list[_ShippingLine] | None = None
    refunds: list[_Refund] | None = None
    transactions: list[_Transaction] | None = None
    """Only a fetched order has them: no delivery of an order tells how it was paid."""
    customer: _Customer | None = None
    email: str | None = None
    phone: str | None = None
    shipping_address: _Address | None = None
    billing_address: _Address | None = None
    note_attributes: Any = None


class _Fulfillment(msgspec.Struct, gc=False):
    id: Number
    order_id: Number
    updated_at: Instant
    status: str | None = None
    tracking_number: str | None = None


class _OfOrder(msgspec.Struct, gc=False):
    order_id: Number


class _Edited(msgspec.Struct, gc=False):
    order_edit: _OfOrder


class _Variant(msgspec.Struct, gc=False):
    id: Number
    updated_at: Instant
    sku: str | None = None
    title: str | None = None
    inventory_item_id: Number | None = None


class _Product(msgspec.Struct, gc=False):
    id: Number
    title: str = ""
    variants: list[_Variant] = []


Digits = Annotated[str, msgspec.Meta(pattern="^[0-9]{1,20}$")]


class _FetchedVariant(msgspec.Struct, gc=False):
    id: Digits
    updated_at: Instant
    product_id: Digits
    counted_id: Digits
    sku: str | None = None
    title: str = ""


class _Gone(msgspec.Struct, gc=False):
    id: Digits


class _Deleted(msgspec.Struct, gc=False):
    id: Number


class _Hint(msgspec.Struct, gc=False):
    id: Digits
    updated_at: Instant
    placed_at: Instant


class _Subscriptions(msgspec.Struct, gc=False):
    are_gone: bool
    missing: list[str]


_ORDERS = msgspec.json.Decoder(_Order)
_FULFILLMENTS = msgspec.json.Decoder(_Fulfillment)
_OF_ORDERS = msgspec.json.Decoder(_OfOrder)
_EDITS = msgspec.json.Decoder(_Edited)
_PRODUCTS = msgspec.json.Decoder(_Product)
_COUNTS = msgspec.json.Decoder(Count)
_LISTS = msgspec.json.Decoder(list[_Hint])
_FETCHED_VARIANTS = msgspec.json.Decoder(_FetchedVariant)
_GONE = msgspec.json.Decoder(_Gone)
_DELETED = msgspec.json.Decoder(_Deleted)
_HINTS = msgspec.json.Decoder(_Hint)
_SUBSCRIPTIONS = msgspec.json.Decoder(_Subscriptions)
_ANYTHING = msgspec.json.Decoder()

_WHOLE_ORDERS = frozenset(
    f"orders/{word}" for word in ("create", "updated", "paid", "cancelled", "fulfilled", "partially_fulfilled")
)
_PEOPLE = {
    "customers/data_request": (
        "customer_data_request",
        "a customer asks what is kept about them: send the merchant what is there within 30 days, then `tidegate issues resolve` it",
    ),
    "customers/redact": (
        "customer_redact",
        "the shop asks to erase a customer: erase what is kept about them within 30 days, then `tidegate issues resolve` it",
    ),
    "shop/redact": (
        "shop_redact",
        "the shop left 48 hours ago and asks to erase everything of it within 30 days, then `tidegate issues resolve` it",
    ),
    "app/uninstalled": (
        "app_uninstalled",
        "the shop removed the app, so its token is dead: install it and run `tidegate connect`, or remove the connection",
    ),
}
"""Topics that a person must act on: code and sentence."""


def normalize(event: RawEvent) -> Sequence[CanonicalChange]:
    """Return what an event says. Version of an order: its `updated_at` in microseconds, the same however it came."""
    topic = event.topic
    if topic in _WHOLE_ORDERS or topic == ORDER_TOPIC:
        return [_order(decode_body(_ORDERS, event.body))]
    if topic == HINT_TOPIC:
        return [_needed(decode_body(_HINTS, event.body))]
    if topic == WINDOW_TOPIC:
        return [_needed(hint) for hint in decode_body(_LISTS, event.body)]
    if topic == COUNT_TOPIC:
        return [counted(decode_body(_COUNTS, event.body))]
    if topic in ("refunds/create", "order_transactions/create"):
        return [NeedsFetch(topic=ORDER_TOPIC, external_id=str(decode_body(_OF_ORDERS, event.body).order_id))]
    if topic == "orders/edited":
        return [NeedsFetch(topic=ORDER_TOPIC, external_id=str(decode_body(_EDITS, event.body).order_edit.order_id))]
    if topic in ("fulfillments/create", "fulfillments/update"):
        return [_fulfillment(decode_body(_FULFILLMENTS, event.body))]
    if topic in ("products/create", "products/update"):
        return _variants(decode_body(_PRODUCTS, event.body))
    if topic == "products/delete":  # names the product alone, and may be old: what a read of it says counts
        return [NeedsFetch(topic="product", external_id=str(decode_body(_DELETED, event.body).id))]
    if topic in (VARIANT_GONE_TOPIC, PRODUCT_GONE_TOPIC):
        gone = decode_body(_GONE, event.body)
        return [VariantGone(external_id=gone.id, is_product=topic == PRODUCT_GONE_TOPIC)]
    if topic == VARIANT_TOPIC:
        return [_fetched_variant(decode_body(_FETCHED_VARIANTS, event.body))]
    if topic == SUBSCRIPTIONS_TOPIC:
        return [_subscriptions(decode_body(_SUBSCRIPTIONS, event.body))]
    return [_other(topic, event.body)]


def _needed(hint: _Hint) -> CanonicalChange:
    return NeedsFetch(
        topic=ORDER_TOPIC, external_id=hint.id, version=version_of(hint.updated_at), placed_at=hint.placed_at
    )


def _fetched_variant(raw: _FetchedVariant) -> CanonicalChange:
    return VariantSeen(
        external_id=raw.id,
        sku=raw.sku or "",
        title=raw.title,
        version=version_of(raw.updated_at),
        parent_external_id=raw.product_id,
        counted_external_id=raw.counted_id,
    )


def _other(topic: str, body: bytes) -> CanonicalChange:
    decode_body(_ANYTHING, body)
    if topic in _PEOPLE:
        code, reason = _PEOPLE[topic]
        return NeedsPerson(code=code, reason=reason)
    if topic.startswith("inventory_levels/"):
        return Ignored(
            code="stock_echo", reason="stock is counted by its owner; what the shop shows is read when it counts"
        )
    if topic == "orders/delete":
        return Ignored(code="order_deleted", reason="only an order that is cancelled or a test can be deleted")
    return Ignored(code="topic_not_used", reason=f"{topic[:80]} is not used")


def _subscriptions(found: _Subscriptions) -> CanonicalChange:
    if found.are_gone:
        return NeedsPerson(
            code="webhooks_gone",
            reason="the shop has no webhook subscription to this Tidegate any more: run `tidegate doctor --fix`, then "
            "`tidegate issues resolve` it; polls find the orders meanwhile",
        )
    if found.missing:
        return Ignored(
            code="webhook_made_again",
            reason=f"the shop had lost {', '.join(found.missing)[:200]}; they are made again, and polls read the gap",
        )
    return Ignored(code="webhook_seen", reason="every topic is delivered to us")


assert _PEOPLE.keys() >= COMPLIANCE


# --- orders ----------------------------------------------------------------------------------------------------------
def _order(raw: _Order) -> OrderSeen:
    lines = sorted((line for line in raw.line_items if line.tip is None), key=lambda line: line.id)
    if len({line.id for line in raw.line_items}) < len(raw.line_items):
        raise ValueError("two lines of the order have the same id")
    shipping = [line for line in raw.shipping_lines or () if not line.is_removed]
    extras = [_of(raw.current_total_duties_set), _tips(raw)]
    shipping_cost = sum((_shipping_cost(line, raw.taxes_included) for line in shipping), _ZERO) + sum(extras, _ZERO)
    return OrderSeen(
        external_id=str(raw.id),
        number=raw.name,
        version=version_of(raw.updated_at),
        placed_at=(raw.processed_at or raw.created_at).astimezone(UTC),
        currency=raw.currency,
        order_state=_order_state(raw),
        payment_state=_PAYMENT_STATES.get((raw.financial_status or "").lower(), PaymentState.NONE),
        lines=tuple(_line(line, raw) for line in lines),
        total_minor=minor_of(_of(raw.current_total_price_set), raw.currency),
        shipping_minor=minor_of(shipping_cost, raw.currency),
        tax_minor=minor_of(_of(raw.current_total_tax_set), raw.currency),
        shipping_method=next((line.code or line.title or "" for line in shipping), ""),
        payments=_payments(raw),
        private=OrderPrivate(
            customer=_customer(raw),
            shipping_address=_address(raw.shipping_address),
            billing_address=_address(raw.billing_address),
        ),
        reservations=reservations_of(_attributes(raw)),
    )


def _attributes(raw: _Order) -> list[tuple[object, object]]:
    """Return what the checkout noted on the order; of what is no list of names and values, nothing."""
    found = raw.note_attributes if isinstance(raw.note_attributes, list) else []
    return [(each.get("name"), each.get("value")) for each in found if isinstance(each, dict)]


def _line(raw: _Line, order: _Order) -> OrderLineSeen:
    """Return a line with what it really costs: after its share of all discounts, taxes included.

    The shop tells these for the units that were ordered; what is left of them after edits and refunds has its exact share.
    """
    ordered = raw.quantity
    current = ordered if raw.current_quantity is None else raw.current_quantity
    total = checked_amount(raw.price_set.shop_money.amount) * ordered - _discounts(raw.discount_allocations)
    if not order.taxes_included:
        total += _taxes(raw.tax_lines)
    whole = minor_of(total, order.currency)
    left, added = min(current, ordered), max(0, current - ordered)
    total_minor = allocate(whole, [left, ordered - left])[0] if ordered else 0
    unit = total / ordered if ordered else checked_amount(raw.price_set.shop_money.amount)
    if added:
        total_minor += minor_of(unit * added, order.currency)
    return OrderLineSeen(
        external_id=str(raw.id),
        sku=raw.sku or "",
        variant_external_id=str(raw.variant_id) if raw.variant_id is not None else "",
        title=raw.name or raw.title or raw.sku or str(raw.id),
        ordered=ordered,
        current=current,
        unit_price=format(round(unit, 6), "f"),
        total_minor=total_minor,
        tax_minor=minor_of(_taxes(raw.tax_lines), order.currency),
    )


def _tips(raw: _Order) -> Decimal:
    """Return what was given as tips: told in one sum, at the point of sale as lines, and where as both, the same money."""
    told = checked_amount(raw.total_tip_received or _ZERO)
    of_lines = sum((_of(line.price_set) * line.quantity for line in raw.line_items if line.tip is not None), _ZERO)
    return max(told, of_lines)


def _shipping_cost(raw: _ShippingLine, taxes_included: bool) -> Decimal:
    cost = checked_amount(raw.price_set.shop_money.amount) - _discounts(raw.discount_allocations)
    return cost if taxes_included else cost + _taxes(raw.tax_lines)


def _order_state(raw: _Order) -> OrderState:
    if raw.cancelled_at is not None:
        return OrderState.CANCELLED
    return OrderState.CLOSED if raw.closed_at is not None else OrderState.OPEN


_PAYMENT_STATES = {
    "pending": PaymentState.PENDING,
    "authorized": PaymentState.AUTHORISED,
    "partially_paid": PaymentState.PARTIALLY_PAID,
    "paid": PaymentState.PAID,
    "partially_refunded": PaymentState.PARTIALLY_REFUNDED,
    "refunded": PaymentState.REFUNDED,
    "voided": PaymentState.VOIDED,
    "expired": PaymentState.FAILED,
}


_KINDS: dict[str, Literal["authorise", "capture", "sale", "void", "refund"]] = {
    "authorization": "authorise",
    "emv_authorization": "authorise",
    "capture": "capture",
    "sale": "sale",
    "void": "void",
    "refund": "refund",
}


def _payments(raw: _Order) -> tuple[PaymentSeen, ...]:
    """Return the transactions that the body holds, by id; those of a refund with our reference, where its note has one."""
    noted = {number: refund.note or "" for refund in raw.refunds or () for number in refund.transaction_ids}
    found = {one.id: (one, noted.get(one.id, "")) for one in raw.transactions or ()}
    for refund in raw.refunds or ():
        found.update({one.id: (one, refund.note or "") for one in refund.transactions or ()})
    return tuple(
        PaymentSeen(
            external_id=str(number),
            kind=_KINDS[one.kind.lower()],
            state=_transaction_state(one.status),
            amount_minor=minor_of(one.amount if one.amount_set is None else _of(one.amount_set), raw.currency),
            method=one.gateway or "",
            psp_reference=_psp_reference(one),
            reference=_reference_in(note) if one.kind.lower() == "refund" else "",
        )
        for number, (one, note) in sorted(found.items())
        if one.kind.lower() in _KINDS
    )


def _transaction_state(status: str) -> str:
    """Return the shop's word; what failed for good is `failed`."""
    word = status.lower()
    return "failed" if word in ("failure", "error") else word


_NO_PROVIDER = frozenset({"gift_card", "manual", "cash", "store_credit"})
"""Gateways that are the shop itself, or nobody: what they name is no payment of any provider."""


def _psp_reference(raw: _Transaction) -> str:
    """Return the payment's or refund's id at the provider.

    The providers that are built in leave their own object as the receipt; other apps have an id of Shopify's beside it,
    which is all that there is to go by.
    """
    if (raw.gateway or "").lower() in _NO_PROVIDER:
        return ""
    receipt, is_refund = raw.receipt if isinstance(raw.receipt, dict) else {}, raw.kind.lower() == "refund"
    names = ("refund_id", "id") if is_refund else ("payment_intent", "payment_intent_id", "id")
    for name in names:
        value = receipt.get(name)
        if isinstance(value, str) and value.startswith("re_" if is_refund else ("pi_", "ch_")):
            return value
    return raw.authorization or raw.payment_id or ""


def _reference_in(note: str) -> str:
    """Return our refund id where the note of a refund holds one."""
    return next((word for word in note.split() if word.startswith("rfn_")), "")


def _customer(raw: _Order) -> Customer:
    found = raw.customer or _Customer()
    return Customer(
        external_id=str(found.id) if found.id is not None else "",
        email=raw.email or found.email or "",
        first_name=found.first_name or "",
        last_name=found.last_name or "",
        phone=raw.phone or found.phone or "",
    )


def _address(raw: _Address | None) -> Address:
    if raw is None:
        return Address()
    return Address(
        name=raw.name or "",
        company=raw.company or "",
        street1=raw.address1 or "",
        street2=raw.address2 or "",
        city=raw.city or "",
        region=raw.province_code or raw.province or "",
        postal_code=raw.zip or "",
        country_code=raw.country_code or "",
        phone=raw.phone or "",
    )


# --- the rest --------------------------------------------------------------------------------------------------------
def _fulfillment(raw: _Fulfillment) -> FulfillmentSeen:
    return FulfillmentSeen(
        external_id=str(raw.id),
        order_external_id=str(raw.order_id),
        reference="",
        tracking=raw.tracking_number or "",
        state=(raw.status or "").lower(),
        version=version_of(raw.updated_at),
    )


def _variants(raw: _Product) -> list[CanonicalChange]:
    if len({variant.id for variant in raw.variants}) < len(raw.variants):
        raise ValueError("two variants of the product have the same id")
    return [
        VariantSeen(
            external_id=str(variant.id),
            sku=variant.sku or "",
            title=raw.title if variant.title in (None, "", "Default Title") else f"{raw.title} - {variant.title}",
            version=version_of(variant.updated_at),
            parent_external_id=str(raw.id),
            counted_external_id=str(variant.inventory_item_id or ""),
        )
        for variant in raw.variants
    ]


# --- amounts -------------------------------------------------------------------------------------------------
def _of(both: _Both | None) -> Decimal:
    return _ZERO if both is None else checked_amount(both.shop_money.amount)


def _discounts(allocations: list[_Allocation] | None) -> Decimal:
    return sum((_of(one.amount_set) for one in allocations or ()), _ZERO)


def _taxes(taxes: list[_Tax] | None) -> Decimal:
    return sum((_of(one.price_set) for one in taxes or ()), _ZERO)
