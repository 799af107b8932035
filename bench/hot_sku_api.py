"""The web process for the benchmark, or a bare endpoint in its place: reads its orders from standard input, serves until that ends.

python -m bench.hot_sku_api < {"dsn":..,"pepper":..,"port":..,"bare":false}

The bare endpoint is what uvicorn and one `await` of nothing cost: it reads the body, parses it as JSON and answers a few bytes.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import sys
from typing import Any, cast

import uvicorn
import uvloop

from tidegate.store.context import Context
from tidegate.store.pool import Access
from tidegate.store.roles import Role
from tidegate.web.app import listen, serve
from tidegate.web.keys import KEY_CLASS

UNBOUNDED = 10_000_000


async def bare(_scope: Any, receive: Any, send: Any) -> None:
    """Answer every request."""
    message = await receive()
    wish = json.loads(message.get("body", b"") or b"{}")
    body = json.dumps({"id": wish.get("reference"), "state": "held"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(stop.set)))
    if order["bare"]:
        config = uvicorn.Config(cast("Any", bare), loop="none", lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listen("127.0.0.1", order["port"])]))
        await stop.wait()
        server.should_exit = True
        await serving
        return
    context = Context(
        role="web",
        index=1,
        cell="c0",
        access=Access(role=Role.WEB, dsn=order["dsn"]),
        keys={KEY_CLASS: base64.b64decode(order["pepper"])},
        connectors={},
        options={
            "port": order["port"],
            "key_per_second": UNBOUNDED,
            "key_burst": UNBOUNDED,
            "connections_max": 1_000,
        },
    )
    gc.collect()
    gc.freeze()  # as every child of the supervisor does
    await serve(context, stop)


if __name__ == "__main__":
    uvloop.run(main())
