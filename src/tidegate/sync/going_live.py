"""Putting a configuration to work: record it, and tell channels whose stock flow became live what they were never told.

Going live plans stock from what is true now. It sends no order that came in before.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tidegate.config import Config
from tidegate.config.versions import ConfigVersion, read_newest, record_version
from tidegate.mapping.references import Files
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_MARK = query("marks_for_telling")


async def put_to_work(conn: Connection, document: str, *, applied_by: str, files: Files | None = None) -> ConfigVersion:
    """Record a configuration as the newest of its tenant and mark what its live stock flow owes to channels.

    `files` are the tables and hook modules that it names, None: those of the newest version. One transaction; safe to
    repeat. Raises ConfigurationError when the document is not valid.
    """
    async with conn.transaction():
        before = {version.tenant_id: version.config for version in await read_newest(conn)}
        version = await record_version(conn, document, applied_by=applied_by, files=files)
        known = before.get(version.tenant_id)
        fresh = [name for name in live_channels(version.config) if known is None or name not in live_channels(known)]
        await mark_for_telling(conn, version.tenant_id, fresh, only_untold=False)
        await mark_for_telling(conn, version.tenant_id, live_channels(version.config), only_untold=True)
    return version


async def mark_for_telling(conn: Connection, tenant_id: UUID, names: Sequence[str], *, only_untold: bool) -> int:
    """Mark items of these channels that were counted at least once; return how many.

    The lanes compute the numbers when they send, and send none that the channel is known to show. `only_untold` leaves
    out what a channel was told before.
    """
    if not names:
        return 0
    return int(await conn.fetchval(_MARK, tenant_id, list(names), only_untold))


def live_channels(config: Config) -> tuple[str, ...]:
    """Return the connections that are told stock numbers. Pure."""
    stock = config.flows.stock
    return stock.targets if stock is not None and stock.mode == "live" else ()
