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

    def held_units(self, line: Line) -> int:
        """Units of `line` that the channel takes off its own stock, shipped or not."""
        return 0 if self.order_state in _UNCOMMITTED else line.current

    def committed_units(self, line: Line) -> int:
        """Units of `line` that count as committed in this order's state."""
        return 0 if self.order_state in _UNCOMMITTED else line.open_units()
