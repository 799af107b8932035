"""Moments as people write them: `2026-11-01`, `2026-11-01T12:30`, or `2h` for two hours ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_AGO = re.compile(r"(\d+)(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """A moment in the past; without an offset it is local time."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return an aware UTC datetime."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_moment(str(value), now=datetime.now(UTC))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time; write 2026-11-01, 2026-11-01T12:30, or 2h for two hours ago", param, ctx)


def parse_moment(text: str, *, now: datetime) -> datetime:
    """Return the moment as aware UTC. Raises ValueError for anything else."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    return datetime.fromisoformat(text).astimezone(UTC)


MOMENT = Moment()
