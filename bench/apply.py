"""How many orders of three lines one apply process brings from the log to ledger and outbox, and what each costs.

    python -m bench.apply [--rounds 5] [--orders 20000] [--snapshot-seconds 300] [--quick]

It starts its own PostgreSQL (fsync on) and compares, in interleaved runs:

- the apply process with the raw limit of `bench.apply_limit`: `orders_per_s`, `raw_limit_per_s`, `ratio`;
- a young log with one that holds a million applied events: `cpu_us_at_1m_events`;
- a database without and one with a transaction that holds an old snapshot, after both have applied a steady trickle for
  `--snapshot-seconds`: `cpu_us_old_snapshot`.

CPU is that of the apply process and its PostgreSQL backends, in microseconds per order. Progress goes to standard
error; the last line of standard output is one JSON object with the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from bench.apply_bed import KEYS, Bed, append_orders, cpu_seconds, fsync_us, make_bed
from bench.apply_history import add_past

from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.database import embedded_database, ensure_embedded_database
from tidegate.store.roles import SUPERUSER, Role
from tidegate.sync.settings import SETTINGS

WARM_UP_ORDERS = 1_000
PAST_EVENTS = 1_000_000
TRICKLE_ORDERS = 40
TRICKLE_SECONDS = 0.25
"""160 orders a second: a busy shop that an apply process handles with ease."""
POLL_SECONDS = 0.02
DONE_SECONDS_MAX = 300.0
SHARES = """
SELECT max(n) - min(n) < 2 AND sum(n) = 1024 AND count(*) = $1
FROM (SELECT count(*) AS n FROM slot JOIN node USING (node_id, role) WHERE role = 'apply' GROUP BY node_id) s
"""


@dataclass
class Figures:
    """What one run showed."""

    per_s: float
    cpu_us: float
    client_us: float
    database_us: float


@dataclass
class Place:
    """One database of the benchmark, with the superuser's connection to it."""

    name: str
    server: EmbeddedPostgres
    conn: asyncpg.Connection
    bed: Bed
    next_number: int = 0
    runs: list[Figures] = field(default_factory=list)

    async def fill(self, orders: int) -> None:
        """Append orders to the log."""
        await append_orders(self.conn, self.bed, range(self.next_number, self.next_number + orders))
        self.next_number += orders

    async def applied(self) -> int:
        return int(await self.conn.fetchval("SELECT coalesce(sum(applied), 0) FROM conservation"))

    async def hold_queue(self) -> None:
        """Take what waits out of the queue, so that a process can start and warm up before the clock does."""
        await self.conn.execute(
            "CREATE UNLOGGED TABLE held AS SELECT slot, tenant_id, event_id FROM event_queue; DELETE FROM event_queue"
        )
        await self.conn.execute("VACUUM (ANALYZE)")
        await self.conn.execute("CHECKPOINT")

    async def give_back(self, orders: int | None = None) -> int:
        """Put the oldest `orders` held events back into the queue (all, if None); return how many."""
        done = await self.conn.execute(
            "WITH back AS (DELETE FROM held WHERE event_id IN (SELECT event_id FROM held ORDER BY event_id LIMIT $1) "
            "RETURNING slot, tenant_id, event_id) "
            "INSERT INTO event_queue (slot, tenant_id, event_id) SELECT * FROM back ORDER BY event_id",
            orders,
        )
        return int(done.rpartition(" ")[2])

    async def wait_until_applied(self, count: int) -> float:
        """Wake the apply process and wait until `count` events are applied in all; return the seconds."""
        started = time.perf_counter()
        await self.conn.execute("SELECT pg_notify('tidegate_event', '')")
        while await self.applied() < count:
            if time.perf_counter() - started > DONE_SECONDS_MAX:
                raise SystemExit(f"{self.name}: only {await self.applied()} of {count} events were applied")
            await asyncio.sleep(POLL_SECONDS)
        return time.perf_counter() - started

    async def backend_cpu_seconds(self) -> dict[int, float]:
        """Return CPU seconds of each client backend of this database, ours left out."""
        pids = await self.conn.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' "
            "AND pid <> pg_backend_pid() AND application_name <> 'bench-snapshot'"
        )
        return {row[0]: cpu_seconds(row[0]) for row in pids}


async def run_apply(place: Place, orders: int) -> list[str]:
    """Fill the log, apply it with a fresh process, note the figures; return the ids of the measured events, oldest first."""
    await place.fill(orders + WARM_UP_ORDERS)
    await place.hold_queue()
    async with apply_process(place) as process:
        done = await place.applied() + await place.give_back(WARM_UP_ORDERS)
        await place.wait_until_applied(done)
        event_ids = [str(row[0]) for row in await place.conn.fetch("SELECT event_id FROM held ORDER BY event_id")]
        backends, client = await place.backend_cpu_seconds(), cpu_seconds(process.pid)
        seconds = await place.wait_until_applied(done + await place.give_back())
        client = cpu_seconds(process.pid) - client
        database = sum(used - backends.get(pid, 0.0) for pid, used in (await place.backend_cpu_seconds()).items())
    await place.conn.execute("DROP TABLE held")
    if left := await place.conn.fetchval("SELECT count(*) FROM event_queue"):
        raise SystemExit(f"{left} events are left in the queue")
    figures = Figures(orders / seconds, *(1e6 * cpu / orders for cpu in (client + database, client, database)))
    place.runs.append(figures)
    note(f"{place.name:8} {show(figures)}")
    return event_ids


async def run_limit(place: Place, source: Place, event_ids: list[str]) -> None:
    """Have the raw limit write what `source` has just written; note the figures."""
    await copy_events(source, place, event_ids)
    await place.conn.execute(
        "INSERT INTO event_queue (slot, tenant_id, event_id) SELECT n % 1024, $1, event_id "
        "FROM unnest($2::uuid[]) WITH ORDINALITY AS e (event_id, n) ORDER BY n",
        place.bed.tenant_id,
        event_ids,
    )
    await place.conn.execute("VACUUM (ANALYZE)")
    await place.conn.execute("CHECKPOINT")
    order = {
        "dsn": place.server.dsn(SUPERUSER, place.name),
        "source_dsn": source.server.dsn(SUPERUSER, source.name),
        "event_ids": event_ids,
        "batch": SETTINGS.batch_events_max,
    }
    with child("bench.apply_limit", order) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)  # the rows lie in memory
        backends, client = await place.backend_cpu_seconds(), cpu_seconds(process.pid)
        process.stdin.write("go\n")
        process.stdin.flush()
        result = json.loads(await asyncio.to_thread(process.stdout.readline))
        client = cpu_seconds(process.pid) - client
        database = sum(used - backends.get(pid, 0.0) for pid, used in (await place.backend_cpu_seconds()).items())
    count = result["orders"]
    figures = Figures(count / result["seconds"], *(1e6 * cpu / count for cpu in (client + database, client, database)))
    place.runs.append(figures)
    note(f"{place.name:8} {show(figures)}")


async def copy_events(source: Place, target: Place, event_ids: list[str]) -> None:
    """Copy events from one log into another."""
    rows = io.BytesIO()
    await source.conn.copy_from_query(
        "SELECT * FROM event WHERE tenant_id = $1 AND event_id = ANY($2::uuid[]) ORDER BY event_id",
        source.bed.tenant_id, event_ids, output=rows, format="binary",
    )  # fmt: skip
    rows.seek(0)
    await target.conn.copy_to_table("event", source=rows, format="binary")


async def trickle(place: Place, seconds: float) -> None:
    """Apply a steady trickle of orders, so that dead rows pile up where an old snapshot forbids to remove them."""
    async with apply_process(place):
        due = time.perf_counter()
        until = due + seconds
        while due < until:
            await place.fill(TRICKLE_ORDERS)
            due += TRICKLE_SECONDS
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await place.wait_until_applied(place.next_number)


@asynccontextmanager
async def apply_process(place: Place) -> AsyncIterator[subprocess.Popen[str]]:
    """Start an apply process that has its slots and waits for work; end it when the block is left."""
    database = embedded_database(place.server.dsn, name=place.name)
    root = base64.b64encode(KEYS["intake"]).decode()
    with child("bench.apply_process", {"dsn": database.access(Role.APPLY).dsn, "intake_root": root}) as process:
        until = time.monotonic() + 30
        while not await place.conn.fetchval(SHARES, SETTINGS.strands_at_rest):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("the apply process does not get its slots")
            await asyncio.sleep(POLL_SECONDS)
        yield process


@contextmanager
def child(module: str, order: dict[str, object]) -> Iterator[subprocess.Popen[str]]:
    """Start `python -m module` with its order on standard input; end it when the block is left."""
    process = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        yield process
    finally:
        process.stdin.close()
        process.wait(timeout=30)


@asynccontextmanager
async def old_snapshot(place: Place) -> AsyncIterator[None]:
    """Hold a snapshot: from now on no dead row of this database can be removed."""
    settings = {"application_name": "bench-snapshot", "idle_in_transaction_session_timeout": "0"}
    conn = await asyncpg.connect(place.server.dsn(SUPERUSER, place.name), server_settings=settings)
    try:
        async with conn.transaction(isolation="repeatable_read"):
            await conn.fetchval("SELECT count(*) FROM slot")
            yield
    finally:
        await conn.close()


async def measure(server: EmbeddedPostgres, arguments: argparse.Namespace) -> dict[str, object]:
    """Run everything; return the figures."""
    database = await ensure_embedded_database(server.dsn, server.password, name="young")
    owner = await asyncpg.connect(database.access(Role.MIGRATOR).dsn)
    bed = await make_bed(owner)
    await owner.close()
    async with AsyncExitStack() as stack:
        maker = await asyncpg.connect(server.dsn(SUPERUSER, "postgres"))
        stack.push_async_callback(maker.close)

        async def place(name: str) -> Place:
            """Return a database with the same tenant and catalogue; `young` itself must not be in use yet."""
            if name != "young":
                await maker.execute(f'CREATE DATABASE "{name}" TEMPLATE young')
            conn = await asyncpg.connect(server.dsn(SUPERUSER, name))
            stack.push_async_callback(conn.close)
            return Place(name, server, conn, bed)

        limit = await place("limit")
        others = [] if arguments.quick else [await place("million"), await place("snapshot")]
        young = await place("young")
        for _ in range(arguments.rounds):
            event_ids = await run_apply(young, arguments.orders)
            await run_limit(limit, young, event_ids)
        result = {
            "orders_per_s": round(median(young, "per_s")),
            "raw_limit_per_s": round(median(limit, "per_s")),
            "ratio": round(
                statistics.median(a.per_s / b.per_s for a, b in zip(young.runs, limit.runs, strict=True)), 3
            ),
            "cpu_us_per_order": round(median(young, "cpu_us")),
            "cpu_us_client": round(median(young, "client_us")),
            "cpu_us_database": round(median(young, "database_us")),
            "cpu_us_raw_limit": round(median(limit, "cpu_us")),
        }
        if others:
            million, snapshot = others
            result |= await compare_million(young, million, arguments)
            result |= await compare_snapshot(young, snapshot, arguments)
        return result


async def compare_million(young: Place, million: Place, arguments: argparse.Namespace) -> dict[str, object]:
    """Interleave runs on a young log with runs on one of a million applied events."""
    note(f"filling a log with {PAST_EVENTS:,} applied events")
    await million.fill(1)
    await million.conn.execute("DELETE FROM event_queue")
    await million.conn.execute("UPDATE conservation SET received = 0")
    await add_past(million.conn, million.bed, PAST_EVENTS)
    return await compare(young, million, arguments, "at_1m_events")


async def compare_snapshot(young: Place, snapshot: Place, arguments: argparse.Namespace) -> dict[str, object]:
    """Interleave runs with and without an old snapshot, after the same trickle of orders for the same time."""
    seconds = arguments.snapshot_seconds
    async with old_snapshot(snapshot):
        note(f"applying a trickle beside an old snapshot for {seconds:.0f} s")
        await asyncio.gather(trickle(young, seconds), trickle(snapshot, seconds))
        return await compare(young, snapshot, arguments, "old_snapshot")


async def compare(young: Place, other: Place, arguments: argparse.Namespace, name: str) -> dict[str, object]:
    young.runs.clear()
    for _ in range(max(3, arguments.rounds)):
        await run_apply(young, arguments.orders)
        await run_apply(other, arguments.orders)
    growth = statistics.median(b.cpu_us / a.cpu_us for a, b in zip(young.runs, other.runs, strict=True))
    return {
        f"cpu_us_{name}": round(median(other, "cpu_us")),
        f"cpu_us_beside_{name}": round(median(young, "cpu_us")),
        f"cpu_growth_{name}": round(growth - 1, 3),
        f"orders_per_s_{name}": round(median(other, "per_s")),
    }


def median(place: Place, name: str) -> float:
    return statistics.median(getattr(figures, name) for figures in place.runs)


def show(figures: Figures) -> str:
    return (
        f"{figures.per_s:6.0f} orders/s, CPU {figures.cpu_us:4.0f} us/order "
        f"(process {figures.client_us:.0f}, database {figures.database_us:.0f}), load {os.getloadavg()[0]:.1f}"
    )


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.apply")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--snapshot-seconds", type=float, default=300.0)
    parser.add_argument("--quick", action="store_true", help="one small round, without the long log and the snapshot")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.orders = 1, min(arguments.orders, 4_000)
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
