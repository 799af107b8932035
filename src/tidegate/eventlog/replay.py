"""Replay: events go through T2 once more, as a further run. Gates and unique keys make a repetition harmless."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from tidegate.kernel.ids import first_id_at
from tidegate.store.connections import Connection
from tidegate.store.sql import query

REPLAY_EVENTS_MAX = 10_000
"""Events that one call puts back; call again with a later `since` to go on."""

_REPLAY_IDS = query("event_replay_ids")
_REPLAY_RANGE = query("event_replay_range")


async def replay(connection: Connection, tenant_id: UUID, event_ids: Sequence[UUID]) -> int:
    """Put these events back into the queue and return how many; one transaction.

    Left out are unknown events and those that are still on their way (queued, or parked for a parent). A quarantined
    event is tried again. A replay is no receipt: nothing is counted.
    """
    return len(await connection.fetch(_REPLAY_IDS, tenant_id, sorted(event_ids)))


async def replay_range(
    connection: Connection, tenant_id: UUID, since: datetime, until: datetime, *, connection_id: UUID | None = None
) -> int:
    """Put the events received in [since, until) back into the queue, oldest first, at most REPLAY_EVENTS_MAX.

    Result events stay out of it: they are no input. See `replay`.
    """
    bounds = (first_id_at(since), first_id_at(until))
    return len(await connection.fetch(_REPLAY_RANGE, tenant_id, *bounds, connection_id, REPLAY_EVENTS_MAX))
