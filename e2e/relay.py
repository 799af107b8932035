"""The bad network between shops and Tidegate, a process of its own: every delivery twice, shuffled, some never.

A sender's first copy waits a random time and is answered with what the door answered, so the sender retries on 503 as it
does in life; the second copy follows on its own. A dropped delivery is answered 200 and forgotten, retries included.

    python -m e2e.relay PORT TARGET DROP_SHARE
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
from collections import Counter

import aiohttp
from aiohttp import web

SHUFFLE_SECONDS = 1.5
COPY_SECONDS = 4.0
COPY_TRIES = 60
PASSED_ON = ("content-type", "webhook-id", "webhook-timestamp", "webhook-signature")


class Relay:
    """Forwards deliveries to one door."""

    def __init__(self, target: str, drop_share: float, seed: int = 7) -> None:
        self._target = target
        self._drop_share = drop_share
        self._random = random.Random(seed)
        self._client: aiohttp.ClientSession | None = None
        self._copies: set[asyncio.Task[None]] = set()
        self.in_flight = 0
        self.counts: Counter[str] = Counter()
        self.dropped_ids: set[str] = set()

    async def open(self, _app: web.Application) -> None:
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))

    async def close(self, _app: web.Application) -> None:
        if self._client is not None:
            await self._client.close()

    async def stats(self, _request: web.Request) -> web.Response:
        found = {
            "in_flight": self.in_flight,
            "copies_waiting": len(self._copies),
            "dropped_events": len(self.dropped_ids),
        }
        return web.json_response({**found, "counts": dict(self.counts)})

    async def deliver(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        event_id = headers.get("webhook-id", "")
        self.counts["received"] += 1
        if self._is_dropped(event_id):
            self.dropped_ids.add(event_id)
            self.counts["dropped"] += 1
            return web.Response(status=200)
        await asyncio.sleep(self._random.uniform(0, SHUFFLE_SECONDS))
        copy = asyncio.create_task(self._send_copy(request.path, headers, body))
        self._copies.add(copy)
        copy.add_done_callback(self._copies.discard)
        status = await self._forward(request.path, headers, body)
        self.counts[f"answered_{status}"] += 1
        return web.Response(status=status, headers={"Retry-After": "1"} if status == 503 else {})

    def _is_dropped(self, event_id: str) -> bool:
        """Decide by the event's id, so that no retry of a dropped event comes through."""
        number = int.from_bytes(hashlib.sha256(event_id.encode()).digest()[:4], "big")
        return number / 2**32 < self._drop_share

    async def _send_copy(self, path: str, headers: dict[str, str], body: bytes) -> None:
        for _ in range(COPY_TRIES):
            await asyncio.sleep(self._random.uniform(0, COPY_SECONDS))
            if await self._forward(path, headers, body) // 100 == 2:
                self.counts["copies_accepted"] += 1
                return
        self.counts["copies_given_up"] += 1

    async def _forward(self, path: str, headers: dict[str, str], body: bytes) -> int:
        assert self._client is not None
        self.in_flight += 1
        try:
            async with self._client.post(self._target + path, data=body, headers=headers) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 503
        finally:
            self.in_flight -= 1


def main() -> None:
    """Serve until the process is ended."""
    port, target, drop_share = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    relay = Relay(target, drop_share)
    app = web.Application(client_max_size=4 << 20)
    app.on_startup.append(relay.open)
    app.on_cleanup.append(relay.close)
    app.router.add_get("/__stats", relay.stats)
    app.router.add_post("/{path:.*}", relay.deliver)
    print(json.dumps({"port": port}), flush=True)
    web.run_app(app, host="127.0.0.1", port=port, print=None, handle_signals=True)


if __name__ == "__main__":
    main()
