"""Money: exact in every currency, split without losing a unit."""

import itertools
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.commerce.money import Money, allocate, currency_exponent, money_from_decimal

EXPONENTS = {"JPY": 0, "KRW": 0, "EUR": 2, "USD": 2, "XYZ": 2, "KWD": 3, "TND": 3, "CLF": 4}
currencies = st.sampled_from(sorted(EXPONENTS))
amounts = st.integers(-(10**15), 10**15)
decimals = st.decimals(min_value=-(10**12), max_value=10**12, allow_nan=False, places=8)


@pytest.mark.parametrize("currency", EXPONENTS)
def test_digits_after_the_point(currency: str) -> None:
    assert currency_exponent(currency) == EXPONENTS[currency]


@given(amounts, currencies)
def test_minor_units_survive_the_way_through_decimals(amount: int, currency: str) -> None:
    money = Money(amount, currency)

    assert money.to_decimal() * 10 ** EXPONENTS[currency] == amount
    assert money_from_decimal(money.to_decimal(), currency) == money
    assert money_from_decimal(str(money.to_decimal()), currency) == money


@given(decimals, currencies)
def test_rounding_is_half_up_away_from_zero_and_never_off_by_more_than_half(value: Decimal, currency: str) -> None:
    found = money_from_decimal(value, currency).amount_minor
    exact = Fraction(value) * 10 ** EXPONENTS[currency]

    assert abs(found - exact) <= Fraction(1, 2)
    if abs(found - exact) == Fraction(1, 2):
        assert abs(found) > abs(exact)
    assert found == int(Decimal(value).scaleb(EXPONENTS[currency]).quantize(Decimal(1), ROUND_HALF_UP))


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("19.90", "EUR", 1990),
        ("0.005", "EUR", 1),
        ("-0.005", "EUR", -1),
        ("0.0049999999999999", "EUR", 0),
        ("1500", "JPY", 1500),
        ("1499.5", "JPY", 1500),
        ("1.2345", "KWD", 1235),
        ("1e3", "EUR", 100_000),
        ("0", "EUR", 0),
    ],
)
def test_amounts_as_platforms_write_them(text: str, currency: str, minor: int) -> None:
    assert money_from_decimal(text, currency) == Money(minor, currency)


@pytest.mark.parametrize(
    "text", ["", "NaN", "sNaN", "Infinity", "-inf", "12,50", "1.2.3", "€5", "1e400", "0x10", "None"]
)
def test_what_is_no_amount_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        money_from_decimal(text, "EUR")


@given(amounts, st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
def test_parts_add_up_and_stay_within_one_unit_of_their_share(amount: int, weights: list[int]) -> None:
    parts = allocate(amount, weights)
    total = sum(weights)

    assert sum(parts) == amount
    assert len(parts) == len(weights)
    if total:
        assert all(
            abs(part - Fraction(amount * weight, total)) < 1 for part, weight in zip(parts, weights, strict=True)
        )
        assert all(part == 0 for part, weight in zip(parts, weights, strict=True) if weight == 0)


@given(amounts, st.lists(st.integers(1, 10**6), min_size=1, max_size=20))
def test_a_larger_weight_never_gets_less_of_a_positive_amount(amount: int, weights: list[int]) -> None:
    parts = allocate(abs(amount), weights)

    ordered = sorted(zip(weights, parts, strict=True))
    for (weight, part), (other_weight, other_part) in itertools.pairwise(ordered):
        assert part <= other_part or weight == other_weight


@given(amounts, st.integers(1, 20))
def test_equal_weights_differ_by_at_most_one_unit_and_the_first_get_more(amount: int, count: int) -> None:
    parts = allocate(amount, [7] * count)

    assert max(parts) - min(parts) <= 1
    assert parts == sorted(parts, reverse=True)


def test_no_weight_at_all_gives_everything_to_the_first() -> None:
    assert allocate(5, [0, 0, 0]) == [5, 0, 0]
    with pytest.raises(ValueError, match="nothing"):
        allocate(5, [])
