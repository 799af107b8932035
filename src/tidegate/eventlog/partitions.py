"""Daily partitions of the big tables. Ids carry their time, so a range of ids is a day."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import asyncpg

from tidegate.kernel.ids import first_id_at
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.store.statistics import expect_few

PARTITIONED = ("event", "event_outcome", "command", "call", "attempt", "attempt_answer")
"""Tables with one partition per day of their ids. All have a default one as well, so that no insert ever fails."""
DAYS_AHEAD = 2
"""How many days have partitions before they begin. A statement that cannot tell the day opens all of them, the empty ones too;
with two, a day on which none could be made does no harm."""
ROW_INLINE_BYTES = 8160
"""Rows up to nearly a page stay in the table: bodies are encrypted, so trying to compress or move them is in vain."""

_PARTITION_NAMES = query("partition_names")


async def ensure(connection: Connection, days_ahead: int = DAYS_AHEAD, *, now: datetime | None = None) -> list[str]:
    """Make the missing partitions from today to `days_ahead` days on; return their names, sorted.

    Needs the migrator role; run it at start and every hour. Safe to repeat and from several processes at once. Takes
    short locks; raises asyncpg.LockNotAvailableError when a long transaction is in the way: try again later. A day
    whose rows have already gone to the default partition is left there.
    """
    today = (now or datetime.now(UTC)).date()
    made = []
    for table in PARTITIONED:
        known = {row[0] for row in await connection.fetch(_PARTITION_NAMES, table)}
        for day in (today + timedelta(days=ahead) for ahead in range(days_ahead + 1)):
            name = f"{table}_{day:%Y%m%d}"
            if name not in known and await _make(connection, table, name, datetime.combine(day, time(), UTC)):
                made.append(name)
    if made:
        await expect_few(connection)
    return sorted(made)


async def _make(connection: Connection, table: str, name: str, start: datetime) -> bool:
    """Make one partition apart and attach it, which locks less than making it in place."""
    bounds = (first_id_at(start), first_id_at(start + timedelta(days=1)))
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
            if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name):
                return False
            await connection.execute(
                f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) "
                f"WITH (toast_tuple_target = {ROW_INLINE_BYTES})"
            )
            await connection.execute(
                f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{bounds[0]}') TO ('{bounds[1]}')"
            )
    except asyncpg.CheckViolationError:
        return False
    return True
