"""The four orthogonal states of an order, and the states of commands."""

from __future__ import annotations

from enum import StrEnum


class OrderState(StrEnum):
    """Where the order as a whole stands."""

    DRAFT = "draft"
    PENDING = "pending"
    OPEN = "open"
    ON_HOLD = "on_hold"
    CANCELLED = "cancelled"
    CLOSED = "closed"


class PaymentState(StrEnum):
    """Where the money stands."""

    NONE = "none"
    PENDING = "pending"
    AUTHORISED = "authorised"
    PARTIALLY_PAID = "partially_paid"
    PAID = "paid"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    VOIDED = "voided"
    FAILED = "failed"
    DISPUTED = "disputed"


class FulfillmentState(StrEnum):
    """How much left the house. Derived from lines, never set by hand."""

    UNFULFILLED = "unfulfilled"
    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    PARTIALLY_FULFILLED = "partially_fulfilled"
    FULFILLED = "fulfilled"


class CommandState(StrEnum):
    """The fate of a command; see ARCHITECTURE.md for the transitions."""

    PROPOSED = "proposed"
    PENDING = "pending"
    SENDING = "sending"
    IN_DOUBT = "in_doubt"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


RELEASING_PAYMENTS = frozenset((PaymentState.AUTHORISED, PaymentState.PAID, PaymentState.PARTIALLY_REFUNDED))
"""Money is there, or will be at the capture. What was given back in part belongs to lines that are gone, or to goodwill."""


def may_leave(order_state: str, payment_state: str) -> bool:
    """Return whether an order in these states may go to the ERP: open, and its money authorised or paid."""
    return order_state == OrderState.OPEN and payment_state in RELEASING_PAYMENTS


def derive_fulfillment_state(lines: list[tuple[int, int]]) -> FulfillmentState:
    """Return the state from (current, shipped) of each line; lines with current 0 do not count."""
    current = sum(line[0] for line in lines)
    shipped = sum(min(line) for line in lines)
    if shipped == 0 or current == 0:
        return FulfillmentState.UNFULFILLED
    return FulfillmentState.FULFILLED if shipped >= current else FulfillmentState.PARTIALLY_FULFILLED


HELD_CODE = "held"
"""Code of a command that a hook wants a person to look at, whatever its flow's mode."""
OBSERVED_CODE = "observed"
"""Code of a command that ended unsent because its flow observes."""
OBSERVED_REASON = "its flow observes: nothing is sent"
