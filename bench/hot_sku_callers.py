"""Callers of `POST /v1/reservations`, each on a connection of its own: reads its orders from standard input.

python -m bench.hot_sku_callers < {"ports":[..],"key":..,"sku":..,"callers":64,"batch":1,"seconds":5,"name":..}

`batch` is how many reservations a request asks for; more than one go to `POST /v1/reservations/batch`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import msgspec
import uvloop

WARM_UP_SECONDS = 1.0
ANSWERED = 200
HELD = 201
REFUSED = 409


Seen = tuple[float, float, list[int]]
"""When a request was sent and answered, and the status of each reservation in it."""


class Caller(asyncio.Protocol):
    """Asks again as soon as it was answered."""

    def __init__(self, order: dict[str, Any], number: int, seen: list[Seen], until: float) -> None:
        self._order, self._number, self._seen, self._until = order, number, seen, until
        self._turn = 0
        self._began = 0.0
        self._buffer = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, rest = self._buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(rest) < length:
            return
        now = time.perf_counter()
        self._seen.append((self._began, now, self._statuses(int(head[9:12]), rest)))
        self._buffer = b""
        if now < self._until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(error)

    def _ask(self) -> None:
        self._turn += 1
        name = f"{self._order['name']}-{self._number}-{self._turn}"
        batch = self._order["batch"]
        address, once, asked = "/v1/reservations", f"idempotency-key: {name}\r\n", self._wish(name)
        if batch > 1:
            names = [f"{name}-{place}" for place in range(batch)]
            address, once = "/v1/reservations/batch", ""
            asked = {"reservations": [{"idempotency_key": each, **self._wish(each)} for each in names]}
        body = msgspec.json.encode(asked)
        head = (
            f"POST {address} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self._order['key']}\r\n"
            f"{once}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._began = time.perf_counter()
        self._transport.write(head.encode() + body)

    def _wish(self, name: str) -> dict[str, object]:
        return {"lines": [{"sku": self._order["sku"], "quantity": 1}], "reference": name}

    def _statuses(self, status: int, body: bytes) -> list[int]:
        if self._order["batch"] == 1 or status != ANSWERED:
            return [status]
        return [each.status for each in msgspec.json.decode(body, type=Outcomes).outcomes]


class Outcome(msgspec.Struct):
    """What is counted of one reservation of a batch."""

    status: int


class Outcomes(msgspec.Struct):
    """The answer to a batch."""

    outcomes: list[Outcome]


async def run(order: dict[str, Any]) -> dict[str, object]:
    """Call for a while; return what came of it."""
    seen: list[Seen] = []
    measured_from = time.perf_counter() + WARM_UP_SECONDS
    until = measured_from + order["seconds"]
    loop = asyncio.get_running_loop()
    callers = []
    for number in range(order["callers"]):
        _, caller = await loop.create_connection(
            lambda number=number: Caller(order, number, seen, until),  # type: ignore[misc]
            "127.0.0.1",
            order["ports"][number % len(order["ports"])],
        )
        callers.append(caller)
    await asyncio.gather(*(caller.done for caller in callers))
    inside = [each for each in seen if each[0] >= measured_from and each[1] <= until]
    counted = Counter(status for _, _, statuses in inside for status in statuses)
    strange = counted.keys() - {HELD, REFUSED}
    if strange or not counted:
        raise SystemExit(f"unexpected answers: {sorted(strange)}, {len(seen)} in all")
    latencies = sorted(ended - began for began, ended, _ in inside)
    return {
        "granted": counted[HELD],
        "refused": counted[REFUSED],
        "seconds": order["seconds"],
        "p50_ms": 1e3 * latencies[len(latencies) // 2],
        "p99_ms": 1e3 * latencies[len(latencies) * 99 // 100],
    }


def main() -> None:
    """Read one order, say that it is ready, wait for the word, run, print the result."""
    order = json.loads(sys.stdin.readline())
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(uvloop.run(run(order))), flush=True)


if __name__ == "__main__":
    main()
