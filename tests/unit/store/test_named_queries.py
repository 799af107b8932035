"""The loader of named SQL statements fails early instead of running the wrong text."""

import pytest

from tidegate.kernel.errors import InvariantError
from tidegate.store.sql import parse_queries, query


def test_blocks_become_named_statements() -> None:
    text = "-- about this file\n\n-- name: one\n-- Reads one.\nSELECT 1;\n\n-- name: two\nSELECT\n  2"

    statements = parse_queries([("a.sql", text)])

    assert dict(statements) == {"one": "-- Reads one.\nSELECT 1;", "two": "SELECT\n  2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1\n-- name: one\nSELECT 1", "before the first name"),
        ("-- name: one\n-- nothing else\n", "'one' is empty"),
        ("-- name: One\nSELECT 1", "'One' is not a statement name"),
        ("-- name: one\nSELECT 1\n-- name: one\nSELECT 2", "'one' exists twice"),
    ],
)
def test_a_malformed_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvariantError, match=message):
        parse_queries([("a.sql", text)])


def test_a_name_is_unique_over_all_files() -> None:
    with pytest.raises(InvariantError, match=r"b\.sql: the SQL statement 'one' exists twice"):
        parse_queries([("a.sql", "-- name: one\nSELECT 1"), ("b.sql", "-- name: one\nSELECT 1")])


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InvariantError, match="no_such_statement"):
        query("no_such_statement")
