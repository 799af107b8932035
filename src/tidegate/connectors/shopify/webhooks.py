"""Shopify's deliveries: JSON in the shape of the old REST API, signed with the app's client secret over the raw body.

Everything but the body is unsigned: topic, webhook id and time are hints that somebody who caught a delivery could change.
What a topic says is therefore never trusted further than the body bears it out, see `mapper`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from tidegate.connectors.shopify.graphql import VERSION_HEADER
from tidegate.sdk.connector import EventKeys, Webhook
from tidegate.sdk.decoding import decode_body
from tidegate.sdk.signatures import ShopifyHmac, shopify_headers

TOPIC_HEADER = "x-shopify-topic"
ID_HEADER = "x-shopify-webhook-id"
TIME_HEADER = "x-shopify-triggered-at"

COMPLIANCE = frozenset({"customers/data_request", "customers/redact", "shop/redact"})
"""Mandatory for every app. They are set up in the app, no API knows them, and a person must act on each."""

Id = int | str | None


class _Customer(msgspec.Struct, gc=False):
    id: Id = None


class _Edit(msgspec.Struct, gc=False):
    order_id: Id = None


class _Keys(msgspec.Struct, gc=False):
    """The few fields that the door reads; everything else is skipped, not built."""

    id: Id = None
    order_id: Id = None
    inventory_item_id: Id = None
    shop_id: Id = None
    customer: _Customer | None = None
    order_edit: _Edit | None = None


_DECODER = msgspec.json.Decoder(_Keys)
_OF_ORDERS = frozenset({"refunds", "fulfillments", "order_transactions"})


def read_keys(headers: Mapping[str, str], body: bytes) -> EventKeys:
    """Return the keys of a delivery. Raises ValueError for one without topic, or whose body names nothing.

    The sender's event id is the webhook id, the same for every retry. A delivery without one has its body's digest instead.
    """
    topic = headers.get(TOPIC_HEADER, "")
    if not topic:
        raise ValueError(f"the delivery has no {TOPIC_HEADER}")
    keys = decode_body(_DECODER, body)
    return EventKeys(
        topic=topic,
        sender_event_id=headers.get(ID_HEADER) or f"body:{hashlib.sha256(body).hexdigest()}",
        ordering_key=_ordering_key(topic, keys),
        occurred_at=headers.get(TIME_HEADER),
    )


def _ordering_key(topic: str, keys: _Keys) -> str:
    resource = topic.partition("/")[0]
    if topic in COMPLIANCE:
        customer = keys.customer.id if keys.customer is not None else None
        return f"privacy:{customer or keys.shop_id or 'shop'}"
    if keys.order_edit is not None:
        return _key("order", keys.order_edit.order_id)
    if resource in _OF_ORDERS:
        return _key("order", keys.order_id)
    if resource == "inventory_levels":
        return _key("inventory_item", keys.inventory_item_id)
    return _key({"orders": "order", "products": "product"}.get(resource, resource), keys.id)


def _key(kind: str, value: Id) -> str:
    if value in (None, "", 0):
        raise ValueError(f"the delivery names no {kind}")
    return f"{kind}:{value}"


WEBHOOK = Webhook(
    verify=ShopifyHmac(),
    read_keys=read_keys,
    sign=shopify_headers,
    secret_field="client_secret",  # noqa: S106 - the name of the field
    version_header=VERSION_HEADER,
    stored_headers=frozenset(
        {
            "content-type",
            "user-agent",
            TOPIC_HEADER,
            ID_HEADER,
            TIME_HEADER,
            VERSION_HEADER,
            "x-shopify-event-id",
            "x-shopify-shop-domain",
        }
    ),
    body_bytes_max=4 << 20,
)
