"""Printing: tables for people, JSON for programs. Colours only on a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from tidegate.kernel import text as _text

if TYPE_CHECKING:
    from rich.console import Console

_UNSAFE = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What JSON leaves as it is and a terminal obeys, or shows in another order."""
safe = _text.safe
safe_line = _text.safe_line
PLAIN_WIDTH = 10_000
"""Columns of output that goes into a file or a pipe: no line is broken."""


def print_json(value: object) -> None:
    """Print one JSON document, with two spaces of indent."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    click.echo(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print rows under their column names; `empty` when there are none. Text is shown as it is, without markup."""
    if not rows:
        click.echo(empty)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], (int, float)) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(show(cell)) for cell in row))
    console().print(table)


def console() -> Console:
    """Return the console for standard output."""
    from rich.console import Console

    is_terminal = sys.stdout.isatty()
    return Console(width=None if is_terminal else PLAIN_WIDTH, highlight=False, markup=False, soft_wrap=not is_terminal)


def show(value: object) -> str:
    """Return a value as people read it. What other systems sent cannot move the cursor or change colours."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return show_time(value)
    return safe_line(str(value))


def show_progress(words: str) -> None:
    """Say how far it is, on a terminal; '' ends the line."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{words}", nl=False, err=True)


def show_time(moment: datetime) -> str:
    """Return a moment as local time to the millisecond, with its offset."""
    return moment.astimezone().isoformat(sep=" ", timespec="milliseconds")


def show_seconds(seconds: float) -> str:
    """Return a length of time: 850 ms, 4.2 s, 3 min, 5 h, 2 d."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, unit, size in ((60.0, "s", 1.0), (3600.0, "min", 60.0), (86_400.0, "h", 3600.0)):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:.3g} d"


def show_age(moment: datetime | None) -> str:
    """Return how long ago a moment was, '-' for none."""
    return "-" if moment is None else show_seconds(max(0.0, (datetime.now(UTC) - moment).total_seconds()))


def plain(value: Any) -> Any:
    """Return a value as JSON-ready builtins (UUIDs and times as text)."""
    return msgspec.to_builtins(value)
