"""One apply process for the benchmark: reads its orders from standard input, serves until that ends.

python -m bench.apply_process < {"dsn":..,"intake_root":..}
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys

import uvloop

from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.store.context import Context
from tidegate.store.pool import Access
from tidegate.store.roles import Role
from tidegate.sync.worker import serve


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    context = Context(
        role="apply",
        index=1,
        cell="c0",
        access=Access(role=Role.APPLY, dsn=order["dsn"]),
        keys={"intake": base64.b64decode(order["intake_root"])},
        connectors={"hostile": build_connector()},
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(stop.set)))
    if not os.environ.get("BENCH_PROFILE"):
        await serve(context, stop)
        return
    import cProfile  # noqa: PLC0415

    profile = cProfile.Profile()
    profile.enable()
    await serve(context, stop)
    profile.disable()
    profile.dump_stats(os.environ["BENCH_PROFILE"])


if __name__ == "__main__":
    uvloop.run(main())
