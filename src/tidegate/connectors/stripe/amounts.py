"""Stripe's smallest units. They differ from ISO 4217 for a few currencies. Pure.

Source: docs.stripe.com/currencies, "Zero-decimal currencies", "Special cases" and "Three-decimal currencies".
"""

from __future__ import annotations

from tidegate.commerce.money import currency_exponent

_EXPONENTS = {"ISK": 2, "UGX": 2, "MGA": 0}
"""Digits after the point as Stripe counts, where ISO 4217 counts others: ISK and UGX keep the two they once had."""
_LAST_DIGIT_ZERO = frozenset(("BHD", "JOD", "KWD", "OMR", "TND"))
"""Three decimals, of which the last must be 0: the card networks take no more than two."""


def to_stripe(amount_minor: int, currency: str) -> int:
    """Return our minor units as Stripe's. Raises ValueError where it would have to be rounded: nothing is, silently."""
    code = currency.upper()
    shift = _EXPONENTS.get(code, currency_exponent(code)) - currency_exponent(code)
    amount = amount_minor * 10**shift if shift >= 0 else _divided(amount_minor, 10**-shift, code)
    if code in _LAST_DIGIT_ZERO and amount % 10:
        raise ValueError(f"Stripe takes amounts of {code} with two decimals only")
    return amount


def from_stripe(amount: int, currency: str) -> int:
    """Return Stripe's smallest units as our minor units. Raises ValueError where it would have to be rounded."""
    code = currency.upper()
    shift = currency_exponent(code) - _EXPONENTS.get(code, currency_exponent(code))
    return amount * 10**shift if shift >= 0 else _divided(amount, 10**-shift, code)


def _divided(amount: int, by: int, currency: str) -> int:
    whole, rest = divmod(amount, by)
    if rest:
        raise ValueError(f"an amount of {currency} has no fractions")
    return whole
