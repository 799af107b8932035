"""Monthly partitions of the big tables. Ids carry their time, so a range of ids is a month.

Not daily ones: a statement that cannot tell the time, such as a look for commands that wait, opens all partitions, and after two
months of days that was most of what it did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from tidegate.kernel.ids import first_id_at, time_of
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.store.statistics import expect_few

PARTITIONED = ("event", "event_outcome", "command", "call", "attempt", "attempt_answer")
"""Tables with one partition per month of their ids. All have a default one as well, so that no insert ever fails."""
DAYS_AHEAD = 2
"""For how many days more there is a partition at any time."""
ROW_INLINE_BYTES = 8160
"""Rows up to nearly a page stay in the table: bodies are encrypted, so trying to compress or move them is in vain."""

_ENDS = query("partition_ends")


async def ensure(connection: Connection, days_ahead: int = DAYS_AHEAD, *, now: datetime | None = None) -> list[str]:
    """Make the missing partitions for today and `days_ahead` days on; return their names, sorted.

    Each is named by the day on which it begins, and ends with the month. Needs the migrator role; run it at start and every
    hour. Safe to repeat and from several processes at once. Takes short locks; raises asyncpg.LockNotAvailableError when a
    long transaction is in the way: try again later. A month of which rows have already gone to the default partition is
    made from tomorrow on, and what lies there before that stays.
    """
    moment = now or datetime.now(UTC)
    until = moment + timedelta(days=days_ahead)
    made = []
    for table in PARTITIONED:
        while (end := await _end_of(connection, table)) <= until:
            name = await _make_next(connection, table, moment, end)
            if name is None:
                break
            made.append(name)
    if made:
        await expect_few(connection)
    return sorted(made)


async def missing_tomorrow(connection: Connection, now: datetime) -> list[str]:
    """Return the tables whose rows of tomorrow would go to the default partition, sorted."""
    tomorrow = _day_of(now) + timedelta(days=1)
    ends = await _ends_of(connection, PARTITIONED)
    return sorted(table for table in PARTITIONED if ends.get(table, tomorrow) <= tomorrow)


async def _make_next(connection: Connection, table: str, now: datetime, end: datetime) -> str | None:
    """Make the next partition of a table whose last one ends at `end`: of this month, or of the month after; None when it cannot be made."""
    tomorrow = _day_of(now) + timedelta(days=1)
    start = max(_month_of(now), end)
    for begins in (start, tomorrow) if start < tomorrow else (start,):
        name = f"{table}_{begins:%Y%m%d}"
        ends = _month_of(begins + timedelta(days=32 - begins.day))
        if await _make(connection, table, name, begins, ends):
            return name
    return None


async def _make(connection: Connection, table: str, name: str, begins: datetime, ends: datetime) -> bool:
    """Make one partition apart and attach it, which locks less than making it in place.

    False when rows of it lie in the default partition, or when somebody else was quicker.
    """
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
            if await _end_of(connection, table) > begins:
                return False
            await connection.execute(
                f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) "
                f"WITH (toast_tuple_target = {ROW_INLINE_BYTES})"
            )
            await connection.execute(
                f"ALTER TABLE {table} ATTACH PARTITION {name} "
                f"FOR VALUES FROM ('{first_id_at(begins)}') TO ('{first_id_at(ends)}')"
            )
    except asyncpg.CheckViolationError:
        return False
    return True


async def _end_of(connection: Connection, table: str) -> datetime:
    """Return where the last partition of a table ends; where there is none, a moment long ago."""
    return (await _ends_of(connection, (table,))).get(table, datetime(1970, 1, 1, tzinfo=UTC))


async def _ends_of(connection: Connection, tables: Iterable[str]) -> Mapping[str, datetime]:
    return {row[0]: time_of(UUID(row[1])) for row in await connection.fetch(_ENDS, list(tables))}


def _day_of(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _month_of(moment: datetime) -> datetime:
    return _day_of(moment).replace(day=1)
