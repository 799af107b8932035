"""Commands: what Tidegate wants another system to do. Payloads are built at T2s from committed state and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Literal

import msgspec

from tidegate.commerce.changes import OrderPrivate


class Priority(IntEnum):
    """Classes of a lane, most urgent first."""

    PAYMENT = 10
    ORDER = 20
    FULFILLMENT = 30
    INVENTORY_CRITICAL = 40
    INVENTORY = 50
    CATALOG = 60
    CUSTOMER = 70
    ANALYTICS = 80


class CommandKind(StrEnum):
    """The kinds of commands."""

    ORDER_CREATE = "order.create"
    ORDER_CANCEL = "order.cancel"
    FULFILLMENT_CREATE = "fulfillment.create"
    INVENTORY_SET = "inventory.set"
    PAYMENT_CAPTURE = "payment.capture"
    PAYMENT_VOID = "payment.void"
    REFUND_CREATE = "refund.create"
    """At a payment provider: give the money back. In a channel: record there that it was given back."""
    EVENT_SEND = "event.send"
    """Tell somebody who listens how something stands now."""


PRIORITY_OF = {
    CommandKind.ORDER_CREATE: Priority.ORDER,
    CommandKind.ORDER_CANCEL: Priority.ORDER,
    CommandKind.FULFILLMENT_CREATE: Priority.FULFILLMENT,
    CommandKind.INVENTORY_SET: Priority.INVENTORY,
    CommandKind.PAYMENT_CAPTURE: Priority.PAYMENT,
    CommandKind.PAYMENT_VOID: Priority.PAYMENT,
    CommandKind.REFUND_CREATE: Priority.PAYMENT,
    CommandKind.EVENT_SEND: Priority.ANALYTICS,
}

DEADLINE_SECONDS = {
    CommandKind.ORDER_CREATE: 3 * 86_400.0,
    CommandKind.ORDER_CANCEL: 3 * 86_400.0,
    CommandKind.FULFILLMENT_CREATE: 3 * 86_400.0,
    CommandKind.INVENTORY_SET: 3_600.0,
    CommandKind.PAYMENT_CAPTURE: 3 * 86_400.0,
    CommandKind.PAYMENT_VOID: 3 * 86_400.0,
    CommandKind.REFUND_CREATE: 3 * 86_400.0,
    CommandKind.EVENT_SEND: 3 * 86_400.0,
}
"""Total time from planning until a command is given up and shown as failed."""


class OrderLineOut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line for the ERP. What has a default is filled by a map only, and not stored where no map filled it."""

    reference: str
    """Our public line id; the ERP keeps it so that shipments can be matched line by line."""
    sku: str
    item_external_id: str
    """The article's id in the target system."""
    title: str
    quantity: int
    unit_price: str
    total_minor: int
    location_external_id: str = ""
    """Where its units are to leave from, as the target calls it; '' where they stand at the usual place. Not a map's to fill."""
    tax_code: str = ""
    """What the target calls the tax of this line."""
    fields: Mapping[str, str] = {}
    """Fields of the target's own, as its connector declares them."""


class CreateOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="order.create"):
    """Create the order in the target system, once, under `reference`.

    What has a default is filled by a map only, and not stored where no map filled it.
    """

    reference: str
    """Our public order id: unique in the target system, what read-back looks for."""
    number: str
    channel: str
    placed_at: datetime
    currency: str
    lines: tuple[OrderLineOut, ...]
    shipping_minor: int
    shipping_method: str
    discount_minor: int
    total_minor: int
    private: OrderPrivate
    customer_ref: str = ""
    """What the target calls the customer."""
    shipping_ref: str = ""
    """What the target calls the way of shipping; `shipping_method` is what the channel calls it."""
    payment_method: str = ""
    """What the target calls the way of payment."""
    note: str = ""
    """For the people who handle the order there."""
    fields: Mapping[str, str] = {}
    """Fields of the target's own, as its connector declares them."""


class CancelOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="order.cancel"):
    """Cancel the order in the target system."""

    reference: str
    order_external_id: str
    """The order's id in the target system, '' when it is not bound yet (then find it by `reference`)."""
    is_own: bool = False
    """The order was placed in the target system: it is the shop's own order, which nobody can serve."""


class FulfillmentLineOut(msgspec.Struct, frozen=True, kw_only=True):
    """Units of a line of the channel's order."""

    line_external_id: str
    quantity: int


class CreateFulfillment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="fulfillment.create"):
    """Tell the channel that goods left, once, under `reference`."""

    reference: str
    """Our public fulfillment id: what read-back looks for."""
    order_external_id: str
    lines: tuple[FulfillmentLineOut, ...]
    tracking: str
    carrier: str
    shipped_at: datetime
    fields: Mapping[str, str] = {}
    """Fields of the channel's own, as its connector declares them; filled by a map only."""


class SetInventory(msgspec.Struct, frozen=True, kw_only=True, tag="inventory.set"):
    """Set the number that the channel counts with (see the connector's `stock_number`), absolute."""

    reference: str
    sku: str
    variant_external_id: str
    location_external_id: str
    quantity: int
    expected: int | None = None
    """What the channel shows as far as we know, in the same units: the number that was last confirmed or read there, less
    the channel's own sales since. For a channel that sets a number only where it is as expected (`conditional_set`); None
    where nothing is known."""
    counted_external_id: str = ""
    """What the channel calls the thing that it counts, '' where that is the article itself."""


class CapturePayment(msgspec.Struct, frozen=True, kw_only=True, tag="payment.capture"):
    """Take authorised money at the payment provider, once under `reference`."""

    reference: str
    """Our public id of the capture (`cap_...`): what read-back looks for where a payment can be captured in parts."""
    order_reference: str
    """Our public order id."""
    payment_external_id: str
    """The payment's id at the provider."""
    amount_minor: int
    """> 0, in minor units of `currency`."""
    currency: str
    is_final: bool
    """Nothing more will be captured: what is left of the authorisation is released."""


class VoidPayment(msgspec.Struct, frozen=True, kw_only=True, tag="payment.void"):
    """Release an authorisation of which nothing was captured. Twice is once: a voided payment stays voided."""

    order_reference: str
    payment_external_id: str


class CreateRefund(msgspec.Struct, frozen=True, kw_only=True, tag="refund.create"):
    """Give money back at the payment provider, or record in the channel that it was given back there; once under `reference`.

    A channel must record it without moving money itself: the money has left already. What the channel shows of it
    afterwards carries `reference` in `PaymentSeen.reference`, so that it is not taken for a refund of the channel's own.
    """

    reference: str
    """Our public refund id (`rfn_...`): what read-back looks for, on both sides."""
    order_reference: str
    """Our public order id."""
    order_external_id: str
    """The order's id in the channel."""
    payment_external_id: str
    """The payment's id at the provider."""
    psp_reference: str
    """The refund's id at the provider; '' where it does not exist there yet, that is in commands for the provider."""
    amount_minor: int
    """> 0, in minor units of `currency`."""
    currency: str
    reason: str = ""
    """In words, '' where nobody gave one."""
    kind: Literal["refund", "dispute"] = "refund"
    """dispute: the money was taken back by the customer's bank."""


class SendEvent(msgspec.Struct, frozen=True, kw_only=True, tag="event.send"):
    """Tell how something stands, as plain JSON. It names no person: customers and addresses are never in it."""

    event_type: str
    """`order.updated`, `shipment.created`, ...; see `commerce.events`."""
    occurred_at: datetime
    """When its state was read."""
    data: Mapping[str, Any]


Payload = (
    CreateOrder
    | CancelOrder
    | CreateFulfillment
    | SetInventory
    | CapturePayment
    | VoidPayment
    | CreateRefund
    | SendEvent
)
