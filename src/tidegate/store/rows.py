"""Insert many new rows with one statement, each column as an array.

COPY would be cheaper, but a table with row security does not take it from anybody but its owner.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.store.connections import Connection

_TYPES = """
SELECT a.attname, format_type(a.atttypid, NULL) FROM pg_attribute a
WHERE a.attrelid = to_regclass(quote_ident($1)) AND a.attnum > 0 AND NOT a.attisdropped
"""
_statements: dict[tuple[str, tuple[str, ...]], str] = {}
"""Statements that were built, by table and columns: the types are asked for once."""


async def insert_rows(conn: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    """Insert `rows`, each with a value for every one of `columns`. Names come from our own code, never from outside."""
    if not rows:
        return
    key = (table, tuple(columns))
    if key not in _statements:
        _statements[key] = build_insert(table, columns, dict(await conn.fetch(_TYPES, table)))
    await conn.execute(_statements[key], *(list(column) for column in zip(*rows, strict=True)))


def build_insert(table: str, columns: Sequence[str], types: dict[str, str]) -> str:
    """Return the statement, given the type of each column. Pure."""
    names = ", ".join(columns)
    arrays = ", ".join(f"${place}::{types[name]}[]" for place, name in enumerate(columns, 1))
    return f'INSERT INTO "{table}" ({names}) SELECT * FROM unnest({arrays})'  # noqa: S608 - names of ours
