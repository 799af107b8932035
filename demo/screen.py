"""What the demo shows: both sides beside each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tidegate.rehearsal.figures import rows_of, verdict_line
from tidegate.rehearsal.records import Report, Sample

KEYS = "k kill -9 one of Tidegate   n kill -9 the naive script   d drop webhooks   q end"
LEGEND = "!! sold, and nobody has it    * another number than is really there"
"""The marks say it where there are no colours."""
Shown = Mapping[str, Mapping[str, int]]
"""Side -> `really there` and each channel -> units."""


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One moment of the demo."""

    sample: Sample
    naive: Sample | None
    articles: Mapping[str, Shown]
    said: tuple[str, ...]
    has_keys: bool = True
    """Whether somebody can press them."""


def draw(picture: Picture) -> Group:
    """Return the screen; it fits into 80 columns and 24 lines."""
    said = (Text(line, no_wrap=True, overflow="ellipsis") for line in picture.said)
    keys = (Text(KEYS, style="dim"),) if picture.has_keys else ()
    return Group(_orders(picture), _articles(picture.articles), Text(LEGEND, style="dim"), *said, *keys)


def line_of(picture: Picture, sku: str) -> str:
    """Return the moment as a line, for a file."""
    sample, naive = picture.sample, picture.naive
    words = [f"{sample.at:4.0f} s  sold {sample.sold}, in the ERP {sample.booked}"]
    if naive is not None:
        words.append(f"naive: sold {naive.sold}, in the ERP {naive.booked}")
    for side, shown in picture.articles.get(sku, {}).items():
        words.append(f"{side}, {sku}: " + ", ".join(f"{name} {units}" for name, units in shown.items()))
    return "  |  ".join(words)


def verdict_table(report: Report) -> Group:
    """Return both sides' figures, and the sentence."""
    table = Table("", "Tidegate", "naive")
    for row in rows_of(report):
        table.add_row(*row, style="bold" if row[0] in {"lost", "doubled", "units sold that nobody has"} else "")
    return Group(table, Text(verdict_line(report), style="bold green" if report.ours.is_clean else "bold red"))


def _orders(picture: Picture) -> Table:
    table = Table("", "sold", "in the ERP", "events, commands, numbers waiting", box=SIMPLE_HEAD)
    sample = picture.sample
    waiting = f"{sample.events_waiting}, {sample.commands_waiting}, {sample.marks_dirty}"
    table.add_row("Tidegate", str(sample.sold), str(sample.booked), waiting)
    if picture.naive is not None:
        too_many = picture.naive.booked - picture.naive.sold
        booked = f"{picture.naive.booked} !! {too_many} too many" if too_many > 0 else str(picture.naive.booked)
        table.add_row("naive", str(picture.naive.sold), Text(booked, style="bold red" if too_many > 0 else ""), "")
    return table


def _articles(articles: Mapping[str, Shown]) -> Table:
    names = next((list(shown) for sides in articles.values() for shown in sides.values()), [])
    table = Table("article", "", *names, box=SIMPLE_HEAD)
    for sku, sides in articles.items():
        for side, shown in sides.items():
            left = shown["really there"]
            cells = [_number(name, units, left) for name, units in shown.items()]
            table.add_row(sku, side, *cells)
    return table


def _number(name: str, units: int, left: int) -> Text:
    style = style_of(name, units, left)
    mark = " !!" if "red" in style else " *" if style else ""
    return Text(f"{units}{mark}", style=style)


def style_of(name: str, units: int, left: int) -> str:
    """Return how a number looks: red where nobody has what is sold, yellow where the channel shows another number."""
    if name == "really there":
        return "bold red" if units < 0 else ""
    return "" if units == max(0, left) else "yellow"
