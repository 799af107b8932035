"""Stock in spreadsheets: what a row of a file asks for, and what a row of an export says. Pure.

A cell that a spreadsheet would take for a formula begins with an apostrophe; reading takes it off again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from tidegate.inventory.adjust import ASIDE, KEY_MAX, NOTE_MAX, REASONS, UNITS_MAX
from tidegate.kernel.moments import parse_moment
from tidegate.sync.match_file import Fault, guard

ASIDE_COLUMNS = tuple(state for state in ASIDE if state != "other")
NUMBERS = ("on_hand", "by", "safety_stock", *ASIDE_COLUMNS)
"""Columns that change something."""
READ = ("sku", "location", *NUMBERS, "reason", "note", "counted_at", "version", "key")
"""Columns that an import reads."""
TOLD = ("other", "unavailable", "committed", "reserved", "available", "incoming", "kit_of")
"""Columns that an export tells, and an import leaves alone."""
EXPORT = ("sku", "location", "on_hand", *ASIDE_COLUMNS, "safety_stock", "version", *TOLD)
REJECTED = ("rejected_row", "rejected_column", "rejected_because")
"""Columns of a file of rejects, before those of the row; an import leaves them alone."""
SKU_MAX = 200
_WHOLE = re.compile(r"[+-]?\d{1,12}(?:\.0)?", re.ASCII)


class Wish(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One number of a row: what it shall be, or by how much it shall change."""

    line: int
    counter: str
    """Of `NUMBERS`."""
    number: int
    sku: str
    location: str | None
    reason: str
    note: str | None
    counted_at: datetime | None
    version: int | None
    """Number of the entry up to which whoever wrote the row had seen the ledger."""
    key: str | None


def find_columns(header: Sequence[str], mapping: Mapping[str, str]) -> tuple[dict[int, str], list[str]]:
    """Return place -> column of ours for a header, and the names that mean nothing here. `mapping`: our column -> theirs.

    Raises ValueError with the reason where it cannot be read.
    """
    names = [name.strip() for name in header]
    theirs = {given: ours for ours, given in mapping.items()}
    for given, ours in theirs.items():
        if given not in names:
            raise ValueError(f"there is no column {given!r} for {ours}; the first row names: {', '.join(names[:20])}")
    found: dict[int, str] = {}
    unknown = []
    for place, name in enumerate(names):
        column = theirs.get(name, name.lower().replace(" ", "_"))
        if column in READ and (name in theirs or column not in mapping):
            if column in found.values():
                raise ValueError(f"two columns are {column}")
            found[place] = column
        elif column not in TOLD and column not in REJECTED:
            unknown.append(name)
    if "sku" not in found.values():
        raise ValueError("no column is sku; say which one is with --map sku=NAME")
    if not set(found.values()) & set(NUMBERS):
        raise ValueError(f"no column changes anything; there are: {', '.join(NUMBERS)}; --map on_hand=NAME names one")
    return found, unknown


def read_row(line: int, cells: Mapping[str, str], *, now: datetime) -> list[Wish] | Fault:
    """Return what a row asks for, or the first thing that is wrong with it. Nothing is guessed."""
    try:
        sku = _read_sku(cells)
        numbers = _read_numbers(cells)
        reason = _read_reason(cells, numbers)
        counted_at, version = _read_seen(cells, now)
        note, key, location = (_read_text(cells, *each) for each in _TEXTS)
    except _WrongCellError as wrong:
        return Fault(line=line, column=wrong.column, message=str(wrong))
    return [
        Wish(
            line=line,
            counter=counter,
            number=number,
            sku=sku,
            location=location,
            reason=counter if counter in ASIDE_COLUMNS else reason or "counted",
            note=note,
            counted_at=counted_at,
            version=version,
            key=key,
        )
        for counter, number in numbers.items()
        if counter != "by" or number
    ]


class _WrongCellError(Exception):
    """A cell that cannot be read."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


_TEXTS = (("note", NOTE_MAX), ("key", KEY_MAX), ("location", SKU_MAX))


def _read_sku(cells: Mapping[str, str]) -> str:
    sku = cells.get("sku", "")
    if not sku or len(sku) > SKU_MAX or not sku.isprintable():
        raise _WrongCellError("sku", "is empty" if not sku else "is no SKU")
    return sku


def _read_numbers(cells: Mapping[str, str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for column in NUMBERS:
        text = cells.get(column, "")
        if not text:
            continue
        number = _number(text)
        if number is None:
            raise _WrongCellError(column, f"{text[:40]!r} is no whole number")
        lowest = -UNITS_MAX if column == "by" else 0
        if not lowest <= number <= UNITS_MAX:
            raise _WrongCellError(column, f"{number} is not between {lowest} and {UNITS_MAX}")
        numbers[column] = number
    if "by" in numbers and "on_hand" in numbers:
        raise _WrongCellError("by", "on_hand is counted in the same row; write one of the two")
    return numbers


def _read_reason(cells: Mapping[str, str], numbers: Mapping[str, int]) -> str:
    reason = cells.get("reason", "").lower()
    if reason and reason not in REASONS:
        raise _WrongCellError("reason", f"{reason[:40]!r} is none of {', '.join(REASONS)}")
    if numbers.get("by") and not reason:
        raise _WrongCellError("reason", "is empty; `by` needs one")
    if "on_hand" in numbers and reason not in ("", "counted"):
        raise _WrongCellError("reason", "on_hand is a count; write `counted`, or nothing")
    return reason


def _read_text(cells: Mapping[str, str], column: str, length: int) -> str | None:
    text = cells.get(column, "")
    if len(text) > length or not text.isprintable():
        raise _WrongCellError(column, f"has more than {length} characters, or some that cannot be shown")
    return text or None


def _read_seen(cells: Mapping[str, str], now: datetime) -> tuple[datetime | None, int | None]:
    counted_at, version = None, None
    if text := cells.get("counted_at", ""):
        try:
            counted_at = parse_moment(text, now=now)
        except (ValueError, OverflowError):
            raise _WrongCellError("counted_at", f"{text[:40]!r} is no time; write 2026-11-27T10:00") from None
        if counted_at > now:
            raise _WrongCellError("counted_at", "is in the future")
    if text := cells.get("version", ""):
        version = _number(text)
        if version is None or version < 0:
            raise _WrongCellError("version", f"{text[:40]!r} is no number of an entry")
    return counted_at, version


def key_of(wish: Wish, file_key: str) -> str:
    """Return the key under which a wish is posted once: the row's own, or its place in the file."""
    return f"row:{wish.key}:{wish.counter}" if wish.key is not None else f"file:{file_key}:{wish.line}:{wish.counter}"


def export_cells(row: Mapping[str, Any]) -> Iterator[str | int]:
    """Return the cells of one level, or of a kit, in the order of `EXPORT`: text guarded, numbers as they are.

    What a row does not have is an empty cell: a kit stands nowhere and is counted nowhere.
    """
    for column in EXPORT:
        value = row.get(column, "")
        yield guard(value) if isinstance(value, str) else value


def rejected_cells(fault: Fault, columns: Sequence[str], cells: Mapping[str, str]) -> list[str]:
    """Return a row of the file of rejects: where and why, and the row as it was."""
    return [str(fault.line), fault.column, guard(fault.message), *(guard(cells.get(column, "")) for column in columns)]


def cell_text(value: object) -> str:
    """Return a cell of a workbook as text; numbers that are whole as whole ones."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime):
        return value.isoformat()  # local time, as people write it
    return str(value).strip()


def _number(text: str) -> int | None:
    """Return a whole number; None for anything else, also for 1.000 and 1,000, which people of two countries read differently."""
    return int(text.partition(".")[0]) if _WHOLE.fullmatch(text) else None
