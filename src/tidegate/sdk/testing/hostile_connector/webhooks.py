"""How the remote delivers: Standard Webhooks, one JSON event per delivery."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tidegate.sdk.connector import EventKeys, Webhook
from tidegate.sdk.decoding import decode_body
from tidegate.sdk.signatures import StandardWebhooks, standard_webhooks_headers


class _Order(msgspec.Struct):
    order_id: str
    placed_at: str | None = None


class _Move(msgspec.Struct):
    move_id: str
    article_id: str


class _Shipment(msgspec.Struct):
    shipment_id: str
    order_reference: str


class _Fulfillment(msgspec.Struct):
    fulfillment_id: str
    order_id: str


class _Product(msgspec.Struct):
    product_id: str


class _Keys(msgspec.Struct):
    """The few fields that the door reads; everything else is skipped, not built."""

    id: str
    type: str
    order_id: str | None = None
    order: _Order | None = None
    move: _Move | None = None
    shipment: _Shipment | None = None
    fulfillment: _Fulfillment | None = None
    product: _Product | None = None


_DECODER = msgspec.json.Decoder(_Keys)


def read_keys(_headers: Mapping[str, str], body: bytes) -> EventKeys:
    """Return the keys of a delivery. Raises ValueError when it is no event of this remote."""
    keys = decode_body(_DECODER, body)
    return EventKeys(topic=keys.type, sender_event_id=keys.id, ordering_key=_ordering_key(keys))


def _ordering_key(keys: _Keys) -> str:
    if keys.order is not None:
        return f"order:{keys.order.order_id}"
    if keys.order_id is not None:
        return f"order:{keys.order_id}"
    if keys.fulfillment is not None:
        return f"order:{keys.fulfillment.order_id}"
    if keys.move is not None:
        return f"article:{keys.move.article_id}"
    if keys.shipment is not None:
        return f"shipment:{keys.shipment.shipment_id}"
    if keys.product is not None:
        return f"product:{keys.product.product_id}"
    raise ValueError("the event names no entity")


WEBHOOK = Webhook(verify=StandardWebhooks(), read_keys=read_keys, sign=standard_webhooks_headers)
