"""How many webhooks of 1.7 kB one door process makes durable per second, beside the raw limit of this machine.

    python -m bench.intake [--runs 5] [--seconds 4] [--connections 96]

It starts its own PostgreSQL (fsync on), one door with 20 connections of 4 tenants, and the bare server of
`bench.bare`; the load generator runs in a process of its own on the same cores. Runs are interleaved. Progress goes to
standard error; the last line of standard output is one JSON object with the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidegate.eventlog import partitions
from tidegate.kernel.ids import new_id
from tidegate.kernel.redaction import Secret
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.database import Database, ensure_embedded_database, owner_connection
from tidegate.store.roles import Role
from tidegate.sync.webhook_path import WebhookPaths, new_webhook_secret
from tidegate.vault import credentials
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.keys import KeyRing, derive_class_root

TENANTS = 4
CONNECTIONS_PER_TENANT = 5
WARM_UP_SECONDS = 1.0
REQUESTS_PER_SECOND_MAX = 40_000
ROOT_KEY = os.urandom(32)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, default=96)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        server = stack.enter_context(_postgres(folder))
        note(f"fsync takes {(fsync := fsync_us(folder)):.0f} us")
        door_orders = asyncio.run(_arrange(server, "door"))
        bare_orders = asyncio.run(_arrange(server, "bare"))
        ours, bare = [], []
        for number in range(1, arguments.runs + 1):
            for results, orders, module in (
                (ours, door_orders, "bench.door_process"),
                (bare, bare_orders, "bench.bare"),
            ):
                result = measure(orders, module, arguments, seed=number)
                asyncio.run(_empty(orders["database"], expected=result["statuses"].get("200", 0)))
                note(f"run {number}: {module.rpartition('.')[2]:13} {json.dumps(result)}")
                results.append(result)
    per_s = statistics.median(result["per_s"] for result in ours)
    raw = statistics.median(result["per_s"] for result in bare)
    print(
        json.dumps(
            {
                "webhooks_per_s": round(per_s),
                "p50_ms": round(statistics.median(result["p50_ms"] for result in ours), 2),
                "p99_ms": round(statistics.median(result["p99_ms"] for result in ours), 2),
                "raw_limit_per_s": round(raw),
                "ratio": round(per_s / raw, 3),
                "fsync_us": round(fsync),
            }
        )
    )


def measure(orders: dict[str, Any], module: str, arguments: argparse.Namespace, *, seed: int) -> dict[str, Any]:
    """Run one server and one load generator; return what the generator saw."""
    port = _free_port()
    load_order = {
        "port": port,
        "connections": arguments.connections,
        "seconds": arguments.seconds,
        "warm_up_seconds": WARM_UP_SECONDS,
        "targets": orders["targets"][: 1 if module == "bench.bare" else None],
        "count": int((arguments.seconds + WARM_UP_SECONDS) * REQUESTS_PER_SECOND_MAX),
        "seed": seed,
    }
    with _process("bench.load", load_order) as load:
        assert load.stdout is not None
        assert load.stdin is not None
        load.stdout.readline()  # requests are built
        with _process(module, orders[module] | {"port": port}) as server:
            _wait_until_it_listens(port, server)
            load.stdin.write("go\n")
            load.stdin.flush()
            used = _cpu_seconds(server.pid)
            result: dict[str, Any] = json.loads(load.stdout.readline())
            answered = result["answered"]
            result["cpu_us"] = round((_cpu_seconds(server.pid) - used) / answered * 1e6, 1)
    if result["ran_dry"]:
        raise SystemExit("the load generator ran out of requests: raise REQUESTS_PER_SECOND_MAX")
    if set(result["statuses"]) != {"200"}:
        raise SystemExit(f"not every delivery was accepted: {result}")
    return result


def fsync_us(folder: Path, *, seconds: float = 2.0) -> float:
    """Return the median time of one 8 kB write followed by fdatasync, where the database lives."""
    path = folder / "fsync-probe"
    taken = []
    with path.open("wb", buffering=0) as file:
        file.write(b"\0" * (1 << 20))
        os.fsync(file.fileno())
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            begun = time.perf_counter()
            file.seek(0)
            file.write(os.urandom(8192))
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begun)
    path.unlink()
    return statistics.median(taken) * 1e6


async def _arrange(server: EmbeddedPostgres, name: str) -> dict[str, Any]:
    """Create a database with tenants, connections, secrets and partitions; return the orders of both servers."""
    database = await ensure_embedded_database(server.dsn, server.password, name=f"bench_{name}")
    ring = KeyRing({"intake": derive_class_root(ROOT_KEY, "intake")})
    paths = WebhookPaths(ROOT_KEY, "c0")
    targets = []
    async with owner_connection(database) as db:
        await partitions.ensure(db)
        for tenant in range(TENANTS):
            tenant_id = new_id()
            await db.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, $2)", tenant_id, f"tenant-{tenant}")
            for number in range(CONNECTIONS_PER_TENANT):
                connection_id = new_id()
                path = paths.path(connection_id, 1)
                await db.execute(
                    "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account, path_hash) "
                    "VALUES ($1, $2, $3, 'vendure', $3, $4)",
                    tenant_id,
                    connection_id,
                    f"shop-{number}",
                    paths.digest(path),
                )
                secret: Secret = new_webhook_secret()
                await credentials.put(db, ring, tenant_id, connection_id, "intake", credentials.WEBHOOK_SECRET, secret)
                targets.append({"path": path, "secret": secret.reveal()})
            key = await BodyCipher(ring).current(db, tenant_id, datetime.now(UTC).date())
    return {
        "database": database,
        "targets": targets,
        "bench.door_process": {
            "dsn": database.access(Role.DOOR).dsn,
            "intake_root": base64.b64encode(derive_class_root(ROOT_KEY, "intake")).decode(),
        },
        "bench.bare": {
            "dsn": database.access(Role.MIGRATOR).dsn,
            "secret": targets[0]["secret"],
            "tenant_id": str(tenant_id),
            "connection_id": str(connection_id),
            "data_key_id": str(key.key_id),
        },
    }


async def _empty(database: Database, *, expected: int) -> None:
    """Check that what was acknowledged is there, and make room for the next run."""
    async with owner_connection(database) as db:
        stored = await db.fetchval("SELECT count(*) FROM event")
        if stored < expected:
            raise SystemExit(f"{expected} deliveries were acknowledged, {stored} are stored")
        await db.execute("TRUNCATE event, event_dedupe, event_queue, conservation")


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tdg-bench-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _postgres(folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder / "pg")
    try:
        server.start()
        yield server
    finally:
        server.stop("immediate")


@contextmanager
def _process(module: str, order: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Start `python -m module` with its order on standard input; end it when the block is left."""
    process = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        yield process
    finally:
        process.stdin.close()
        if module == "bench.bare":
            process.terminate()
        process.wait(timeout=30)


def _wait_until_it_listens(port: int, server: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if server.poll() is not None:
            raise SystemExit("the server ended")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(0.7)  # the directory is read, the lanes connect
                return
        time.sleep(0.05)
    raise SystemExit("the server does not listen")


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process: less disturbed by its neighbours than the wall clock."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
