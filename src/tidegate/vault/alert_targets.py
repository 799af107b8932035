"""Addresses of those who are told of alerts, encrypted under keys of class `alert`."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from tidegate.kernel.redaction import Secret
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.vault.keys import DataKey, KeyRing
from tidegate.vault.sealing import associated_data, seal, unseal

_PUT = query("alerts_target_put")


async def put(
    connection: Connection, ring: KeyRing, tenant_id: UUID, *, name: str, kind: str, address: Secret, actor: str
) -> None:
    """Store the address of a target; one of that name is replaced. Call it in a transaction."""
    key = await ring.data_key_of_day(connection, tenant_id, "alert", datetime.now(UTC).date())
    sealed = seal(key.cipher, address.reveal().encode(), _binding(key, name, kind))
    fingerprint = await ring.fingerprint(connection, tenant_id, "alert", address.reveal())
    await connection.execute(_PUT, tenant_id, name, kind, key.key_id, sealed, fingerprint, actor)


async def open_address(
    connection: Connection, ring: KeyRing, tenant_id: UUID, *, name: str, kind: str, key_id: UUID, sealed: bytes
) -> Secret:
    """Return an address from its stored row.

    Raises InvariantError (tampered, key_missing) when it does not belong there, ConfigurationError when this process does
    not hold the class.
    """
    await ring.load(connection, [(tenant_id, key_id)])
    key = ring.get(tenant_id, key_id)
    return Secret(unseal(key.cipher, sealed, _binding(key, name, kind)).decode())


def _binding(key: DataKey, name: str, kind: str) -> bytes:
    return associated_data(key.tenant_id.bytes, key.key_id.bytes, b"alert-target", name.encode(), kind.encode())
