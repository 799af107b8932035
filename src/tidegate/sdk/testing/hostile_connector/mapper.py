"""The remote's events as canonical changes. Pure; raises ValueError for a body that it cannot read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from tidegate.commerce.changes import (
    Address,
    CanonicalChange,
    Customer,
    FulfillmentSeen,
    Ignored,
    NeedsFetch,
    OrderLineSeen,
    OrderPrivate,
    OrderSeen,
    PaymentSeen,
    ShipmentLine,
    ShipmentSeen,
    StockMoved,
    VariantGone,
    VariantSeen,
)
from tidegate.commerce.money import Money
from tidegate.commerce.states import OrderState, PaymentState
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.decoding import decode_body
from tidegate.sdk.values import RESERVATION_NAME, reservations_of
from tidegate.sdk.windows import Count, counted

Units = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Minor = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
Revision = Annotated[int, msgspec.Meta(ge=1, le=2**62)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class _Line(msgspec.Struct):
    line_id: str
    article_id: str
    sku: str
    title: str
    ordered: Units
    current: Units
    unit_price_minor: Minor


class _Payment(msgspec.Struct):
    payment_id: str
    kind: Literal["authorise", "capture", "sale", "void", "refund"]
    state: str
    amount_minor: Minor
    method: str = ""
    psp_reference: str = ""
    reference: str = ""


class _Order(msgspec.Struct):
    order_id: str
    number: str
    revision: Revision
    placed_at: Instant
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    state: OrderState
    payment_state: PaymentState
    lines: list[_Line]
    shipping_minor: Minor
    customer: Customer = Customer()
    address: Address = Address()
    payments: list[_Payment] = []
    reservations: list[str] = []


class _Move(msgspec.Struct):
    move_id: str
    revision: Revision
    kind: Literal["receive", "ship", "adjust", "return_receive", "transfer_in", "transfer_out"]
    article_id: str
    sku: str
    location_id: str
    quantity_delta: Annotated[int, msgspec.Meta(ge=-1_000_000_000, le=1_000_000_000)]
    order_reference: str
    line_reference: str
    moved_at: Instant


class _ShipmentLine(msgspec.Struct):
    line_reference: str
    sku: str
    quantity: Units


class _Shipment(msgspec.Struct):
    shipment_id: str
    revision: Revision
    order_reference: str
    tracking: str
    carrier: str
    shipped_at: Instant
    lines: list[_ShipmentLine]


class _Fulfillment(msgspec.Struct):
    fulfillment_id: str
    order_id: str
    reference: str
    tracking: str
    revision: Revision


class _Article(msgspec.Struct):
    article_id: Annotated[str, msgspec.Meta(min_length=1)]
    sku: str = ""
    title: str = ""
    revision: Revision = 0
    product_id: str = ""


class _Product(msgspec.Struct):
    product_id: Annotated[str, msgspec.Meta(min_length=1)]


class _Listed(msgspec.Struct):
    order_id: Annotated[str, msgspec.Meta(min_length=1)]
    revision: Revision
    placed_at: Instant


class _Event(msgspec.Struct):
    type: str
    counted: Count | None = None
    listed: list[_Listed] | None = None
    article: _Article | None = None
    product: _Product | None = None
    order_id: str | None = None
    revision: Revision = 0
    order: _Order | None = None
    move: _Move | None = None
    shipment: _Shipment | None = None
    fulfillment: _Fulfillment | None = None


_DECODER = msgspec.json.Decoder(_Event)


def normalize(event: RawEvent) -> Sequence[CanonicalChange]:
    """Return the one change that an event says; feeds and fetches give the same shape as webhooks."""
    raw = decode_body(_DECODER, event.body)
    if raw.order is not None:
        return [_order(raw.order)]
    if raw.move is not None:
        return [_move(raw.move)]
    if raw.shipment is not None:
        return [_shipment(raw.shipment)]
    if raw.fulfillment is not None:
        return [_fulfillment(raw.fulfillment)]
    if raw.counted is not None:
        return [counted(raw.counted)]
    if raw.listed is not None:
        return [
            NeedsFetch(topic="order", external_id=one.order_id, version=one.revision, placed_at=one.placed_at)
            for one in raw.listed
        ]
    if raw.article is not None:
        return [_article(raw.type, raw.article)]
    if raw.product is not None:
        return [_product(raw.type, raw.product.product_id)]
    if raw.order_id is not None:
        return [NeedsFetch(topic="order", external_id=raw.order_id, version=raw.revision)]
    return [Ignored(code="unknown_topic", reason=f"topic {raw.type[:60]!r} is not used")]


def _article(topic: str, raw: _Article) -> CanonicalChange:
    if topic == "article.gone":
        return VariantGone(external_id=raw.article_id)
    return VariantSeen(
        external_id=raw.article_id,
        sku=raw.sku,
        title=raw.title,
        version=raw.revision,
        parent_external_id=raw.product_id,
    )


def _product(topic: str, product_id: str) -> CanonicalChange:
    """A webhook only hints at a deletion; what the read of the product says counts."""
    if topic == "product.gone":
        return VariantGone(external_id=product_id, is_product=True)
    return NeedsFetch(topic="product", external_id=product_id)


def _order(raw: _Order) -> OrderSeen:
    lines = tuple(_line(line, raw.currency) for line in raw.lines)
    return OrderSeen(
        external_id=raw.order_id,
        number=raw.number,
        version=raw.revision,
        placed_at=raw.placed_at,
        currency=raw.currency,
        order_state=raw.state,
        payment_state=raw.payment_state,
        lines=lines,
        total_minor=sum(line.total_minor for line in lines) + raw.shipping_minor,
        shipping_minor=raw.shipping_minor,
        payments=tuple(_payment(payment) for payment in raw.payments),
        private=OrderPrivate(customer=raw.customer, shipping_address=raw.address, billing_address=raw.address),
        reservations=reservations_of((RESERVATION_NAME, text) for text in raw.reservations),
    )


def _payment(raw: _Payment) -> PaymentSeen:
    return PaymentSeen(
        external_id=raw.payment_id,
        kind=raw.kind,
        state=raw.state,
        amount_minor=raw.amount_minor,
        method=raw.method,
        psp_reference=raw.psp_reference,
        reference=raw.reference,
    )


def _line(raw: _Line, currency: str) -> OrderLineSeen:
    return OrderLineSeen(
        external_id=raw.line_id,
        sku=raw.sku,
        variant_external_id=raw.article_id,
        title=raw.title,
        ordered=raw.ordered,
        current=raw.current,
        unit_price=str(Money(raw.unit_price_minor, currency).to_decimal()),
        total_minor=raw.unit_price_minor * raw.current,
    )


def _move(raw: _Move) -> StockMoved:
    return StockMoved(
        external_id=raw.move_id,
        sku=raw.sku,
        item_external_id=raw.article_id,
        location_external_id=raw.location_id,
        kind=raw.kind,
        quantity_delta=raw.quantity_delta,
        order_reference=raw.order_reference,
        line_reference=raw.line_reference,
        moved_at=raw.moved_at,
        version=raw.revision,
    )


def _shipment(raw: _Shipment) -> ShipmentSeen:
    return ShipmentSeen(
        external_id=raw.shipment_id,
        order_reference=raw.order_reference,
        lines=tuple(
            ShipmentLine(line_reference=line.line_reference, sku=line.sku, quantity=line.quantity) for line in raw.lines
        ),
        tracking=raw.tracking,
        carrier=raw.carrier,
        shipped_at=raw.shipped_at,
        version=raw.revision,
    )


def _fulfillment(raw: _Fulfillment) -> FulfillmentSeen:
    return FulfillmentSeen(
        external_id=raw.fulfillment_id,
        order_external_id=raw.order_id,
        reference=raw.reference,
        tracking=raw.tracking,
        state="done",
        version=raw.revision,
    )
