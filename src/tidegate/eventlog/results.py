"""Appending results: what came of our own commands is a fact of the log too, applied the moment it is written."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from tidegate.eventlog.append import columns_of, sort_for_append
from tidegate.eventlog.records import Envelope, NewEvent
from tidegate.eventlog.statements import APPEND_RESULTS
from tidegate.store.connections import Connection


class ResultEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A result and the outcome that is recorded with it."""

    event: NewEvent
    """Source 'result'. Its dedupe key is made from the attempt's answer, so that it is stored once."""
    envelope: Envelope
    """Versions that are recorded with the outcome; `event.envelope` is its encoded form."""
    code: str
    """What happened, stable snake_case."""
    reason: str | None = None
    entity_kind: str | None = None
    entity_id: UUID | None = None


async def append_results(connection: Connection, results: Sequence[ResultEvent], *, writer: str) -> int:
    """Store result events with outcome 'applied' inside the caller's transaction; return how many were new.

    They never wait in the queue, and count as received and applied. A result that is known already is left alone.
    """
    if not results:
        return 0
    by_id = {result.event.event_id: result for result in results}
    events = sort_for_append(result.event for result in results)
    ordered = [by_id[event.event_id] for event in events]
    rows = await connection.fetch(
        APPEND_RESULTS,
        *columns_of(events),
        writer,
        [result.code for result in ordered],
        [result.reason for result in ordered],
        [result.entity_kind for result in ordered],
        [result.entity_id for result in ordered],
        [result.envelope.connector_version for result in ordered],
        [str(result.envelope.mapping_version) for result in ordered],
        [result.envelope.code_version for result in ordered],
    )
    return len(rows)
