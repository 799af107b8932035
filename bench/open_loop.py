"""The open-loop sender: `python -m bench.open_loop < {"port":..,"path":..,"secret":..,"rate":..,"seconds":..,"first":..}`.

With `"event": "paid_order"` the orders name a payment at its provider, with `"payment"` it is the provider that says of each
that its money is reserved. Requests are made and signed before the clock runs, and each is written when it is due, whether the ones before it were
answered or not: a receiver that stalls is charged for everything that comes meanwhile. Prints, as one JSON line, when each
order was due, when it was written and when it was answered 2xx (monotonic seconds).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import deque
from typing import cast

import uvloop
from bench.arrivals import SKUS
from bench.latency_connector import PAYMENT_RESERVED

from tidegate.sdk.signatures import sign_standard_webhooks

TOTAL_MINOR = 2499
"""Of each order, shipping included."""


class Connection(asyncio.Protocol):
    """One connection to the receiver: one request in flight."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.number = ""
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, number: str, request: bytes) -> None:
        self.number = number
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self.received = self.received + data
        head, end, body = received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        self.received = b""
        self.run.answered(self, received[9:12])

    def connection_lost(self, _error: Exception | None) -> None:
        if self in self.run.idle:
            self.run.idle.remove(self)


class Run:
    """One measurement."""

    def __init__(self, order: dict[str, object]) -> None:
        self.order = order
        self.idle: deque[Connection] = deque()
        self.due: dict[str, float] = {}
        self.sent: dict[str, float] = {}
        self.accepted: dict[str, float] = {}
        self.refused = 0
        self.left = -1
        """Answers that are awaited, once everything is sent."""
        self.done = asyncio.Event()

    def answered(self, connection: Connection, status: bytes) -> None:
        if status.startswith(b"2"):
            self.accepted[connection.number] = time.monotonic()
        else:
            self.refused += 1
        self.idle.append(connection)
        self.left -= 1
        if not self.left:
            self.done.set()

    async def connect(self) -> Connection:
        port = self.order["port"]
        assert isinstance(port, int)
        _, connection = await asyncio.get_running_loop().create_connection(lambda: Connection(self), "127.0.0.1", port)
        return connection

    async def send(self, number: str, request: bytes) -> None:
        connection = self.idle.popleft() if self.idle else await self.connect()
        self.sent[number] = time.monotonic()
        connection.send(number, request)


def build(order: dict[str, object]) -> list[tuple[str, bytes]]:
    """Return the requests, each with an order of its own."""
    rate, seconds, first = float(str(order["rate"])), float(str(order["seconds"])), int(str(order["first"]))
    now = int(time.time())
    built = []
    for index in range(int(rate * seconds)):
        number = f"L{first + index:08d}"
        sku = (first + index) * 7 % SKUS
        if order.get("event") == "payment":
            built.append((number, sign(order, number, now, reserved(number))))
            continue
        line = {
            "line_id": f"{number}-1", "article_id": f"a-{sku}", "sku": f"SKU-{sku:05d}", "title": f"Article {sku}",
            "ordered": 1, "current": 1, "unit_price_minor": 1999,
        }  # fmt: skip
        placed = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        shown = {
            "order_id": number, "number": number, "revision": 1, "placed_at": placed, "currency": "EUR", "state": "open",
            "payment_state": "authorised", "shipping_minor": 500, "lines": [line],
            "customer": {"email": f"{number}@example.com", "first_name": "Ada", "last_name": "Lovelace", "phone": ""},
            "address": {"street1": "1 Test street", "city": "Berlin", "postal_code": "10115", "country_code": "DE"},
            "note": "please ring twice " * 40,
        }  # fmt: skip
        if order.get("event") == "paid_order":
            shown["payments"] = [
                {
                    "payment_id": f"t-{number}", "kind": "authorise", "state": "ok", "amount_minor": TOTAL_MINOR,
                    "psp_reference": f"pi-{number}",
                }
            ]  # fmt: skip
        built.append((number, sign(order, number, now, {"type": "order.placed", "order": shown})))
    return built


def reserved(number: str) -> dict[str, object]:
    """Return what the provider says of an order's payment (see `bench.latency_connector`)."""
    return {"type": PAYMENT_RESERVED, "order_id": f"pi-{number}", "amount_minor": TOTAL_MINOR, "currency": "EUR"}


def sign(order: dict[str, object], number: str, now: int, event: dict[str, object]) -> bytes:
    """Return the whole request that delivers an event."""
    body = json.dumps({"id": f"evt-{number}", **event}).encode()
    signature = sign_standard_webhooks(str(order["secret"]), f"evt-{number}", now, body)
    head = (
        f"POST {order['path']} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"webhook-id: evt-{number}\r\nwebhook-timestamp: {now}\r\nwebhook-signature: {signature}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    run = Run(order)
    requests = build(order)
    run.idle.extend([await run.connect() for _ in range(16)])
    loop = asyncio.get_running_loop()
    begin = time.monotonic() + 0.2
    tasks = set()
    for index, (number, request) in enumerate(requests):
        due = run.due[number] = begin + index / order["rate"]
        wait = due - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        task = loop.create_task(run.send(number, request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    run.left = len(requests) - len(run.accepted) - run.refused
    if run.left > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                await run.done.wait()
    print(json.dumps({"due": run.due, "sent": run.sent, "accepted": run.accepted, "refused": run.refused}), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
