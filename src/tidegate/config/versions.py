"""Configuration in the database: `up` records a version, workers read the newest one and never the file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from tidegate.config.parse import parse, roles_of
from tidegate.config.records import Config
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.mapping.references import Files, belongs, digest_files, missing_files, wanted_files
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_ADD_TENANT = query("tenant_add")
_LOCK_TENANT = query("tenant_lock")
_ADD_VERSION = query("config_version_add")
_ADD_BUNDLE = query("config_bundle_add")
_NEWEST_BUNDLE = query("config_bundle_newest")
_NEWEST = query("config_version_newest")
_BEFORE = query("config_version_before")


VERSION_MAX = 2**31 - 1
_SINCE_WORDS = "# orders placed before are left alone; set when this was first put to work"
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
    document: str = ""
    """The text. It has a line more than what was given when `since` was still open."""
    is_new: bool = False
    """Whether recording it made a version; False when it was the newest one already."""


class StoredVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version as it is stored: its text, not read yet."""

    tenant_id: UUID
    version: int
    document: str
    files: str | None
    """JSON, None when the document names none."""
    roles: str = "{}"
    """JSON: connector -> roles, as they were when it was put to work."""


async def record_version(
    connection: Connection,
    document: str,
    *,
    applied_by: str,
    files: Files | None = None,
    connectors: Mapping[str, Connector] | None = None,
) -> ConfigVersion:
    """Store a checked document as the newest version of its tenant; the tenant is made when it is new.

    `files` are the files that it names (see `config.files.read_files`); None keeps those of the newest version.
    `connectors` are what a preset fills by; None takes what the newest version was filled by. Where `since` is open it is
    written into the document: the moment at which orders first counted, else now. A document equal to the newest one, with
    equal files, makes no new version, so it is safe to repeat. Workers are notified on `tidegate_config`. Raises
    ConfigurationError when the document is not valid or a file is missing.
    """
    roles = roles_of(connectors)
    config = parse(document, roles=roles)
    async with connection.transaction():
        tenant_id: UUID | None = await connection.fetchval(_LOCK_TENANT, config.tenant)
        if tenant_id is None:
            await connection.execute(_ADD_TENANT, new_id(), config.tenant)
            tenant_id = await connection.fetchval(_LOCK_TENANT, config.tenant)
        assert tenant_id is not None
        await lock_config(connection, tenant_id)
        newest = await read_before(connection, tenant_id, VERSION_MAX)
        if connectors is None and newest is not None:
            roles = decode_roles(newest.roles)
            config = parse(document, roles=roles)
        if config.needs_since:
            document = with_since(document, _since_of(newest) or datetime.now(UTC))
            config = parse(document, roles=roles)
        kept = await _choose_files(connection, tenant_id, config, files)
        bundle = digest_files(kept) if kept else None
        if bundle is not None:
            await connection.execute(_ADD_BUNDLE, tenant_id, bundle, msgspec.json.encode(kept).decode())
        used = {
            connection.use: roles[connection.use]
            for connection in config.connections.values()
            if connection.use in roles
        }
        version: int = await connection.fetchval(
            _ADD_VERSION,
            tenant_id,
            hashlib.sha256(document.encode() + (bundle or b"")).digest(),
            document,
            applied_by,
            bundle,
            msgspec.json.encode(used).decode(),
        )
    return ConfigVersion(
        tenant_id=tenant_id,
        version=version,
        config=config,
        files=kept,
        document=document,
        is_new=newest is None or newest.version != version,
    )


def with_since(document: str, moment: datetime) -> str:
    """Return a document that says from when on orders count, in a line at its end. Pure.

    Raises ConfigurationError when the document has no such place.
    """
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    changed = f"{document.rstrip()}\n\nsince: {text}  {_SINCE_WORDS}\n"
    try:
        is_read = parse(changed).since is not None
    except ConfigurationError:
        is_read = False
    if not is_read:
        raise ConfigurationError(
            "it is open from when on orders count", code="since_missing", hint=f"write into the file: since: {text}"
        )
    return changed


def _since_of(newest: StoredVersion | None) -> datetime | None:
    """Return from when on orders counted so far."""
    try:
        orders = understand(newest).config.flows.orders if newest is not None else None
    except ConfigurationError:
        return None
    return orders.since if orders is not None else None


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
        config=parse(stored.document, roles=decode_roles(stored.roles)),
        files=decode_files(stored.files),
        document=stored.document,
    )


def decode_roles(stored: str) -> dict[str, list[str]]:
    """Return what a version was filled by."""
    return msgspec.json.decode(stored, type=dict[str, list[str]])


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
