"""How the naive script speaks to the channels: read an order out of a webhook, and take units off the number that is shown."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
import msgspec


class Bought(msgspec.Struct, frozen=True):
    """What a webhook says."""

    order: str
    lines: tuple[tuple[str, int], ...]


class Channel(Protocol):
    """One channel."""

    async def subscribe(self, url: str) -> None:
        """Have it tell that address of orders."""

    def read(self, raw: Any) -> Bought | None:
        """Return the order of a webhook; None for what is no sale."""

    async def take(self, sku: str, units: int) -> None:
        """Take units off what the channel shows."""


class Till:
    """A system of signed events. It cannot be asked what it shows, so the script keeps the number itself."""

    def __init__(self, settings: Mapping[str, Any], http: aiohttp.ClientSession) -> None:
        self._url, self._http = settings["url"], http
        self._key = base64.b64decode(settings["answers"]["signing_key"].removeprefix("whsec_"))
        self._shown: dict[str, int] = dict(settings["shelf"])
        self._sent = 0

    async def subscribe(self, url: str) -> None:
        """Do nothing: that is typed in by hand over there."""

    def read(self, raw: Any) -> Bought | None:
        """See `Channel`."""
        if raw["type"] != "order.paid":
            return None
        data = raw["data"]
        lines = tuple((line["sku"], line["quantity"]) for line in data["lines"])
        for sku, units in lines:
            self._shown[sku] -= units
        return Bought(order=str(data["id"]), lines=lines)

    async def take(self, sku: str, units: int) -> None:
        """See `Channel`."""
        self._shown[sku] -= units
        self._sent += 1
        moment = int(time.time())
        items = [{"sku": sku, "location": "main", "quantity": max(0, self._shown[sku])}]
        event = {"type": "inventory.set", "timestamp": str(moment), "data": {"items": items}}
        body, message_id = msgspec.json.encode(event), f"n_{time.time_ns()}_{self._sent}"
        digest = hmac.new(self._key, f"{message_id}.{moment}.".encode() + body, hashlib.sha256).digest()
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(moment),
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }
        async with self._http.post(self._url, data=body, headers=headers):
            pass


_READ = """query Read($query: String!) {
  productVariants(first: 1, query: $query) { nodes { inventoryItem { id inventoryLevels(first: 1) {
    nodes { location { id } quantities(names: ["available"]) { quantity } } } } } } }"""
_WRITE = """mutation Write($input: InventorySetQuantitiesInput!, $key: String!) {
  inventorySetQuantities(input: $input) @idempotent(key: $key) { userErrors { code message } } }"""
_SUBSCRIBE = """mutation Subscribe($uri: String!) {
  webhookSubscriptionCreate(topic: ORDERS_CREATE, webhookSubscription: { uri: $uri, format: JSON }) {
    userErrors { message } } }"""


class Shopify:
    """Read the number, take units off, write it back: two calls per line and channel."""

    VERSION = "2026-10"

    def __init__(self, settings: Mapping[str, Any], http: aiohttp.ClientSession) -> None:
        self._url = f"{settings['url']}/admin/api/{self.VERSION}/graphql.json"
        self._headers = {"X-Shopify-Access-Token": settings["answers"]["access_token"]}
        self._http = http

    async def subscribe(self, url: str) -> None:
        """See `Channel`."""
        await self._ask(_SUBSCRIBE, {"uri": url})

    def read(self, raw: Any) -> Bought | None:
        """See `Channel`."""
        return Bought(order=str(raw["id"]), lines=tuple((line["sku"], line["quantity"]) for line in raw["line_items"]))

    async def take(self, sku: str, units: int) -> None:
        """See `Channel`. Throttled answers have status 200, and are no errors to it."""
        found = (await self._ask(_READ, {"query": f"sku:'{sku}'"}))["data"]["productVariants"]["nodes"][0][
            "inventoryItem"
        ]
        level = found["inventoryLevels"]["nodes"][0]
        number = max(0, level["quantities"][0]["quantity"] - units)
        change = {
            "inventoryItemId": found["id"],
            "locationId": level["location"]["id"],
            "quantity": number,
            "changeFromQuantity": None,
        }
        await self._ask(
            _WRITE,
            {
                "input": {"name": "available", "reason": "correction", "quantities": [change]},
                "key": str(time.time_ns()),
            },
        )

    async def _ask(self, query: str, variables: Mapping[str, Any]) -> Any:
        body = {"query": query, "variables": variables}
        async with self._http.post(self._url, json=body, headers=self._headers) as answer:
            return msgspec.json.decode(await answer.read())


class WooCommerce:
    """The same over REST, signed as plain http asks for it (OAuth 1.0a, one leg)."""

    def __init__(self, settings: Mapping[str, Any], http: aiohttp.ClientSession) -> None:
        self._root = f"{settings['url']}/wp-json/wc/v3"
        self._key, self._secret = settings["answers"]["consumer_key"], settings["answers"]["consumer_secret"]
        self._http = http

    async def subscribe(self, url: str) -> None:
        """See `Channel`."""
        hook = {"name": "orders", "topic": "order.created", "delivery_url": url, "secret": "s3cret", "status": "active"}
        await self._ask("POST", "webhooks", {}, hook)

    def read(self, raw: Any) -> Bought | None:
        """See `Channel`."""
        if "line_items" not in raw:
            return None
        return Bought(order=str(raw["id"]), lines=tuple((line["sku"], line["quantity"]) for line in raw["line_items"]))

    async def take(self, sku: str, units: int) -> None:
        """See `Channel`."""
        found = (await self._ask("GET", "products", {"sku": sku}, None))[0]
        number = max(0, found["stock_quantity"] - units)
        await self._ask("PUT", f"products/{found['id']}", {}, {"stock_quantity": number})

    async def _ask(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        url = f"{self._root}/{path}"
        signed = {
            **query,
            "oauth_consumer_key": self._key,
            "oauth_nonce": secrets.token_hex(16),
            "oauth_signature_method": "HMAC-SHA256",
            "oauth_timestamp": str(int(time.time())),
        }
        pairs = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(signed.items()))
        text = "&".join([method, quote(url, safe=""), quote(pairs, safe="")])
        digest = hmac.new(f"{self._secret}&".encode(), text.encode(), hashlib.sha256).digest()
        signed["oauth_signature"] = base64.b64encode(digest).decode()
        async with self._http.request(method, url, params=signed, json=body) as answer:
            return msgspec.json.decode(await answer.read())


CHANNELS: Mapping[str, Callable[[Mapping[str, Any], aiohttp.ClientSession], Channel]] = {
    "till": Till,
    "shopify": Shopify,
    "woocommerce": WooCommerce,
}
"""What the sandbox calls it -> how it is spoken to."""
