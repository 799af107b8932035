"""Callers of `POST /v1/reservations`, each on a connection of its own: reads its orders from standard input.

python -m bench.hot_sku_callers < {"port":..,"key":..,"sku":..,"callers":64,"seconds":5,"name":..}
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

WARM_UP_SECONDS = 1.0
HELD = 201
REFUSED = 409


class Caller(asyncio.Protocol):
    """Asks again as soon as it was answered."""

    def __init__(self, order: dict[str, Any], number: int, seen: list[tuple[float, float, int]], until: float) -> None:
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
        self._seen.append((self._began, now, int(head[9:12])))
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
        body = json.dumps({"lines": [{"sku": self._order["sku"], "quantity": 1}], "reference": name}).encode()
        head = (
            f"POST /v1/reservations HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self._order['key']}\r\n"
            f"idempotency-key: {name}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._began = time.perf_counter()
        self._transport.write(head.encode() + body)


async def run(order: dict[str, Any]) -> dict[str, object]:
    """Call for a while; return what came of it."""
    seen: list[tuple[float, float, int]] = []
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
    counted = [(ended - began, status) for began, ended, status in seen if began >= measured_from and ended <= until]
    strange = {status for _, status in counted} - {HELD, REFUSED}
    if strange or not counted:
        raise SystemExit(f"unexpected answers: {sorted(strange)}, {len(seen)} in all")
    latencies = sorted(seconds for seconds, _ in counted)
    return {
        "granted": sum(status == HELD for _, status in counted),
        "refused": sum(status == REFUSED for _, status in counted),
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
