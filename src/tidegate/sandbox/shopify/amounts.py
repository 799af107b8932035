"""Amounts and moments as Shopify writes them: decimal strings, and whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from tidegate.sandbox.shopify.errors import Refusal

_WITHOUT_MINOR = frozenset({"JPY", "KRW", "CLP", "VND", "ISK"})
_WITH_THREE = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})


def exponent(currency: str) -> int:
    """Return how many digits an amount of this currency has after the point."""
    return 0 if currency in _WITHOUT_MINOR else 3 if currency in _WITH_THREE else 2


def amount(minor: int, currency: str) -> str:
    """Return an amount as a decimal string, like `12.90`."""
    digits = exponent(currency)
    return f"{Decimal(minor).scaleb(-digits):.{max(1, digits)}f}"


def minor_of(text: Any, currency: str) -> int:
    """Return a decimal string in minor units. Raises Refusal for what is no amount, or has too many digits."""
    try:
        value = Decimal(str(text)).scaleb(exponent(currency))
        whole = int(value)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise Refusal(f"{text!r} is no amount", "INVALID_VARIABLE") from error
    if value != whole:
        raise Refusal(f"{text!r} has more digits than {currency} has", "INVALID_VARIABLE")
    return whole


def money(minor: int, currency: str) -> dict[str, Any]:
    """Return an amount in the shop's and in the shopper's currency, which are one here."""
    one = {"amount": amount(minor, currency), "currencyCode": currency}
    return {"shopMoney": one, "presentmentMoney": one}


def instant(seconds: float | None) -> str | None:
    """Return a moment in UTC, to the second, or None."""
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
