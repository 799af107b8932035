"""Putting a configuration to work: record it, make its modes count, and tell channels what they were never told.

Going live plans stock from what is true now. It sends no order that came in before, unless that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.config.effective import effective
from tidegate.config.history import History
from tidegate.config.stock_modes import StockModes
from tidegate.config.versions import ConfigVersion, lock_config, record_version
from tidegate.kernel.errors import ConflictError
from tidegate.kernel.ids import new_id
from tidegate.mapping.references import Files
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.flow_modes import Settled, settle_modes

_MARK = query("marks_for_telling")
_ADD_AUDIT = query("audit_add")


async def put_to_work(
    conn: Connection,
    document: str,
    *,
    applied_by: str,
    files: Files | None = None,
    include_since: Mapping[str, datetime] | None = None,
    connectors: Mapping[str, Connector] | None = None,
    expected_version: int | None = None,
) -> ConfigVersion:
    """Record a configuration as the newest of its tenant, make its modes count, and mark what its stock flow owes.

    `files` and `connectors` as in `record_version`. `include_since`: flow -> also send what was placed since then and is
    not known there. `expected_version`: the newest one that the caller compared with, 0 where there was none; None puts
    it to work whatever is there.
    One transaction; safe to repeat. When it returns, nothing new leaves under the modes that were before. Raises
    ConfigurationError when the document is not valid, ConflictError when somebody else made a version meanwhile.
    """
    async with conn.transaction():
        version = await record_version(conn, document, applied_by=applied_by, files=files, connectors=connectors)
        if version.is_new:
            if expected_version is not None:
                await _refuse_if_overtaken(conn, version, expected_version)
            detail = msgspec.json.encode({"version": version.version}).decode()
            await conn.execute(
                _ADD_AUDIT, version.tenant_id, new_id(), applied_by, "config.applied", version.config.tenant, detail
            )
        planned = effective(version.config, datetime.now(UTC)).planned
        await settle_modes(conn, version.tenant_id, planned, include_since=include_since)
        await mark_for_telling(conn, version.tenant_id, told_channels(planned), only_untold=True)
    return version


async def _refuse_if_overtaken(conn: Connection, made: ConfigVersion, expected: int) -> None:
    """Raise ConflictError when the newest version before the one that was just made is not the expected one."""
    before = await History(conn, made.tenant_id).newest(below=made.version)
    if before is not None and before.version != expected:
        raise ConflictError(
            f"version {before.version} was made meanwhile by {before.applied_by}; nothing was changed",
            code="version_overtaken",
            hint="look at what would change by now, then repeat it",
        )


async def refresh_modes(conn: Connection, tenant_id: UUID) -> Settled:
    """Make the modes of the newest configuration count where they do not yet: new articles, new connections, an upgrade.

    One transaction; safe to repeat and to run twice at once.
    """
    async with conn.transaction():
        await lock_config(conn, tenant_id)
        newest = await History(conn, tenant_id).newest()
        if newest is None:
            return Settled()
        return await settle_modes(conn, tenant_id, effective(newest.config, datetime.now(UTC)).planned)


async def mark_for_telling(conn: Connection, tenant_id: UUID, names: Sequence[str], *, only_untold: bool) -> int:
    """Mark items of these channels that were counted at least once and do not observe; return how many.

    The lanes compute the numbers when they send, and send none that the channel is known to show. `only_untold` leaves
    out what a channel was told before.
    """
    if not names:
        return 0
    return int(await conn.fetchval(_MARK, tenant_id, list(names), only_untold))


def told_channels(config: Config) -> tuple[str, ...]:
    """Return the connections that are told any stock number. Pure."""
    stock = config.flows.stock
    return stock.targets if stock is not None and StockModes(config).may_write else ()
