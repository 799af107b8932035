"""`matches.csv`: open articles for a spreadsheet, and the decisions that come back. Pure.

A cell that a spreadsheet would take for a formula begins with an apostrophe; reading takes it off again. Decisions that were
written into the file and not read in yet survive when the file is written anew.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.sync.open_matches import OpenMatch, sort_key

FILE_NAME = "matches.csv"
COLUMNS = ("connection", "external_id", "sku", "title", "barcode", "reason", "candidates", "decision")
NEEDED = ("connection", "external_id", "decision")
BYTES_MAX = 64 * 1024 * 1024
ROWS_MAX = 500_000
CELL_MAX = 10_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_SEPARATORS = (",", ";", "\t")
_BIND = "bind:"

Verb = Literal["bind", "new", "ignore"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wrote behind one article."""

    line: int
    """Of the file, 1-based; the header is line 1."""
    connection: str
    external_id: str
    verb: Verb
    sku: str = ""
    """bind: the SKU of ours."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A cell that cannot be read in."""

    line: int
    column: str
    message: str

    def __str__(self) -> str:
        """Return place and message."""
        return f"row {self.line}, column {self.column}: {self.message}"


def refuse_file(name: str, faults: Sequence[Fault]) -> ConfigurationError:
    """Return the error of a file with wrong cells: it shows the first ones and counts the rest."""
    shown = "\n".join(f"  {fault}" for fault in faults[:20])
    more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
    return ConfigurationError(
        f"{name} has {len(faults)} cells that cannot be read in; nothing was changed\n{shown}{more}",
        code="matches_invalid",
        hint="correct the cells and run the command again; `tidegate matches --help` explains decisions",
    )


def format_file(rows: Iterable[OpenMatch], kept: Mapping[tuple[str, str], Sequence[str]]) -> str:
    """Return the whole file: open articles in a stable order, with the decisions that stand in `kept`.

    `kept` are rows of the file that was there whose decision was not read in yet, by (connection, external id). One whose
    article is not open any more is kept as it is, at the end.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    left = dict(kept)
    for row in sorted(rows, key=sort_key):
        old = left.pop((row.connection, row.external_id), None)
        decision = old[-1] if old is not None else ""
        cells = (row.connection, row.external_id, row.sku, row.title, row.barcode, row.reason)
        writer.writerow([*map(guard, (*cells, " | ".join(row.candidates))), guard(decision)])
    for old in left.values():
        writer.writerow([guard(cell) for cell in old])
    return out.getvalue()


def read_rows(data: bytes, *, name: str = FILE_NAME) -> list[tuple[int, dict[str, str]]]:
    """Return (line, cell by column) for every row. Raises ConfigurationError for what is no such file.

    Takes comma, semicolon or tab, with or without a byte order mark, as spreadsheets of different countries save it.
    """
    if len(data) > BYTES_MAX:
        raise _unreadable(name, f"it is larger than {BYTES_MAX // 1024 // 1024} MB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(name, "it is not UTF-8", "save it as 'CSV UTF-8'") from error
    header = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = [cell.strip().lower() for cell in next(reader, [])]
        missing = [column for column in NEEDED if column not in columns]
        if missing:
            hint = f"write it anew with `tidegate matches export`; its first row is {','.join(COLUMNS)}"
            raise _unreadable(name, f"its first row names no column {' and no '.join(missing)}", hint)
        if len(set(columns)) < len(columns):
            raise _unreadable(name, "its first row names a column twice")
        rows: list[tuple[int, dict[str, str]]] = []
        for cells in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(rows) >= ROWS_MAX:
                raise _unreadable(name, f"it has more than {ROWS_MAX} rows")
            padded = [*cells, *[""] * (len(columns) - len(cells))]
            rows.append((line, {column: unguard(cell.strip()) for column, cell in zip(columns, padded, strict=False)}))
    except csv.Error as error:
        raise _unreadable(name, f"row {reader.line_num} is no row of a CSV file ({error})") from error
    return rows


def read_decisions(rows: Iterable[tuple[int, Mapping[str, str]]]) -> tuple[list[Decision], list[Fault]]:
    """Return the decisions of a file's rows, in order, and what is wrong with cells. Rows without a decision say nothing."""
    decisions: list[Decision] = []
    faults: list[Fault] = []
    first: dict[tuple[str, str], Decision] = {}
    for line, cells in rows:
        if not cells["decision"]:
            continue
        found = _decision(line, cells)
        if isinstance(found, Fault):
            faults.append(found)
            continue
        key = (found.connection, found.external_id)
        earlier = first.setdefault(key, found)
        if earlier is not found:
            if (earlier.verb, earlier.sku) != (found.verb, found.sku):
                message = f"row {earlier.line} decides otherwise about the same article"
                faults.append(Fault(line=line, column="decision", message=message))
            continue
        decisions.append(found)
    return decisions, faults


def undecided_rows(
    rows: Iterable[tuple[int, Mapping[str, str]]], settled: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return rows whose decision was not read in yet, by (connection, external id), as cells in the order of COLUMNS.

    `settled`: decisions that were read in, as they are written in a file.
    """
    kept = {}
    for _, cells in rows:
        key = (cells["connection"], cells["external_id"])
        if cells["decision"] and settled.get(key) != cells["decision"]:
            kept[key] = tuple(cells.get(column, "") for column in COLUMNS)
    return kept


def written(verb: str, sku: str | None) -> str:
    """Return a decision as it is written in the file."""
    return f"{_BIND}{sku}" if verb == "bind" else verb


def guard(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    one_line = " ".join(cell.split("\n")).replace("\r", " ") if "\n" in cell or "\r" in cell else cell
    return f"'{one_line}" if one_line.startswith(_FORMULA) else one_line


def unguard(cell: str) -> str:
    """Return a cell as it was before `guard`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _decision(line: int, cells: Mapping[str, str]) -> Decision | Fault:
    for column in ("connection", "external_id"):
        if not cells[column]:
            return Fault(line=line, column=column, message="is empty")
        if len(cells[column]) > CELL_MAX:
            return Fault(line=line, column=column, message="is too long")
    text = cells["decision"]
    place = {"line": line, "connection": cells["connection"], "external_id": cells["external_id"]}
    word = text.lower()
    if word == "new":
        return Decision(**place, verb="new")  # type: ignore[arg-type]
    if word == "ignore":
        return Decision(**place, verb="ignore")  # type: ignore[arg-type]
    if word.startswith(_BIND):
        sku = text[len(_BIND) :].strip()
        if sku and len(sku) <= CELL_MAX and "\x00" not in sku:
            return Decision(**place, verb="bind", sku=sku)  # type: ignore[arg-type]
    return Fault(
        line=line, column="decision", message=f"{text[:60]!r} is no decision; write bind:SKU, new, ignore, or nothing"
    )


def _unreadable(name: str, why: str, hint: str | None = None) -> ConfigurationError:
    return ConfigurationError(f"{name} cannot be read: {why}", code="matches_unreadable", hint=hint)
