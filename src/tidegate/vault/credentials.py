"""Secrets of connections, encrypted: API credentials and webhook secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.redaction import Secret
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.vault.keys import DataKey, KeyClass, KeyRing
from tidegate.vault.sealing import associated_data, seal, unseal

WEBHOOK_SECRET = "webhook_secret"  # noqa: S105 - the name of the field, not a secret
"""Field of the secret that a platform signs its deliveries with (class `intake`)."""
ACTIVE_WEBHOOK_SECRETS = 2
"""The newest versions that verify: a rotation refuses nothing that is under way."""

_LOCK = query("credential_lock")
_HIGHEST = query("credential_versions")
_ADD = query("credential_add")
_RETIRE = query("credential_retire")
_ACTIVE = query("credentials_active")


async def put(
    connection: Connection,
    ring: KeyRing,
    tenant_id: UUID,
    connection_id: UUID,
    key_class: KeyClass,
    field: str,
    secret: Secret,
) -> int:
    """Store a new version of a secret and return its number; older ones are retired.

    Of a webhook secret the two newest versions stay active, of anything else one. One transaction.
    Raises ConfigurationError when the connection does not exist.
    """
    value = secret.reveal()
    async with connection.transaction():
        if not await connection.fetchval(_LOCK, tenant_id, connection_id):
            raise ConfigurationError("a secret was given for a connection that does not exist")
        version = 1 + int(await connection.fetchval(_HIGHEST, tenant_id, connection_id, field))
        key = await ring.data_key_of_day(connection, tenant_id, key_class, datetime.now(UTC).date())
        ciphertext = seal(key.cipher, value.encode(), _binding(key, connection_id, key_class, field, version))
        fingerprint = await ring.fingerprint(connection, tenant_id, key_class, value)
        await connection.execute(
            _ADD, tenant_id, connection_id, key_class, field, version, key.key_id, ciphertext, fingerprint
        )
        kept = ACTIVE_WEBHOOK_SECRETS if (key_class, field) == ("intake", WEBHOOK_SECRET) else 1
        await connection.execute(_RETIRE, tenant_id, connection_id, key_class, field, kept)
        await connection.execute("SELECT pg_notify('tidegate_connection', $1)", str(connection_id))
    return version


async def retire_older(
    connection: Connection, tenant_id: UUID, connection_id: UUID, key_class: KeyClass, field: str
) -> int:
    """Deactivate all versions of a secret but the newest and return how many that were."""
    done = await connection.execute(_RETIRE, tenant_id, connection_id, key_class, field, 1)
    await connection.execute("SELECT pg_notify('tidegate_connection', $1)", str(connection_id))
    return int(done.rpartition(" ")[2])


async def get_all(
    connection: Connection, ring: KeyRing, tenant_id: UUID, connection_id: UUID, key_class: KeyClass
) -> dict[str, Secret]:
    """Return field -> newest active secret of one class of a connection.

    Raises InvariantError(code='tampered') when a stored secret was changed or moved.
    """
    secrets: dict[str, Secret] = {}
    for field, secret in await _active(connection, ring, tenant_id, connection_id, key_class):
        secrets.setdefault(field, secret)
    return secrets


async def active_webhook_secrets(
    connection: Connection, ring: KeyRing, tenant_id: UUID, connection_id: UUID
) -> list[Secret]:
    """Return the secrets that deliveries of a connection may be signed with, newest first; empty when there is none."""
    found = await _active(connection, ring, tenant_id, connection_id, "intake")
    return [secret for field, secret in found if field == WEBHOOK_SECRET]


def open_secret(
    key: DataKey, connection_id: UUID, key_class: KeyClass, *, field: str, version: int, ciphertext: bytes
) -> Secret:
    """Return a secret from its stored row. Raises InvariantError(code='tampered') when it does not belong there."""
    plain = unseal(key.cipher, ciphertext, _binding(key, connection_id, key_class, field, version))
    return Secret(plain.decode())


async def _active(
    connection: Connection, ring: KeyRing, tenant_id: UUID, connection_id: UUID, key_class: KeyClass
) -> list[tuple[str, Secret]]:
    rows = await connection.fetch(_ACTIVE, tenant_id, connection_id, key_class)
    await ring.load(connection, {(tenant_id, row["data_key_id"]) for row in rows})
    return [
        (
            row["field"],
            open_secret(
                ring.get(tenant_id, row["data_key_id"]),
                connection_id,
                key_class,
                field=row["field"],
                version=row["record_version"],
                ciphertext=row["ciphertext"],
            ),
        )
        for row in rows
    ]


def _binding(key: DataKey, connection_id: UUID, key_class: str, field: str, version: int) -> bytes:
    return associated_data(
        key.tenant_id.bytes,
        key.key_id.bytes,
        b"credential",
        connection_id.bytes,
        key_class.encode(),
        field.encode(),
        version.to_bytes(4, "big"),
    )
