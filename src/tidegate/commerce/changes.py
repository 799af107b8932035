"""Canonical changes: what a connector's mapper makes of an event. Pure values, no ids of ours.

Every change names its entity by the sender's ids. `version` and `sequence` order the changes of one entity:
(version, sequence) grows with time; `version` is comparable between webhooks and polls of one connection
(for example `updatedAt` in microseconds), `sequence` breaks ties inside it (0 where the source has none).
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

import msgspec

from tidegate.commerce.states import OrderState, PaymentState


class Address(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A postal address. Private: stored encrypted, never logged."""

    name: str = ""
    company: str = ""
    street1: str = ""
    street2: str = ""
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country_code: str = ""
    phone: str = ""


class Customer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who ordered. Private: stored encrypted, never logged."""

    external_id: str = ""
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    phone: str = ""


class OrderPrivate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The private part of an order: stored as one encrypted value."""

    customer: Customer = Customer()
    shipping_address: Address = Address()
    billing_address: Address = Address()


class OrderLineSeen(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line as the channel shows it now. Identity is `external_id`, never the SKU."""

    external_id: str
    sku: str
    variant_external_id: str
    title: str
    ordered: int
    """Units when the order was placed."""
    current: int
    """Units after edits and cancellations; 0 when the line is gone."""
    unit_price: str
    """Gross price of a unit in major units, decimal text with at most 6 digits after the point."""
    total_minor: int
    """Gross total of the line after its share of discounts."""
    tax_minor: int = 0


class PaymentSeen(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One transaction of the order's payment."""

    external_id: str
    kind: Literal["authorise", "capture", "sale", "void", "refund"]
    state: str
    """In the channel's own words; of a refund: `failed` or `cancelled` when no money was given back."""
    amount_minor: int
    method: str
    psp_reference: str = ""
    """The id at the payment provider: of the payment (Stripe: `pi_...`), for a refund that of the refund (`re_...`).
    A refund with one was carried out by the channel itself; without one it is only recorded there."""
    reference: str = ""
    """Of a refund: our public refund id (`rfn_...`) where the channel keeps it, because we made it there."""


class OrderSeen(msgspec.Struct, frozen=True, kw_only=True, tag="order_seen"):
    """The whole order as its channel shows it at one version."""

    external_id: str
    number: str
    version: int
    sequence: int = 0
    placed_at: datetime
    currency: str
    order_state: OrderState
    payment_state: PaymentState
    lines: tuple[OrderLineSeen, ...]
    total_minor: int
    shipping_minor: int
    discount_minor: int = 0
    """Discounts that are not already inside the lines' totals, >= 0."""
    tax_minor: int = 0
    shipping_method: str = ""
    payments: tuple[PaymentSeen, ...] = ()
    private: OrderPrivate = OrderPrivate()
    reservations: tuple[str, ...] = ()
    """Reservations that the order claims, as its checkout noted them: our public ids (`res_...`) or the caller's own names."""


class ShipmentLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Units of one order line that left. `line_reference` is our public line id where the sender keeps it, else ''."""

    line_reference: str
    sku: str
    quantity: int


class ShipmentSeen(msgspec.Struct, frozen=True, kw_only=True, tag="shipment_seen"):
    """A shipment that left the warehouse. Becomes one fulfillment in the order's channel; moves no stock by itself."""

    external_id: str
    order_reference: str
    """The public order id that we gave the warehouse with the order; '' when the shipment is of another origin."""
    lines: tuple[ShipmentLine, ...]
    tracking: str
    carrier: str = ""
    shipped_at: datetime
    version: int
    sequence: int = 0


class FulfillmentSeen(msgspec.Struct, frozen=True, kw_only=True, tag="fulfillment_seen"):
    """A fulfillment as the channel shows it: usually the echo of our own."""

    external_id: str
    order_external_id: str
    reference: str
    tracking: str
    state: str
    version: int
    sequence: int = 0


class StockMoved(msgspec.Struct, frozen=True, kw_only=True, tag="stock_moved", gc=False):
    """A movement of goods that happened at the stock's owner. A fact: it always posts, once per `external_id`."""

    external_id: str
    sku: str
    item_external_id: str
    location_external_id: str
    kind: Literal["receive", "ship", "adjust", "return_receive", "transfer_in", "transfer_out"]
    quantity_delta: int
    """Change of on_hand: negative for `ship` and `transfer_out`."""
    order_reference: str = ""
    """Public order id when the movement ships an order that we sent; its committed units end with it."""
    line_reference: str = ""
    moved_at: datetime
    version: int
    sequence: int = 0


class GoodsExpected(msgspec.Struct, frozen=True, kw_only=True, tag="goods_expected", gc=False):
    """Goods that are on their way to a location: a line of a purchase order, a transfer, a return. No stock yet.

    What a source says last of an `external_id` counts; nothing is left of it once it is received or cancelled there.
    """

    external_id: str
    """Of the line: one article at one location."""
    sku: str
    item_external_id: str
    location_external_id: str
    units: int
    """Still to come; 0: it came, or does not come any more."""
    expected_on: date | None = None
    """None: nobody knows when."""
    version: int
    sequence: int = 0


class PaymentObserved(msgspec.Struct, frozen=True, kw_only=True, tag="payment_observed"):
    """A payment as its provider shows it. It may be seen before the order that it pays: it waits by `external_id`."""

    external_id: str
    """The payment's id at the provider: what `PaymentSeen.psp_reference` of a channel's order names."""
    state: Literal["pending", "authorised", "captured", "voided", "failed"]
    """captured: some or all of it was taken, and nothing more can be."""
    currency: str
    amount_minor: int
    """What was asked for, or authorised."""
    capturable_minor: int = 0
    """What may still be captured."""
    captured_minor: int = 0
    refunded_minor: int = 0
    multi_capture: bool | None = None
    """Whether the provider lets this payment be captured in parts; None: it does not say here."""
    method: str = ""
    expires_at: datetime | None = None
    """When an authorisation lapses, where the provider says so. Aware UTC."""
    order_hint: str = ""
    """The channel's id of its order, where the payment carries one: letters, digits, `_` and `-`. Never used to join them."""
    version: int
    sequence: int = 0


class RefundSeen(msgspec.Struct, frozen=True, kw_only=True, tag="refund_seen"):
    """Money that went back, or is going back, as the payment provider shows it."""

    external_id: str
    """The refund's or dispute's id at the provider."""
    payment_external_id: str
    state: Literal["pending", "succeeded", "failed", "cancelled"]
    """Of a dispute: pending while it is open, succeeded when the money is gone, cancelled when it was won."""
    amount_minor: int
    currency: str
    kind: Literal["refund", "dispute"] = "refund"
    reference: str = ""
    """Our public refund id where we made it, '' where somebody else did."""
    reason: str = ""
    version: int
    sequence: int = 0


class OrderGone(msgspec.Struct, frozen=True, kw_only=True, tag="order_gone"):
    """The channel has no such order any more: it was deleted for good, and the channel itself said so when it was asked.

    What of it has not left is promised to nobody any more.
    """

    external_id: str
    version: int = 0
    """When the channel was asked, in the terms of the order's own versions; 0: it does not tell, so it is the newest."""
    sequence: int = 0


class OrdersCounted(msgspec.Struct, frozen=True, kw_only=True, tag="orders_counted"):
    """How many orders a channel says were placed in a closed window. It is compared with how many are known here."""

    since: datetime
    """Aware UTC; the window holds its beginning and not its end."""
    until: datetime
    count: int
    """At least so many, where the channel stops counting somewhere."""


class VariantSeen(msgspec.Struct, frozen=True, kw_only=True, tag="variant_seen"):
    """An article as a system shows it."""

    external_id: str
    sku: str
    title: str
    version: int
    sequence: int = 0
    parent_external_id: str = ""
    """The product that it is part of, where the system has such a thing and tells it here."""
    counted_external_id: str = ""
    """What the system calls the thing that it counts, where that is another one than the article and told here."""


class VariantGone(msgspec.Struct, frozen=True, kw_only=True, tag="variant_gone"):
    """The system has no such article any more: it was deleted, and the system itself said so when it was asked.

    Nothing is told there any more; what names it goes on standing for the same variant.
    """

    external_id: str
    """Of the article, or of the product whose articles are gone together."""
    is_product: bool = False
    version: int = 0
    """When the system was asked, in the terms of the article's own versions; 0: it does not tell, so it is the newest."""
    sequence: int = 0


class LocationSeen(msgspec.Struct, frozen=True, kw_only=True, tag="location_seen"):
    """A place that holds stock."""

    external_id: str
    name: str
    version: int
    sequence: int = 0


class NeedsFetch(msgspec.Struct, frozen=True, kw_only=True, tag="needs_fetch"):
    """The event is only a hint: read `external_id` of `topic` through the lane and come back with the answer."""

    topic: str
    external_id: str
    version: int = 0
    """The entity's version there, where the hint tells it: what is known already is not read again. 0: read it."""
    placed_at: datetime | None = None
    """Of an order: one that is unknown and was placed before the flow's `since` is not read."""


class NeedsPerson(msgspec.Struct, frozen=True, kw_only=True, tag="needs_person"):
    """The event asks for something that only a person can do; it stays in quarantine until one did."""

    code: str
    reason: str
    """What to do, in a sentence for people."""


class Ignored(msgspec.Struct, frozen=True, kw_only=True, tag="ignored"):
    """The event says nothing that Tidegate keeps; `code` says why."""

    code: str
    reason: str = ""


CanonicalChange = (
    OrderSeen
    | OrderGone
    | ShipmentSeen
    | FulfillmentSeen
    | StockMoved
    | GoodsExpected
    | PaymentObserved
    | RefundSeen
    | VariantSeen
    | VariantGone
    | LocationSeen
    | OrdersCounted
    | NeedsFetch
    | NeedsPerson
    | Ignored
)


def content_of(change: CanonicalChange) -> bytes:
    """Return what a change says as bytes, to tell states of one entity apart: equal content is equal however it came.

    The sequence is left out, and what an article is part of: not every source tells it.
    """
    if isinstance(change, VariantSeen):
        left_out = ("parent_external_id", "counted_external_id")
        plain = msgspec.to_builtins(msgspec.structs.replace(change, sequence=0))
        return msgspec.json.encode({name: value for name, value in plain.items() if name not in left_out})
    if isinstance(change, OrdersCounted | NeedsFetch | NeedsPerson | Ignored) or not change.sequence:
        return msgspec.json.encode(change)
    return msgspec.json.encode(msgspec.structs.replace(change, sequence=0))
