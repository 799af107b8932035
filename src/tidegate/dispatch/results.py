"""Facts of a lane as events of the log: what an attempt came to, what a look found."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import msgspec

from tidegate import __version__
from tidegate.dispatch.scope import Scope
from tidegate.eventlog.records import Envelope, NewEvent, unique_dedupe_key
from tidegate.eventlog.results import ResultEvent
from tidegate.kernel.ids import new_id, slot_of
from tidegate.store.connections import Connection


async def build_result(
    conn: Connection,
    scope: Scope,
    body: Any,
    *,
    topic: str,
    ordering_key: str,
    external_id: str,
    code: str,
    reason: str | None = None,
    stored_once_as: UUID | None = None,
    entity: tuple[str, UUID] | None = None,
) -> ResultEvent:
    """Return a fact as an event whose body is sealed JSON, for `append_results` in the same transaction.

    `stored_once_as`: what the fact is about, where it may be appended again; None: each is a fact of its own.
    `entity`: (kind, id) of what it concerns.
    """
    tenant_id, connection_id = scope.ids
    event_id, content = new_id(), msgspec.json.encode(body)
    key = await scope.cipher.current(conn, tenant_id, scope.clock.now().date())
    envelope = Envelope(
        connector=scope.connector.name,
        connector_version=scope.connector.version,
        mapping_version=scope.connector.mapping_version,
        code_version=__version__,
    )
    event = NewEvent(
        tenant_id=tenant_id,
        event_id=event_id,
        connection_id=connection_id,
        source="result",
        topic=topic,
        ordering_key=ordering_key,
        slot=slot_of(tenant_id, ordering_key),
        dedupe_key=unique_dedupe_key("result", stored_once_as or event_id),
        body_digest=hashlib.sha256(content).digest(),
        data_key_id=key.key_id,
        body=scope.cipher.seal(key, "event", event_id, content),
        external_id=external_id,
        envelope=envelope.encode(),
    )
    kind, entity_id = entity or (None, None)
    return ResultEvent(event=event, envelope=envelope, code=code, reason=reason, entity_kind=kind, entity_id=entity_id)
