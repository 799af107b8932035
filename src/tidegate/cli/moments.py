"""Moments as options of a command."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from tidegate.kernel.moments import parse_moment


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


_LENGTH = re.compile(r"([1-9]\d{0,6})(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
HELD_MAX = timedelta(days=30)


class HeldFor(click.ParamType[timedelta]):
    """A length of time: 90s, 15m, 2h, 7d."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the length."""
        if isinstance(value, timedelta):
            return value
        match = _LENGTH.fullmatch(str(value))
        length = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match is not None else timedelta(0)
        if not timedelta(0) < length <= HELD_MAX:
            self.fail(f"{value!r} is no length of time; write 90s, 15m, 2h or 7d, at most 30d", param, ctx)
        return length


MOMENT = Moment()
HELD_FOR = HeldFor()
