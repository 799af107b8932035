"""Value tables: inline and CSV; codes stay texts; what is wrong is named with its line."""

from __future__ import annotations

import pytest
from tests.mapbed import compiled, order_of, shaped

from tidegate.mapping.tables import parse_csv


def test_a_csv_keeps_leading_zeros_and_takes_any_of_three_separators() -> None:
    for separator in (",", ";", "\t"):
        text = f"shop{separator}erp\n007{separator}0042\n BOX {separator}4711\n\n"
        assert parse_csv(text, origin="t.csv").entries == {"007": "0042", "BOX": "4711"}


def test_columns_are_chosen_by_name() -> None:
    text = "id,shop,erp\n1,A,X\n2,B,Y\n"
    assert parse_csv(text, origin="t.csv", key="shop", value="erp").entries == {"A": "X", "B": "Y"}


def test_rows_of_a_key_are_kept_for_hooks() -> None:
    table = parse_csv("box,sku,qty\nB1,A,2\nB1,C,1\n", origin="t.csv", has_rows=True)
    assert table.for_hooks() == {"B1": [{"box": "B1", "sku": "A", "qty": "2"}, {"box": "B1", "sku": "C", "qty": "1"}]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ":1: the first line must name at least two columns"),
        ("a\n1\n", ":1: the first line must name at least two columns"),
        ("a,a\n1,2\n", ":1: the first line must name at least two columns, each once"),
        ("a,b\n1\n", ":2: 1 values where there are 2 columns"),
        ("a,b\n1,2\n,3\n", ":3: no 'a'"),
        ("a,b\n1,2\n1,3\n", ":3: '1' stands here a second time, with another value"),
        ('a,b\n1,"2\n', ":2: unexpected end of data"),
    ],
)
def test_a_bad_csv_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^:\d+: ") as caught:
        parse_csv(text, origin="t.csv")
    assert str(caught.value).startswith(why)


def test_equal_rows_may_be_repeated() -> None:
    assert parse_csv("a,b\n1,2\n1,2\n", origin="t.csv").entries == {"1": "2"}


def test_a_table_in_a_file_is_used_like_one_in_the_configuration() -> None:
    order = order_of(
        shaped(
            {"lines.sku": {"from": "line.sku", "table": "skus"}},
            tables={"skus": {"csv": "tables/skus.csv", "key": "shop", "value": "erp"}},
            files={"tables/skus.csv": "shop,erp\nBOX,4711\n007,0042\n"},
        )
    )
    assert [line.sku for line in order.lines] == ["4711", "0042"]


@pytest.mark.parametrize(
    "name", ["../secret.csv", "/etc/passwd", "a/../b.csv", "a//b.csv", "", "C:\\x.csv", "a\nb.csv"]
)
def test_a_file_outside_of_the_project_is_no_table(name: str) -> None:
    _, problems = compiled({"note": {"from": "email", "table": "t"}}, tables={"t": {"csv": name}}, files={})
    assert problems[0].place == ("tables", "t", "csv")


def test_a_file_that_is_not_there_is_named() -> None:
    _, problems = compiled({"note": {"from": "email", "table": "t"}}, tables={"t": {"csv": "t.csv"}}, files={})
    assert problems[0].message == "there is no file t.csv"
