"""One process that reserves as fast as it can, through the combiner: reads its orders from standard input.

python -m bench.hot_sku_process < {"dsn":..,"tenant_id":..,"skus":[..],"callers":256,"seconds":5}
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from uuid import UUID

import uvloop

from tidegate.inventory.decide import Reservation
from tidegate.store.pool import BY_KEY, Access, create_pool
from tidegate.store.roles import Role
from tidegate.sync.combiner import CombinerSettings, Wish
from tidegate.web.database import combiner_on

WARM_UP_SECONDS = 0.5


async def run(order: dict[str, Any]) -> dict[str, object]:
    """Reserve with so many callers at once, each asking again as soon as it was answered; return what came of it."""
    settings = CombinerSettings()
    tenant_id, skus = UUID(order["tenant_id"]), order["skus"]
    pool = await create_pool(
        Access(role=Role.WEB, dsn=order["dsn"]),
        application_name="bench-reserve",
        size_max=settings.lanes,
        server_settings=BY_KEY,
    )

    combiner = combiner_on(pool, settings)
    granted = refused = 0
    latencies: list[float] = []
    name, started = order["name"], time.perf_counter()
    measured_from, until = started + WARM_UP_SECONDS, started + WARM_UP_SECONDS + order["seconds"]

    async def call(caller: int) -> None:
        nonlocal granted, refused
        turn = 0
        while (began := time.perf_counter()) < until:
            turn += 1
            sku = skus[(caller * 7919 + turn * 104_729) % len(skus)]
            wish = Wish(((sku, 1),), 900, "bench", reference=f"{name}-{caller}-{turn}")
            reply = await combiner.reserve(tenant_id, wish)
            ended = time.perf_counter()
            if began >= measured_from and ended <= until:
                latencies.append(ended - began)
                if isinstance(reply.result, Reservation):
                    granted += 1
                else:
                    refused += 1

    await asyncio.gather(*(call(caller) for caller in range(order["callers"])))
    await pool.close()
    latencies.sort()
    return {
        "granted": granted,
        "refused": refused,
        "seconds": order["seconds"],
        "p50_ms": 1e3 * latencies[len(latencies) // 2] if latencies else 0.0,
        "p99_ms": 1e3 * latencies[len(latencies) * 99 // 100] if latencies else 0.0,
    }


def main() -> None:
    """Read one order, say that it is ready, wait for the word, run, print the result."""
    order = json.loads(sys.stdin.readline())
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(uvloop.run(run(order))), flush=True)


if __name__ == "__main__":
    main()
