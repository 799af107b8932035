"""The books: units are neither made nor lost, and stock that is enforced never goes below zero."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.sandbox.books import Books, Item, Level, OutOfStock

SKUS, LOCATIONS = ("A", "B"), ("one", "two")
stock = st.tuples(*[st.integers(-3, 6)] * 4)
purchases = st.lists(st.lists(st.tuples(st.sampled_from(SKUS), st.integers(1, 5)), min_size=1, max_size=3), max_size=12)


def books_with(numbers: tuple[int, ...]) -> Books:
    books, left = Books(), iter(numbers)
    for sku in SKUS:
        levels = {location: Level(next(left)) for location in LOCATIONS}
        books.add_item(Item(sku=sku, title=sku, price_minor=1, levels=levels))
    return books


def available(books: Books, sku: str) -> int:
    return sum(level.available for level in books.items[sku].levels.values())


@given(stock, purchases, st.booleans())
def test_units_move_from_available_to_committed(
    numbers: tuple[int, ...], wanted: list[list[tuple[str, int]]], enforces: bool
) -> None:
    """Of every sale, all or nothing; what is refused changes nothing."""
    books = books_with(numbers)
    for lines in wanted:
        before = {sku: available(books, sku) for sku in SKUS}
        result = books.take(lines, LOCATIONS, enforces=enforces, now=1.0)
        sold = {sku: sum(units for name, units in lines if name == sku) for sku in SKUS}
        if isinstance(result, OutOfStock):
            assert {sku: available(books, sku) for sku in SKUS} == before
            continue
        assert [sum(taken.values()) for taken in result] == [units for _, units in lines]
        assert {sku: before[sku] - available(books, sku) for sku in SKUS} == sold
    for sku, (one, two) in zip(SKUS, (numbers[:2], numbers[2:]), strict=True):
        item = books.items[sku]
        assert available(books, sku) + sum(level.committed for level in item.levels.values()) == one + two
        if enforces:
            assert all(
                level.available >= min(0, start) for level, start in zip(item.levels.values(), (one, two), strict=True)
            )
            assert item.oversold == 0


@given(stock, purchases)
def test_sold_below_zero_is_counted_to_the_unit(numbers: tuple[int, ...], wanted: list[list[tuple[str, int]]]) -> None:
    """`oversold` is how many units were sold that were not there."""
    books = books_with(numbers)
    for lines in wanted:
        books.take(lines, LOCATIONS, enforces=False, now=1.0)
    for sku, pair in zip(SKUS, (numbers[:2], numbers[2:]), strict=True):
        item = books.items[sku]
        there = sum(max(0, number) for number in pair)
        assert item.oversold == max(0, item.sold - there)


def test_an_effect_is_counted_by_its_key() -> None:
    """Twice under one key is doubled; under two keys it is two effects."""
    books = Books()
    books.count("capture", "a", amount=100, now=1.0)
    books.count("capture", "a", amount=100, now=2.0)
    books.count("capture", "b", amount=5, now=3.0)
    assert {key: (effect.times, effect.amount) for key, effect in books.effects["capture"].items()} == {
        "a": (2, 200),
        "b": (1, 5),
    }
