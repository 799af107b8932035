"""Events as canonical changes. Pure; the README documents each type.

Amounts are decimals in major units, as texts or numbers. `data.version`, where the sender has one, orders the states of an
entity; otherwise the event's timestamp does. Two states of one instant are ordered by how far they are in an order's life.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec

from tidegate.commerce.changes import (
    Address,
    CanonicalChange,
    Customer,
    GoodsExpected,
    Ignored,
    LocationSeen,
    OrderLineSeen,
    OrderPrivate,
    OrderSeen,
    PaymentSeen,
    ShipmentLine,
    ShipmentSeen,
    StockMoved,
    VariantSeen,
    content_of,
)
from tidegate.commerce.money import money_from_decimal
from tidegate.commerce.states import OrderState, PaymentState
from tidegate.kernel.clock import EPOCH
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.decoding import decode_body
from tidegate.sdk.values import RESERVATION_NAME, RESERVATIONS_MAX, reservations_of

AMOUNT_MAX = Decimal(10) ** 12
LINES_MAX = 2000
Text = Annotated[str, msgspec.Meta(max_length=500)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
EntityId = Name | Number
Units = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Delta = Annotated[int, msgspec.Meta(ge=-1_000_000_000, le=1_000_000_000)]
Version = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


class _Customer(msgspec.Struct, frozen=True, gc=False):
    external_id: Text = ""
    email: Text = ""
    first_name: Text = ""
    last_name: Text = ""
    phone: Text = ""


class _Address(msgspec.Struct, frozen=True, gc=False):
    name: Text = ""
    company: Text = ""
    street1: Text = ""
    street2: Text = ""
    city: Text = ""
    region: Text = ""
    postal_code: Text = ""
    country_code: Text = ""
    phone: Text = ""


class _Line(msgspec.Struct, gc=False):
    id: EntityId
    sku: Text
    quantity: Units
    unit_price: Decimal
    quantity_left: Units | None = None
    article_id: Text = ""
    title: Text = ""
    total: Decimal | None = None
    tax: Decimal = Decimal(0)


class _Payment(msgspec.Struct, gc=False):
    id: EntityId
    kind: Literal["authorise", "capture", "sale", "void", "refund"]
    amount: Decimal
    state: Text = ""
    method: Text = ""
    psp_reference: Text = ""


class _Order(msgspec.Struct):
    id: EntityId
    state: OrderState
    payment_state: PaymentState
    placed_at: Instant
    currency: Currency
    total: Decimal
    lines: Annotated[list[_Line], msgspec.Meta(max_length=LINES_MAX)]
    number: Text = ""
    shipping: Decimal = Decimal(0)
    discount: Decimal = Decimal(0)
    tax: Decimal = Decimal(0)
    shipping_method: Text = ""
    payments: Annotated[list[_Payment], msgspec.Meta(max_length=LINES_MAX)] = []
    customer: _Customer = _Customer()
    shipping_address: _Address = _Address()
    billing_address: _Address = _Address()
    reservations: Annotated[list[Text], msgspec.Meta(max_length=RESERVATIONS_MAX)] = []
    version: Version | None = None


class _ShipmentLine(msgspec.Struct, gc=False):
    sku: Text
    quantity: Units
    line: Text = ""


class _Shipment(msgspec.Struct):
    id: EntityId
    order: Name
    lines: Annotated[list[_ShipmentLine], msgspec.Meta(min_length=1, max_length=LINES_MAX)]
    shipped_at: Instant
    tracking: Text = ""
    carrier: Text = ""
    moves_stock: bool = False
    location: Text = "main"
    version: Version | None = None


class _Movement(msgspec.Struct, gc=False):
    id: EntityId
    sku: Name
    delta: Delta
    kind: Literal["receive", "ship", "adjust", "return_receive", "transfer_in", "transfer_out"] = "adjust"
    location: Text = "main"
    article_id: Text = ""
    order: Text = ""
    line: Text = ""
    moved_at: Instant | None = None
    version: Version | None = None


class _Count(msgspec.Struct, gc=False):
    id: EntityId
    sku: Name
    delta: Delta
    location: Text = "main"
    article_id: Text = ""
    counted_at: Instant | None = None
    version: Version | None = None


class _Expected(msgspec.Struct, gc=False):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=120)] | Number
    sku: Name
    quantity: Units
    location: Text = "main"
    article_id: Text = ""
    expected_on: date | None = None
    version: Version | None = None


class _Article(msgspec.Struct, gc=False):
    sku: Name
    id: EntityId | None = None
    title: Text = ""
    version: Version | None = None


class _Location(msgspec.Struct, gc=False):
    id: Name
    name: Text = ""
    version: Version | None = None


class _Envelope(msgspec.Struct):
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    data: msgspec.Raw
    timestamp: Instant | None = None


class _About(msgspec.Struct, frozen=True):
    """What a change is ordered by."""

    at: datetime | None

    def version(self, given: int | None, own_time: datetime | None = None) -> int:
        """Return the sender's version, or the microseconds of the event. Raises ValueError where there is neither."""
        if given is not None:
            return given
        moment = self.at or own_time
        if moment is None:
            raise ValueError("the event has neither a timestamp nor a version: nobody can tell which state is newer")
        return max(0, (moment - EPOCH) // timedelta(microseconds=1))


_DIGEST_BITS = 40
_DECODER = msgspec.json.Decoder(_Envelope)
_ORDER_STAGES = tuple(OrderState)
_PAYMENT_STAGES = tuple(PaymentState)
_Seen = OrderSeen | ShipmentSeen | StockMoved | GoodsExpected | VariantSeen | LocationSeen
_READERS: Mapping[str, Callable[[msgspec.Raw, _About], Sequence[_Seen]]]


def normalize(event: RawEvent) -> Sequence[CanonicalChange]:
    """Return the changes of an event; a type of no family that is known is ignored with that reason.

    Raises ValueError, in words for the sender, for a known family with another type, and for data that does not fit.
    """
    envelope = decode_body(_DECODER, event.body)
    reader = _READERS.get(envelope.type)
    if reader is None:
        return [_unknown(envelope.type)]
    return [_ranked(change) for change in reader(envelope.data, _About(at=envelope.timestamp))]


def _ranked(change: _Seen) -> CanonicalChange:
    """Return the change with a sequence that orders states of one instant: by the order's life, then by their content.

    So two that nobody can tell apart end the same way, whichever comes first.
    """
    stage = 0
    if isinstance(change, OrderSeen):
        stage = _ORDER_STAGES.index(change.order_state) * len(_PAYMENT_STAGES)
        stage += _PAYMENT_STAGES.index(change.payment_state)
    digest = hashlib.blake2b(content_of(change), digest_size=_DIGEST_BITS // 8).digest()
    return msgspec.structs.replace(change, sequence=(stage << _DIGEST_BITS) + int.from_bytes(digest, "big") + 1)


def _unknown(event_type: str) -> Ignored:
    family = event_type.partition(".")[0]
    known = [name for name in _READERS if name.startswith(f"{family}.")]
    if known:
        raise ValueError(f"there is no type {event_type!r}; of this family there are: {', '.join(known)}")
    return Ignored(code="unknown_type", reason=f"type {event_type[:100]!r} is not one that Tidegate understands")


def _order(raw: msgspec.Raw, about: _About) -> Sequence[_Seen]:
    data = _read(raw, _Order)
    if len({str(line.id) for line in data.lines}) < len(data.lines):
        raise ValueError("two lines of the order have the same id")
    currency = data.currency
    lines = tuple(_order_line(line, currency) for line in data.lines)
    return [
        OrderSeen(
            external_id=str(data.id),
            number=data.number or str(data.id),
            version=about.version(data.version),
            placed_at=data.placed_at,
            currency=currency,
            order_state=data.state,
            payment_state=data.payment_state,
            lines=lines,
            total_minor=_minor(data.total, currency, "total"),
            shipping_minor=_minor(data.shipping, currency, "shipping"),
            discount_minor=_minor(data.discount, currency, "discount"),
            tax_minor=_minor(data.tax, currency, "tax"),
            shipping_method=data.shipping_method,
            payments=tuple(_payment(payment, currency) for payment in data.payments),
            private=OrderPrivate(
                customer=msgspec.convert(data.customer, Customer, from_attributes=True),
                shipping_address=msgspec.convert(data.shipping_address, Address, from_attributes=True),
                billing_address=msgspec.convert(data.billing_address, Address, from_attributes=True),
            ),
            reservations=reservations_of((RESERVATION_NAME, text) for text in data.reservations),
        )
    ]


def _order_line(line: _Line, currency: str) -> OrderLineSeen:
    left = line.quantity if line.quantity_left is None else line.quantity_left
    total = _amount(line.unit_price, "unit_price") * left if line.total is None else line.total
    return OrderLineSeen(
        external_id=str(line.id),
        sku=line.sku,
        variant_external_id=line.article_id or line.sku or str(line.id),
        title=line.title or line.sku or str(line.id),
        ordered=line.quantity,
        current=left,
        unit_price=format(round(_amount(line.unit_price, "unit_price"), 6), "f"),
        total_minor=_minor(total, currency, "total"),
        tax_minor=_minor(line.tax, currency, "tax"),
    )


def _payment(payment: _Payment, currency: str) -> PaymentSeen:
    return PaymentSeen(
        external_id=str(payment.id),
        kind=payment.kind,
        state=payment.state,
        amount_minor=_minor(payment.amount, currency, "amount"),
        method=payment.method,
        psp_reference=payment.psp_reference,
    )


def _shipment(raw: msgspec.Raw, about: _About) -> Sequence[_Seen]:
    """Return the shipment; where it moves stock, a movement per line as well."""
    data = _read(raw, _Shipment)
    version = about.version(data.version, data.shipped_at)
    seen = ShipmentSeen(
        external_id=str(data.id),
        order_reference=data.order,
        lines=tuple(
            ShipmentLine(line_reference=line.line, sku=line.sku, quantity=line.quantity) for line in data.lines
        ),
        tracking=data.tracking,
        carrier=data.carrier,
        shipped_at=data.shipped_at,
        version=version,
    )
    if not data.moves_stock:
        return [seen]
    moves = [
        StockMoved(
            external_id=f"{data.id}:{index}",
            sku=line.sku,
            item_external_id=line.sku,
            location_external_id=data.location,
            kind="ship",
            quantity_delta=-line.quantity,
            order_reference=data.order,
            line_reference=line.line,
            moved_at=data.shipped_at,
            version=version,
        )
        for index, line in enumerate(data.lines, start=1)
        if line.quantity
    ]
    return [*moves, seen]


def _movement(raw: msgspec.Raw, about: _About) -> Sequence[_Seen]:
    data = _read(raw, _Movement)
    out = data.kind in ("ship", "transfer_out")
    if data.kind != "adjust" and data.delta != 0 and (data.delta < 0) != out:
        raise ValueError(f"a movement of kind {data.kind!r} has a {'negative' if out else 'positive'} delta")
    version = about.version(data.version, data.moved_at)
    return [
        StockMoved(
            external_id=str(data.id),
            sku=data.sku,
            item_external_id=data.article_id or data.sku,
            location_external_id=data.location,
            kind=data.kind,
            quantity_delta=data.delta,
            order_reference=data.order,
            line_reference=data.line,
            moved_at=_time(data.moved_at, about, version),
            version=version,
        )
    ]


def _count(raw: msgspec.Raw, about: _About) -> Sequence[_Seen]:
    """Return the difference that a count found. The counted number alone says nothing: orders moved on meanwhile."""
    data = _read(raw, _Count)
    version = about.version(data.version, data.counted_at)
    return [
        StockMoved(
            external_id=str(data.id),
            sku=data.sku,
            item_external_id=data.article_id or data.sku,
            location_external_id=data.location,
            kind="adjust",
            quantity_delta=data.delta,
            moved_at=_time(data.counted_at, about, version),
            version=version,
        )
    ]


def _expected(raw: msgspec.Raw, about: _About) -> Sequence[_Seen]:
    data = _read(raw, _Expected)
    return [
        GoodsExpected(
            external_id=str(data.id),
            sku=data.sku,
            item_external_id=data.article_id or data.sku,
            location_external_id=data.location,
            units=data.quantity,
            expected_on=data.expected_on,
            version=about.version(data.version),
        )
    ]


def _article(raw: msgspec.Raw, about: _About) -> Sequence[_Seen]:
    data = _read(raw, _Article)
    return [
        VariantSeen(
            external_id=data.sku if data.id is None else str(data.id),
            sku=data.sku,
            title=data.title or data.sku,
            version=about.version(data.version),
        )
    ]


def _location(raw: msgspec.Raw, about: _About) -> Sequence[_Seen]:
    data = _read(raw, _Location)
    name = data.name or data.id
    version = about.version(data.version)
    return [LocationSeen(external_id=data.id, name=name, version=version)]


_READERS = MappingProxyType(
    {
        **dict.fromkeys(("order.created", "order.updated", "order.paid", "order.cancelled", "order.closed"), _order),
        **dict.fromkeys(("shipment.created", "shipment.shipped"), _shipment),
        "stock.changed": _movement,
        "stock.counted": _count,
        "stock.incoming": _expected,
        **dict.fromkeys(("article.created", "article.updated"), _article),
        **dict.fromkeys(("location.created", "location.updated"), _location),
    }
)
"""Type -> what reads its data."""


def _read(raw: msgspec.Raw, kind: type[Any]) -> Any:
    """Return the data of an event. Raises ValueError that names the field as the sender knows it."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"data: {error}".replace("`$", "`data")) from None
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def _amount(value: Decimal, name: str) -> Decimal:
    if not value.is_finite() or value.copy_abs() > AMOUNT_MAX:
        raise ValueError(f"{name} is not an amount")
    return value


def _minor(value: Decimal, currency: str, name: str) -> int:
    return money_from_decimal(_amount(value, name), currency).amount_minor


def _time(own: datetime | None, about: _About, version: int) -> datetime:
    """Return when something moved: as it says itself, else the event's time, else what its version says."""
    moment = own or about.at
    return moment if moment is not None else EPOCH + timedelta(microseconds=min(version, _MICROSECONDS_MAX))


_MICROSECONDS_MAX = 253_402_300_799_000_000
"""The last moment of the year 9999."""
