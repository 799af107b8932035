"""Looks as people see them: when each connection is compared next, what the last look came to, and what looking costs."""

from __future__ import annotations

import math
from datetime import datetime
from uuid import UUID

import msgspec

from tidegate.config.reconcile import EVERY_SECONDS_MAX, EVERY_SECONDS_MIN, MANY, READING_SHARE_MAX
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_STATUS = query("sync_status")
_COUNTS = query("order_counts")
_DAY_SECONDS = 86_400


class UnderWay(msgspec.Struct, frozen=True, kw_only=True):
    """A look that is under way."""

    run_id: UUID
    state: str
    """waiting, reading, comparing or healing."""
    articles: int
    compared: int
    since: datetime | None
    is_held: bool
    """By a pause."""
    error: str | None


class LastLook(msgspec.Struct, frozen=True, kw_only=True):
    """The newest look that is over."""

    run_id: UUID
    state: str
    """done or failed."""
    finished_at: datetime | None
    calls: int
    articles: int
    missing: int
    """Bound articles that it did not find; each was read by itself, unless they were too many."""
    differences: int
    healed: int
    heal_waits: int
    reading_seconds: float | None
    error: str | None


class OrderCount(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel counts of its own orders, compared with what is known here."""

    connection: str
    since: datetime
    until: datetime
    """Of the newest window: it holds its beginning and not its end."""
    theirs: int
    ours: int
    """When it was counted. More than theirs: it deleted orders since, or moved them."""
    counted_at: datetime
    missing: int
    """Orders that are still not known here, of the window of the last day of which most are missing."""
    gap_since: datetime | None
    gap_until: datetime | None
    event_id: UUID | None
    """The fact that told of that window."""


async def read_order_counts(conn: Connection, tenant_id: UUID, counted_before: datetime) -> tuple[OrderCount, ...]:
    """Return what channels count of their own orders. Reads only; a gap counts when it was seen before `counted_before`."""
    rows = await conn.fetch(_COUNTS, tenant_id, counted_before)
    return tuple(OrderCount(**{**row, "missing": row["missing"] or 0}) for row in map(dict, rows))


class LookView(msgspec.Struct, frozen=True, kw_only=True):
    """One connection."""

    connection: str
    is_scheduled: bool
    """False: only looked at when somebody asks."""
    due_at: datetime | None
    interval_seconds: float | None
    """As looks adapted to."""
    paused_at: datetime | None
    paused_until: datetime | None
    paused_by: str | None
    under_way: UnderWay | None
    last: LastLook | None
    differences: int
    """Open now."""
    oldest: datetime | None
    """Since when the oldest of them is seen."""
    waiting: int
    """Of them, those that wait for approval."""

    @property
    def staleness_seconds(self) -> float | None:
        """How long a change over there may stay unseen by looks: one interval and one read."""
        if self.interval_seconds is None:
            return None
        reading = self.last.reading_seconds if self.last is not None else None
        return self.interval_seconds + (reading or 0.0)

    @property
    def calls_per_day(self) -> float | None:
        """What looking costs at this interval."""
        if self.interval_seconds is None or self.last is None or not self.last.calls:
            return None
        return self.last.calls * _DAY_SECONDS / self.interval_seconds


def suggest(view: LookView) -> str | None:
    """Return what another interval would cost and bring, in words; None where nothing speaks for one. Pure."""
    last, interval, a_day = view.last, view.interval_seconds, view.calls_per_day
    if last is None or last.state != "done" or interval is None or a_day is None:
        return None
    reading = last.reading_seconds or 0.0
    least = max(EVERY_SECONDS_MIN, reading / READING_SHARE_MAX)
    if reading / READING_SHARE_MAX >= interval:
        return (
            f"reading takes {reading / 60:.0f} minutes, a tenth of the time at most: a shorter `every` changes nothing"
        )
    if last.differences > last.articles * MANY and interval > least * 1.5:
        calls = last.calls * _DAY_SECONDS / least
        return (
            f"the last look found {last.differences} of {last.articles} different: `every: {_minutes(least)}m` would find such "
            f"within {_minutes(least)} minutes for {calls:.0f} calls a day instead of {a_day:.0f}"
        )
    if not last.differences and not view.differences and interval < EVERY_SECONDS_MAX / 2:
        calls = last.calls * _DAY_SECONDS / EVERY_SECONDS_MAX
        return (
            f"the last look found nothing different: `every: 60m` would cost {calls:.0f} calls a day instead of {a_day:.0f}, and "
            "leave a change unseen for an hour at most"
        )
    return None


def _minutes(seconds: float) -> int:
    return math.ceil(seconds / 60)


async def read_looks(conn: Connection, tenant_id: UUID) -> tuple[LookView, ...]:
    """Return every connection that is looked at, or was. Reads only."""
    return tuple(
        LookView(
            **{
                name: row[name]
                for name in (
                    "connection",
                    "is_scheduled",
                    "due_at",
                    "interval_seconds",
                    "paused_at",
                    "paused_until",
                    "paused_by",
                    "oldest",
                    "waiting",
                )
            },
            differences=row["open_differences"],
            under_way=UnderWay(
                run_id=row["open_run"],
                state=row["open_state"],
                articles=row["open_articles"],
                compared=row["open_compared"],
                since=row["open_since"],
                is_held=row["is_held"],
                error=row["open_error"],
            )
            if row["open_run"] is not None
            else None,
            last=LastLook(
                run_id=row["last_run"],
                state=row["last_state"],
                calls=row["pages"],
                error=row["last_error"],
                **{
                    name: row[name]
                    for name in (
                        "finished_at",
                        "articles",
                        "missing",
                        "differences",
                        "healed",
                        "heal_waits",
                        "reading_seconds",
                    )
                },
            )
            if row["last_run"] is not None
            else None,
        )
        for row in await conn.fetch(_STATUS, tenant_id)
    )
