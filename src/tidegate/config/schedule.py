"""When a window is open: recurrences by cron expression, and spans of days. Pure; every moment is aware.

A window lasts its length in elapsed time, so that a night on which the clocks change is an hour longer or shorter on the
clock. Cron expressions have Debian's meaning on such nights: what falls into the gap happens right after it, what happens
twice happens the first time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from tidegate.config.records import Recurrence

CHAIN_MAX = 64
"""Windows that follow each other without a gap are looked at as one, as far as this many."""
LENGTH_DAYS_MAX = 31
CLOCK_CHANGE_MAX = timedelta(hours=3)
"""More than any clock is set back at once: an hour that comes twice is looked at from behind it."""
_FIELDS = 5
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class ScheduleError(ValueError):
    """A schedule that cannot be; its text says why, in the operator's words."""


@dataclass(frozen=True)
class Window:
    """Whether a schedule is open at a moment, and until when that cannot change. `until` None: for ever."""

    is_open: bool
    until: datetime | None


@dataclass(frozen=True)
class Span:
    """From `begin` to before `end`."""

    begin: datetime
    end: datetime

    def at(self, moment: datetime) -> Window:
        """Return whether it is open at `moment`."""
        if moment < self.begin:
            return Window(is_open=False, until=self.begin)
        return Window(is_open=True, until=self.end) if moment < self.end else Window(is_open=False, until=None)


@dataclass(frozen=True)
class Repeated:
    """Opens whenever `cron` says so in `zone`, for `length`."""

    cron: str
    length: timedelta
    zone: ZoneInfo

    def at(self, moment: datetime) -> Window:
        """Return whether it is open at `moment`."""
        begins = self._last(moment)
        if begins is None or begins + self.length <= moment:
            return Window(is_open=False, until=self._next(moment))
        until = begins + self.length
        for _ in range(CHAIN_MAX):  # the next one may begin before this one ends
            following = self._last(until)
            if following is None or following + self.length <= until:
                break
            until = following + self.length
        return Window(is_open=True, until=until)

    def _last(self, moment: datetime) -> datetime | None:
        """Return the newest beginning that is not after `moment`."""
        later = moment.astimezone(self.zone) + CLOCK_CHANGE_MAX
        return next((found for found in _occurrences(self.cron, later, is_reverse=True) if found <= moment), None)

    def _next(self, moment: datetime) -> datetime | None:
        """Return the first beginning after `moment`."""
        return next(_occurrences(self.cron, moment.astimezone(self.zone)), None)


Schedule = Span | Repeated


@lru_cache(maxsize=1024)
def schedule_of(text: str | Recurrence, timezone: str) -> Schedule:
    """Return the schedule that `during` or an entry of `blackout` describes. Raises ScheduleError."""
    if isinstance(text, str):
        return _span(text, _zone(timezone))
    return _repeated(text, _zone(text.tz or timezone))


def next_after(cron: str, timezone: str, moment: datetime) -> datetime | None:
    """Return the first time after `moment` that a cron expression names; None: it never comes. Raises ScheduleError."""
    return next(_occurrences(cron, moment.astimezone(_zone(timezone))), None)


def require_zone(name: str) -> None:
    """Raise ScheduleError unless there is a time zone of this name."""
    _zone(name)


def seconds_of(text: str) -> int:
    """Return the seconds of a duration such as `90s`, `30m`, `8h`, `2d`."""
    return int(text[:-1]) * _UNITS[text[-1]]


def _repeated(recurrence: Recurrence, zone: ZoneInfo) -> Repeated:
    length = timedelta(seconds=seconds_of(recurrence.for_))
    if length > timedelta(days=LENGTH_DAYS_MAX):
        raise ScheduleError(f"a window lasts {LENGTH_DAYS_MAX} days at most")
    if len(recurrence.cron.split()) != _FIELDS:
        raise ScheduleError("a cron expression has five parts: minute, hour, day, month, day of the week")
    if next(_occurrences(recurrence.cron, datetime(2024, 1, 1, tzinfo=UTC)), None) is None:
        raise ScheduleError(f"the cron expression {recurrence.cron!r} never happens")
    return Repeated(recurrence.cron, length, zone)


def _span(text: str, zone: ZoneInfo) -> Span:
    first, slash, last = text.partition("/")
    if not slash:
        raise ScheduleError("a span is written as FIRST/LAST, for example 2026-11-27/2026-12-01")
    span = Span(_moment(first, zone, is_end=False), _moment(last, zone, is_end=True))
    if span.begin >= span.end:
        raise ScheduleError("the span ends before it begins")
    return span


def _moment(text: str, zone: ZoneInfo, *, is_end: bool) -> datetime:
    """Read a day, which counts whole, or a moment."""
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text) + timedelta(days=1 if is_end else 0)
            return datetime.combine(day, time(), zone).astimezone(UTC)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ScheduleError(f"{text!r} is no day and no moment") from error


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ScheduleError(f"there is no time zone {name!r}") from error


def _occurrences(cron: str, start: datetime, *, is_reverse: bool = False) -> Iterator[datetime]:
    """Yield the beginnings after `start`, or before it and backwards. Raises ScheduleError."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - only who has a schedule pays for it

    try:
        for found in CronSim(cron, start, reverse=is_reverse):
            yield found.astimezone(UTC)
    except (CronSimError, AssertionError, ValueError, OverflowError) as error:
        raise ScheduleError(f"{cron!r} is no cron expression: {error or 'it cannot be read'}") from error
