"""Reading amounts and times of platforms the same way in every mapper. Pure; what cannot be read exactly raises ValueError."""

from __future__ import annotations

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
