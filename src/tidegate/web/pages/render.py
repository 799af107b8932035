"""Templates: escaped always, strict about what is undefined, and the few words that all pages share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jinja2
from markupsafe import Markup

from tidegate.commerce.money import Money
from tidegate.kernel.ids import public_id
from tidegate.kernel.text import mask_people, safe
from tidegate.web.pages import charts
from tidegate.web.pages.assets import Assets

NOTHING = "\N{EN DASH}"


class Renderer:
    """Makes HTML from the templates of the package."""

    def __init__(self, assets: Assets, cell: str) -> None:
        """Compile nothing yet: a template is compiled when it is first used, and then kept."""
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("tidegate.web.pages", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=show,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters.update(
            duration=duration, money=money, masked=masked, moment=moment, words=words, number=number
        )
        environment.globals.update(
            asset=assets.address,
            bars=charts.bars,
            span=charts.span,
            public_id=lambda kind, identifier: public_id(kind, cell, identifier),
        )
        self._environment = environment

    def page(self, name: str, values: Mapping[str, Any]) -> str:
        """Return the HTML of a template."""
        return self._environment.get_template(name).render(values)


def show(value: Any) -> Any:
    """Return what stands in the page for a value: no control characters, and a dash for nothing."""
    if value is None or value == "":
        return value if value == "" else NOTHING
    if isinstance(value, Markup):
        return value
    return safe(value) if isinstance(value, str) else value


def masked(text: str | None) -> str:
    """Return words of another system, people's addresses and numbers in them masked."""
    return mask_people(text) if text else NOTHING


def moment(at: datetime | None, now: datetime) -> Markup:
    """Return a moment as its distance from now, with the exact time for who points at it, or copies it."""
    if at is None:
        return Markup("&ndash;")
    exact = at.isoformat(sep=" ", timespec="seconds")
    machine = at.isoformat(timespec="milliseconds")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(machine, exact, distance(at, now))


def distance(at: datetime, now: datetime) -> str:
    """Return how far a moment is: `3 min ago`, `in 5 s`, `now`."""
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{duration(seconds)} ago" if seconds > 0 else f"in {duration(-seconds)}"


def duration(seconds: float | None) -> str:
    """Return a length of time: 850 ms, 4.2 s, 3 min, 5 h, 2 d."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, unit, size in ((60.0, "s", 1.0), (3600.0, "min", 60.0), (86_400.0, "h", 3600.0)):
        if seconds < limit:
            value = seconds / size
            return f"{value:.1f} {unit}" if value < 10 and unit == "s" else f"{value:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def money(amount: Money) -> str:
    """Return an amount with its currency: `1,234.50 EUR`."""
    return f"{amount.to_decimal():,} {amount.currency}"


def number(value: int) -> str:
    """Return a number with groups of three."""
    return f"{value:,}"


def words(name: str) -> str:
    """Return a stable name as words: `in_doubt` is `in doubt`."""
    return name.replace("_", " ")
