"""The sale that Tryton makes of an order has the order's total, to the smallest unit."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate.commerce.changes import OrderPrivate
from tidegate.commerce.commands import CreateOrder, OrderLineOut
from tidegate.commerce.money import Money, currency_exponent
from tidegate.connectors.tryton.facts import Facts
from tidegate.connectors.tryton.sale import _sale

FACTS = Facts(
    company=1,
    web_shop=1,
    warehouse=5,
    customer=2,
    address=2,
    payment_term=1,
    unit=1,
    shipping_product=901,
    discount_product=902,
    currencies={"EUR": 1, "JPY": 2, "KWD": 3},
)
Bought = tuple[int, int]
"""(units, gross total of the line in minor units)."""


def order_of(currency: str, bought: list[Bought], shipping_minor: int, total_minor: int) -> CreateOrder:
    lines = []
    for number, (units, line_minor) in enumerate(bought, start=1):
        price = Money(line_minor, currency).to_decimal() / units  # as a channel's mapper gives it: six digits
        line = OrderLineOut(
            reference=f"oln_c0_{number}",
            sku=f"SKU-{number}",
            item_external_id=str(number),
            title="",
            quantity=units,
            unit_price=format(round(price, 6), "f"),
            total_minor=line_minor,
        )
        lines.append(line)
    return CreateOrder(
        reference="ord_c0_x",
        number="#1",
        channel="shop",
        placed_at=datetime(2026, 11, 23, tzinfo=UTC),
        currency=currency,
        lines=tuple(lines),
        shipping_minor=shipping_minor,
        shipping_method="parcel",
        discount_minor=0,
        total_minor=total_minor,
        private=OrderPrivate(),
    )


def lines_of(sale: dict[str, Any]) -> list[dict[str, Any]]:
    ((_, lines),) = sale["lines"]
    return list(lines)


def total_in_tryton(sale: dict[str, Any], currency: str) -> Decimal:
    """Add up as Tryton does: each line's amount rounded half to even, measured on 8.2."""
    smallest = Decimal(1).scaleb(-currency_exponent(currency))
    amounts = [Decimal(str(line["quantity"])) * Decimal(line["unit_price"]["decimal"]) for line in lines_of(sale)]
    return sum((amount.quantize(smallest, ROUND_HALF_EVEN) for amount in amounts), Decimal(0))


@settings(max_examples=400, deadline=None)
@given(
    currency=st.sampled_from(["EUR", "JPY", "KWD"]),
    bought=st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 2_000_000)), min_size=1, max_size=8),
    shipping_minor=st.integers(0, 5000),
    less_minor=st.integers(-5000, 100_000),
)
@example(currency="EUR", bought=[(150, 4)], shipping_minor=0, less_minor=0)
def test_the_sale_has_the_total_of_the_order(
    currency: str, bought: list[Bought], shipping_minor: int, less_minor: int
) -> None:
    total_minor = sum(line_minor for _, line_minor in bought) + shipping_minor - less_minor
    order = order_of(currency, bought, shipping_minor, total_minor)

    sale = _sale(order, FACTS)

    assert total_in_tryton(sale, currency) == Money(total_minor, currency).to_decimal()
    goods = [line for line in lines_of(sale) if "note" in line]
    assert [(line["note"], line["quantity"]) for line in goods] == [
        (line.reference, float(line.quantity)) for line in order.lines
    ]
    prices = [Decimal(line["unit_price"]["decimal"]) for line in lines_of(sale)]
    assert all(-price.as_tuple().exponent <= 4 for price in prices), "Tryton refuses more digits"  # type: ignore[operator]


def test_an_order_without_rounding_and_discount_has_no_line_for_them() -> None:
    sale = _sale(order_of("EUR", [(2, 1980), (1, 4990)], 490, 7460), FACTS)

    assert [line["product"] for line in lines_of(sale)] == [1, 2, 901]


def test_a_discount_is_a_line_of_its_own() -> None:
    sale = _sale(order_of("EUR", [(2, 1980)], 0, 1680), FACTS)

    assert lines_of(sale)[-1]["product"] == 902
    assert lines_of(sale)[-1]["unit_price"]["decimal"] == "-3.0000"
