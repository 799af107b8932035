"""Closed windows of time in which a platform counts its orders, and their text. Pure.

A window holds its beginning and not its end. It ends some minutes ago, because a platform shows an order a while after it was placed.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from tidegate.commerce.changes import OrdersCounted
from tidegate.kernel.clock import EPOCH

SETTLE = timedelta(minutes=5)
"""How long ago a window ends at least."""


class Count(msgspec.Struct, frozen=True, gc=False):
    """The body of a count's item: how many orders were placed in a window."""

    window: str
    count: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


def counted(count: Count) -> OrdersCounted:
    """Return what a count says. Raises ValueError for what is no window."""
    since, until = parse_window(count.window)
    return OrdersCounted(since=since, until=until, count=count.count)


def closed_window(now: datetime, length: timedelta, step: timedelta) -> str:
    """Return the text of the newest closed window of this length that ends at a multiple of `step`."""
    until = EPOCH + (now - SETTLE - EPOCH) // step * step
    return window_text(until - length, until)


def window_text(since: datetime, until: datetime) -> str:
    """Return a window as a text; the moments are in whole seconds, aware."""
    return f"{_instant(since)}/{_instant(until)}"


def parse_window(text: str) -> tuple[datetime, datetime]:
    """Return (since, until) of a text. Raises ValueError."""
    since, _, until = text.partition("/")
    found = datetime.fromisoformat(since), datetime.fromisoformat(until)
    if any(moment.tzinfo is None for moment in found) or found[0] >= found[1]:
        raise ValueError(f"{text[:60]!r} is no window")
    return found


def split_window(text: str, parts: int) -> tuple[str, ...]:
    """Return the window in so many parts of whole seconds, without gap and overlap; fewer where it has fewer seconds."""
    since, until = parse_window(text)
    seconds = int((until - since).total_seconds())
    parts = max(1, min(parts, seconds))
    bounds = [since + timedelta(seconds=seconds * index // parts) for index in range(parts)] + [until]
    return tuple(window_text(first, last) for first, last in itertools.pairwise(bounds))


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
