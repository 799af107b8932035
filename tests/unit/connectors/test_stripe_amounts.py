"""Stripe's smallest units, and its forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.connectors.stripe.amounts import from_stripe, to_stripe
from tidegate.connectors.stripe.forms import flatten


@pytest.mark.parametrize(
    ("currency", "ours", "theirs"),
    [
        ("EUR", 1999, 1999),
        ("JPY", 500, 500),
        ("KWD", 1230, 1230),
        ("ISK", 500, 50_000),
        ("UGX", 500, 50_000),
        ("MGA", 500, 5),
    ],
)
def test_units_of_both_sides(currency: str, ours: int, theirs: int) -> None:
    assert to_stripe(ours, currency) == theirs
    assert from_stripe(theirs, currency.lower()) == ours


@pytest.mark.parametrize(("currency", "amount"), [("KWD", 1234), ("MGA", 501)])
def test_what_would_have_to_be_rounded_is_refused(currency: str, amount: int) -> None:
    with pytest.raises(ValueError, match=currency):
        to_stripe(amount, currency)


@given(st.integers(0, 10**9), st.sampled_from(("EUR", "USD", "JPY", "ISK", "UGX", "CLP", "HUF")))
def test_there_and_back_is_the_same(amount: int, currency: str) -> None:
    assert from_stripe(to_stripe(amount, currency), currency) == amount


def test_forms_have_brackets() -> None:
    nested = {"amount": 10, "metadata": {"a": "b c"}, "expand": ["x", "y"], "final_capture": False}

    assert flatten(nested) == {
        "amount": "10", "metadata[a]": "b c", "expand[0]": "x", "expand[1]": "y", "final_capture": "false"
    }  # fmt: skip
