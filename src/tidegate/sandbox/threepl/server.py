"""The server of a 3PL or a till: takes signed events, each once, and sends signed events until they are taken."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from tidegate.sandbox.books import Line, Order, OutOfStock
from tidegate.sandbox.faults import CallFault
from tidegate.sandbox.sender import Delivery, Schedule
from tidegate.sandbox.threepl import events
from tidegate.sandbox.threepl.signed import is_signed, key_of, sign
from tidegate.sandbox.world import CALL, Handles, Place, Purchase, Sale, World, new_app, read_options

SECRET_DEFAULT = "whsec_c2FuZGJveC1zZW5kcy13aXRoLXRoaXMh"  # noqa: S105 - of a simulation, and no other
VERIFY_DEFAULT = "whsec_c2FuZGJveC1pcy1zZW50LXdpdGgtdGhpcyE="
RETRIES = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds between attempts. Source: Standard Webhooks specification, "Deliverability and reliability", its example."""
CLERK_SECONDS = 0.1


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a world file may say of it."""

    url: str = ""
    """Where its events go; may be told later by the action `subscribe`."""
    secret: str = SECRET_DEFAULT
    """What it signs with."""
    verify: str = VERIFY_DEFAULT
    """What the events that it takes are signed with."""
    location: str = "main"
    ships_per_second: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 0.0
    """Pace of the clerk; 0: nobody ships until asked."""
    announces_stock: bool | None = None
    """Tell what moves on the shelf, and what is there as soon as somebody listens. Absent: a 3PL does, a till does not."""


class Shipment(msgspec.Struct, kw_only=True):
    """What left the house, or is about to."""

    number: int
    order: str
    lines: list[events.OrderLine]
    at: float = 0.0


def build(world: World, name: str, options: Mapping[str, Any]) -> web.Application:  # noqa: ARG001 - read from the place
    """Make the server of a 3PL: it takes orders, ships them, and tells what moved."""
    return Partner(world.places[name], kind="threepl").app


def build_till(world: World, name: str, options: Mapping[str, Any]) -> web.Application:  # noqa: ARG001 - read from the place
    """Make the server of a till: it sells what it was told that there is."""
    return Partner(world.places[name], kind="till").app


class Partner:
    """One such system. Its events are numbered, and an event that it was sent twice changes nothing."""

    def __init__(self, place: Place, *, kind: Literal["threepl", "till"]) -> None:
        """Raises ConfigurationError for options that cannot be."""
        self._place = place
        self._options = read_options(place, Options)
        self._location = self._options.location
        place.stock_items((self._location,))
        place.sender.schedule = Schedule(retries=RETRIES, timeout_seconds=15.0)
        self._url, self._secret = self._options.url, self._options.secret
        self._announces = kind == "threepl" if self._options.announces_stock is None else self._options.announces_stock
        self._messages = 0
        self._taken: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}
        self._waiting: deque[Shipment] = deque()
        self._shipped: list[Shipment] = []
        self._per_second = self._options.ships_per_second
        self._clerk: asyncio.Task[None] | None = None
        self._handlers: Mapping[str, Callable[[bytes], Any]] = {
            "order.create": self._take_order,
            "order.cancel": self._take_cancellation,
            "fulfillment.create": self._take_fulfillment,
            "inventory.set": self._take_numbers,
        }
        self.app = new_app(
            Handles(
                refuse=_refuse,
                buy=self._buy,
                set_stock=self._count,
                actions={
                    "subscribe": self._subscribe,
                    "clerk": self._set_pace,
                    "ship": lambda _raw: {"shipped": self._ship_next() is not None},
                    "receive": self._receive,
                    "shipments": self._shipments,
                },
                details=lambda: {
                    "shipped": len(self._shipped),
                    "waiting": len(self._waiting),
                    "taken": len(self._taken),
                },
                open=self._open,
                close=self._close,
            )
        )
        self.app.router.add_post("/", self._post)

    # --- events that come ------------------------------------------------------------------------------------------
    async def _post(self, request: web.Request) -> web.Response:
        """Take an event: 401 for a wrong signature, 400 for what is no event, 200 as often as it comes."""
        body, call = await request.read(), request[CALL]
        message_id = call.key = request.headers.get("webhook-id", "")
        if not is_signed(self._options.verify, request.headers, body, self._place.now()):
            return _json({"error": "the signature is wrong, or too old"}, status=401)
        if message_id in self._taken:
            if self._taken[message_id] == body:
                return _json({"duplicate": True})
            return _json({"error": "another body under a known id"}, status=409)
        try:
            event = msgspec.json.decode(body, type=events.Event)
            call.operation = event.type
            handler = self._handlers.get(event.type)
            answer = {} if handler is None else handler(bytes(event.data))
        except (msgspec.DecodeError, KeyError, ValueError, IndexError) as error:
            return _json({"error": str(error)}, status=400)
        self._taken[message_id] = body
        return _json(answer)

    def _take_order(self, data: bytes) -> Any:
        wanted = msgspec.json.decode(data, type=events.NewOrder)
        books, now = self._place.books, self._place.now()
        self._check_skus(line.sku for line in wanted.lines)
        books.count("order.create", wanted.id, now=now)
        if (known := books.order_by_key(wanted.id)) is not None:
            return {"id": known.id}
        lines = [(line.sku, line.quantity) for line in wanted.lines]
        taken = books.take(lines, (self._location,), enforces=False, now=now)
        order = self._new_order(wanted.id, lines, taken if isinstance(taken, list) else [], now)
        self._waiting.append(Shipment(number=order.number, order=wanted.id, lines=wanted.lines))
        return {"id": order.id}

    def _take_cancellation(self, data: bytes) -> Any:
        wanted = msgspec.json.decode(data, type=events.Cancelled)
        order = self._place.books.order_by_key(wanted.id)
        if order is None:
            raise KeyError(wanted.id)
        if order.is_cancelled:
            return {}
        waiting = [shipment for shipment in self._waiting if shipment.order == wanted.id]
        if not waiting:
            raise ValueError("it has left already")
        for shipment in waiting:
            self._waiting.remove(shipment)
        order.is_cancelled = True
        now = self._place.now()
        for line in order.lines:
            self._place.books.put_back(line, self._location, line.quantity, was_shipped=False, cause="cancel", now=now)
        return {}

    def _take_fulfillment(self, data: bytes) -> Any:
        told = msgspec.json.decode(data, type=events.Fulfillment)
        order = self._place.books.orders[told.order]
        shipped = [(order.lines[int(part.line.rpartition("-")[2])], part.quantity) for part in told.lines]
        now = self._place.now()
        self._place.books.count("fulfillment.create", told.id, now=now)
        for line, units in shipped:
            self._place.books.ship(line, self._location, units, now=now)
        self._tell_order(order, "order.updated")
        return {"id": told.id}

    def _take_numbers(self, data: bytes) -> Any:
        told = msgspec.json.decode(data, type=events.Numbers)
        self._check_skus(number.sku for number in told.items)
        now = self._place.now()
        for number in told.items:
            self._place.books.set_available(number.sku, self._location, number.quantity, cause="write", now=now)
        return {}

    def _check_skus(self, skus: Any) -> None:
        for sku in skus:
            if sku not in self._place.books.items:
                raise ValueError(f"there is no article {sku!r}")

    # --- what its people do ----------------------------------------------------------------------------------------
    def _buy(self, purchase: Purchase, key: str) -> Sale | OutOfStock:
        books, now = self._place.books, self._place.now()
        lines = [(line.sku, line.quantity) for line in purchase.lines]
        taken = books.take(lines, (self._location,), enforces=self._place.spec.enforces_stock, now=now)
        if isinstance(taken, OutOfStock):
            return taken
        order = self._new_order(key, lines, taken, now)
        self._tell_order(order, "order.paid")
        return Sale(sold=True, key=key, id=order.id, number=order.number)

    def _new_order(
        self, key: str, lines: Sequence[tuple[str, int]], taken: Sequence[Mapping[str, int]], now: float
    ) -> Order:
        books = self._place.books
        number = len(books.orders) + 1
        order = Order(
            id=f"{self._place.name}-{number}",
            key=key,
            number=number,
            placed_at=now,
            currency=self._place.world.spec.currency,
            lines=[
                Line(
                    sku=sku,
                    quantity=units,
                    price_minor=books.items[sku].price_minor,
                    taken=dict(taken[place]) if place < len(taken) else {},
                )
                for place, (sku, units) in enumerate(lines)
            ],
        )
        books.add_order(order)
        return order

    def _ship_next(self) -> Shipment | None:
        """Ship the oldest order."""
        if not self._waiting:
            return None
        shipment = self._waiting.popleft()
        books, now = self._place.books, self._place.now()
        order = books.order_by_key(shipment.order)
        if order is None:
            return None
        shipment.at = now
        for line in order.lines:
            books.ship(line, self._location, line.quantity, now=now)
        books.count("shipment", shipment.order, now=now)
        self._shipped.append(shipment)
        self._tell(
            "shipment.shipped",
            {
                "id": f"S-{shipment.number}",
                "order": shipment.order,
                "lines": [{"sku": line.sku, "quantity": line.quantity, "line": line.id} for line in shipment.lines],
                "shipped_at": _moment(now),
                "tracking": f"TRACK-{shipment.number}",
                "carrier": "Sandbox Post",
                "moves_stock": True,
                "location": self._location,
            },
        )
        return shipment

    def _receive(self, raw: Mapping[str, Any]) -> Any:
        goods = msgspec.convert(dict(raw), type=events.Goods)
        level = self._place.books.items[goods.sku].levels[self._location]
        self._count(goods.sku, None, level.available + goods.quantity, kind="receive")
        return {"sku": goods.sku, "available": level.available}

    def _count(self, sku: str, _location: str | None, quantity: int, kind: str = "adjust") -> None:
        """Somebody counted what can be sold."""
        level = self._place.books.items[sku].levels[self._location]
        difference = quantity - level.available
        self._place.books.set_available(sku, self._location, quantity, cause="control", now=self._place.now())
        if difference and self._announces:
            self._tell_movement(sku, difference, kind)

    def _subscribe(self, raw: Mapping[str, Any]) -> Any:
        wanted = msgspec.convert(dict(raw), type=events.Subscription)
        self._place.sender.check(wanted.url)
        key_of(wanted.secret or self._secret)
        self._url, self._secret = wanted.url, wanted.secret or self._secret
        for sku, item in self._place.books.items.items():
            units = item.levels[self._location].available
            if self._announces and units > 0:
                self._tell_movement(sku, units, "receive")
        return {"url": self._url}

    def _set_pace(self, raw: Mapping[str, Any]) -> Any:
        self._per_second = msgspec.convert(dict(raw), type=events.Pace).per_second
        return {"per_second": self._per_second}

    def _shipments(self, raw: Mapping[str, Any]) -> Any:
        page = msgspec.convert(dict(raw), type=events.Page)
        found = [
            {"number": f"S-{one.number}", "tracking": f"TRACK-{one.number}", "web_id": one.order, "at": one.at}
            for one in self._shipped[page.after : page.after + page.limit]
        ]
        return {"shipments": found, "next": page.after + len(found)}

    # --- events that go --------------------------------------------------------------------------------------------
    def _tell_order(self, order: Order, kind: str) -> None:
        version = self._versions[order.id] = self._versions.get(order.id, 0) + 1
        total = _amount(order.total_minor)
        is_shipped = all(line.shipped >= line.quantity for line in order.lines)
        self._tell(
            kind,
            {
                "id": order.id,
                "number": f"{self._place.name.upper()}-{order.number}",
                "state": "closed" if is_shipped else "open",
                "payment_state": "paid",
                "placed_at": _moment(order.placed_at),
                "currency": order.currency,
                "total": total,
                "lines": [
                    {
                        "id": f"{order.id}-{place}",
                        "sku": line.sku,
                        "title": self._place.books.items[line.sku].title,
                        "quantity": line.quantity,
                        "unit_price": _amount(line.price_minor),
                        "total": _amount(line.price_minor * line.quantity),
                    }
                    for place, line in enumerate(order.lines)
                ],
                "payments": [
                    {"id": f"{order.id}-cash", "kind": "sale", "amount": total, "state": "settled", "method": "cash"}
                ],
                "version": version,
            },
        )

    def _tell_movement(self, sku: str, delta: int, kind: str) -> None:
        self._tell(
            "stock.changed",
            {
                "id": f"M-{self._messages + 1}",
                "sku": sku,
                "delta": delta,
                "kind": kind,
                "location": self._location,
                "moved_at": _moment(self._place.now()),
            },
        )

    def _tell(self, kind: str, data: Mapping[str, Any]) -> None:
        """Send an event until it is taken; nobody is told while nobody listens."""
        if not self._url:
            return
        self._messages += 1
        message_id = f"msg_{self._place.name}_{self._messages}"
        body = msgspec.json.encode({"type": kind, "timestamp": _moment(self._place.now()), "data": data})
        self._place.sender.send(
            Delivery(
                url=self._url,
                topic=kind,
                body=body,
                make_headers=partial(self._headers, message_id, body),
                group=self._place.name,
            )
        )

    def _headers(self, message_id: str, body: bytes, _attempt: int, at: float) -> Mapping[str, str]:
        return {"content-type": "application/json", **sign(self._secret, message_id, int(at), body)}

    async def _open(self) -> None:
        self._clerk = asyncio.create_task(self._work())

    async def _close(self) -> None:
        if self._clerk is not None:
            self._clerk.cancel()
            await asyncio.gather(self._clerk, return_exceptions=True)

    async def _work(self) -> None:
        due = 0.0
        while True:
            await asyncio.sleep(CLERK_SECONDS)
            due = min(due + self._per_second * CLERK_SECONDS, max(1.0, self._per_second))
            while due >= 1.0 and self._ship_next() is not None:
                due -= 1.0


def _refuse(fault: CallFault, _request: web.Request) -> web.StreamResponse:
    match fault:
        case CallFault.THROTTLED:
            return web.Response(status=429, headers={"Retry-After": "1"})
        case CallFault.EXPIRED:
            return web.Response(status=401)
        case _:
            return web.Response(status=503)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _amount(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02d}"


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
