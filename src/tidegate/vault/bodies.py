"""Bodies that are encrypted before they are stored: events, private parts of orders, calls and their answers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Literal
from uuid import UUID

from tidegate.store.connections import Connection
from tidegate.vault.keys import DataKey, KeyRing
from tidegate.vault.sealing import seal, unseal

Purpose = Literal["event", "order", "call", "answer"]
"""What is sealed; its subject is the event id, the order id, the call id or the attempt id."""


class BodyCipher:
    """Seals and opens bodies under the tenant's data key of the day (class `intake`)."""

    def __init__(self, ring: KeyRing) -> None:
        """Use the keys of `ring`, which must hold the class `intake`."""
        self._ring = ring

    async def current(self, connection: Connection, tenant_id: UUID, day: date) -> DataKey:
        """Return the key to seal with on a UTC day; its `key_id` is stored beside what was sealed.

        Made race-free on first use; costs no query once the process knows it.
        """
        return await self._ring.data_key_of_day(connection, tenant_id, "intake", day)

    def seal(self, key: DataKey, purpose: Purpose, subject_id: UUID, plaintext: bytes) -> bytes:
        """Return the token to store. It opens only for the same tenant, key, purpose and subject."""
        return seal(key.cipher, plaintext, key.associate(purpose, subject_id.bytes))

    async def opener(self, connection: Connection, wanted: Iterable[tuple[UUID, UUID]]) -> None:
        """Load the keys of (tenant id, key id) pairs, so that `open` needs no database. At most one query.

        Raises InvariantError(code='key_missing') when one does not exist.
        """
        await self._ring.load(connection, wanted)

    def open(self, tenant_id: UUID, key_id: UUID, purpose: Purpose, subject_id: UUID, token: bytes) -> bytes:
        """Return the plaintext; `opener` must have loaded the key.

        Raises InvariantError: 'tampered' when the token does not belong here, 'key_missing' when the key is not loaded.
        """
        key = self._ring.get(tenant_id, key_id)
        return unseal(key.cipher, token, key.associate(purpose, subject_id.bytes))
