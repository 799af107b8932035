"""Events as people look at them: lists, one event with its fate, and its body when they ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import first_id_at, new_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.keys import KeyRing

_LIST = query("events_list")
_ONE = query("events_one")
_BODY = query("events_body")
_OUTCOMES = query("events_outcomes")
_QUARANTINED = query("events_quarantined")
_REPLAYABLE = query("events_replayable")
_PARKED_NEWEST = query("events_parked_newest")
_QUEUED_NEWEST = query("events_queued_newest")
_CONNECTION = query("connection_named")
_AUDIT = query("audit_add")
FIRST_ID = UUID(int=0)
LAST_ID = UUID(int=(1 << 128) - 1)
SCAN_MAX = 10_000
"""Of what waits, the newest so many are looked at."""


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events."""

    connection_id: UUID | None = None
    state: str | None = None
    """An outcome, or waiting, parked, quarantined."""
    topic: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: UUID | None = None
    """Only events with a larger id."""
    before: UUID | None = None
    """Only events with a smaller id."""

    def bounds(self) -> tuple[UUID, UUID]:
        """Return the first id that counts and the first that does not."""
        first = first_id_at(self.since) if self.since is not None else FIRST_ID
        if self.after is not None:
            first = max(first, UUID(int=self.after.int + 1))
        end = first_id_at(self.until) if self.until is not None else LAST_ID
        return first, end if self.before is None else min(end, self.before)


async def list_events(
    conn: Connection,
    tenant_id: UUID,
    chosen: EventFilter,
    limit: int,
    *,
    event_ids: Sequence[UUID] | None = None,
    code: str | None = None,
) -> list[Any]:
    """Return rows of `events_list`, newest first; `event_ids` and `code` narrow further.

    What is parked, in quarantine or queued is looked up in its own table, so that a few of them are found among millions.
    """
    first, end = chosen.bounds()
    if event_ids is None and chosen.state in ("parked", "quarantined"):
        found = await conn.fetch(_PARKED_NEWEST, tenant_id, chosen.state, chosen.connection_id, first, end, SCAN_MAX)
        event_ids = [row["event_id"] for row in found]
    elif event_ids is None and chosen.state == "waiting":
        found = await conn.fetch(_QUEUED_NEWEST, tenant_id, first, end, SCAN_MAX)
        event_ids = [row["event_id"] for row in found]
    wanted = list(event_ids) if event_ids is not None else None
    filters = (chosen.connection_id, chosen.state, chosen.topic, first, end)
    return list(await conn.fetch(_LIST, tenant_id, *filters, limit, wanted, code))


async def find_connection(conn: Connection, tenant_id: UUID, name: str) -> UUID:
    """Return the id of a connection. Raises ConfigurationError when there is none of that name."""
    found: UUID | None = await conn.fetchval(_CONNECTION, tenant_id, name)
    if found is None:
        raise ConfigurationError(
            f"no connection is called {name!r}", code="connection_unknown", hint="tidegate status lists them"
        )
    return found


async def read_event(conn: Connection, tenant_id: UUID, event_id: UUID) -> tuple[Any, list[Any]]:
    """Return an event's row and its outcomes by run. Raises ConfigurationError when there is no such event."""
    row = await conn.fetchrow(_ONE, tenant_id, event_id)
    if row is None:
        raise ConfigurationError("there is no such event", code="event_unknown", hint="tidegate events list")
    return row, list(await conn.fetch(_OUTCOMES, tenant_id, event_id))


async def open_body(conn: Connection, ring: KeyRing, tenant_id: UUID, event_id: UUID, *, actor: str) -> bytes:
    """Decrypt an event's body for a person; that they did is recorded before they get it."""
    await conn.execute(_AUDIT, tenant_id, new_id(), actor, "event.body_read", str(event_id), "{}")
    row = await conn.fetchrow(_BODY, tenant_id, event_id)
    if row is None:
        raise ConfigurationError("there is no such event", code="event_unknown", hint="tidegate events list")
    cipher = BodyCipher(ring)
    await cipher.opener(conn, [(tenant_id, row["data_key_id"])])
    return cipher.open(tenant_id, row["data_key_id"], "event", event_id, row["body"])


async def find_quarantined(conn: Connection, tenant_id: UUID, chosen: EventFilter) -> list[UUID]:
    """Return the quarantined events of a filter, oldest first."""
    rows = await conn.fetch(_QUARANTINED, tenant_id, chosen.connection_id, *chosen.bounds())
    return [row["event_id"] for row in rows]


async def count_replayable(conn: Connection, tenant_id: UUID, chosen: EventFilter) -> int:
    """Return how many events a replay of the range would take; those still on their way are left out when it is made."""
    return int(await conn.fetchval(_REPLAYABLE, tenant_id, chosen.connection_id, *chosen.bounds()))


async def record_replay(conn: Connection, tenant_id: UUID, *, actor: str, subject: str, number: int) -> None:
    """Record a replay in the audit log."""
    detail = msgspec.json.encode({"events": number}).decode()
    await conn.execute(_AUDIT, tenant_id, new_id(), actor, "events.replayed", subject, detail)
