"""Configuration in the database: `up` records a version, workers read the newest one and never the file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from uuid import UUID

import msgspec

from tidegate.config.parse import parse
from tidegate.config.records import Config
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.mapping.references import Files, belongs, digest_files, missing_files, wanted_files
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_ADD_TENANT = query("tenant_add")
_LOCK_TENANT = query("tenant_lock")
_ADD_VERSION = query("config_version_add")
_ADD_BUNDLE = query("config_bundle_add")
_NEWEST_BUNDLE = query("config_bundle_newest")
_NEWEST = query("config_version_newest")
_BEFORE = query("config_version_before")


CONFIG_LOCK_CLASS = 7481
"""First key of the advisory lock of a tenant's configuration: shared by whoever applies events under it, taken alone by
whoever puts another one to work."""
_LOCK_CONFIG = "SELECT pg_advisory_xact_lock($1, hashtext($2::uuid::text))"


async def lock_config(connection: Connection, tenant_id: UUID) -> None:
    """Have a tenant's configuration and modes to ourselves until the transaction ends: nobody applies events meanwhile."""
    await connection.execute(_LOCK_CONFIG, CONFIG_LOCK_CLASS, tenant_id)


class ConfigVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration as it was put to work."""

    tenant_id: UUID
    version: int
    config: Config
    files: Files = {}
    """Value tables and hook modules that the configuration names: name -> text."""


class StoredVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version as it is stored: its text, not read yet."""

    tenant_id: UUID
    version: int
    document: str
    files: str | None
    """JSON, None when the document names none."""


async def record_version(
    connection: Connection, document: str, *, applied_by: str, files: Files | None = None
) -> ConfigVersion:
    """Store a checked document as the newest version of its tenant; the tenant is made when it is new.

    `files` are the files that it names (see `config.files.read_files`); None keeps those of the newest version. A
    document equal to the newest one, with equal files, makes no new version, so it is safe to repeat. Workers are
    notified on `tidegate_config`. Raises ConfigurationError when the document is not valid or a file is missing.
    """
    config = parse(document)
    async with connection.transaction():
        await connection.execute(_ADD_TENANT, new_id(), config.tenant)
        tenant_id: UUID = await connection.fetchval(_LOCK_TENANT, config.tenant)
        await lock_config(connection, tenant_id)
        kept = await _choose_files(connection, tenant_id, config, files)
        bundle = digest_files(kept) if kept else None
        if bundle is not None:
            await connection.execute(_ADD_BUNDLE, tenant_id, bundle, msgspec.json.encode(kept).decode())
        digest = hashlib.sha256(document.encode() + (bundle or b"")).digest()
        version: int = await connection.fetchval(_ADD_VERSION, tenant_id, digest, document, applied_by, bundle)
    return ConfigVersion(tenant_id=tenant_id, version=version, config=config, files=kept)


async def read_stored(connection: Connection, *, after: Mapping[UUID, int]) -> list[StoredVersion]:
    """Return the newest version of each tenant, sorted by tenant id, where it is above `after[tenant_id]`.

    Workers ask `Snapshots`, which also knows what to do when one cannot be used.
    """
    rows = await connection.fetch(_NEWEST, list(after), list(after.values()))
    return [StoredVersion(**row) for row in rows]


async def read_before(connection: Connection, tenant_id: UUID, version: int) -> StoredVersion | None:
    """Return the newest version below `version`, None when there is none."""
    row = await connection.fetchrow(_BEFORE, tenant_id, version)
    return StoredVersion(**row) if row is not None else None


def understand(stored: StoredVersion) -> ConfigVersion:
    """Return a stored version as values. Raises ConfigurationError when this release refuses it. Pure."""
    return ConfigVersion(
        tenant_id=stored.tenant_id,
        version=stored.version,
        config=parse(stored.document),
        files=decode_files(stored.files),
    )


def decode_files(stored: str | None) -> dict[str, str]:
    """Return the files of a row of `config_bundle`; none for NULL."""
    return msgspec.json.decode(stored, type=dict[str, str]) if stored is not None else {}


async def _choose_files(
    connection: Connection, tenant_id: UUID, config: Config, files: Mapping[str, str] | None
) -> dict[str, str]:
    """Return the files to keep with a document: of the given ones, else of those of the newest version, what it names."""
    wanted = wanted_files(config.maps, config.tables)
    if not wanted:
        return {}
    given = decode_files(await connection.fetchval(_NEWEST_BUNDLE, tenant_id)) if files is None else files
    kept = {name: text for name, text in given.items() if belongs(name, wanted)}
    missing = missing_files(wanted, kept)
    if missing:
        raise ConfigurationError(
            f"the configuration names {', '.join(missing)}, which did not come with it",
            code="file_missing",
            hint="apply it in the project folder, where these files are: tidegate config apply",
        )
    return kept
