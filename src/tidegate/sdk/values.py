"""Reading amounts and times of platforms the same way in every mapper. Pure; what cannot be read exactly raises ValueError."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tidegate.commerce.money import money_from_decimal
from tidegate.kernel.clock import EPOCH

AMOUNT_MAX = Decimal(10) ** 12
"""Major units. What is beyond is no price but a mistake, and would not fit into the books."""


def checked_amount(amount: Decimal) -> Decimal:
    """Return an amount that is finite and within `AMOUNT_MAX`. Raises ValueError for any other."""
    if not amount.is_finite() or abs(amount) >= AMOUNT_MAX:
        raise ValueError("an amount is beyond every bound")
    return amount


def minor_of(amount: Decimal, currency: str) -> int:
    """Return an amount in the currency's smallest unit, rounded half up where the platform tells more digits than there are.

    Raises ValueError for one beyond bounds.
    """
    return money_from_decimal(checked_amount(amount), currency).amount_minor


def utc_of(moment: datetime) -> datetime:
    """Return the moment as aware UTC; one without a zone is UTC already."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def version_of(moment: datetime) -> int:
    """Return a time of change as a version: microseconds since 1970, never below 0."""
    return max(0, (utc_of(moment) - EPOCH) // timedelta(microseconds=1))


RESERVATION_NAME = "tidegate_reservation"
"""Under which name an order carries the reservations that it claims: an attribute, a property or a piece of meta data."""
RESERVATIONS_MAX = 20
_RESERVATION_CHARS_MAX = 120


def reservations_of(pieces: Iterable[tuple[object, object]]) -> tuple[str, ...]:
    """Return the reservations that an order's (name, value) pieces name: several in one value are parted by commas.

    What cannot be one is left out: shoppers may write such pieces, and an order is never refused for them.
    """
    found: dict[str, None] = {}
    for name, value in pieces:
        if name == RESERVATION_NAME and isinstance(value, str):
            for text in value.split(","):
                if 0 < len(text.strip()) <= _RESERVATION_CHARS_MAX and text.isprintable():
                    found[text.strip()] = None
    return tuple(found)[:RESERVATIONS_MAX]
