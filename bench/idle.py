"""What an idle installation costs: `python -m bench.idle [--pair] [--seconds 60]`.

Makes a fresh project, runs `tidegate up` in it, waits until nothing is left to do, and measures for a minute: CPU and
memory of every process, PostgreSQL's included, and the statements that reach the database. Nothing of yours is touched.

The last line of standard output is one JSON object: `cpu_percent` (of one core), `queries_per_s`, `rss_mb`. Waking a
sleeping process costs fifty microseconds on one machine and two thousand on another: `bare_process_percent` is what a
Python process costs in the same minute that wakes up twice a second and does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import psutil
from tests.acceptance.installation import Installation, installed

from tidegate.runtime.control import running_state
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.runtime.project import Project
from tidegate.sdk.testing.hostile_process import HostileProcess
from tidegate.store.roles import SUPERUSER

SETTLE_SECONDS = 40.0
"""After the last thing that was asked for: start-up work, the first audits and the first vacuums are over then."""
COUNT_SECONDS = 60.0
BARE = """
import asyncio
async def main():
    while True:
        await asyncio.sleep(0.5)
asyncio.run(main())
"""
"""Python's own event loop and nothing on it."""
FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders:    {from: [shop], to: erp, since: 2020-01-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
  stock:     {from: erp, to: [shop], mode: live}
"""
_STATEMENT = re.compile(
    r"^\S+ \S+ \S+ \[(\d+)\] .*?(tidegate-\S+|\[unknown\]|\S*) LOG:  (?:statement|execute [^:]*): (.*)$"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure")
    parser.add_argument(
        "--pair", action="store_true", help="connect a shop and an ERP of the test kit; their feeds are read"
    )
    options = parser.parse_args()
    with ExitStack() as stack:
        installation = stack.enter_context(installed())
        if options.pair:
            shop = stack.enter_context(HostileProcess(account="shop"))
            erp = stack.enter_context(HostileProcess(account="erp"))
            installation.configure({"shop": shop, "erp": erp}, FLOWS)
        else:
            installation.configure({}, "")
        say("starting")
        installation.do("up", "--detach")
        if options.pair:
            for name in ("erp", "shop"):
                installation.do("connect", name, "--yes")
        say(f"settling for {SETTLE_SECONDS:.0f} s")
        time.sleep(SETTLE_SECONDS)
        print(json.dumps(measure(installation, options.seconds)))


def measure(installation: Installation, seconds: float) -> dict[str, object]:
    """Return the figures."""
    project = Project(installation.folder)
    say(f"measuring for {seconds:.0f} s")
    transactions = asyncio.run(count_transactions(project))  # outside of what is measured: it is a session of its own
    with bare_process() as bare:
        before, started = cpu_by_process(project), time.monotonic()
        bare_before = bare.cpu_times()
        time.sleep(seconds)
        after, elapsed = cpu_by_process(project), time.monotonic() - started
        bare_after = bare.cpu_times()
    transactions = asyncio.run(count_transactions(project)) - transactions
    bare_seconds = bare_after.user + bare_after.system - bare_before.user - bare_before.system
    memory = memory_by_process(project)
    used = {name: 100 * (after[name] - before.get(name, 0.0)) / elapsed for name in after}
    for name, percent in sorted(used.items(), key=lambda item: -item[1]):
        say(f"  {percent:6.3f} %  {memory.get(name, (0, 0))[0]:7.1f} MB  {name}")
    say(f"counting statements for {COUNT_SECONDS:.0f} s")
    statements = count_statements(project, COUNT_SECONDS)
    return {
        "cpu_percent": round(sum(used.values()), 2),
        "queries_per_s": round(statements / COUNT_SECONDS, 2),
        "rss_mb": round(sum(rss for rss, _ in memory.values())),
        "pss_mb": round(sum(pss for _, pss in memory.values())),
        "transactions_per_s": round(transactions / elapsed, 2),
        "bare_process_percent": round(100 * bare_seconds / elapsed, 2),
        "processes": len(memory),
        "seconds": round(elapsed),
    }


@contextmanager
def bare_process() -> Iterator[psutil.Process]:
    """Run a process that does nothing but wake up twice a second: what this machine asks for doing nothing."""
    child = subprocess.Popen([sys.executable, "-c", BARE])
    try:
        time.sleep(1.0)
        yield psutil.Process(child.pid)
    finally:
        child.kill()
        child.wait()


def processes(project: Project) -> Iterator[tuple[str, psutil.Process]]:
    """Yield every process of the installation: (name, process)."""
    state = running_state(project)
    assert state is not None, "it does not run"
    yield "supervisor", psutil.Process(state.supervisor.pid)
    for child in state.children:
        yield f"{child.role}-{child.index}", psutil.Process(child.pid)
    assert state.postgres_pid is not None
    server = psutil.Process(state.postgres_pid)
    yield "postgres", server
    for backend in server.children(recursive=True):
        title = " ".join(backend.cmdline()).removeprefix("postgres: ").strip()
        yield f"postgres {backend.pid} {title[:60]}", backend


def cpu_by_process(project: Project) -> dict[str, float]:
    """Return the CPU seconds of each process. What ended meanwhile counts for the server that started it."""
    used = {}
    for name, process in processes(project):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        ended = times.children_user + times.children_system if name == "postgres" else 0.0
        used[name] = times.user + times.system + ended
    return used


def memory_by_process(project: Project) -> dict[str, tuple[float, float]]:
    """Return resident and proportional megabytes of each process; shared pages count fully in the first."""
    found = {}
    for name, process in processes(project):
        try:
            full = process.memory_full_info()
        except psutil.Error:
            continue
        found[name] = (full.rss / 1e6, full.pss / 1e6)
    return found


async def count_transactions(project: Project) -> int:
    connection = await admin(project)
    total = await connection.fetchval("SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database")
    await connection.close()
    return int(total)


def count_statements(project: Project, seconds: float) -> int:
    """Return how many statements the server executed, by its own log; BEGIN and COMMIT count too."""
    asyncio.run(set_logging(project, "all"))
    folder = project.postgres_dir.resolve() / "log"
    sizes = {path: path.stat().st_size for path in folder.iterdir()}
    time.sleep(seconds)
    asyncio.run(set_logging(project, "none"))
    by_who: Counter[str] = Counter()
    by_text: Counter[tuple[str, str]] = Counter()
    for path in folder.iterdir():
        with path.open("rb") as file:
            file.seek(sizes.get(path, 0))
            for line in file.read().decode("utf-8", "replace").splitlines():
                match = _STATEMENT.match(line)
                if match is not None and "idle-bench" not in line:
                    by_who[match[2]] += 1
                    by_text[match[2], match[3][:90]] += 1
    for who, count in by_who.most_common():
        say(f"  {count / seconds:6.2f} /s  {who}")
    for (who, text), count in by_text.most_common(40):
        say(f"    {count / seconds:6.3f} /s  {who}: {text}")
    return sum(by_who.values())


async def set_logging(project: Project, what: str) -> None:
    connection = await admin(project)
    await connection.execute(f"ALTER SYSTEM SET log_statement = '{what}'")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
    await asyncio.sleep(1)


async def admin(project: Project) -> asyncpg.Connection[asyncpg.Record]:
    postgres = EmbeddedPostgres(project.postgres_dir, run_dir=project.run_dir)
    dsn = postgres.dsn(SUPERUSER, "postgres")
    return await asyncpg.connect(dsn, server_settings={"application_name": "idle-bench"})


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    assert Path("bench/idle.py").exists(), "run it in the root of the repository"
    main()
