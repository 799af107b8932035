"""The shop's webhooks: pending ones of one webhook and thing are one, the body is built when it leaves, nothing is retried."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate.sandbox.sender import Delivery, Schedule
from tidegate.sandbox.woocommerce.shop import VERSION, Body, moment
from tidegate.sandbox.world import Place

AGENT = f"WooCommerce/{VERSION} Hookshot (WordPress/6.7)"
FAILURES_MAX = 5
"""A failure when more than these came before it switches the webhook off."""
_ENTITIES = (("&quot;", '"'), ("&#039;", "'"), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


@dataclass
class Hook:
    """A webhook."""

    id: int
    name: str
    topic: str
    delivery_url: str
    secret: str
    status: str
    created: float
    modified: float | None = None

    def render(self) -> Body:
        """Return it as the API shows it: never with its secret."""
        resource, _, event = self.topic.partition(".")
        return {
            "id": self.id, "name": self.name, "status": self.status, "topic": self.topic, "resource": resource,
            "event": event, "hooks": [], "delivery_url": self.delivery_url, "date_created": moment(self.created),
            "date_created_gmt": moment(self.created), "date_modified": None, "date_modified_gmt": None,
        }  # fmt: skip


class Hooks:
    """All webhooks of a shop. `render(resource, id)` gives what a thing is at the moment of a delivery."""

    def __init__(self, place: Place, source: Callable[[], str], render: Callable[[str, int], Any], wait: float) -> None:
        """`wait` is how many seconds the queue takes before a delivery leaves."""
        self.hooks: dict[int, Hook] = {}
        self.coalesced = 0
        self.switched_off = 0
        self._place, self._source, self._render, self._wait = place, source, render, wait
        self._pending: set[tuple[int, int]] = set()
        place.sender.schedule = Schedule(timeout_seconds=60.0, accepted=frozenset(range(200, 303)))
        place.sender.on_failures = self._failed

    def add(self, body: Body) -> Hook:
        """Make a webhook, and ask its address for life by an unsigned form."""
        number = max(self.hooks, default=0) + 1
        topic = str(body["topic"])
        hook = Hook(
            id=number,
            name=str(body.get("name") or f"Webhook created on {moment(self._place.now())}"),
            topic=topic,
            delivery_url=str(body["delivery_url"]),
            secret=str(body.get("secret") or ""),
            status=str(body.get("status") or "active"),
            created=self._place.now(),
        )
        self.hooks[number] = hook
        self._place.sender.send(
            Delivery(
                url=hook.delivery_url,
                topic="ping",
                body=f"webhook_id={number}".encode(),
                make_headers=lambda _attempt, _at: {
                    "User-Agent": AGENT,
                    "Content-Type": "application/x-www-form-urlencoded",
                },
                group=f"ping:{number}",
            )
        )
        return hook

    def change(self, hook: Hook, body: Body) -> None:
        """Change a webhook. Its count of failures stays: it is switched off by the next one, until a delivery is taken."""
        for name in ("name", "topic", "delivery_url", "secret", "status"):
            if body.get(name):
                setattr(hook, name, str(body[name]))
        hook.modified = self._place.now()

    def tell(self, resource: str, event: str, number: int) -> None:
        """Something happened to a thing: queue a delivery for every webhook that is about it."""
        for hook in self.hooks.values():
            if hook.status != "active" or hook.topic != f"{resource}.{event}":
                continue
            key = (hook.id, number)
            if key in self._pending:
                self.coalesced += 1
                continue
            self._pending.add(key)
            asyncio.get_running_loop().call_later(self._wait, self._deliver, hook, resource, event, number)

    def _deliver(self, hook: Hook, resource: str, event: str, number: int) -> None:
        self._pending.discard((hook.id, number))
        if hook.status != "active":
            return
        body = msgspec.json.encode({"id": number} if event == "deleted" else self._render(resource, number))
        self._place.sender.send(
            Delivery(
                url=hook.delivery_url,
                topic=hook.topic,
                body=body,
                make_headers=lambda _attempt, at: self._headers(hook, resource, event, body, at),
                group=str(hook.id),
                order=str(number) if resource == "order" else "",
            )
        )

    def _headers(self, hook: Hook, resource: str, event: str, body: bytes, at: float) -> Mapping[str, str]:
        digest = hmac.new(decode_entities(hook.secret).encode(), body, hashlib.sha256).digest()
        return {
            "User-Agent": AGENT,
            "Content-Type": "application/json",
            "X-WC-Webhook-Source": self._source(),
            "X-WC-Webhook-Topic": hook.topic,
            "X-WC-Webhook-Resource": resource,
            "X-WC-Webhook-Event": event,
            "X-WC-Webhook-Signature": base64.b64encode(digest).decode(),
            "X-WC-Webhook-ID": str(hook.id),
            "X-WC-Webhook-Delivery-ID": hashlib.blake2b(f"{hook.id}{int(at)}".encode(), digest_size=16).hexdigest(),
        }

    def _failed(self, group: str, in_a_row: int) -> None:
        hook = self.hooks.get(int(group)) if group.isdigit() else None
        if hook is not None and in_a_row > FAILURES_MAX + 1 and hook.status == "active":
            hook.status = "disabled"
            self.switched_off += 1


def decode_entities(secret: str) -> str:
    """Return the secret as the shop signs with it."""
    for entity, letter in _ENTITIES:
        secret = secret.replace(entity, letter)
    return secret
