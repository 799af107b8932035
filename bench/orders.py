"""How fast, and with how many requests, one lane takes orders into an ERP: `python -m bench.orders [--orders 2000]`.

A dispatch node in this process, PostgreSQL with fsync on, and the sandbox's ERP in a process of its own, reached by the
connector `tryton`. All orders wait in the lane at the beginning. `--errors` and `--lost` are the shares of requests that are
answered 5xx without an effect, and of writes whose answer is lost after it.

The last line of standard output is one JSON object: orders a second until all are there, requests per order in all and by
what they were (as the ERP counted them), database transactions per order, and seconds of this process's CPU per order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from tests.conftest import fresh_database, running_postgres
from tests.dispatchbed import CELL, KEYS, Bed, until
from tests.sandboxbed import RunningSandbox, running

from tidegate.app import connectors
from tidegate.commerce.changes import Customer, OrderPrivate
from tidegate.commerce.commands import DEADLINE_SECONDS, PRIORITY_OF, CommandKind
from tidegate.config.versions import record_version
from tidegate.dispatch.settings import DispatchSettings
from tidegate.dispatch.worker import Worker
from tidegate.kernel.ids import new_id
from tidegate.kernel.redaction import Secret
from tidegate.runtime.postgres import DEFAULT_VERSION, EmbeddedPostgres
from tidegate.store.context import Context
from tidegate.store.database import ensure_embedded_database
from tidegate.store.roles import Role
from tidegate.sync.going_live import refresh_modes
from tidegate.vault.credentials import put

TEMPLATE = "tidegate_template"
SKUS = 200
FIRST_PRODUCT = 3
"""The sandbox's ERP has two service articles before the goods."""
USE_ERP = """
UPDATE connection SET connector = 'tryton', settings = $2::jsonb WHERE connection_id = $1
"""
ARTICLES = """
WITH n AS (SELECT g, gen_random_uuid() AS variant_id FROM generate_series(1, $3::int) g),
v AS (INSERT INTO variant (tenant_id, variant_id, sku) SELECT $1, variant_id, 'ART-' || g FROM n)
INSERT INTO binding (tenant_id, connection_id, kind, external_id, internal_id)
SELECT $1, $2, 'variant', (g + $4::int - 1)::text, variant_id FROM n
RETURNING internal_id
"""
ORDER = """
INSERT INTO "order" (tenant_id, order_id, connection_id, external_id, number, order_state, payment_state, fulfillment_state,
                     currency, total_minor, shipping_minor, discount_minor, tax_minor, placed_at, data_key_id, private)
VALUES ($1, $2, $3, $4, $4, 'open', 'paid', 'unfulfilled', 'EUR', 1000, 0, 0, 0, now(), $5, $6)
"""
LINE = """
INSERT INTO order_line (tenant_id, order_id, line_id, external_id, position, variant_id, sku, title, ordered, current,
                        unit_price, total_minor, location_id)
VALUES ($1, $2, $3, $4, 0, $5, $6, $6, 1, 1, 10, 1000, $7)
"""
KEY = "INSERT INTO command_key VALUES ($1, $2, 'order.create', $3, 1, $4)"
COMMAND = """
INSERT INTO command (tenant_id, command_id, connection_id, kind, target_key, entity_id, version, priority, state, deadline_at)
VALUES ($1, $4, $2, 'order.create', 'order:' || $3::uuid, $3, 1, $5, 'pending', $6)
"""
STATES = "SELECT state, count(*) FROM command GROUP BY state"
COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=2000)
    parser.add_argument("--errors", type=float, default=0.05, help="share of requests answered 5xx")
    parser.add_argument("--lost", type=float, default=0.02, help="share of writes whose answer is lost")
    options = parser.parse_args()
    items = [
        {"sku": f"ART-{n}", "title": f"Article {n}", "price_minor": 1000, "stock": 100_000} for n in range(1, SKUS + 1)
    ]
    faults = {"broken": options.errors, "lost_replies": options.lost}
    world = {"items": items, "platforms": {"erp": {"kind": "erp", "faults": faults}}}
    with (
        tempfile.TemporaryDirectory(prefix="tdg-") as folder,
        running(world, Path(folder), kinds=("erp=tidegate.sandbox.erp:build",)) as sandbox,
        running_postgres(DEFAULT_VERSION) as postgres,
    ):
        asyncio.run(ensure_embedded_database(postgres.dsn, postgres.password, name=TEMPLATE))
        print(json.dumps(asyncio.run(measure(postgres, sandbox, options.orders))))


async def measure(postgres: EmbeddedPostgres, sandbox: RunningSandbox, orders: int) -> dict[str, Any]:
    """Fill the lane, let it run dry, and return the figures."""
    async with fresh_database(postgres) as database:
        pool = await database.pool(Role.MIGRATOR, application_name="bench")
        bed = Bed(database, pool, sandbox.url("erp"))
        await bed.create()
        await fill(bed, orders)
        before = await pool.fetchval(COMMITS)
        worker = Worker(
            Context(
                role="dispatch",
                index=1,
                cell=CELL,
                access=database.access(Role.DISPATCH),
                keys=KEYS,
                connectors=connectors(),
            ),
            settings=DispatchSettings(),
        )
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        began, cpu = time.monotonic(), time.process_time()

        async def is_over() -> bool:
            await asyncio.sleep(0.5)
            states = {row[0]: row[1] for row in await pool.fetch(STATES)}
            say(f"{time.monotonic() - began:5.1f} s  {states}")
            return states.get("succeeded", 0) + states.get("failed", 0) == orders

        await until(is_over, seconds=600.0)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        stop.set()
        await task
        states = {row[0]: row[1] for row in await pool.fetch(STATES)}
        commits = await pool.fetchval(COMMITS) - before
        await pool.close()
    calls = counted(sandbox.ask("GET", "/calls/erp"))
    return {
        "orders": orders,
        "orders_per_s": round(orders / seconds, 1),
        "seconds": round(seconds, 1),
        "failed": states.get("failed", 0),
        "requests_per_order": round(sum(calls.values()) / orders, 3),
        "by_request": dict(sorted(calls.items(), key=lambda one: -one[1])[:8]),
        "transactions_per_order": round(commits / orders, 2),
        "cpu_ms_per_order": round(1000 * cpu / orders, 2),
    }


async def fill(bed: Bed, orders: int) -> None:
    """Make the shop's orders, each with one line, and what T2 plans for them."""
    settings = json.dumps({"base_url": bed.base_url, "database": "tryton", "web_shop": "Tidegate"})
    tenant, date = bed.tenant_id, datetime.now(UTC)
    async with bed.pool.acquire() as conn, conn.transaction():
        await conn.execute(USE_ERP, bed.erp, settings)
        await put(conn, bed.ring, tenant, bed.erp, "credential", "rest_key", Secret("sandbox-rest-key"))
        variants: list[UUID] = [row[0] for row in await conn.fetch(ARTICLES, tenant, bed.erp, SKUS, FIRST_PRODUCT)]
        key = await bed.cipher.current(conn, tenant, date.date())
        private = msgspec.json.encode(OrderPrivate(customer=Customer(email="buyer@example.test")))
        made = [(new_id(), new_id(), new_id(), number) for number in range(orders)]
        seal = bed.cipher.seal
        sealed = [(o, f"shop-{n}", key.key_id, seal(key, "order", o, private)) for o, _, _, n in made]
        await conn.executemany(ORDER, [(tenant, one[0], bed.shop, *one[1:]) for one in sealed])
        lines = [(o, line, f"line-{n}", variants[n % SKUS], f"ART-{n % SKUS + 1}") for o, line, _, n in made]
        await conn.executemany(LINE, [(tenant, *one, bed.location) for one in lines])
        kind = CommandKind.ORDER_CREATE
        until_ = date + timedelta(seconds=DEADLINE_SECONDS[kind])
        commands = [(tenant, bed.erp, o, command) for o, _, command, _ in made]
        await conn.executemany(KEY, commands)
        await conn.executemany(COMMAND, [(*one, int(PRIORITY_OF[kind]), until_) for one in commands])
    document = f"""
tenant: main
network: {{allow: ["127.0.0.0/8"]}}
connections:
  shop_a: {{use: hostile, url: "{bed.base_url}"}}
  erp: {{use: tryton, url: "{bed.base_url}", web_shop: Tidegate}}
owns: {{stock.on_hand: erp, shipment: erp}}
flows:
  orders: {{from: [shop_a], to: erp, since: 2026-01-01, mode: live}}
  shipments: {{from: erp, to: origin, mode: live}}
  stock: {{from: erp, to: [shop_a], mode: live}}
polling: {{enabled: false}}
"""
    async with bed.pool.acquire() as conn:
        await record_version(conn, document, applied_by="bench")
        await refresh_modes(conn, tenant)


def counted(report: Mapping[str, Any]) -> dict[str, int]:
    """Return the requests by operation, whatever came of them."""
    return {name: sum(outcomes.values()) for name, outcomes in report["by_operation"].items()}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
