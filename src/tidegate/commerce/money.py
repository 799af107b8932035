"""Money in integers of the smallest unit, never in floats."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

import msgspec

_NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DIGITS = "CLF UYW"
_EXPONENTS = {
    code: digits for codes, digits in ((_NO_DIGITS, 0), (_THREE_DIGITS, 3), (_FOUR_DIGITS, 4)) for code in codes.split()
}
"""Digits after the point where it is not two. Source: ISO 4217 list one."""


def currency_exponent(currency: str) -> int:
    """Return the digits after the decimal point of an ISO 4217 code (JPY 0, EUR 2, KWD 3)."""
    return _EXPONENTS.get(currency, 2)


class Money(msgspec.Struct, frozen=True, order=True):
    """An amount: integer minor units and an ISO 4217 code."""

    amount_minor: int
    currency: str

    def to_decimal(self) -> Decimal:
        """Return the amount in major units, exact."""
        return Decimal(self.amount_minor).scaleb(-currency_exponent(self.currency))


def money_from_decimal(text: str | Decimal, currency: str) -> Money:
    """Return money from a decimal in major units, rounded half up to the currency's digits.

    Raises ValueError for anything that is not a finite number.
    """
    try:
        value = Decimal(text)
        minor = value.scaleb(currency_exponent(currency)).quantize(Decimal(1), ROUND_HALF_UP)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not an amount") from error
    return Money(int(minor), currency)


def decimal_text(amount_minor: int, currency: str) -> str:
    """Return an amount in major units as text: '19.90'."""
    return format(Money(amount_minor, currency).to_decimal(), "f")


def allocate(amount_minor: int, weights: list[int]) -> list[int]:
    """Split an amount over weights by largest remainder; the parts add up to the amount exactly.

    `weights` are >= 0 in line order; with all weights 0 the amount goes to the first part.
    Raises ValueError for an empty list.
    """
    if not weights:
        raise ValueError("nothing to allocate to")
    total = sum(weights)
    if total == 0:
        return [amount_minor, *([0] * (len(weights) - 1))]
    parts = [amount_minor * weight // total for weight in weights]
    remainders = sorted(range(len(weights)), key=lambda i: (-(amount_minor * weights[i] % total), i))
    for index in remainders[: amount_minor - sum(parts)]:
        parts[index] += 1
    return parts
