"""One door process for the benchmark: reads its orders from standard input, serves until that ends."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys

import uvloop

from tidegate.connectors.vendure.webhooks import WEBHOOK
from tidegate.intake.door import serve
from tidegate.sdk.connector import Connector
from tidegate.store.context import Context
from tidegate.store.pool import Access
from tidegate.store.roles import Role


async def _nothing(*_: object) -> None:
    return None


CONNECTOR = Connector(
    name="vendure",
    title="Vendure, its webhooks only",
    version="bench",
    mapping_version=1,
    roles=frozenset({"channel"}),
    fields=(),
    open_session=_nothing,  # type: ignore[arg-type]
    inspect=_nothing,  # type: ignore[arg-type]
    normalize=lambda _event: (),
    webhook=WEBHOOK,
)


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    context = Context(
        role="door",
        index=1,
        cell="c0",
        access=Access(role=Role.DOOR, dsn=order["dsn"]),
        keys={"intake": base64.b64decode(order["intake_root"])},
        connectors={"vendure": CONNECTOR},
        options={"host": "127.0.0.1", "port": order["port"], **order.get("options", {})},
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(stop.set)))
    if os.environ.get("BENCH_PROFILE"):
        import cProfile  # noqa: PLC0415

        profile = cProfile.Profile()
        profile.enable()
        await serve(context, stop)
        profile.disable()
        profile.dump_stats(os.environ["BENCH_PROFILE"])
    else:
        await serve(context, stop)


if __name__ == "__main__":
    uvloop.run(main())
