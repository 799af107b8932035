"""matches.csv: what goes out comes back, whatever a spreadsheet does to it; decisions are never lost."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.kernel.errors import ConfigurationError
from tidegate.sync.match_file import COLUMNS, format_file, guard, read_decisions, read_rows, undecided_rows, unguard
from tidegate.sync.open_matches import OpenMatch

HEADER = "connection,external_id,decision\n"


def row(external_id: str, sku: str, **changes: object) -> OpenMatch:
    values = {"connection": "shop", "title": "T", "barcode": "", "reason": "missing", **changes}
    return OpenMatch(external_id=external_id, sku=sku, **values)  # type: ignore[arg-type]


@given(st.text(alphabet=st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",)), max_size=40))
def test_a_guarded_cell_comes_back_and_is_no_formula(text: str) -> None:
    assert unguard(guard(text)) == text
    assert not guard(text).startswith(("=", "+", "-", "@", "\t"))


def test_the_file_is_in_a_stable_order_and_quotes_what_it_must() -> None:
    rows = [row("10", "b"), row("2", "B"), row("3", '=HYPERLINK("http://evil")', title="a,b")]

    text = format_file(rows, {})

    lines = text.splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert [line.split(",")[1] for line in lines[1:]] == ["3", "2", "10"]
    assert "\"'=HYPERLINK" in lines[1]
    assert text == format_file(reversed(rows), {})


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_file_is_read_whatever_country_saved_it(separator: str) -> None:
    text = f"\ufeff{HEADER}shop,1,bind:A-1\r\n".replace(",", separator)

    decisions, faults = read_decisions(read_rows(text.encode()))

    assert faults == []
    assert [(one.external_id, one.verb, one.sku) for one in decisions] == [("1", "bind", "A-1")]


def test_wrong_cells_are_named_by_row_and_column() -> None:
    text = HEADER + "shop,1,perhaps\nshop,,ignore\nshop,2,new\nshop,2,ignore\n\nshop,3,\n"

    decisions, faults = read_decisions(read_rows(text.encode()))

    assert [(one.external_id, one.verb) for one in decisions] == [("2", "new")]
    assert [(fault.line, fault.column) for fault in faults] == [(2, "decision"), (3, "external_id"), (5, "decision")]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xfe\x00", "UTF-8"),
        (b"", "no column connection"),
        (b"connection,decision\nshop,new\n", "external_id"),
        (b"connection,external_id,decision,decision\n", "twice"),
        (HEADER.encode() + b'shop,"1,new\n', "row"),
    ],
)
def test_what_is_no_such_file_is_refused_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        read_rows(data)


@given(st.binary(max_size=200))
def test_garbage_is_read_or_refused_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(ConfigurationError):
        read_decisions(read_rows(HEADER.encode() + data))


def test_a_decision_that_was_not_read_in_survives_a_new_file() -> None:
    text = format_file([row("1", "A"), row("2", "B")], {}).splitlines()
    edited = "\r\n".join([text[0], text[1] + "bind:X", text[2] + "ignore"])

    kept = undecided_rows(read_rows(edited.encode()), {("shop", "2"): "ignore"})
    again = format_file([row("1", "A"), row("3", "C")], kept)

    assert again.splitlines()[1].endswith(",bind:X")
    assert "ignore" not in again
    gone = format_file([row("3", "C")], kept)
    assert gone.splitlines()[-1].startswith("shop,1,A")
