"""A remote that does nothing but note when each order reaches it: `python -m bench.arrivals`.

It speaks as much of the test kit's remote as a shop and an ERP need to be connected, takes orders one by one and in
batches, takes captures of payments, and prints its address as one JSON line. `GET /arrivals` tells when (monotonic, as every process of the machine
has it) which order (or its capture) came first, `GET /calls` how many requests of each kind came, `DELETE /arrivals` forgets them.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter

import uvloop
from aiohttp import web

SKUS = 200


class Remote:
    """What it saw."""

    def __init__(self) -> None:
        self.arrivals: dict[str, float] = {}
        self.calls: Counter[str] = Counter()
        self.webhooks_of: dict[str, dict[str, str]] = {}

    async def token(self, _request: web.Request) -> web.Response:
        return web.json_response({"token": "t"})

    async def about(self, request: web.Request) -> web.Response:
        articles = [{"id": f"a-{n}", "sku": f"SKU-{n:05d}", "title": f"Article {n}"} for n in range(SKUS)]
        locations = [{"id": "wh-1", "name": "main"}]
        account = request.match_info["account"]
        return web.json_response({"account": account, "version": "1", "locations": locations, "articles": articles})

    async def webhooks(self, request: web.Request) -> web.Response:
        self.webhooks_of[request.match_info["account"]] = await request.json()
        return web.json_response({"id": "1"})

    async def told(self, request: web.Request) -> web.Response:
        return web.json_response(self.webhooks_of[request.match_info["account"]])

    async def nothing(self, _request: web.Request) -> web.Response:
        return web.json_response({"items": [], "has_more": False})

    async def moves(self, request: web.Request) -> web.Response:
        """Every article was received once, a million of it."""
        if request.match_info["account"] not in ("erp", "wms") or request.query.get("after", "0") != "0":
            return await self.nothing(request)
        items = [
            {
                "move_id": f"m-{n}", "revision": n + 1, "kind": "receive", "article_id": f"a-{n}", "sku": f"SKU-{n:05d}",
                "location_id": "wh-1", "quantity_delta": 1_000_000, "order_reference": "", "line_reference": "",
                "moved_at": "2026-01-01T00:00:00+00:00",
            }
            for n in range(SKUS)
        ]  # fmt: skip
        return web.json_response({"items": items, "has_more": False})

    async def one(self, request: web.Request) -> web.Response:
        order = await request.json()
        self.note("orders", [order["number"]])
        return web.json_response(_made(order), status=201)

    async def batch(self, request: web.Request) -> web.Response:
        orders = (await request.json())["orders"]
        self.note("orders", [order["number"] for order in orders])
        return web.json_response({"items": [_made(order) for order in orders]})

    async def capture(self, request: web.Request) -> web.Response:
        self.note("captures", [(await request.json())["number"]])
        return web.json_response({"id": "p", "lines": {}})

    async def stock(self, request: web.Request) -> web.Response:
        items = (await request.json())["items"]
        self.calls["stock"] += 1
        self.calls["stock_items"] += len(items)
        return web.json_response({"items": [{"article_id": item["article_id"], "status": "ok"} for item in items]})

    def note(self, kind: str, numbers: list[str]) -> None:
        now = time.monotonic()
        self.calls[kind] += 1
        for number in numbers:
            self.arrivals.setdefault(number, now)

    async def seen(self, _request: web.Request) -> web.Response:
        return web.json_response(self.arrivals)

    async def counted(self, _request: web.Request) -> web.Response:
        return web.json_response(self.calls)

    async def forget(self, _request: web.Request) -> web.Response:
        self.arrivals.clear()
        self.calls.clear()
        return web.json_response({})


def _made(order: dict[str, object]) -> dict[str, object]:
    lines = order.get("lines", [])
    assert isinstance(lines, list)
    number = str(order["number"])
    return {"id": number, "lines": {line["reference"]: f"{number}/{n}" for n, line in enumerate(lines)}}


async def main() -> None:
    remote = Remote()
    app = web.Application(client_max_size=1 << 26)
    at = "/{account}/api"
    app.add_routes(
        [
            web.post(f"{at}/token", remote.token),
            web.get(f"{at}/about", remote.about),
            web.post(f"{at}/webhooks", remote.webhooks),
            web.post(f"{at}/erp/orders", remote.one),
            web.post(f"{at}/erp/orders/batch", remote.batch),
            web.post(f"{at}/erp/captures", remote.capture),
            web.put(f"{at}/shop/stock", remote.stock),
            web.get(f"{at}/erp/moves", remote.moves),
            web.get(at + "/{rest:.*}", remote.nothing),
            web.get("/{account}/webhook", remote.told),
            web.get("/arrivals", remote.seen),
            web.get("/calls", remote.counted),
            web.delete("/arrivals", remote.forget),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main())
