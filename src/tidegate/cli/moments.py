"""Moments as options of a command."""

from __future__ import annotations

from datetime import UTC, datetime

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


MOMENT = Moment()
