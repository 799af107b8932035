"""The load generator: a process that keeps N connections busy, one request each at a time, and notes each answer's time.

    python -m bench.load < {"port":..,"connections":..,"seconds":..,"warm_up_seconds":..,"targets":[..],"count":..,"seed":..}

It prints one JSON line: answers of each status, and the latencies' percentiles in ms.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop
from bench.deliveries import Target, build_requests


class Connection(asyncio.Protocol):
    """Sends the next request when the last one is answered."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.sent_at = 0.0
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        request = self.run.take()
        if request is None:
            self.transport.close()
            return
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self.received = self.received + data
        head, end, body = received.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        self.received = b""
        self.run.note(received[9:12], time.perf_counter() - self.sent_at)
        self.send()

    def connection_lost(self, _error: Exception | None) -> None:
        self.run.ended()


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


class Run:
    """One measurement: warm up, then count."""

    def __init__(self, requests: list[bytes], seconds: float, warm_up_seconds: float) -> None:
        self.requests = requests
        self.begins = time.perf_counter() + warm_up_seconds
        self.ends = self.begins + seconds
        self.next = 0
        self.latencies: list[float] = []
        self.statuses: dict[str, int] = {}
        self.open = 0
        self.done = asyncio.Event()

    def take(self) -> bytes | None:
        if self.next >= len(self.requests) or time.perf_counter() >= self.ends:
            return None
        self.next += 1
        return self.requests[self.next - 1]

    def note(self, status: bytes, seconds: float) -> None:
        if self.begins <= time.perf_counter() < self.ends:
            self.latencies.append(seconds)
            name = status.decode()
            self.statuses[name] = self.statuses.get(name, 0) + 1

    def ended(self) -> None:
        self.open -= 1
        if self.open == 0:
            self.done.set()


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    targets = [Target(**target) for target in order["targets"]]
    requests = build_requests(targets, order["count"], seed=order["seed"])
    print("ready", flush=True)
    sys.stdin.readline()
    run = Run(requests, order["seconds"], order["warm_up_seconds"])
    loop = asyncio.get_running_loop()
    run.open = order["connections"]
    for _ in range(order["connections"]):
        await loop.create_connection(lambda: Connection(run), "127.0.0.1", order["port"])
    await run.done.wait()
    latencies = sorted(run.latencies)
    ran_dry = run.next >= len(requests)
    elapsed = order["seconds"]
    print(
        json.dumps(
            {
                "statuses": run.statuses,
                "per_s": run.statuses.get("200", 0) / elapsed,
                "p50_ms": 1e3 * latencies[len(latencies) // 2],
                "p99_ms": 1e3 * latencies[len(latencies) * 99 // 100],
                "answered": run.next,
                "ran_dry": ran_dry,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    uvloop.run(main())
