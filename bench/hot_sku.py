"""How many correct reservations one process makes per second on one SKU and on a thousand.

    python -m bench.hot_sku [--rounds 3] [--seconds 5] [--callers 128] [--quick] [--http PROCESSES] [--standby]

It starts its own PostgreSQL (fsync on). In interleaved rounds a process reserves through the combiner with so many
callers at once (`bench.hot_sku_process`), and two bare connections write the same rows in batches of the same size
(`bench.hot_sku_limit`): `reservations_per_s`, `raw_limit_per_s`, `ratio`, `p99_ms`, each for one SKU and, with `_1000`, for a
thousand. Then two such processes empty a small shelf (`oversold` is what they took too much, in any round), and at last
they reserve the one SKU while four apply processes take orders for it: `deadlocks`, and how much both got done.
`--http` asks through `POST /v1/reservations` as well, of so many web processes, and of as many bare endpoints that decide nothing
(`http_...`), and through `POST /v1/reservations/batch` (`http_batch_...`); both also at a rate that is given, answered or not
(`http_paced_...`, `http_batch_paced_...`). `--standby` attaches a synchronous standby and reserves once more, alone and beside the orders (`standby_...`).
Progress goes to standard error; the last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from bench.apply_bed import KEYS, SKUS, Bed, append_orders, fsync_us, make_bed
from bench.standby import attach, detach, made_standby

from tidegate.runtime.ports import free_port
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.database import embedded_database, ensure_embedded_database
from tidegate.store.roles import SUPERUSER, Role
from tidegate.web.keys import create_key

SMALL_SHELF = 5_000
LARGE_SHELF = 1_000_000
RAW_BATCH = 200
BATCH_CALLERS = 2
PACED_CALLERS = 64
"""Half as many for batches: all of them together must find room in the combiner of a machine that does not keep up."""
DONE_SECONDS_MAX = 120.0
START_SECONDS = 30.0
PEPPER = b"p" * 32
OVERSOLD = """
SELECT coalesce(sum(greatest(0, b.reserved + b.committed + b.unavailable - b.on_hand)), 0)::int
       + count(*) FILTER (WHERE b.reserved <> coalesce(h.units, 0))::int
FROM stock_balance b LEFT JOIN (
  SELECT tenant_id, item_id, location_id, sum(units) AS units FROM reservation_hold GROUP BY 1, 2, 3
) h USING (tenant_id, item_id, location_id)
"""
"""Units that were promised and are not there, and levels whose counter is not the sum of what is held."""
UNEQUAL = """
SELECT count(*)::int FROM stock_balance b LEFT JOIN (
  SELECT tenant_id, item_id, location_id, sum(units) AS units FROM reservation_hold GROUP BY 1, 2, 3
) h USING (tenant_id, item_id, location_id)
WHERE b.reserved <> coalesce(h.units, 0)
"""
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
COUNT_TO = """
INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, on_hand_delta, on_hand_after, unavailable_after,
                         committed_after, reserved_after, cause_key, actor)
SELECT tenant_id, item_id, location_id, version + 1, 'count', $2 + committed + reserved + unavailable - on_hand,
       $2 + committed + reserved + unavailable, unavailable, committed, reserved, 'bench:' || gen_random_uuid(), 'bench'
FROM stock_balance WHERE item_id = $1
"""


@dataclass
class Place:
    """The database of the benchmark."""

    server: EmbeddedPostgres
    conn: asyncpg.Connection
    bed: Bed
    runs: int = 0

    def reserve_order(self, skus: list[str], callers: int, seconds: float) -> dict[str, object]:
        """Return what a reserving process is told."""
        self.runs += 1
        database = embedded_database(self.server.dsn)
        return {
            "dsn": database.access(Role.WEB).dsn,
            "tenant_id": str(self.bed.tenant_id),
            "skus": skus,
            "callers": callers,
            "seconds": seconds,
            "name": f"run{self.runs}",
        }

    def limit_order(self, items: list[str], seconds: float) -> dict[str, object]:
        """Return what the raw limit is told."""
        self.runs += 1
        return {
            "dsn": self.server.dsn(SUPERUSER, "tidegate"),
            "tenant_id": str(self.bed.tenant_id),
            "location_id": str(self.bed.location_id),
            "items": items,
            "batch": RAW_BATCH,
            "seconds": seconds,
            "name": f"run{self.runs}",
        }

    async def tidy(self) -> None:
        """Let nothing of the run before cost the next one: neither what it left behind, nor the units that it took."""
        await self.conn.execute(COUNT_TO, self.bed.items[0], LARGE_SHELF)
        await self.conn.execute("VACUUM (ANALYZE)")
        await self.conn.execute("CHECKPOINT")


def start(stack: ExitStack, module: str, order: dict[str, object]) -> subprocess.Popen[str]:
    """Start a process that is ready to run."""
    process = stack.enter_context(
        subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    if process.stdout.readline() != "ready\n":
        raise SystemExit(f"{module} did not start")
    return process


async def run_all(module: str, *orders: dict[str, object]) -> list[dict[str, Any]]:
    """Run processes at the same time; return their results."""
    with ExitStack() as stack:
        processes = [start(stack, module, order) for order in orders]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.close()
        results = []
        for process in processes:
            assert process.stdout is not None
            line = await asyncio.to_thread(process.stdout.readline)
            if not line:
                raise SystemExit(f"{module} ended without a result")
            results.append(json.loads(line))
    return results


async def measure(server: EmbeddedPostgres, arguments: argparse.Namespace) -> dict[str, object]:
    """Run everything on a fresh database."""
    await ensure_embedded_database(server.dsn, server.password)
    conn = await asyncpg.connect(server.dsn(SUPERUSER, "tidegate"))
    try:
        place = Place(server, conn, await make_bed(conn))
        figures: dict[str, object] = {}
        oversold = 0
        for suffix, count in (("", 1), ("_1000", SKUS)):
            skus = [f"SKU-{number:05d}" for number in range(count)]
            items = [str(item) for item in place.bed.items[:count]]
            ours, raw = [], []
            for _ in range(arguments.rounds):
                await place.tidy()
                (mine,) = await run_all(
                    "bench.hot_sku_process", place.reserve_order(skus, arguments.callers, arguments.seconds)
                )
                await place.tidy()
                (bare,) = await run_all("bench.hot_sku_limit", place.limit_order(items, arguments.seconds))
                ours.append(mine)
                raw.append(bare)
                note(f"{count:5} SKUs: {per_s(mine):7.0f}/s, p50 {mine['p50_ms']:.1f} ms, p99 {mine['p99_ms']:.1f} ms; "
                     f"raw {per_s(bare):7.0f}/s; load {os.getloadavg()[0]:.1f}")  # fmt: skip
                oversold += int(await conn.fetchval(OVERSOLD))
            figures |= {
                f"reservations_per_s{suffix}": round(statistics.median(per_s(each) for each in ours)),
                f"raw_limit_per_s{suffix}": round(statistics.median(per_s(each) for each in raw)),
                f"ratio{suffix}": round(
                    statistics.median(per_s(a) / per_s(b) for a, b in zip(ours, raw, strict=True)), 2
                ),
                f"p99_ms{suffix}": round(statistics.median(each["p99_ms"] for each in ours), 1),
            }
        oversold += await empty_shelf(place, arguments)
        figures |= await beside_orders(place, arguments, range(arguments.orders))
        if arguments.http:
            figures |= await through_http(place, arguments)
        if arguments.standby:
            figures |= await with_standby(place, arguments)
        oversold += int(await conn.fetchval(UNEQUAL))  # orders are facts: they may take what is promised
        return {**figures, "oversold": oversold, "callers": arguments.callers}
    finally:
        await conn.close()


async def empty_shelf(place: Place, arguments: argparse.Namespace) -> int:
    """Let two processes empty a small shelf; return how many units they got too many or too few."""
    item = place.bed.items[1]
    before = int(await place.conn.fetchval("SELECT reserved FROM stock_balance WHERE item_id = $1", item))
    await place.conn.execute(COUNT_TO, item, SMALL_SHELF)
    orders = [place.reserve_order(["SKU-00001"], arguments.callers, arguments.seconds) for _ in range(2)]
    results = await run_all("bench.hot_sku_process", *orders)
    taken = int(await place.conn.fetchval("SELECT reserved FROM stock_balance WHERE item_id = $1", item)) - before
    refused = sum(each["refused"] for each in results)
    note(f"a shelf of {SMALL_SHELF}: {taken} reserved, {refused / arguments.seconds:.0f} refused a second")
    return abs(taken - SMALL_SHELF)


async def beside_orders(place: Place, arguments: argparse.Namespace, numbers: range) -> dict[str, object]:
    """Reserve the one SKU with two processes while four apply processes take orders that all hold it."""
    conn, bed = place.conn, place.bed
    before = int(await conn.fetchval(DEADLOCKS))
    await append_orders(conn, bed, numbers, hot_sku=True)
    database = embedded_database(place.server.dsn)
    intake = base64.b64encode(KEYS["intake"]).decode()
    with ExitStack() as stack:
        for _ in range(4):
            order = {"dsn": database.access(Role.APPLY).dsn, "intake_root": intake}
            stack.enter_context(child_process("bench.apply_process", order))
        orders = [place.reserve_order(["SKU-00000"], arguments.callers // 2, arguments.seconds) for _ in range(2)]
        started = time.perf_counter()
        reserving = asyncio.create_task(run_all("bench.hot_sku_process", *orders))
        await conn.execute("SELECT pg_notify('tidegate_event', '')")
        while left := await conn.fetchval("SELECT count(*) FROM event_queue"):
            if time.perf_counter() - started > DONE_SECONDS_MAX:
                raise SystemExit(f"{left} orders are left")
            await asyncio.sleep(0.02)
        seconds = time.perf_counter() - started
        results = await reserving
    await conn.execute("SELECT pg_stat_force_next_flush()")
    figures = {
        "beside_orders_reservations_per_s": round(sum(per_s(each) for each in results)),
        "beside_orders_p99_ms": round(max(each["p99_ms"] for each in results), 1),
        "orders_per_s": round(arguments.orders / seconds),
        "deadlocks": int(await conn.fetchval(DEADLOCKS)) - before,
    }
    note(f"beside orders: {figures}")
    return figures


async def through_http(place: Place, arguments: argparse.Namespace) -> dict[str, object]:
    """Reserve the one SKU through web processes, one by one and in batches; ask bare endpoints as often as they can answer."""
    await place.tidy()
    key = await create_key(
        place.conn, tenant_id=place.bed.tenant_id, pepper=PEPPER, name="bench", scopes=("stock:reserve",), actor="bench",
        now=datetime.now(UTC),
    )  # fmt: skip
    dsn = embedded_database(place.server.dsn).access(Role.WEB).dsn
    pepper = base64.b64encode(PEPPER).decode()
    figures: dict[str, object] = {"http_processes": arguments.http}
    asked = {
        "http_bare": (1, arguments.http_callers, 0),
        "http": (1, arguments.http_callers, 0),
        "http_paced": (1, PACED_CALLERS, arguments.http_rate),
        "http_batch": (arguments.http_batch, BATCH_CALLERS, 0),
        "http_batch_paced": (arguments.http_batch, PACED_CALLERS // 2, arguments.http_batch_rate),
    }
    for kind, (batch, callers, rate) in asked.items():
        ports = [free_port() for _ in range(arguments.http)]
        with ExitStack() as stack:
            for port in ports:
                order = {"dsn": dsn, "pepper": pepper, "port": port, "bare": kind == "http_bare"}
                stack.enter_context(child_process("bench.hot_sku_api", order))
                await answering(port)
            place.runs += 1
            calling = {
                "ports": ports, "key": key.text.reveal(), "sku": "SKU-00000", "callers": callers, "batch": batch,
                "rate": rate, "seconds": arguments.seconds, "name": f"http{place.runs}",
            }  # fmt: skip
            (found,) = await run_all("bench.hot_sku_callers", calling)
        figures |= {
            f"{kind}_per_s" if kind == "http_bare" else f"{kind}_reservations_per_s": round(per_s(found)),
            f"{kind}_p50_ms": round(found["p50_ms"], 1),
            f"{kind}_p99_ms": round(found["p99_ms"], 1),
        }
        note(f"{arguments.http} processes, {kind}: {callers} callers of {batch}, {rate or 'as many as can be'} asked a second, {per_s(found):.0f}/s, "
             f"p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms; load {os.getloadavg()[0]:.1f}")  # fmt: skip
    return {
        **figures,
        "http_callers": arguments.http_callers,
        "http_batch": arguments.http_batch,
        "http_batch_callers": BATCH_CALLERS,
        "http_rate": arguments.http_rate,
        "http_batch_rate": arguments.http_batch_rate,
    }


async def with_standby(place: Place, arguments: argparse.Namespace) -> dict[str, object]:
    """Reserve alone and beside orders while every commit waits for a synchronous standby."""
    with made_standby(place.server, place.server.data_dir.with_name("standby")):
        await attach(place.conn)
        await place.tidy()
        try:
            order = place.reserve_order(["SKU-00000"], arguments.callers, arguments.seconds)
            (alone,) = await run_all("bench.hot_sku_process", order)
            note(f"with a standby: {per_s(alone):.0f}/s, p99 {alone['p99_ms']:.1f} ms")
            beside = await beside_orders(place, arguments, range(arguments.orders, 2 * arguments.orders))
        finally:
            await detach(place.conn)
    return {
        "standby_reservations_per_s": round(per_s(alone)),
        "standby_p99_ms": round(alone["p99_ms"], 1),
        **{f"standby_{name}": value for name, value in beside.items()},
    }


async def answering(port: int) -> None:
    """Wait until something listens."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > until:
                raise SystemExit(f"nothing listens on {port}") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


@contextmanager
def child_process(module: str, order: dict[str, object]) -> Iterator[None]:
    """Run a process while the block lasts."""
    process = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        yield
    finally:
        process.stdin.close()
        process.wait(timeout=30)


def per_s(result: dict[str, Any]) -> float:
    return float(result["granted"]) / float(result["seconds"])


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hot_sku")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--callers", type=int, default=128)
    parser.add_argument("--orders", type=int, default=5_000, help="that four apply processes take meanwhile")
    parser.add_argument(
        "--http", type=int, default=0, metavar="PROCESSES", help="ask through so many web processes, too"
    )
    parser.add_argument("--http-callers", type=int, default=32, help="connections that ask them")
    parser.add_argument("--http-batch", type=int, default=100, help="reservations of one request to the batch endpoint")
    parser.add_argument("--http-rate", type=float, default=1_000, help="reservations a second that are due, one by one")
    parser.add_argument("--http-batch-rate", type=float, default=5_000, help="the same of those in batches")
    parser.add_argument("--standby", action="store_true", help="once more with a synchronous standby")
    parser.add_argument("--quick", action="store_true", help="one short round of each")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.orders = 1, 2.0, 1_000
    folder = Path(tempfile.mkdtemp(prefix="tdg-bench-"))
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder / "pg")
    try:
        server.start()
        fsync = fsync_us(folder)
        note(f"fsync takes {fsync:.0f} us, load {os.getloadavg()[0]:.1f}")
        result = asyncio.run(measure(server, arguments))
        print(json.dumps(result | {"fsync_us": round(fsync)}))
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
