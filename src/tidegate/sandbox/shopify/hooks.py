"""Webhook subscriptions, and deliveries with Shopify's headers, signature, time-outs and retries.

Source: Shopify, Webhooks (delivery structure, verify deliveries) and changelog, updates to the retry mechanism: 1 s to
connect, 5 s in all, only 2xx counts, 8 retries over 4 hours, a subscription made by the API is deleted after 8 failures in a
row.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate.sandbox.loopback import NotLoopback
from tidegate.sandbox.sender import Delivery, Schedule
from tidegate.sandbox.shopify.amounts import instant
from tidegate.sandbox.shopify.payloads import fulfillment_body, level_body, order_body, refund_body, transaction_body
from tidegate.sandbox.shopify.shop import Shop, ShopOrder
from tidegate.sandbox.world import Place

FAILURES_MAX = 8
SUBSCRIPTIONS_MAX = 500
SUBSCRIPTION_IDS = 1_100_000_000_000
SCHEDULE = Schedule(
    retries=(60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3840.0, 6780.0), timeout_seconds=5.0, connect_seconds=1.0
)
"""Eight retries in 14,400 seconds. Their number and length are published, the single waits are not."""


@dataclass
class Subscription:
    """Who is told of a topic (`ORDERS_CREATE`)."""

    id: int
    topic: str
    uri: str
    created_at: float
    updated_at: float
    format: str = "JSON"
    filter: str | None = None
    name: str | None = None
    include_fields: tuple[str, ...] = ()


class Hooks:
    """The subscriptions of one app in one shop."""

    def __init__(self, place: Place, client_secret: str, shop_domain: str, version: Callable[[], str]) -> None:
        self.place, self._secret, self._domain, self._version = place, client_secret, shop_domain, version
        self.subscriptions: dict[int, Subscription] = {}
        self.deleted_after_failures: list[Subscription] = []
        self._by_topic: dict[str, list[Subscription]] = {}
        self._made = 0
        self._events = 0
        place.sender.schedule = SCHEDULE
        place.sender.on_failures = self._failed

    def find(self, topic: str, uri: str) -> Subscription | None:
        """Return the subscription of a topic to an address."""
        return next((one for one in self._by_topic.get(topic, ()) if one.uri == uri), None)

    def refuse(self, uri: str) -> str | None:
        """Return why an address cannot be subscribed, None where it can."""
        if not uri.startswith(("https://", "http://")):
            return "Address is invalid"
        try:
            self.place.sender.check(uri)
        except NotLoopback as error:
            return f"Address is not reachable: {error}"
        return None

    def add(self, topic: str, uri: str) -> Subscription:
        """Subscribe."""
        self._made += 1
        now = self.place.now()
        one = Subscription(SUBSCRIPTION_IDS + self._made, topic, uri, now, now)
        self.subscriptions[one.id] = one
        self._by_topic.setdefault(topic, []).append(one)
        return one

    def remove(self, number: int) -> Subscription | None:
        """Unsubscribe; None where there was nothing."""
        one = self.subscriptions.pop(number, None)
        if one is not None:
            self._by_topic[one.topic].remove(one)
        return one

    def tell(self, shop: Shop, topic: str, thing: Any) -> None:
        """Send an event to everybody who subscribed its topic (`orders/create`)."""
        wanted = self._by_topic.get(topic.upper().replace("/", "_"))
        if not wanted:
            return
        body = msgspec.json.encode(_BODIES[topic.partition("/")[0]](shop, thing))
        self.deliver(topic, body, wanted, order=_order_of(thing))

    def deliver(self, topic: str, body: bytes, wanted: list[Subscription] | None = None, *, order: str = "") -> None:
        """Send this body under this topic; `order`: the id of the order that it tells of."""
        self._events += 1
        event = _uuid(f"{self.place.name}/event/{self._events}")
        triggered = f"{(instant(self.place.now()) or '')[:-1]}.{int(self.place.now() * 1000) % 1000:03d}Z"
        signature = base64.b64encode(hmac.new(self._secret.encode(), body, hashlib.sha256).digest()).decode()
        wanted = self._by_topic.get(topic.upper().replace("/", "_"), []) if wanted is None else wanted
        for one in tuple(wanted):
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "Shopify-Captain-Hook",
                "X-Shopify-Topic": topic,
                "X-Shopify-Hmac-Sha256": signature,
                "X-Shopify-Shop-Domain": self._domain,
                "X-Shopify-API-Version": self._version(),
                "X-Shopify-Webhook-Id": _uuid(f"{self.place.name}/webhook/{self._events}/{one.id}"),
                "X-Shopify-Event-Id": event,
                "X-Shopify-Triggered-At": triggered,
            }
            self.place.sender.send(
                Delivery(
                    url=one.uri,
                    topic=topic,
                    body=body,
                    group=str(one.id),
                    order=order,
                    make_headers=_always(headers),
                    is_wanted=self._is_there(one.id),
                )
            )

    def _is_there(self, number: int) -> Callable[[], bool]:
        return lambda: number in self.subscriptions

    def _failed(self, group: str, in_a_row: int) -> None:
        if in_a_row >= FAILURES_MAX and (one := self.remove(int(group))) is not None:
            self.deleted_after_failures.append(one)


_BODIES: Mapping[str, Callable[[Shop, Any], Any]] = {
    "orders": lambda _, order: order_body(order),
    "fulfillments": lambda _, one: fulfillment_body(one),
    "refunds": lambda _, one: refund_body(one),
    "order_transactions": lambda _, one: transaction_body(one),
    "inventory_levels": lambda shop, level: level_body(shop, *level),
    "bulk_operations": lambda _, body: body,
    "app": lambda _, body: body,
}


def _order_of(thing: Any) -> str:
    """Return the id of the order that a thing is, or belongs to; '' where it is about none."""
    order = thing if isinstance(thing, ShopOrder) else getattr(thing, "order", None)
    return str(order.id) if isinstance(order, ShopOrder) else ""


def _always(headers: Mapping[str, str]) -> Callable[[int, float], Mapping[str, str]]:
    return lambda _attempt, _now: headers


def _uuid(text: str) -> str:
    """Return a name that looks like a UUID, the same for the same text."""
    raw = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return f"{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-a{raw[17:20]}-{raw[20:]}"
