"""How the naive script speaks to the channels: read an order out of a webhook, and take units off the number that is shown."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import aiohttp
import msgspec


class Bought(msgspec.Struct, frozen=True):
    """What a webhook says."""

    order: str
    lines: tuple[tuple[str, int], ...]


class Channel(Protocol):
    """One channel."""

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


CHANNELS: Mapping[str, Callable[[Mapping[str, Any], aiohttp.ClientSession], Channel]] = {"till": Till}
"""What the sandbox calls it -> how it is spoken to."""
