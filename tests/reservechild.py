"""A process that reserves or adjusts under names of its own, makes kits, decides or lets expire, and may be killed at a crash point.

Reads its orders from standard input; prints as JSON how many of its requests were granted and refused, or what expired.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from typing import Any
from uuid import UUID

from tidegate.config import parse
from tidegate.inventory.adjust import Adjustment
from tidegate.inventory.decide import Release, Reservation
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.store.connections import Pool
from tidegate.store.pool import BY_KEY, Access, create_pool
from tidegate.store.roles import Role
from tidegate.sync.adjust import Adjusted, adjust
from tidegate.sync.backorders import put_on_backorder
from tidegate.sync.cancelling import cancel_orders
from tidegate.sync.combiner import Wish
from tidegate.sync.expiry import expire_due
from tidegate.sync.kits import set_kits
from tidegate.sync.tombstones import relink
from tidegate.web.database import combiner_on


async def lose(pool: Pool, order: dict[str, Any]) -> int:
    """Write units off, one at a time; return how many were written off now."""
    item_id, location_id = UUID(order["item_id"]), UUID(order["location_id"])
    posted = 0
    for number in range(order["count"]):
        async with pool.acquire() as conn, conn.transaction():
            key = f"{order['name']}-{number}"
            wish = Adjustment(key=key, item_id=item_id, location_id=location_id, units=-1, reason="lost")
            (done,) = await adjust(conn, UUID(order["tenant_id"]), [wish], actor="child")
            posted += isinstance(done, Adjusted) and done.is_new
    return posted


async def decide(pool: Pool, order: dict[str, Any]) -> dict[str, int]:
    """Carry out what a person decided; return for how much it made a difference."""
    tenant_id, config = UUID(order["tenant_id"]), parse(order["config"])
    connectors = {"hostile": replace(build_connector(), cancel_pays_back=True)}
    async with pool.acquire() as conn, conn.transaction():
        if "relink" in order:
            linked = await relink(
                conn, tenant_id=tenant_id, config=config, connectors=connectors, actor="child", **order["relink"]
            )
            return {"linked": int(linked.is_new)}
        done = await cancel_orders(
            conn, tenant_id, order["cancel"], config=config, connectors=connectors, by="child", cell="c0"
        )
        return {"cancelled": len(done)}


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    pool = await create_pool(
        Access(role=Role(order["role"]), dsn=order["dsn"]),
        application_name="test-child",
        size_max=2,
        server_settings=BY_KEY,
    )
    if order["role"] == Role.APPLY:
        print(json.dumps({"expired": await expire_due(pool)}), flush=True)
        await pool.close()
        return
    if order.get("waits"):
        async with pool.acquire() as conn, conn.transaction():
            missing = {UUID(item): units for item, units in order["waits"].items()}
            done = await put_on_backorder(conn, UUID(order["tenant_id"]), missing, by="child")
        print(json.dumps({"waits": len(done)}), flush=True)
        await pool.close()
        return
    if order.get("config"):
        print(json.dumps(await decide(pool, order)), flush=True)
        await pool.close()
        return
    if order.get("kits"):
        async with pool.acquire() as conn, conn.transaction():
            plan = await set_kits(conn, UUID(order["tenant_id"]), order["kits"], is_shared=lambda _: False)
        print(json.dumps({"changes": len(plan.changes)}), flush=True)
        await pool.close()
        return
    if order["role"] == Role.MIGRATOR:
        print(json.dumps({"posted": await lose(pool, order)}), flush=True)
        await pool.close()
        return
    combiner, tenant_id = combiner_on(pool), UUID(order["tenant_id"])
    count = {"granted": 0, "refused": 0}

    async def ask(number: int) -> None:
        lines = tuple((sku, 1 + (number + place) % order["most"]) for place, sku in enumerate(order["skus"]))
        lines = lines if number % 2 else tuple(reversed(lines))
        reply = await combiner.reserve(tenant_id, Wish(lines, 600, "child", reference=f"{order['name']}-{number}"))
        is_granted = isinstance(reply.result, Reservation)
        count["granted" if is_granted else "refused"] += 1
        if isinstance(reply.result, Reservation) and number % 10 < order["released_of_ten"]:
            await combiner.change(tenant_id, Release(reply.result.reservation_id, "child"))

    for start in range(0, order["count"], 50):
        await asyncio.gather(*(ask(number) for number in range(start, min(start + 50, order["count"]))))
    await pool.close()
    print(json.dumps(count), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
