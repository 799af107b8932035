"""Appending what was read from the other side: pages of a feed, and single entities that were asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from uuid import UUID

from tidegate.eventlog.append import append_unique
from tidegate.eventlog.records import NewEvent
from tidegate.kernel.errors import ConflictError
from tidegate.store.connections import Connection
from tidegate.store.sql import query

Fence = Callable[[Connection], Awaitable[object]]
"""Checks inside the transaction that the caller still owns its slots; raises when it does not."""

_MOVE_CURSOR = query("poll_cursor_move")
_OBSERVE = query("poll_observe")


async def append_poll_page(
    connection: Connection,
    fence: Fence,
    tenant_id: UUID,
    connection_id: UUID,
    feed: str,
    *,
    cursor_version: int,
    cursor: str,
    items: Sequence[NewEvent],
    writer: str,
    even_at: datetime | None = None,
) -> int:
    """Store a page and move its cursor in one fenced transaction; return how many items were news.

    `items` are sealed with source 'poll', external_id set to the entity's id and the dedupe key of
    `records.unique_dedupe_key`; of several with one (topic, external_id) the last counts. An item is news when its body
    differs from the last observation of that entity. `cursor_version` is the version that was read with the old cursor
    (0: none yet); `even_at` is when the read of this page began, where it reached the feed's end. Raises ConflictError(code='cursor_moved') when somebody else moved it, and what `fence` raises.
    """
    async with connection.transaction():
        await fence(connection)
        moved_to = await connection.fetchval(
            _MOVE_CURSOR, tenant_id, connection_id, feed, cursor, cursor_version, even_at
        )
        if moved_to != cursor_version + 1:
            raise ConflictError(f"the cursor of feed {feed!r} was moved by somebody else", code="cursor_moved")
        news = await _observe(connection, items)
        await append_unique(connection, news, writer=writer)
    return len(news)


async def append_fetched(connection: Connection, fence: Fence, item: NewEvent, *, writer: str) -> None:
    """Store one entity that was fetched on request (source 'fetch'), news or not, in a fenced transaction."""
    async with connection.transaction():
        await fence(connection)
        await _observe(connection, [item])
        await append_unique(connection, [item], writer=writer)


async def _observe(connection: Connection, items: Sequence[NewEvent]) -> list[NewEvent]:
    """Remember the bodies of these entities; return the items that differ from what was remembered."""
    latest = {(item.connection_id, item.topic, item.external_id): item for item in items}
    ordered = sorted(latest.values(), key=lambda item: (item.connection_id.bytes, item.topic, item.external_id or ""))
    rows = await connection.fetch(
        _OBSERVE,
        [item.tenant_id for item in ordered],
        [item.connection_id for item in ordered],
        [item.topic for item in ordered],
        [item.external_id or "" for item in ordered],
        [item.body_digest for item in ordered],
    )
    news = {(row[0], row[1], row[2]) for row in rows}
    return [item for key, item in latest.items() if (key[0], key[1], key[2] or "") in news]
