"""Configuration in the database: `up` records a version, workers read the newest one and never the file."""

from __future__ import annotations

import hashlib
from uuid import UUID

import msgspec

from tidegate.config.parse import parse
from tidegate.config.records import Config
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_ADD_TENANT = query("tenant_add")
_LOCK_TENANT = query("tenant_lock")
_ADD_VERSION = query("config_version_add")
_NEWEST = query("config_version_newest")


CONFIG_LOCK_CLASS = 7481
"""First key of the advisory lock of a tenant's configuration: shared by whoever applies events under it, taken alone by
whoever puts another one to work."""
_LOCK_CONFIG = "SELECT pg_advisory_xact_lock($1, hashtext($2::uuid::text))"


class ConfigVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration as it was put to work."""

    tenant_id: UUID
    version: int
    config: Config


async def record_version(connection: Connection, document: str, *, applied_by: str) -> ConfigVersion:
    """Store a checked document as the newest version of its tenant; the tenant is made when it is new.

    A document equal to the newest one makes no new version, so it is safe to repeat. Workers are notified on
    `tidegate_config`. Raises ConfigurationError when the document is not valid.
    """
    config = parse(document)
    digest = hashlib.sha256(document.encode()).digest()
    async with connection.transaction():
        await connection.execute(_ADD_TENANT, new_id(), config.tenant)
        tenant_id: UUID = await connection.fetchval(_LOCK_TENANT, config.tenant)
        await connection.execute(_LOCK_CONFIG, CONFIG_LOCK_CLASS, tenant_id)
        version: int = await connection.fetchval(_ADD_VERSION, tenant_id, digest, document, applied_by)
    return ConfigVersion(tenant_id=tenant_id, version=version, config=config)


async def read_newest(connection: Connection, *, after: dict[UUID, int] | None = None) -> list[ConfigVersion]:
    """Return the newest version of each tenant, sorted by tenant id.

    Only versions above `after[tenant_id]` are read and parsed, so polling costs one index look-up per tenant.
    """
    known = after or {}
    rows = await connection.fetch(_NEWEST, list(known), list(known.values()))
    return [
        ConfigVersion(tenant_id=row["tenant_id"], version=row["version"], config=parse(row["document"])) for row in rows
    ]
