"""How Stripe delivers: `Stripe-Signature` over time and body, one event each. Events of one payment share a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tidegate.sdk.connector import EventKeys, Webhook
from tidegate.sdk.decoding import decode_body
from tidegate.sdk.signatures import StripeSignature, stripe_headers


class _Object(msgspec.Struct, gc=False):
    id: str = ""
    object: str = ""
    payment_intent: Any = None


class _Data(msgspec.Struct, gc=False):
    object: _Object = msgspec.field(default_factory=_Object)


class _Keys(msgspec.Struct, gc=False):
    """The few fields that the door reads; everything else is skipped, not built."""

    id: str
    type: str
    data: _Data = msgspec.field(default_factory=_Data)


_DECODER = msgspec.json.Decoder(_Keys)


def read_keys(_headers: Mapping[str, str], body: bytes) -> EventKeys:
    """Return the keys of a delivery, a snapshot event or a thin one. Raises ValueError when it is no event of Stripe's."""
    keys = decode_body(_DECODER, body)
    if not keys.id or not keys.type:
        raise ValueError("the event has no id or no type")
    shown = keys.data.object
    return EventKeys(
        topic=keys.type,
        sender_event_id=keys.id,
        ordering_key=ordering_key(keys.id, shown.object, shown.id, shown.payment_intent),
    )


def ordering_key(event_id: str, kind: str, object_id: str, payment_intent: Any) -> str:
    """Return the key of an event's payment, of the event itself where it names none."""
    if kind == "payment_intent" and object_id:
        return f"payment:{object_id}"
    named = payment_intent.get("id") if isinstance(payment_intent, dict) else payment_intent
    return f"payment:{named}" if isinstance(named, str) and named else f"event:{event_id}"


WEBHOOK = Webhook(
    verify=StripeSignature(),
    read_keys=read_keys,
    sign=stripe_headers,
    secret_field="webhook_secret",  # noqa: S106 - the name of a field
    body_bytes_max=1 << 20,
)
