"""Whoever ordered first is served first, and no order is promised a day on which what it needs is not there."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tidegate.inventory.backorder import Receipt, promised_on, short_of

FIRST = date(2026, 12, 1)
days = st.none() | st.integers(0, 9).map(lambda n: FIRST + timedelta(days=n))
receipts = st.lists(st.builds(Receipt, days, st.integers(1, 9)), max_size=6)
orders = st.lists(st.integers(1, 6).map(lambda units: {"units": units}), max_size=8)


@given(st.integers(0, 40), orders)
def test_the_newest_orders_lack_what_is_missing(missing: int, found: list[dict[str, int]]) -> None:
    short = short_of(missing, found)

    assert sum(lacks for _, lacks in short) == min(missing, sum(order["units"] for order in found))
    assert [order for order, _ in short] == found[: len(short)]
    assert all(lacks == order["units"] for order, lacks in short[:-1])


@given(st.integers(1, 40), orders, receipts)
def test_what_is_promised_is_there_in_the_order_of_the_orders(
    missing: int, found: list[dict[str, int]], coming: list[Receipt]
) -> None:
    lacks = [units for _, units in short_of(missing, found)]
    promised = promised_on(missing, lacks, coming)

    assert len(promised) == len(lacks)
    for place, day in enumerate(promised):
        need = missing - sum(lacks[:place])  # its own and those of all older ones
        there = [
            sum(units for on, units in coming if on is not None and on <= at)
            for at in sorted({on for on, _ in coming if on})
        ]
        if day is None:
            assert all(units < need for units in there)
        else:
            assert sum(units for on, units in coming if on is not None and on <= day) >= need
            assert sum(units for on, units in coming if on is not None and on < day) < need
    known = [day for day in promised if day is not None]
    assert known == sorted(known, reverse=True), "an older order is never promised a later day"
    assert None not in promised[len(promised) - len(known) :], "where an older one is promised nothing, no newer one is"
