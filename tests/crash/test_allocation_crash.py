"""A dispatch process dies between the withdrawal from one shop and the raise of another: no unit is sold twice, none is left over."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest
from tests.dispatchbed import CELL, KEYS, Bed, place, stock_world, until

from tidegate.config.versions import record_version
from tidegate.kernel.crashpoint import VARIABLE
from tidegate.kernel.ids import new_id, slot_of
from tidegate.kernel.redaction import Secret
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.sdk.testing.hostile_world import article_id_of
from tidegate.store.connections import Pool
from tidegate.store.context import Context
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.sync.going_live import refresh_modes
from tidegate.sync.worker import serve as serve_apply
from tidegate.vault.credentials import put

pytestmark = [pytest.mark.asyncio, pytest.mark.crash]
ROOT = Path(__file__).parents[2]
UNITS = 6
SECONDS = 150.0
"""Until a condition holds: takeovers, and slow machines."""

DOCUMENT = """
tenant: main
network: {{allow: ["127.0.0.0/8"]}}
connections:
  shop_a: {{use: hostile, url: "{a}"}}
  shop_b: {{use: hostile, url: "{b}"}}
  erp: {{use: hostile, url: "{erp}"}}
owns: {{stock.on_hand: erp, shipment: erp}}
flows:
  orders: {{from: [shop_a, shop_b], to: erp, since: 2026-01-01, mode: observe}}
  stock: {{from: erp, to: [shop_a, shop_b], mode: live, allocation: {{mode: always}}}}
polling: {{enabled: true}}
"""


async def arranged(
    database: Database, pool: Pool, remote: HostileServer, other: HostileServer, erp: HostileServer
) -> Bed:
    """Two shops that sell one article; the lane of the second one belongs to the first node that joins, the others too."""
    bed = Bed(database, pool, remote.base_url)
    for name in ("shop", "erp"):
        while slot_of(bed.tenant_id, str(getattr(bed, name))) % 2:
            setattr(bed, name, new_id())
    await bed.create()
    second = new_id()
    while slot_of(bed.tenant_id, str(second)) % 2:
        second = new_id()

    def settings_of(server: HostileServer) -> str:
        return msgspec.json.encode({"base_url": server.base_url, "location_external_id": "wh-1"}).decode()

    await bed.article("A", on_hand=UNITS)
    async with pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account, settings)"
            " VALUES ($1, $2, 'shop_b', 'hostile', 'second', $3)", bed.tenant_id, second, settings_of(other),
        )  # fmt: skip
        await conn.execute("UPDATE connection SET settings = $2 WHERE connection_id = $1", bed.erp, settings_of(erp))
        await put(conn, bed.ring, bed.tenant_id, second, "credential", "api_key", Secret("hostile-api-key"))
        article = (bed.tenant_id, second, article_id_of("A"), bed.variants["A"])
        await conn.execute("INSERT INTO binding VALUES ($1, $2, 'variant', $3, $4)", *article)
        await conn.execute(
            "INSERT INTO channel_stock (tenant_id, connection_id, item_id, mode) VALUES ($1, $2, $3, 'live')",
            bed.tenant_id, second, bed.items["A"],
        )  # fmt: skip
        document = DOCUMENT.format(a=remote.base_url, b=other.base_url, erp=erp.base_url)
        await record_version(conn, document, applied_by="test")
        await refresh_modes(conn, bed.tenant_id)
        await conn.execute("UPDATE channel_stock SET dirty = true, dirty_at = now()")
    for server in (remote, other):
        stock_world(server.world, [("A", 0)])
    return bed


async def start(bed: Bed, index: int, **environment: str) -> asyncio.subprocess.Process:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.crash.dispatch_child",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **environment},
    )  # fmt: skip
    world = {
        "dsn": bed.database.access(Role.DISPATCH).dsn,
        "index": index,
        "lease_seconds": 6.0,
        "deadline_seconds": 1.0,
        "feed_seconds": 0.5,
        "settle_seconds": 0.3,
    }
    assert child.stdin is not None
    child.stdin.write(msgspec.json.encode(world) + b"\n")

    async def has_joined() -> bool:
        return bool(await bed.pool.fetchval("SELECT count(*) FROM node WHERE pid = $1", child.pid))

    await until(has_joined, seconds=SECONDS)
    return child


def left(server: HostileServer) -> int:
    """Return what a shop lets itself sell now."""
    article = server.world.articles[article_id_of("A")]
    return max(0, article.shop_on_hand - article.shop_allocated)


async def test_a_process_that_dies_between_withdrawal_and_raise_sells_no_unit_twice_and_leaves_none(
    database: Database, owner_pool: Pool
) -> None:
    """All demand is at one shop, so the units of the other one go over to it; who frees them is killed before that is stored."""
    async with HostileServer() as remote, HostileServer() as other, HostileServer() as erp:
        bed = await arranged(database, owner_pool, remote, other, erp)
        stop = asyncio.Event()
        context = Context(
            role="apply", index=1, cell=CELL, access=database.access(Role.APPLY), keys={"intake": KEYS["intake"]},
            connectors={"hostile": build_connector()},
        )  # fmt: skip
        applying = asyncio.create_task(serve_apply(context, stop))
        children = [await start(bed, 1, **{VARIABLE: "dispatch.lots.freed:1"})]
        try:
            children.append(await start(bed, 2))
            sold = 0

            def buy() -> bool:
                nonlocal sold
                if left(remote):
                    place(remote.world, ("A", 1))
                    sold += 1
                assert sold + left(remote) + left(other) <= UNITS, "a unit can be bought twice"
                return sold == UNITS

            await until(
                lambda: bool(left(remote) and left(other)), seconds=SECONDS
            )  # else there is nothing to withdraw
            await until(buy, seconds=SECONDS)
            assert await asyncio.wait_for(children[0].wait(), 5) == -signal.SIGKILL

            async def is_even() -> bool:
                row = await bed.pool.fetchrow("SELECT committed, available FROM stock_balance")
                return row is not None and tuple(row) == (UNITS, 0)

            await until(is_even, seconds=SECONDS)
            assert (left(remote), left(other)) == (0, 0)
        finally:
            stop.set()
            for child in children:
                if child.returncode is None:
                    child.kill()
                await child.communicate()
            await applying
