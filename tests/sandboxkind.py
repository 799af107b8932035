"""A tiny platform of the sandbox, for tests of what all platforms share. It sells, takes a write, and tells of both."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from tidegate.sandbox.books import Line, Order, OutOfStock
from tidegate.sandbox.faults import CallFault
from tidegate.sandbox.limits import Bucket
from tidegate.sandbox.sender import Delivery, Schedule
from tidegate.sandbox.world import CALL, Handles, Place, Purchase, Sale, World, new_app, read_options


class Options(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    hook_url: str | None = None
    secret: str = "kiosk"
    per_second: float = 50.0
    burst: float = 50.0
    retries: tuple[float, ...] = (60.0, 600.0)


def build(world: World, name: str, options: Mapping[str, Any]) -> web.Application:
    """Return the server of a kiosk."""
    return Kiosk(world.places[name]).app


class Kiosk:
    def __init__(self, place: Place) -> None:
        self.place, self.options = place, read_options(place, Options)
        place.stock_items(("front",))
        place.sender.schedule = Schedule(retries=self.options.retries, timeout_seconds=60.0)
        self.bucket = Bucket(self.options.burst, self.options.per_second, now=place.clock.monotonic())
        place.limits["requests"] = self.bucket
        self.app = new_app(
            Handles(
                refuse=self.refuse,
                buy=self.buy,
                set_stock=self.set_stock,
                actions={"cancel": self.cancel},
                details=lambda: {"kind": "kiosk"},
            )
        )
        self.app.router.add_put("/stock/{sku}", self.write)

    def refuse(self, fault: CallFault, request: web.Request) -> web.StreamResponse:
        status = {CallFault.THROTTLED: 429, CallFault.EXPIRED: 401}.get(fault, 503)
        return web.json_response({"error": fault.value}, status=status)

    def buy(self, purchase: Purchase, key: str) -> Sale | OutOfStock:
        place = self.place
        wanted = [(line.sku, line.quantity) for line in purchase.lines]
        taken = place.books.take(wanted, ("front",), enforces=place.spec.enforces_stock, now=place.now())
        if isinstance(taken, OutOfStock):
            return taken
        number = len(place.books.orders) + 1
        order = Order(
            id=f"k{number}",
            key=key,
            number=number,
            placed_at=place.now(),
            currency=place.world.spec.currency,
            lines=[
                Line(sku=sku, quantity=units, price_minor=place.books.items[sku].price_minor, taken=where)
                for (sku, units), where in zip(wanted, taken, strict=True)
            ],
        )
        place.books.add_order(order)
        self.tell("order", {"id": order.id})
        return Sale(sold=True, key=key, id=order.id, number=number)

    def set_stock(self, sku: str, location: str | None, quantity: int) -> None:
        place = self.place
        place.books.set_available(sku, location or "front", quantity, cause="control", now=place.now())

    def cancel(self, asked: Mapping[str, Any]) -> Any:
        order = self.place.books.orders[asked["order"]]
        order.is_cancelled = True
        return {"cancelled": order.id}

    async def write(self, request: web.Request) -> web.StreamResponse:
        place, sku = self.place, request.match_info["sku"]
        call = request[CALL]
        call.operation, call.key = "write", request.headers.get("Idempotency-Key", "")
        if self.bucket.take(1.0, place.clock.monotonic()):
            call.is_throttled = True
            return web.json_response({"error": "too many"}, status=429)
        if sku not in place.books.items:
            return web.json_response({"error": "unknown"}, status=404)
        quantity = msgspec.json.decode(await request.read(), type=int)
        place.books.set_available(sku, "front", quantity, cause="write", now=place.now())
        place.books.count("write", call.key or sku, now=place.now())
        return web.json_response({"sku": sku, "quantity": quantity})

    def tell(self, topic: str, body: Mapping[str, Any]) -> None:
        if self.options.hook_url is None:
            return
        raw = msgspec.json.encode(body)
        signature = hmac.new(self.options.secret.encode(), raw, hashlib.sha256).hexdigest()
        self.place.sender.send(
            Delivery(
                url=self.options.hook_url,
                topic=topic,
                body=raw,
                group="hook",
                make_headers=lambda attempt, _: {"X-Kiosk-Signature": signature, "X-Kiosk-Attempt": str(attempt)},
            )
        )
