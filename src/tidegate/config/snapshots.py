"""What a process works by: the newest configuration of each tenant that can be used, whatever stands behind it.

A version that this release refuses, or that breaks its reader, changes nothing: the last good one goes on serving, and
the log says so once.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec
import structlog

from tidegate.config.effective import Effective, Timetable
from tidegate.config.versions import ConfigVersion, StoredVersion, read_before, read_stored, understand
from tidegate.kernel.errors import ConfigurationError
from tidegate.store.connections import Connection

log = structlog.get_logger()

LOOK_BACK_MAX = 100
"""How many older versions are tried when a process starts and the newest one is refused."""
REASON_CHARS_MAX = 500


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A stored version that cannot be used here."""

    version: int
    reason: str


class Snapshots:
    """Reads configurations, and parses each version once."""

    def __init__(self) -> None:
        """Start knowing nothing."""
        self.versions: dict[UUID, ConfigVersion] = {}
        """The last good version of each tenant."""
        self.newest: dict[UUID, int] = {}
        """The newest stored version of each tenant, good or not."""
        self.refused: dict[UUID, Refusal] = {}
        """What stands in front of the last good version, where something does."""
        self._timetables: dict[UUID, Timetable] = {}

    async def read(self, conn: Connection) -> None:
        """Read what is newer than what is known. One index look-up per tenant when nothing is."""
        for stored in await read_stored(conn, after=self.newest):
            self.newest[stored.tenant_id] = stored.version
            if self._take(stored) or stored.tenant_id in self.versions:
                continue
            await self._look_back(conn, stored)

    def at(self, tenant_id: UUID, moment: datetime) -> Effective | None:
        """Return what the tenant's configuration says at a moment; None when there is none."""
        timetable = self._timetables.get(tenant_id)
        return timetable.at(moment) if timetable is not None else None

    async def _look_back(self, conn: Connection, stored: StoredVersion) -> None:
        """Find the newest good version below one that is refused."""
        version = stored.version
        for _ in range(LOOK_BACK_MAX):
            older = await read_before(conn, stored.tenant_id, version)
            if older is None:
                return
            if self._take(older, is_newest=False):
                log.warning("config.older_in_use", tenant_id=older.tenant_id, version=older.version)
                return
            version = older.version

    def _take(self, stored: StoredVersion, *, is_newest: bool = True) -> bool:
        """Use a version if it can be used."""
        try:
            version = understand(stored)
        except Exception as error:
            if is_newest:
                self._refuse(stored, error)
            return False
        self.versions[stored.tenant_id] = version
        self._timetables[stored.tenant_id] = Timetable(version.config)
        if is_newest:
            self.refused.pop(stored.tenant_id, None)
        return True

    def _refuse(self, stored: StoredVersion, error: Exception) -> None:
        reason = str(error) if isinstance(error, ConfigurationError) else type(error).__name__
        refusal = Refusal(version=stored.version, reason=reason[:REASON_CHARS_MAX])
        self.refused[stored.tenant_id] = refusal
        log.error("config.refused", tenant_id=stored.tenant_id, version=stored.version, reason=refusal.reason)


async def read_newest(conn: Connection) -> list[ConfigVersion]:
    """Return the configuration of each tenant that is at work: its newest one that can be used. For who asks once."""
    snapshots = Snapshots()
    await snapshots.read(conn)
    return list(snapshots.versions.values())
