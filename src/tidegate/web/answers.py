"""Answers to writes are kept for a while, and then forgotten."""

from __future__ import annotations

from datetime import timedelta

from tidegate.store.connections import Connection
from tidegate.store.sql import query

KEPT_FOR = timedelta(hours=48)
"""At least a day is promised (docs/reference/api.md); an hourly purge must not cut it short."""
PURGED_MAX = 50_000
"""In one go; what is left goes the next time."""
_PURGE = query("api_answer_purge")


async def purge_answers(conn: Connection, *, kept_for: timedelta = KEPT_FOR, at_most: int = PURGED_MAX) -> int:
    """Forget answers that are older; return how many. Run as the owner of the schema; safe to repeat."""
    status = await conn.execute(_PURGE, kept_for, at_most)
    return int(status.rpartition(" ")[2])
