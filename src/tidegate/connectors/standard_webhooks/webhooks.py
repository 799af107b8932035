"""Deliveries: the envelope of the specification, its keys, and which event of which entity it is."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tidegate.sdk.connector import EventKeys, Webhook
from tidegate.sdk.decoding import decode_body
from tidegate.sdk.signatures import StandardWebhooks, standard_webhooks_headers


class _Data(msgspec.Struct, frozen=True, gc=False):
    """What may name the entity; anything else is skipped, not built."""

    id: str | int | None = None
    sku: str | None = None


class _Keys(msgspec.Struct, gc=False):
    type: str
    timestamp: str | None = None
    data: _Data = _Data()


class _AnyData(msgspec.Struct, gc=False):
    type: str
    timestamp: str | None = None


_DECODER = msgspec.json.Decoder(_Keys)
_LENIENT = msgspec.json.Decoder(_AnyData)


def read_keys(headers: Mapping[str, str], body: bytes) -> EventKeys:
    """Return the keys of a delivery: its signed id, its type, and the entity that it is about.

    What names no entity is ordered by itself. Raises ValueError when the body is no envelope.
    """
    message_id = headers.get("webhook-id") or headers.get("svix-id") or ""
    try:
        keys = decode_body(_DECODER, body)
        entity = _entity(keys)
    except msgspec.ValidationError:  # an envelope whose data is of another kind: kept, and judged by the mapper
        outer = decode_body(_LENIENT, body)
        keys = _Keys(type=outer.type, timestamp=outer.timestamp)
        entity = None
    if not keys.type:
        raise ValueError("the event has no type")
    return EventKeys(
        topic=keys.type,
        sender_event_id=message_id,
        ordering_key=entity or f"message:{message_id}",
        occurred_at=keys.timestamp,
    )


def _entity(keys: _Keys) -> str | None:
    family = keys.type.partition(".")[0]
    if keys.type == "stock.incoming":  # its last word may be about another article
        return f"incoming:{keys.data.id}" if keys.data.id is not None else None
    if family == "stock":
        return f"article:{keys.data.sku}" if keys.data.sku else None
    return f"{family}:{keys.data.id}" if keys.data.id is not None and family else None


WEBHOOK = Webhook(
    verify=StandardWebhooks(),
    read_keys=read_keys,
    sign=standard_webhooks_headers,
    secret_field="verify_key",  # noqa: S106 - the name of a field
    stored_headers=frozenset({"content-type", "user-agent", "webhook-id", "svix-id"}),
)
