"""Rows of an order while a batch is applied: mutable working copies of what the database holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec

from tidegate.commerce.changes import OrderPrivate, PaymentSeen
from tidegate.commerce.states import FulfillmentState, OrderState, PaymentState

CommittedKey = tuple[UUID, UUID]
"""(variant_id, location_id)"""

_UNCOMMITTED = (OrderState.CANCELLED, OrderState.DRAFT)


class Line(msgspec.Struct, gc=False):
    """One order line."""

    line_id: UUID
    external_id: str
    position: int
    variant_id: UUID
    sku: str
    title: str
    ordered: int
    current: int
    shipped: int
    fulfilled: int
    unit_price: str
    total_minor: int
    location_id: UUID
    is_new: bool = False
    is_changed: bool = False
    announced: int = 0
    """Units in fulfillments, confirmed by the channel or not yet. Known while shipments are folded."""
    committed_before: int = 0
    """Units that stood committed for this line when the batch began."""
    held_before: int = 0
    """Units of this line that the channel had taken off its own stock when the batch began, as far as it told."""

    def open_units(self) -> int:
        """Units that are promised and have not left."""
        return self.current - self.shipped if self.current > self.shipped else 0


class PspPayment(msgspec.Struct, gc=False):
    """A payment at its provider."""

    payment_id: UUID
    connection_id: UUID
    """The provider."""
    external_id: str
    order_id: UUID | None = None
    """None: no order named it yet."""
    number: int | None = None
    """Of the order's payments, from 1: the version of the command that releases it."""
    state: str = "unseen"
    """unseen, pending, authorised, captured, voided or failed; unseen: an order names it, its provider did not show it yet."""
    currency: str = "---"
    amount_minor: int = 0
    capturable_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    multi_capture: bool = False
    method: str = ""
    expires_at: datetime | None = None
    claimed_minor: int = 0
    """What our captures ask for, whatever became of them."""
    refunding_minor: int = 0
    """What our refunds give back, whatever became of them."""
    is_new: bool = False
    is_changed: bool = False

    @property
    def taken_minor(self) -> int:
        """What is captured, or asked for."""
        return max(self.claimed_minor, self.captured_minor)


class Capture(msgspec.Struct, gc=False):
    """What is captured of one payment by one command. `number` counts the captures of the order."""

    order_id: UUID
    number: int
    capture_id: UUID
    payment_id: UUID
    amount_minor: int
    is_final: bool
    state: str = "planned"
    """planned, sent, captured or failed."""
    is_new: bool = False


class ChannelMoney(msgspec.Struct, frozen=True, gc=False):
    """What a channel's order says of its money, and how much of it is known payment by payment."""

    placed_at: datetime
    payment_state: PaymentState
    """The channel's own word."""
    total_minor: int
    told_minor: int = 0
    """Sum of the authorisations and sales that the channel showed."""


class Refund(msgspec.Struct, gc=False):
    """Money that went back, or is to go back."""

    refund_id: UUID
    origin: str
    """channel or provider: who showed it first."""
    amount_minor: int
    currency: str
    state: str
    """pending, succeeded, failed or cancelled: what became of the money."""
    kind: str = "refund"
    """refund or dispute."""
    order_id: UUID | None = None
    number: int | None = None
    """Of the order's refunds, from 1: the version of the command that carries it over."""
    payment_id: UUID | None = None
    carry: str = "open"
    """open, planned, sent, done or left: how far it is carried over to the other side."""
    code: str | None = None
    """Why it is not."""
    channel_ref: str | None = None
    psp_ref: str | None = None
    reason: str = ""
    is_new: bool = False
    is_changed: bool = False

    @property
    def is_off(self) -> bool:
        """No money went back after all."""
        return self.state in ("failed", "cancelled")


@dataclass(slots=True)
class Order:
    """One order with its lines by the channel's line id."""

    order_id: UUID
    connection_id: UUID
    external_id: str
    number: str
    version: int
    order_state: OrderState
    payment_state: PaymentState
    """What counts: the channel's word, or that of the provider that owns payments."""
    fulfillment_state: FulfillmentState
    currency: str
    total_minor: int
    shipping_minor: int
    discount_minor: int
    tax_minor: int
    totals_mismatch: bool
    shipping_method: str
    placed_at: datetime
    lines: dict[str, Line] = field(default_factory=dict)
    private: OrderPrivate | None = None
    """Set when this batch brought it: then it is sealed and stored anew."""
    payments: dict[str, PaymentSeen] = field(default_factory=dict)
    """Payments that this batch brought."""
    is_new: bool = False
    is_changed: bool = False
    was_cancelled: bool = False
    """Cancelled before this batch."""
    is_called_off: bool = False
    """Its channel is asked to cancel it."""
    channel_payment_state: PaymentState | None = None
    """The channel's word, where another one counts. None: it is the one that counts."""
    psp: list[PspPayment] = field(default_factory=list)
    """Its payments at the provider, by number."""
    captures: list[Capture] = field(default_factory=list)
    """By number."""
    refunds: list[Refund] = field(default_factory=list)
    """By number."""

    def has_left(self) -> bool:
        """Return whether any of its goods have left."""
        return any(line.announced or line.shipped for line in self.lines.values())

    def held_units(self, line: Line) -> int:
        """Units of `line` that the channel takes off its own stock, shipped or not."""
        return 0 if self.order_state in _UNCOMMITTED else line.current

    def committed_units(self, line: Line) -> int:
        """Units of `line` that count as committed in this order's state."""
        return 0 if self.order_state in _UNCOMMITTED else line.open_units()
