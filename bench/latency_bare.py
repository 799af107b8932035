"""The way of `bench.latency` without us: a server that commits each webhook, answers, and calls the remote. The yardstick.

No signature, no deduplication, no order, no retries, no stock, no books; one transaction per webhook, one call per order.
"""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp
import asyncpg
import uvloop
from aiohttp import web


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    pool = await asyncpg.create_pool(order["dsn"], min_size=8, max_size=8)
    await pool.execute("CREATE TABLE IF NOT EXISTS bench_bare (id text PRIMARY KEY, body bytea)")
    session = aiohttp.ClientSession()
    tasks = set()

    async def call(body: bytes) -> None:
        shown = json.loads(body)["order"]
        payload = {"number": shown["number"], "lines": []}
        async with session.post(order["url"], json=payload) as answer:
            await answer.read()

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        await pool.execute("INSERT INTO bench_bare VALUES ($1, $2)", request.headers["webhook-id"], body)
        task = asyncio.create_task(call(body))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return web.json_response({})

    app = web.Application()
    app.add_routes([web.post("/", receive)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", order["port"]).start()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await session.close()
    await runner.cleanup()
    await pool.execute("DROP TABLE bench_bare")
    await pool.close()


if __name__ == "__main__":
    uvloop.run(main())
