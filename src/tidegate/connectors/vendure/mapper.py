"""Order snapshots as canonical changes. Pure; webhooks, polls and fetches all carry the same shape."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

import msgspec

from tidegate.commerce.changes import (
    Address,
    CanonicalChange,
    Customer,
    Ignored,
    OrderLineSeen,
    OrderPrivate,
    OrderSeen,
    PaymentSeen,
)
from tidegate.commerce.money import currency_exponent
from tidegate.commerce.states import OrderState, PaymentState
from tidegate.kernel.clock import EPOCH
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.decoding import decode_body

Minor = Annotated[int, msgspec.Meta(ge=-(10**15), le=10**15)]
Units = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Id = Annotated[str, msgspec.Meta(min_length=1)]


class _Customer(msgspec.Struct, rename={"first_name": "firstName", "last_name": "lastName"}, gc=False):
    id: str = ""
    email: str = ""
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None


class _Address(msgspec.Struct, rename="camel", gc=False):
    full_name: str | None = None
    company: str | None = None
    street_line1: str | None = msgspec.field(name="streetLine1", default=None)
    street_line2: str | None = msgspec.field(name="streetLine2", default=None)
    city: str | None = None
    province: str | None = None
    postal_code: str | None = None
    country_code: str | None = None
    phone_number: str | None = None


class _ShippingLine(msgspec.Struct, rename="camel", gc=False):
    method_code: str | None = None


class _Line(msgspec.Struct, rename="camel", gc=False):
    id: Id
    variant_id: str
    quantity: Units
    order_placed_quantity: Units
    unit_price_with_tax: Minor
    prorated_line_price_with_tax: Minor
    line_price_with_tax: Minor = 0
    sku: str | None = None
    name: str | None = None


class _Surcharge(msgspec.Struct, rename="camel", gc=False):
    price_with_tax: Minor


class _Payment(msgspec.Struct, rename="camel", gc=False):
    id: Id
    state: str
    amount: Minor
    method: str


class _Refund(msgspec.Struct, rename="camel", gc=False):
    id: Id
    state: str
    total: Minor
    method: str = ""


class _TaxLine(msgspec.Struct, rename="camel", gc=False):
    tax_total: Minor = 0


class _Order(msgspec.Struct, rename="camel"):
    id: Id
    code: str
    state: str
    updated_at: Instant
    currency_code: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    shipping_with_tax: Minor
    total_with_tax: Minor
    order_placed_at: Instant | None = None
    lines: list[_Line] = []
    surcharges: list[_Surcharge] = []
    payments: list[_Payment] = []
    refunds: list[_Refund] = []
    shipping_lines: list[_ShippingLine] = []
    tax_summary: list[_TaxLine] = []
    customer: _Customer | None = None
    shipping_address: _Address | None = None
    billing_address: _Address | None = None


class _Data(msgspec.Struct):
    order: _Order


class _Event(msgspec.Struct):
    data: _Data
    version: Annotated[int, msgspec.Meta(ge=0, le=2**62)] = 0


_DECODER = msgspec.json.Decoder(_Event)
_CARTS = frozenset({"Created", "Draft", "AddingItems", "ArrangingPayment"})
_PAID = frozenset({"Settled"})


def normalize(event: RawEvent) -> Sequence[CanonicalChange]:
    """Return the order as its snapshot shows it; carts that are not placed are ignored.

    Version: the order's `updatedAt` in microseconds, so that webhooks and polls compare; sequence: the plugin's outbox
    number, which a poll does not have.
    """
    raw = decode_body(_DECODER, event.body)
    order = raw.data.order
    if order.order_placed_at is None or order.state in _CARTS:
        return [Ignored(code="not_placed", reason="the order is still a cart")]
    return [_order(order, order.order_placed_at, raw.version)]


def _order(raw: _Order, placed_at: datetime, sequence: int) -> OrderSeen:
    """Return the order. Surcharges that cost something, together, count with shipping; else they are a discount."""
    if len({line.id for line in raw.lines}) < len(raw.lines):
        raise ValueError("two lines of the order have the same id")
    surcharges = sum(surcharge.price_with_tax for surcharge in raw.surcharges)
    return OrderSeen(
        external_id=raw.id,
        number=raw.code,
        version=max(0, (raw.updated_at - EPOCH) // timedelta(microseconds=1)),
        sequence=sequence,
        placed_at=placed_at,
        currency=raw.currency_code,
        order_state=_order_state(raw.state),
        payment_state=_payment_state(raw),
        lines=tuple(_line(line, raw.currency_code) for line in sorted(raw.lines, key=_by_id)),
        total_minor=raw.total_with_tax,
        shipping_minor=raw.shipping_with_tax + max(0, surcharges),
        discount_minor=max(0, -surcharges),
        tax_minor=sum(tax.tax_total for tax in raw.tax_summary),
        shipping_method=next((line.method_code or "" for line in raw.shipping_lines), ""),
        payments=_payments(raw),
        private=OrderPrivate(
            customer=_customer(raw.customer),
            shipping_address=_address(raw.shipping_address),
            billing_address=_address(raw.billing_address),
        ),
    )


def _line(raw: _Line, currency: str) -> OrderLineSeen:
    """Return a line; its unit price is what one unit really costs after discounts, exact to six digits."""
    digits = currency_exponent(currency)
    unit = Decimal(raw.unit_price_with_tax)
    if raw.quantity and raw.prorated_line_price_with_tax != raw.unit_price_with_tax * raw.quantity:
        unit = Decimal(raw.prorated_line_price_with_tax) / raw.quantity
    return OrderLineSeen(
        external_id=raw.id,
        sku=raw.sku or "",
        variant_external_id=raw.variant_id,
        title=raw.name or raw.sku or raw.variant_id,
        ordered=raw.order_placed_quantity,
        current=raw.quantity,
        unit_price=format(round(unit.scaleb(-digits), 6), "f"),
        total_minor=raw.prorated_line_price_with_tax,
    )


def _order_state(state: str) -> OrderState:
    if state == "Cancelled":
        return OrderState.CANCELLED
    if state == "Delivered":
        return OrderState.CLOSED
    return OrderState.ON_HOLD if state == "Modifying" else OrderState.OPEN


def _payment_state(raw: _Order) -> PaymentState:
    """Return the state that follows from the transactions."""
    settled = sum(payment.amount for payment in raw.payments if payment.state in _PAID)
    authorised = sum(payment.amount for payment in raw.payments if payment.state == "Authorized")
    refunded = sum(refund.total for refund in raw.refunds if refund.state == "Settled")
    if refunded and refunded >= settled:
        return PaymentState.REFUNDED
    if refunded:
        return PaymentState.PARTIALLY_REFUNDED
    if settled >= raw.total_with_tax:
        return PaymentState.PAID
    if settled + authorised >= raw.total_with_tax:
        return PaymentState.AUTHORISED
    if settled:
        return PaymentState.PARTIALLY_PAID
    return PaymentState.PENDING if raw.payments else PaymentState.NONE


def _payments(raw: _Order) -> tuple[PaymentSeen, ...]:
    seen = [
        PaymentSeen(
            external_id=f"payment:{payment.id}",
            kind="authorise" if payment.state == "Authorized" else "sale",
            state=payment.state,
            amount_minor=payment.amount,
            method=payment.method,
        )
        for payment in sorted(raw.payments, key=_by_id)
    ]
    seen += [
        PaymentSeen(
            external_id=f"refund:{refund.id}",
            kind="refund",
            state=refund.state,
            amount_minor=refund.total,
            method=refund.method,
        )
        for refund in sorted(raw.refunds, key=_by_id)
    ]
    return tuple(seen)


def _by_id(raw: _Line | _Payment | _Refund) -> tuple[int, str]:
    """Sort numbers as numbers: the shop promises no order, and equal orders must give equal changes."""
    return len(raw.id), raw.id


def _customer(raw: _Customer | None) -> Customer:
    if raw is None:
        return Customer()
    return Customer(
        external_id=raw.id,
        email=raw.email,
        first_name=raw.first_name or "",
        last_name=raw.last_name or "",
        phone=raw.phone or "",
    )


def _address(raw: _Address | None) -> Address:
    if raw is None:
        return Address()
    return Address(
        name=raw.full_name or "",
        company=raw.company or "",
        street1=raw.street_line1 or "",
        street2=raw.street_line2 or "",
        city=raw.city or "",
        region=raw.province or "",
        postal_code=raw.postal_code or "",
        country_code=raw.country_code or "",
        phone=raw.phone_number or "",
    )
