"""Deliveries of WooCommerce's own webhooks: signed over the body alone, with ids that are not unique.

`X-WC-Webhook-Delivery-ID` is a hash of the webhook and the second: two orders of one second share it. A delivery is
therefore known by its topic and the digest of its body.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

from tidegate.sdk.connector import EventKeys, Webhook
from tidegate.sdk.decoding import decode_body
from tidegate.sdk.signatures import WooCommerceHmac, woocommerce_headers

TOPIC_HEADER = "x-wc-webhook-topic"
ORDER_TOPICS = ("order.created", "order.updated", "order.deleted", "order.restored")
TOPICS = (*ORDER_TOPICS, "product.deleted", "product.restored")
"""What is subscribed to. `order.updated` also tells refunds; changes of articles are read by polls, because their webhooks fire
with every unit that is sold and with every number that is set."""
_PING = re.compile(rb"webhook_id=[0-9]{1,20}")
_FORM = "application/x-www-form-urlencoded"


class _Keys(msgspec.Struct, gc=False):
    """The few fields that the door reads."""

    id: int | None = None
    parent_id: int | None = None
    arg: int | str | None = None
    date_modified_gmt: str | None = None


_DECODER = msgspec.json.Decoder(_Keys)


def read_keys(headers: Mapping[str, str], body: bytes) -> EventKeys:
    """Return the keys of a delivery. Raises ValueError when it names no topic or no entity."""
    topic = headers.get(TOPIC_HEADER, "")
    kind, _, verb = topic.partition(".")
    if not kind or not verb:
        raise ValueError("the delivery names no topic")
    keys = decode_body(_DECODER, body)
    if kind == "action":
        ordering_key = f"order:{keys.arg}" if verb.startswith("woocommerce_order_") else f"action:{keys.arg}"
    elif keys.id is None:
        raise ValueError("the delivery names no entity")
    elif kind == "product":
        ordering_key = f"variant:{keys.parent_id}-{keys.id}" if keys.parent_id else f"variant:{keys.id}"
    else:
        ordering_key = f"{kind}:{keys.id}"
    return EventKeys(
        topic=topic,
        sender_event_id=hashlib.sha256(body).hexdigest(),
        ordering_key=ordering_key,
        occurred_at=f"{keys.date_modified_gmt}Z" if keys.date_modified_gmt else None,
    )


def is_ping(headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether this is the unsigned form that a shop sends when a webhook is made, and that must be answered 200."""
    return (
        headers.get("content-type", "").startswith(_FORM)
        and "x-wc-webhook-signature" not in headers
        and _PING.fullmatch(body) is not None
    )


WEBHOOK = Webhook(
    verify=WooCommerceHmac(),
    read_keys=read_keys,
    sign=woocommerce_headers,
    stored_headers=frozenset(
        ("content-type", "user-agent", TOPIC_HEADER, "x-wc-webhook-id", "x-wc-webhook-delivery-id")
    ),
    keyed_by_body=True,
    is_ping=is_ping,
)
