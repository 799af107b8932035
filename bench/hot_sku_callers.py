"""Callers of `POST /v1/reservations`, each on a connection of its own: reads its orders from standard input.

python -m bench.hot_sku_callers < {"ports":[..],"key":..,"sku":..,"callers":64,"batch":1,"rate":0,"seconds":5,"name":..}

`batch` is how many reservations a request asks for; more than one go to `POST /v1/reservations/batch`. With `rate` 0 each caller asks
again as soon as it was answered. Otherwise so many reservations are due a second, whether the ones before were answered or not: what
is due while all callers wait is asked when one is free, and its time counts from when it was due.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter, deque
from typing import Any

import msgspec
import uvloop

WARM_UP_SECONDS = 1.0
ANSWERED = 200
HELD = 201
REFUSED = 409


Seen = tuple[float, float, list[int]]
"""When a request was due and when it was answered, and the status of each reservation in it."""


class Run:
    """One measurement: who may ask next."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.is_paced = order["rate"] > 0
        self.seen: list[Seen] = []
        self.measured_from = time.perf_counter() + WARM_UP_SECONDS
        self.until = self.measured_from + order["seconds"]
        self.due: deque[float] = deque()
        self.idle: deque[Caller] = deque()

    def freed(self, caller: Caller, now: float) -> None:
        """Have a caller ask what is to be asked, or let it go."""
        if not self.is_paced and now < self.until:
            caller.ask(now)
        elif self.due:
            caller.ask(self.due.popleft())
        elif now < self.until:
            self.idle.append(caller)
        else:
            caller.leave()

    async def pace(self) -> None:
        """Have requests asked when they are due; at the end let those go who wait for nothing."""
        begin, turn = time.perf_counter(), 0
        while (moment := begin + turn * self.order["batch"] / self.order["rate"]) < self.until:
            wait = moment - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            if self.idle:
                self.idle.popleft().ask(moment)
            else:
                self.due.append(moment)
            turn += 1
        await asyncio.sleep(max(0.0, self.until - time.perf_counter()))
        while self.idle:
            self.idle.popleft().leave()


class Caller(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, run: Run, number: int) -> None:
        self._run, self._order, self._number = run, run.order, number
        self._turn = 0
        self._due = 0.0
        self._buffer = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._run.freed(self, time.perf_counter())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, rest = self._buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(rest) < length:
            return
        now = time.perf_counter()
        self._run.seen.append((self._due, now, self._statuses(int(head[9:12]), rest)))
        self._buffer = b""
        self._run.freed(self, now)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(error)

    def leave(self) -> None:
        self._transport.close()

    def ask(self, due: float) -> None:
        """Send the next request, which was due at this moment."""
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
        self._due = due
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
    measured = Run(order)
    loop = asyncio.get_running_loop()
    callers = []
    for number in range(order["callers"]):
        _, caller = await loop.create_connection(
            lambda number=number: Caller(measured, number),  # type: ignore[misc]
            "127.0.0.1",
            order["ports"][number % len(order["ports"])],
        )
        callers.append(caller)
    if measured.is_paced:
        await measured.pace()
    await asyncio.gather(*(caller.done for caller in callers))
    inside = [each for each in measured.seen if each[0] >= measured.measured_from]
    if not measured.is_paced:
        inside = [each for each in inside if each[1] <= measured.until]
    counted = Counter(status for _, _, statuses in inside for status in statuses)
    strange = counted.keys() - {HELD, REFUSED}
    if strange or not counted:
        raise SystemExit(f"unexpected answers: {sorted(strange)}, {len(measured.seen)} in all")
    latencies = sorted(ended - due for due, ended, _ in inside)
    return {
        "granted": counted[HELD],
        "refused": counted[REFUSED],
        "seconds": max(order["seconds"], max(ended for _, ended, _ in inside) - measured.measured_from),
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
