"""Comparing a large catalogue: `python -m bench.reconcile [--pairs 1000000] [--channels 4] [--kill]`.

Starts its own PostgreSQL (fsync on) and one dispatch process with `--channels` shops that share a catalogue, so that there are
`--pairs` pairs of an article and a channel. One look reads and compares all of them; each thousandth was changed over there, and
is told anew by policy. Afterwards the books are checked: every pair was compared once, every changed one and no other was told.

`--kill` ends the process with SIGKILL when half of the pairs were read or compared, and starts another one. The shops answer
from memory: what is measured is our part. The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from bench.apply_bed import KEYS
from bench.reconcile_process import EVERY, OURS, PLACE

from tidegate.config.versions import record_version
from tidegate.dispatch.drift import request_run
from tidegate.eventlog.partitions import ensure
from tidegate.kernel.ids import new_id
from tidegate.kernel.redaction import Secret
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.database import ensure_embedded_database
from tidegate.store.roles import SUPERUSER, Role
from tidegate.sync.going_live import refresh_modes
from tidegate.vault.credentials import put
from tidegate.vault.keys import KeyRing

POLL_SECONDS = 0.25
DONE_SECONDS_MAX = 3_600.0
FILL = """
WITH n AS MATERIALIZED (
  SELECT lpad(g::text, 7, '0') AS digits, gen_random_uuid() AS variant_id, gen_random_uuid() AS item_id
  FROM generate_series(0, $2::int - 1) g
), v AS (INSERT INTO variant (tenant_id, variant_id, sku) SELECT $1, variant_id, 'SKU-' || digits FROM n),
i AS (INSERT INTO inventory_item (tenant_id, item_id, sku) SELECT $1, item_id, 'SKU-' || digits FROM n),
vi AS (INSERT INTO variant_item (tenant_id, variant_id, item_id, required_qty) SELECT $1, variant_id, item_id, 1 FROM n),
l AS (INSERT INTO stock_level (tenant_id, item_id, location_id) SELECT $1, item_id, $3 FROM n),
e AS (
  INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, on_hand_delta, on_hand_after, unavailable_after,
                           committed_after, reserved_after, cause_key, actor, at)
  SELECT $1, item_id, $3, 1, 'receive', $5, $5, 0, 0, 0, 'opening:' || item_id, 'bench', now() - interval '1 day' FROM n
), b AS (
  INSERT INTO binding (tenant_id, connection_id, kind, external_id, internal_id)
  SELECT $1, c, 'variant', 'a-' || digits, variant_id FROM n, unnest($4::uuid[]) c
)
INSERT INTO channel_stock (tenant_id, connection_id, item_id, mode, push_version, acked_quantity, acked_at)
SELECT $1, c, item_id, 'live', 1, $5, now() - interval '1 day' FROM n, unnest($4::uuid[]) c
"""
PROGRESS = """
SELECT sum(pages) AS pages, sum(articles) AS articles, sum(compared) AS compared, sum(differences) AS differences,
       sum(healed) AS healed, bool_and(state = 'done') AS is_over, string_agg(DISTINCT state, ', ') AS states
FROM sync_read WHERE run_id = $1
"""
BOOKS = """
SELECT (SELECT count(*) FROM command WHERE kind = 'inventory.set' AND state = 'succeeded') AS told,
       (SELECT count(*) FROM command WHERE kind = 'inventory.set' AND (state <> 'succeeded' OR quantity <> $1)) AS wrong,
       (SELECT count(*) FROM (SELECT connection_id, entity_id FROM command GROUP BY 1, 2 HAVING count(*) > 1) d) AS told_twice,
       (SELECT count(*) FROM drift WHERE heal = 'healing') AS healing,
       (SELECT count(*) FROM channel_stock WHERE dirty OR blocked_by IS NOT NULL) AS unsettled
"""


async def make(owner: asyncpg.Connection, articles: int, channels: int) -> UUID:
    """Make the tenant, its shops and their catalogue."""
    await ensure(owner)
    names = [f"shop_{number}" for number in range(channels)]
    lines = "\n".join(
        f"  {name}: {{use: hostile, url: http://127.0.0.1:{index + 1}}}" for index, name in enumerate(names)
    )
    document = (
        f"tenant: main\nconnections:\n{lines}\n  erp: {{use: hostile, url: http://127.0.0.1:99}}\nowns: {{stock.on_hand: erp}}\n"
        f"flows: {{stock: {{from: erp, to: [{', '.join(names)}], mode: live}}}}\nreconcile: {{default: {{every: 60m}}}}\n"
    )
    tenant_id, location = (await record_version(owner, document, applied_by="bench")).tenant_id, new_id()
    await owner.execute(
        "INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, 'main')", tenant_id, location
    )
    ids = [new_id() for _ in names]
    for name, connection_id in zip(names, ids, strict=True):
        settings = json.dumps({"base_url": "http://127.0.0.1:1", "location_external_id": PLACE})
        await owner.execute(
            "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account, settings)"
            " VALUES ($1, $2, $3, 'hostile', $3, $4)", tenant_id, connection_id, name, settings,
        )  # fmt: skip
        await put(owner, KeyRing(KEYS), tenant_id, connection_id, "credential", "api_key", Secret("x"))
        await owner.execute(
            "INSERT INTO binding VALUES ($1, $2, 'location', $3, $4)", tenant_id, connection_id, PLACE, location
        )
    await refresh_modes(owner, tenant_id)
    await owner.execute(FILL, tenant_id, articles, location, ids, OURS)
    await owner.execute("ANALYZE")
    return tenant_id


def start(dsn: str, articles: int) -> subprocess.Popen[bytes]:
    """Start a dispatch process; what goes wrong stands on standard error."""
    command = [sys.executable, "-m", "bench.reconcile_process", dsn, str(articles)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def peak_mb(process: subprocess.Popen[bytes]) -> float:
    """Return the largest resident size that a process ever had."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1024


async def measure(server: EmbeddedPostgres, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one look; return the figures."""
    database = await ensure_embedded_database(server.dsn, server.password, name="catalogue")
    owner = await asyncpg.connect(database.access(Role.MIGRATOR).dsn, command_timeout=DONE_SECONDS_MAX)
    articles = arguments.pairs // arguments.channels
    note(f"making {articles:,} articles in {arguments.channels} channels")
    tenant_id = await make(owner, articles, arguments.channels)
    conn = await asyncpg.connect(server.dsn(SUPERUSER, "catalogue"))
    names = [f"shop_{number}" for number in range(arguments.channels)]
    process = start(database.access(Role.DISPATCH).dsn, articles)
    kills, peaks, wal = 0, [0.0], await conn.fetchval("SELECT pg_current_wal_lsn()")
    try:
        started = time.monotonic()
        run = await request_run(owner, tenant_id=tenant_id, actor="bench", names=names)
        said = started
        while True:
            await asyncio.sleep(POLL_SECONDS)
            row = await conn.fetchrow(PROGRESS, run.run_id)
            peaks[-1] = max(peaks[-1], peak_mb(process))
            if row["is_over"]:
                break
            if arguments.kill and not kills and row["articles"] + row["compared"] >= articles * arguments.channels:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                note(f"killed at {row['articles']:,} read and {row['compared']:,} compared ({row['states']})")
                process = start(database.access(Role.DISPATCH).dsn, articles)
                peaks.append(0.0)
            if time.monotonic() - said > 15:
                said = time.monotonic()
                note(
                    f"{said - started:5.0f} s: {row['articles']:,} read, {row['compared']:,} compared, load {os.getloadavg()[0]:.1f}"
                )
            if time.monotonic() - started > DONE_SECONDS_MAX:
                raise SystemExit("it did not end")
        seconds = time.monotonic() - started
        wanted = len(range(0, articles, EVERY)) * arguments.channels
        while (books := await conn.fetchrow(BOOKS, OURS))["unsettled"] or books["told"] < wanted:
            await asyncio.sleep(POLL_SECONDS)
            if time.monotonic() - started > DONE_SECONDS_MAX:
                raise SystemExit(f"not everything was told: {dict(books)}")
        told_seconds = time.monotonic() - started
        written = await conn.fetchval("SELECT pg_current_wal_lsn() - $1::pg_lsn", wal)
    finally:
        process.kill()
        process.wait()
        await conn.close()
        await owner.close()
    return {
        "pairs": articles * arguments.channels,
        "seconds": round(seconds, 1),
        "told_after_s": round(told_seconds, 1),
        "pairs_per_s": round(articles * arguments.channels / seconds),
        "calls": row["pages"],
        "compared": row["compared"],
        "differences": row["differences"],
        "healed": row["healed"],
        "told": books["told"],
        "told_wrong": books["wrong"],
        "told_twice": books["told_twice"],
        "memory_mb": round(max(peaks), 1),
        "wal_mb": round(int(written) / 1e6),
        "kills": kills,
        "load": round(os.getloadavg()[0], 1),
    }


def note(text: str) -> None:
    """Say something about the progress."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.reconcile")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--kill", action="store_true", help="kill the process in the middle and start another one")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tdg-bench-"))
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder / "pg")
    try:
        server.start()
        print(json.dumps(asyncio.run(measure(server, arguments))))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
