"""What is appended to the log, and the keys under which it is deduplicated."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

Source = Literal["webhook", "poll", "fetch", "import", "operator", "result"]
"""Where a fact came from."""


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A fact that is ready to be appended: keys read, body sealed."""

    tenant_id: UUID
    event_id: UUID
    """UUIDv7; its time is when we received it."""
    connection_id: UUID
    source: Source
    topic: str
    ordering_key: str
    slot: int
    """`kernel.ids.slot_of(tenant_id, ordering_key)`."""
    dedupe_key: bytes
    """32 bytes; unique per connection."""
    body_digest: bytes
    """SHA-256 of the raw body: equal keys with another digest are a conflict."""
    data_key_id: UUID
    body: bytes
    """Sealed with purpose `event` and subject `event_id`."""
    undecodable: str | None = None
    """Why the key fields could not be read; T2 quarantines such an event."""
    external_id: str | None = None
    """The sender's event id (webhook) or the entity's id (poll, fetch)."""
    occurred_at: datetime | None = None
    """As the sender says."""
    headers: str = "{}"
    """JSON object of allow-listed headers."""
    envelope: str = "{}"
    """JSON object, see `Envelope`."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Which code took the event in; stored with it as JSON, versioned."""

    v: int = 1
    connector: str
    connector_version: str
    mapping_version: int
    code_version: str

    def encode(self) -> str:
        """Return the JSON text."""
        return msgspec.json.encode(self).decode()


class AppendResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an append did."""

    fresh: set[UUID]
    """Ids of the events that were stored, conflicts included."""
    duplicates: int
    """Deliveries whose key and body were known: nothing was stored."""
    conflicts: list[UUID]
    """Ids of the events that have a known key and another body."""


def webhook_dedupe_key(sender_event_id: str, topic: str) -> bytes:
    """Return the dedupe key of a sender's event id and topic: SHA-256 over both behind their lengths."""
    event_id, name = sender_event_id.encode(), topic.encode()
    return hashlib.sha256(b"%d:%b%d:%b" % (len(event_id), event_id, len(name), name)).digest()


def undecodable_dedupe_key(body_digest: bytes) -> bytes:
    """Return the dedupe key of an authentic body whose key fields cannot be read."""
    return hashlib.sha256(b"undecodable" + body_digest).digest()


def conflict_dedupe_key(dedupe_key: bytes, body_digest: bytes) -> bytes:
    """Return the key under which another body of a known key is stored, once per body."""
    return hashlib.sha256(b"conflict" + dedupe_key + body_digest).digest()


def unique_dedupe_key(source: Source, event_id: UUID) -> bytes:
    """Return the key of an event that was deduplicated by other means (polls, fetches, results)."""
    return hashlib.sha256(source.encode() + event_id.bytes).digest()
