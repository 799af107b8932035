"""Deliveries of the plugin: signed as Standard Webhooks says, one order snapshot each."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tidegate.sdk.connector import EventKeys, Webhook
from tidegate.sdk.decoding import decode_body
from tidegate.sdk.signatures import StandardWebhooks, standard_webhooks_headers


class _Order(msgspec.Struct, gc=False):
    id: str


class _Data(msgspec.Struct, gc=False):
    order: _Order


class _Keys(msgspec.Struct, gc=False):
    """The few fields that the door reads; everything else is skipped, not built."""

    id: str
    type: str
    data: _Data
    timestamp: str | None = None


_DECODER = msgspec.json.Decoder(_Keys)


def read_keys(_headers: Mapping[str, str], body: bytes) -> EventKeys:
    """Return the keys of a delivery. Raises ValueError when it is no event of the plugin."""
    keys = decode_body(_DECODER, body)
    if not keys.id or not keys.data.order.id:
        raise ValueError("the event names no order")
    return EventKeys(
        topic=keys.type,
        sender_event_id=keys.id,
        ordering_key=f"order:{keys.data.order.id}",
        occurred_at=keys.timestamp,
    )


WEBHOOK = Webhook(verify=StandardWebhooks(), read_keys=read_keys, sign=standard_webhooks_headers)
