"""The stored versions of one tenant, as values. Every version is kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec
from asyncpg import Record

from tidegate.config.records import Config
from tidegate.config.versions import VERSION_MAX, ConfigVersion, StoredVersion, decode_files, decode_roles, understand
from tidegate.kernel.errors import ConfigurationError
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_VERSIONS = query("config_versions")
_OF_TEXT = query("config_version_of_text")


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version, who made it and when."""

    tenant_id: UUID
    version: int
    document: str
    files: Mapping[str, str]
    roles: Mapping[str, list[str]]
    applied_by: str
    applied_at: datetime
    found: Config | None
    """None when this release refuses it."""
    refusal: str | None = None
    """Why."""

    @property
    def config(self) -> Config:
        """What it says. Raises ConfigurationError when this release refuses it."""
        if self.found is None:
            raise ConfigurationError(
                f"version {self.version} is not valid for this release:\n{self.refusal}", code="config_invalid"
            )
        return self.found

    def as_recorded(self) -> ConfigVersion:
        """Return it as it was put to work."""
        return ConfigVersion(
            tenant_id=self.tenant_id,
            version=self.version,
            config=self.config,
            files=dict(self.files),
            document=self.document,
        )


LOOK_BACK_MAX = 20
"""How many versions are tried when the newest ones are refused by this release."""


class History:
    """The versions of one tenant."""

    def __init__(self, conn: Connection, tenant_id: UUID) -> None:
        """Ask over `conn`; nothing is read yet."""
        self._conn = conn
        self._tenant_id = tenant_id

    async def newest(self, *, below: int = VERSION_MAX) -> Version | None:
        """Return the newest version that can be used, None when there is none. `below`: of those before this number."""
        for _ in range(LOOK_BACK_MAX):  # one at a time: nearly always the first one will do, and each is parsed
            found = await read_history(self._conn, self._tenant_id, limit=1, below=below)
            if not found or found[0].found is not None:
                return found[0] if found else None
            below = found[0].version
        return None

    async def read(self, number: int) -> Version:
        """Return a version. Raises ConfigurationError when there is no such one."""
        return await read_version(self._conn, self._tenant_id, number)


async def read_history(conn: Connection, tenant_id: UUID, *, limit: int, below: int = VERSION_MAX) -> list[Version]:
    """Return versions below a number, newest first."""
    return [_version(row) for row in await conn.fetch(_VERSIONS, tenant_id, below, limit)]


async def read_version(conn: Connection, tenant_id: UUID, number: int) -> Version:
    """Return one version. Raises ConfigurationError when there is no such one."""
    found = await read_history(conn, tenant_id, limit=1, below=min(number, VERSION_MAX - 1) + 1)
    if not found or found[0].version != number:
        raise ConfigurationError(
            f"there is no version {number}", code="version_missing", hint="tidegate config history"
        )
    return found[0]


async def version_of_text(conn: Connection, tenant_id: UUID, document: str) -> int | None:
    """Return the newest version whose text is `document`, None when it was never put to work."""
    number: int | None = await conn.fetchval(_OF_TEXT, tenant_id, document)
    return number


def _version(row: Record) -> Version:
    stored = StoredVersion(
        tenant_id=row["tenant_id"],
        version=row["version"],
        document=row["document"],
        files=row["files"],
        roles=row["roles"],
    )
    found, refusal = None, None
    try:
        found = understand(stored).config
    except ConfigurationError as error:
        refusal = str(error)
    return Version(
        tenant_id=stored.tenant_id,
        version=stored.version,
        document=stored.document,
        files=decode_files(stored.files),
        roles=decode_roles(stored.roles),
        applied_by=row["applied_by"],
        applied_at=row["applied_at"],
        found=found,
        refusal=refusal,
    )
