"""A row of a spreadsheet says what it says, or is named with what is wrong; nothing is guessed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.sync.match_file import Fault
from tidegate.sync.stock_file import NUMBERS, READ, Wish, cell_text, find_columns, read_row

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def wishes(**cells: str) -> list[tuple[str, int, str]]:
    found = read_row(2, {"sku": "A", **cells}, now=NOW)
    assert isinstance(found, list), found
    return [(wish.counter, wish.number, wish.reason) for wish in found]


def test_a_row_says_several_things() -> None:
    assert wishes(on_hand="12", damaged="2", safety_stock="0") == [
        ("on_hand", 12, "counted"),
        ("safety_stock", 0, "counted"),
        ("damaged", 2, "damaged"),
    ]
    assert wishes(by="-3", reason="Lost") == [("by", -3, "lost")]
    assert wishes(by="0") == []
    assert wishes(on_hand="7.0") == [("on_hand", 7, "counted")]


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ({"sku": ""}, "sku"),
        ({"sku": "a\x00b", "on_hand": "1"}, "sku"),
        ({"on_hand": "1.000"}, "on_hand"),
        ({"on_hand": "1,000"}, "on_hand"),
        ({"on_hand": "1.5"}, "on_hand"),
        ({"on_hand": "-1"}, "on_hand"),
        ({"on_hand": "١٢"}, "on_hand"),
        ({"on_hand": "999999999999"}, "on_hand"),
        ({"on_hand": "=1+1"}, "on_hand"),
        ({"on_hand": "1e3"}, "on_hand"),
        ({"on_hand": "1", "by": "2", "reason": "found"}, "by"),
        ({"by": "2"}, "reason"),
        ({"by": "2", "reason": "because"}, "reason"),
        ({"on_hand": "1", "reason": "lost"}, "reason"),
        ({"on_hand": "1", "note": "x" * 501}, "note"),
        ({"on_hand": "1", "key": "a\tb"}, "key"),
        ({"on_hand": "1", "counted_at": "yesterday"}, "counted_at"),
        ({"on_hand": "1", "counted_at": "2026-11-28T00:00+00:00"}, "counted_at"),
        ({"on_hand": "1", "version": "-1"}, "version"),
    ],
)
def test_what_cannot_be_read_is_named(cells: dict[str, str], column: str) -> None:
    found = read_row(7, {"sku": "A", **cells}, now=NOW)
    assert isinstance(found, Fault)
    assert (found.line, found.column) == (7, column)
    assert found.message


@given(st.dictionaries(st.sampled_from(READ), st.text(max_size=30)))
def test_no_row_breaks_it(cells: dict[str, str]) -> None:
    found = read_row(2, cells, now=NOW)
    assert isinstance(found, Fault) or all(isinstance(each, Wish) and each.counter in NUMBERS for each in found)


def test_columns_are_found_and_mapped() -> None:
    found, unknown = find_columns(["Artikel", "On hand", "Colour", "available", "rejected_row"], {"sku": "Artikel"})
    assert found == {0: "sku", 1: "on_hand"}
    assert unknown == ["Colour"]
    found, _ = find_columns(["sku", "on_hand", "Gezählt"], {"on_hand": "Gezählt"})
    assert found == {0: "sku", 2: "on_hand"}


@pytest.mark.parametrize(
    ("header", "mapping"),
    [
        (["on_hand"], {}),
        (["sku", "title"], {}),
        (["sku", "SKU", "on_hand"], {}),
        (["sku", "on_hand"], {"by": "Menge"}),
    ],
)
def test_a_header_that_says_too_little_is_refused(header: list[str], mapping: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"column"):
        find_columns(header, mapping)


def test_cells_of_a_workbook_are_text() -> None:
    values = (None, 12, 12.0, 1.5, True, " x ", datetime(2026, 11, 27, 10))  # noqa: DTZ001 - a workbook knows no zone
    assert [cell_text(each) for each in values] == ["", "12", "12", "1.5", "true", "x", "2026-11-27T10:00:00"]
