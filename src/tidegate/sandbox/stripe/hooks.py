"""Webhook endpoints, and deliveries with `Stripe-Signature` on Stripe's retry schedule.

Source: docs.stripe.com/webhooks (signatures; live mode up to three days with exponential back-off, sandboxes three times in a
few hours). The single waits are not published.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tidegate.sandbox.loopback import NotLoopback
from tidegate.sandbox.sender import Delivery, Schedule
from tidegate.sandbox.stripe.errors import Refusal, no_such
from tidegate.sandbox.stripe.shapes import endpoint_shape
from tidegate.sandbox.world import Place

ENDPOINTS_MAX = 16
TIMEOUT_SECONDS = 20.0
LIVE = Schedule(
    retries=(300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 43_200.0, 43_200.0, 43_200.0, 43_200.0),
    timeout_seconds=TIMEOUT_SECONDS,
)
TEST = Schedule(retries=(600.0, 3_600.0, 7_200.0), timeout_seconds=TIMEOUT_SECONDS)
Object = dict[str, Any]


class Hooks:
    """The endpoints of one account."""

    def __init__(self, place: Place, *, livemode: bool, version: str) -> None:
        self.place, self._livemode, self._version = place, livemode, version
        self.endpoints: dict[str, Object] = {}
        self._secrets: dict[str, str] = {}
        self._made = 0
        place.sender.schedule = LIVE if livemode else TEST

    def create(self, asked: Mapping[str, Any]) -> Object:
        """Make an endpoint; the answer shows its secret, this once."""
        self._check_url(asked["url"])
        if len(self.endpoints) >= ENDPOINTS_MAX:
            raise Refusal(f"You have reached the maximum of {ENDPOINTS_MAX} test webhook endpoints.")
        secret = f"whsec_{self._name('secret')}"
        made = self.add(asked["url"], asked["enabled_events"], secret, api_version=asked.get("api_version"))
        made["description"] = asked.get("description")
        made["metadata"] = dict(asked.get("metadata", {}))
        return {**made, "secret": secret}

    def add(self, url: str, events: list[str], secret: str, *, api_version: str | None = None) -> Object:
        """Add an endpoint with this secret."""
        self._made += 1
        now = int(self.place.now())
        number = f"we_{self._name('endpoint')}"
        one = endpoint_shape(number, url, list(events), now, api_version=api_version, livemode=self._livemode)
        self.endpoints[number] = one
        self._secrets[number] = secret
        return one

    def update(self, one: Object, asked: Mapping[str, Any]) -> Object:
        """Change an endpoint."""
        if "url" in asked:
            self._check_url(asked["url"])
        for name in ("url", "enabled_events", "description"):
            if name in asked:
                one[name] = asked[name]
        if "disabled" in asked:
            one["status"] = "disabled" if asked["disabled"] else "enabled"
        one["metadata"].update(asked.get("metadata", {}))
        return one

    def delete(self, number: str) -> Object:
        """Remove an endpoint; what waits for it is withdrawn."""
        if self.endpoints.pop(number, None) is None:
            raise no_such("webhook endpoint", number, "id")
        return {"id": number, "object": "webhook_endpoint", "deleted": True}

    def tell(self, event: Object) -> None:
        """Send an event to every endpoint that is told of it, in the endpoint's version."""
        for number, one in self.endpoints.items():
            if one["status"] != "enabled" or not ({event["type"], "*"} & set(one["enabled_events"])):
                continue
            shown = {**event, "pending_webhooks": 1, "api_version": one["api_version"] or self._version}
            body = msgspec.json.encode(shown)
            self.place.sender.send(
                Delivery(
                    url=one["url"],
                    topic=event["type"],
                    body=body,
                    group=number,
                    make_headers=self._signer(self._secrets[number], body),
                    is_wanted=self._is_there(number),
                )
            )

    def _signer(self, secret: str, body: bytes) -> Callable[[int, float], Mapping[str, str]]:
        def headers(_: int, now: float) -> Mapping[str, str]:
            moment = str(int(now))
            digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
            return {
                "Content-Type": "application/json; charset=utf-8",
                "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
                "Stripe-Signature": f"t={moment},v1={digest}",
            }

        return headers

    def _is_there(self, number: str) -> Callable[[], bool]:
        return lambda: self.endpoints.get(number, {}).get("status") == "enabled"

    def _check_url(self, url: str) -> None:
        try:
            self.place.sender.check(url)
        except NotLoopback as error:
            words = f"Invalid URL: {error}"
            raise Refusal(words, code="url_invalid", param="url", is_validation=True) from error

    def _name(self, of: str) -> str:
        seed = f"{self.place.world.spec.seed}/{self.place.name}/{of}/{self._made}"
        return hashlib.blake2b(seed.encode(), digest_size=16).hexdigest()[:24]
