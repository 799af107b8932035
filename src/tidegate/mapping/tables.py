"""Value tables: what the target calls a tax, a carrier, a payment, an article. Inline or from CSV. Pure.

Keys and values are text: a code that begins with 0 keeps it. A key that is not there is never guessed; `"*"` stands for
all others when the table has it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from tidegate.mapping.problems import MapProblem, Place
from tidegate.mapping.references import Files, is_file_name, is_file_table

ANY = "*"
"""Key of a table that stands for every other one."""
ROWS_MAX = 200_000
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_QUOTE = "put it in quotes: codes are texts"


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One table."""

    entries: Mapping[str, str] = {}
    """For look-ups in maps."""
    rows: Mapping[str, list[dict[str, str]]] | None = None
    """`rows: true`: every row of a key by column, for hooks."""
    origin: str = "inline"
    """inline, or the name of the file."""

    def find(self, key: str) -> str | None:
        """Return what stands for a key, or for all others, else None."""
        return self.entries.get(key, self.entries.get(ANY))

    def for_hooks(self) -> dict[str, Any]:
        """Return the table as hooks see it."""
        return dict(self.rows if self.rows is not None else self.entries)


def read_tables(raw: Mapping[str, Any], files: Files | None) -> tuple[dict[str, Table], list[MapProblem]]:
    """Return the tables by name, and what is wrong with them. `files` None: contents of files are not looked at."""
    tables: dict[str, Table] = {}
    problems: list[MapProblem] = []
    for name, entry in raw.items():
        place: Place = ("tables", name)
        if not _NAME.fullmatch(name):
            problems.append(
                MapProblem(place=place, message=f"{name!r} cannot be the name of a table", hint="use a-z, 0-9, _")
            )
        if not isinstance(entry, dict) or not entry:
            hint = 'write {"Express": DHL, "*": POST}, or {csv: tables/carriers.csv}'
            problems.append(MapProblem(place=place, message=f"table {name!r} has no entries", hint=hint))
        elif is_file_table(entry):
            tables[name] = _read_file(entry, place, files, problems)
        else:
            tables[name] = read_inline(entry, place, problems)
    return tables, problems


def read_inline(entry: Mapping[str, Any], place: Place, problems: list[MapProblem]) -> Table:
    """Return a table that stands in the configuration itself."""
    entries = {}
    for key, value in entry.items():
        text = _as_text(value)
        if text is None:
            message = f"the value of {key!r} must be a text"
            problems.append(MapProblem(place=(*place, key), message=message, hint=_QUOTE))
        else:
            entries[str(key)] = text
    return Table(entries=entries)


def _as_text(value: Any) -> str | None:
    """Whole numbers are exact and may do without quotes; 1.10 would lose its zero, and is refused."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _read_file(entry: Mapping[str, Any], place: Place, files: Files | None, problems: list[MapProblem]) -> Table:
    name = entry["csv"]
    if not isinstance(name, str) or not is_file_name(name):
        hint = "name a file below the folder of tidegate.yaml, for example tables/taxes.csv"
        problems.append(MapProblem(place=(*place, "csv"), message=f"{name!r} is no name of a file here", hint=hint))
        return Table(origin=str(name))
    if not isinstance(entry.get("rows", False), bool):
        problems.append(MapProblem(place=(*place, "rows"), message="rows must be true or false"))
        return Table(origin=name)
    if files is None:
        return Table(origin=name, rows={} if entry.get("rows") else None)
    if name not in files:
        hint = "put it into the folder of tidegate.yaml"
        problems.append(MapProblem(place=(*place, "csv"), message=f"there is no file {name}", hint=hint))
        return Table(origin=name)
    try:
        return parse_csv(
            files[name],
            origin=name,
            key=entry.get("key"),
            value=entry.get("value"),
            has_rows=bool(entry.get("rows", False)),
        )
    except ValueError as error:
        problems.append(
            MapProblem(place=(*place, "csv"), message=f"{name}{error}", hint="see docs/reference/mapping.md")
        )
        return Table(origin=name)


def parse_csv(text: str, *, origin: str, key: object = None, value: object = None, has_rows: bool = False) -> Table:
    """Return the table of a CSV text with a line of column names; the separator is `,`, `;` or a tab.

    `key` and `value` name columns, by default the first and the second. Raises ValueError whose text begins with the
    line: `:3: ...`.
    """
    first = text.partition("\n")[0]
    separator = max((",", ";", "\t"), key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    entries: dict[str, str] = {}
    rows: dict[str, list[dict[str, str]]] = {}
    try:
        columns = [name.strip() for name in next(reader, [])]
        key_at, value_at = _column(columns, key, 0), _column(columns, value, 1) if not has_rows else 0
        for cells in reader:
            if any(cell.strip() for cell in cells):
                row = _row(columns, cells, reader.line_num)
                word = row[columns[key_at]]
                if not word:
                    _refuse(f"no {columns[key_at]!r}")
                if has_rows:
                    rows.setdefault(word, []).append(row)
                elif entries.setdefault(word, row[columns[value_at]]) != row[columns[value_at]]:
                    _refuse(f"{word!r} stands here a second time, with another value")
    except (ValueError, csv.Error) as error:
        raise ValueError(f":{max(1, reader.line_num)}: {error}") from error
    return Table(entries=entries, rows=rows if has_rows else None, origin=origin)


def _row(columns: list[str], cells: list[str], line: int) -> dict[str, str]:
    if line > ROWS_MAX:
        _refuse(f"more than {ROWS_MAX} lines")
    if len(cells) != len(columns):
        _refuse(f"{len(cells)} values where there are {len(columns)} columns")
    return dict(zip(columns, (cell.strip() for cell in cells), strict=True))


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)


def _column(columns: list[str], name: object, default: int) -> int:
    if len(columns) < 2 or len(set(columns)) < len(columns):
        raise ValueError("the first line must name at least two columns, each once")
    if name is None:
        return default
    if name not in columns:
        raise ValueError(f"there is no column {name!r}; there are: {', '.join(columns)}")
    return columns.index(str(name))
