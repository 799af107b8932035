"""Arranges tenants, connections and sealed events for tests of the log and the door."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from tidegate.eventlog.records import NewEvent, Source, unique_dedupe_key, webhook_dedupe_key
from tidegate.kernel.ids import new_id, slot_of
from tidegate.store.connections import Connection
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.keys import DataKey, KeyRing, derive_class_root

ROOT_KEY = os.urandom(32)
CLASS_ROOTS = {name: derive_class_root(ROOT_KEY, name) for name in ("intake", "credential")}


def key_ring(*classes: str) -> KeyRing:
    """A ring that holds these classes (both by default) under one root key for the whole test run."""
    return KeyRing({name: CLASS_ROOTS[name] for name in classes or CLASS_ROOTS})


async def add_tenant(connection: Connection, name: str = "main") -> UUID:
    tenant_id = new_id()
    await connection.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, $2)", tenant_id, name)
    return tenant_id


async def add_connection(
    connection: Connection, tenant_id: UUID, *, connector: str = "bench", path_hash: bytes | None = None
) -> UUID:
    connection_id = new_id()
    await connection.execute(
        "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account, path_hash) "
        "VALUES ($1, $2, $3, $4, $3, $5)",
        tenant_id,
        connection_id,
        f"c-{connection_id.hex[-8:]}",
        connector,
        path_hash,
    )
    return connection_id


@dataclass
class Sender:
    """Makes sealed events of one connection."""

    tenant_id: UUID
    connection_id: UUID
    cipher: BodyCipher
    key: DataKey

    def event(
        self,
        sender_event_id: str,
        body: bytes = b"{}",
        *,
        ordering_key: str = "order:1",
        source: Source = "webhook",
        topic: str = "order.updated",
    ) -> NewEvent:
        event_id = new_id()
        is_unique = source != "webhook"
        return NewEvent(
            tenant_id=self.tenant_id,
            event_id=event_id,
            connection_id=self.connection_id,
            source=source,
            topic=topic,
            ordering_key=ordering_key,
            slot=slot_of(self.tenant_id, ordering_key),
            dedupe_key=unique_dedupe_key(source, event_id) if is_unique else webhook_dedupe_key(sender_event_id, topic),
            body_digest=hashlib.sha256(body).digest(),
            data_key_id=self.key.key_id,
            body=self.cipher.seal(self.key, "event", event_id, body),
            external_id=sender_event_id,
        )


async def add_sender(connection: Connection, *, tenant_id: UUID | None = None, name: str = "main") -> Sender:
    """A tenant (unless given) with one connection, ready to send."""
    tenant_id = tenant_id or await add_tenant(connection, name)
    connection_id = await add_connection(connection, tenant_id)
    cipher = BodyCipher(key_ring())
    key = await cipher.current(connection, tenant_id, datetime.now(UTC).date())
    return Sender(tenant_id, connection_id, cipher, key)
