"""Appending facts: T1. Nothing is acknowledged before one of these functions returned outside a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from tidegate.eventlog.records import AppendResult, NewEvent, conflict_dedupe_key
from tidegate.eventlog.statements import APPEND, APPEND_CONFLICTS, FIND_CONFLICTS
from tidegate.store.connections import Connection

_MS_PER_HOUR = 3_600_000
NOTIFIED_TENANTS_MAX = 100
NOTIFIED_SLOTS_MAX = 600
"""A wake-up's payload has at most 8,000 bytes; with more tenants or slots it names none, which means any."""


async def append_webhooks(
    connection: Connection, events: Sequence[NewEvent], *, writer: str, notifies: bool = True
) -> AppendResult:
    """Store a batch of deliveries durably: one statement, and two more only when a known key comes with another body.

    Run it outside a transaction: when it returns, everything is on disk. It is safe to repeat after a lost answer:
    what was stored then is a duplicate now. `writer` names one connection to the database that counts; two that run
    at the same time must have different names. Without `notifies` the caller says `wake_up_of` what was fresh afterwards.
    Raises what asyncpg raises.
    """
    ordered = sort_for_append(events)
    payload = wake_up_of(ordered) if notifies else None
    rows = await connection.fetch(APPEND, *columns_of(ordered), writer, False, payload)
    fresh = {row[0] for row in rows}
    if len(fresh) == len(ordered):
        return AppendResult(fresh=fresh, duplicates=0, conflicts=[])
    repeated = [event for event in ordered if event.event_id not in fresh]
    conflicts = await _append_conflicts(connection, repeated, writer, notifies=notifies)
    fresh.update(conflicts)
    return AppendResult(fresh=fresh, duplicates=len(repeated) - len(conflicts), conflicts=conflicts)


async def append_unique(connection: Connection, events: Sequence[NewEvent], *, writer: str) -> None:
    """Store events whose keys are unique by construction, inside the caller's transaction."""
    if events:
        ordered = sort_for_append(events)
        await connection.fetch(APPEND, *columns_of(ordered), writer, False, wake_up_of(ordered))


def sort_for_append(events: Iterable[NewEvent]) -> list[NewEvent]:
    """Return the events in the one order in which dedupe keys are inserted, so that appends never deadlock."""
    return sorted(events, key=_append_order)


async def _append_conflicts(
    connection: Connection, repeated: list[NewEvent], writer: str, *, notifies: bool
) -> list[UUID]:
    """Store those of the repeated deliveries that have a new body; returns the ids that were stored."""
    found = await connection.fetch(
        FIND_CONFLICTS,
        [event.tenant_id for event in repeated],
        [event.connection_id for event in repeated],
        [event.dedupe_key for event in repeated],
        [event.body_digest for event in repeated],
        [event.event_id for event in repeated],
    )
    if not found:
        return []
    differing = {row[0] for row in found}
    conflicts = sort_for_append(
        msgspec.structs.replace(event, dedupe_key=conflict_dedupe_key(event.dedupe_key, event.body_digest))
        for event in repeated
        if event.event_id in differing
    )
    payload = wake_up_of(conflicts) if notifies else None
    rows = await connection.fetch(APPEND_CONFLICTS, *columns_of(conflicts), writer, True, payload)
    return [row[0] for row in rows]


def _append_order(event: NewEvent) -> tuple[bytes, bytes]:
    return event.dedupe_key, event.connection_id.bytes


def wake_up_of(events: Sequence[NewEvent]) -> str:
    """Return the payload of a wake-up on `EVENT_QUEUED`: tenants, and behind a semicolon slots, each comma separated; '' means any."""
    tenants, slots = {event.tenant_id for event in events}, {event.slot for event in events}
    if len(tenants) > NOTIFIED_TENANTS_MAX or len(slots) > NOTIFIED_SLOTS_MAX:
        return ""
    return f"{','.join(map(str, tenants))};{','.join(map(str, slots))}"


def columns_of(events: Sequence[NewEvent]) -> list[list[Any]]:
    """Return the arrays that `statements.INCOMING` takes, in its order."""
    return [
        [event.tenant_id for event in events],
        [event.event_id for event in events],
        [event.connection_id for event in events],
        [event.source for event in events],
        [event.topic for event in events],
        [event.ordering_key for event in events],
        [event.slot for event in events],
        [event.dedupe_key for event in events],
        [event.body_digest for event in events],
        [event.data_key_id for event in events],
        [event.body for event in events],
        [event.undecodable for event in events],
        [event.external_id for event in events],
        [event.occurred_at for event in events],
        [event.headers for event in events],
        [event.envelope for event in events],
        [(event.event_id.int >> 80) // _MS_PER_HOUR for event in events],
    ]
