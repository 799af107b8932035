"""The raw limit of reservations, frozen: combined updates by bare asyncpg, and nothing else.

Each transaction locks one level, reads its balance, and writes one reservation, one hold and one ledger entry for each
of a batch of requests: the same rows that the combiner writes, by the same kind of statement. It looks nothing up, decides
nothing, marks no channel, checks no name and answers nobody. Do not tune it: it is the yardstick.

python -m bench.hot_sku_limit < {"dsn":..,"tenant_id":..,"location_id":..,"items":[..],"batch":200,"seconds":5}
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import uvloop

from tidegate.kernel.ids import new_id

CONNECTIONS = 2
LOCK = "SELECT FROM stock_level WHERE tenant_id = $1 AND item_id = ANY($2::uuid[]) ORDER BY item_id FOR NO KEY UPDATE"
READ = """
SELECT want.item_id, b.version, b.reserved, b.on_hand FROM unnest($2::uuid[]) AS want(item_id)
CROSS JOIN LATERAL (SELECT * FROM stock_balance b WHERE b.tenant_id = $1 AND b.item_id = want.item_id OFFSET 0) b
"""
RESERVATIONS = """
INSERT INTO reservation (tenant_id, reservation_id, reference, asked, due_at, actor)
SELECT $1, id, ref, '[["A",1]]', $4, 'bench' FROM unnest($2::uuid[], $3::text[]) AS n(id, ref)
"""
HOLDS = """
INSERT INTO reservation_hold (tenant_id, reservation_id, item_id, location_id, units, due_at)
SELECT $1, id, item, $4, 1, $5 FROM unnest($2::uuid[], $3::uuid[]) AS n(id, item)
"""
ENTRIES = """
INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, reserved_delta, on_hand_after, unavailable_after,
                         committed_after, reserved_after, cause_key, reservation_id, actor)
SELECT $1, item, $2, version, 'reserve', 1, on_hand, 0, 0, reserved, 'reserve:' || id || ':0', id, 'bench'
FROM unnest($3::uuid[], $4::bigint[], $5::int[], $6::int[], $7::uuid[]) AS n(item, version, on_hand, reserved, id)
"""


async def run(order: dict[str, Any]) -> dict[str, object]:
    """Write batches for so many seconds; return how many reservations that made."""
    tenant_id, location_id = UUID(order["tenant_id"]), UUID(order["location_id"])
    items = [UUID(each) for each in order["items"]]
    due_at = datetime.now(UTC) + timedelta(minutes=15)
    until, written = time.perf_counter() + order["seconds"], 0

    async def write(lane: int) -> None:
        nonlocal written
        conn = await asyncpg.connect(order["dsn"])
        mine, turn = items[lane::CONNECTIONS] or items, 0
        while time.perf_counter() < until:
            asked = [mine[(turn + index) % len(mine)] for index in range(order["batch"])]
            turn += order["batch"]
            ids = [new_id() for _ in asked]
            async with conn.transaction():
                await conn.fetch(LOCK, tenant_id, sorted(set(asked)))
                stock = {
                    row[0]: [row[1], row[2], row[3]] for row in await conn.fetch(READ, tenant_id, sorted(set(asked)))
                }
                versions, reserved, on_hand = [], [], []
                for item in asked:
                    level = stock[item]
                    level[0] += 1
                    level[1] += 1
                    versions.append(level[0])
                    reserved.append(level[1])
                    on_hand.append(level[2])
                await conn.execute(RESERVATIONS, tenant_id, ids, [f"{order['name']}-{each}" for each in ids], due_at)
                await conn.execute(HOLDS, tenant_id, ids, asked, location_id, due_at)
                await conn.execute(ENTRIES, tenant_id, location_id, asked, versions, on_hand, reserved, ids)
            if time.perf_counter() <= until:
                written += len(asked)
        await conn.close()

    await asyncio.gather(*(write(lane) for lane in range(CONNECTIONS)))
    return {"granted": written, "seconds": order["seconds"]}


def main() -> None:
    """Read one order, say that it is ready, wait for the word, run, print the result."""
    order = json.loads(sys.stdin.readline())
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(uvloop.run(run(order))), flush=True)


if __name__ == "__main__":
    main()
