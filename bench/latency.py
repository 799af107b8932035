"""From a webhook to the request that it causes: `python -m bench.latency [--rates 50,500] [--seconds 20]`.

An installation as its operator has it (`tidegate up`: door, apply, dispatch, web and PostgreSQL, fsync on) between a
sender and a remote that only notes when each order reaches it. The sender is open loop: it delivers an order whenever one
is due, answered or not, and an order's time runs from when it was *due* until the remote has its request. So the door, the
queue, T2, the lane and whatever backlog there is are all in it, and nothing is left out.

`p50_accepted_ms_at_50` and so on run from the 2xx instead. `raw_...` is the same way without us (`bench.latency_bare`: one
process that commits each webhook in a transaction of its own, answers, and calls the remote), in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.apply_bed import fsync_us
from bench.stages import read_stages
from tests.acceptance.installation import Installation, installed

from tidegate.runtime.ports import free_port
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.runtime.project import Project
from tidegate.store.roles import SUPERUSER

ROOT = Path(__file__).resolve().parent.parent
CONNECTOR = "bench.latency_connector:CONNECTOR"
FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders: {from: [shop], to: erp, since: 2020-01-01, mode: live}
  stock:  {from: erp, to: [shop], mode: live}
"""
WARM_UP_SECONDS = 5.0
DRAIN_SECONDS = 20.0


class Bench(Installation):
    """An installation with the benchmark's connector."""

    connector = CONNECTOR

    def environment(self) -> dict[str, str]:
        """Return what the command finds in its environment."""
        return {**super().environment(), "TIDEGATE_CONNECTORS": self.connector, "PYTHONPATH": str(ROOT)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="50,500", help="orders per second, comma separated")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each rate lasts")
    options = parser.parse_args()
    rates = [int(rate) for rate in options.rates.split(",")]
    with ExitStack() as stack:
        url = stack.enter_context(arrivals())
        installation = stack.enter_context(running(url))
        target = webhook_of(url, installation, "shop")
        figures: dict[str, Any] = {"fsync_us": round(fsync_us(installation.folder))}
        bare = stack.enter_context(bare_way(installation, url))
        measure(url, target, rates[0], WARM_UP_SECONDS, first=0, installation=installation)
        first = 10_000_000
        for rate in rates:
            for name, to in (("raw_", bare), ("", target)):
                ours = installation if to is target else None
                seen = measure(url, to, rate, options.seconds, first=first, installation=ours)
                first += 10_000_000
                say(f"{name or 'ours_'}{rate}: {json.dumps(seen)}")
                figures |= {f"{name}{key}_at_{rate}": value for key, value in seen.items()}
            ratio = figures[f"p50_ms_at_{rate}"] / figures[f"raw_p50_ms_at_{rate}"]
            figures[f"ratio_p50_at_{rate}"] = round(ratio, 2)
        print(json.dumps(figures))


def measure(
    url: str, target: dict[str, Any], rate: int, seconds: float, *, first: int, installation: Installation | None = None
) -> dict[str, float]:
    """Return percentiles of one run; raises SystemExit when an order is refused or does not arrive.

    `installation`: through which the orders go; then it is said where their time went.
    """
    http("DELETE", f"{url}/arrivals")
    order = {**target, "rate": rate, "seconds": seconds, "first": first}
    sent = deliver(order)
    until = time.monotonic() + DRAIN_SECONDS
    while True:
        seen = http("GET", f"{url}/arrivals")
        missing = sent["due"].keys() - seen.keys()
        if not missing:
            break
        if time.monotonic() > until:
            if installation is not None:
                say(installation.report())
            raise SystemExit(
                f"{len(missing)} of {len(sent['due'])} orders did not arrive, {sent['refused']} were refused"
            )
        time.sleep(0.5)
    calls = http("GET", f"{url}/calls")
    if installation is not None:
        say(f"stages, p50 p95 p99: {json.dumps(read_stages(installation, sent['accepted'], seen))}")
    whole = sorted(1e3 * (seen[number] - due) for number, due in sent["due"].items())
    accepted = sorted(1e3 * (seen[number] - at) for number, at in sent["accepted"].items())
    late = sorted(1e3 * (sent["sent"][number] - due) for number, due in sent["due"].items())
    return {
        "p50_ms": percentile(whole, 50),
        "p99_ms": percentile(whole, 99),
        "max_ms": round(whole[-1], 1),
        "p50_accepted_ms": percentile(accepted, 50),
        "p95_accepted_ms": percentile(accepted, 95),
        "p99_accepted_ms": percentile(accepted, 99),
        "sender_late_p99_ms": percentile(late, 99),
        "orders": len(whole),
        "calls": calls.get("orders", 0) + calls.get("captures", 0),
        "stock_calls": calls.get("stock", 0),
    }


def webhook_of(url: str, installation: Installation, account: str) -> dict[str, Any]:
    """Return where an account of the remote delivers its events, and how it signs them."""
    webhook = http("GET", f"{url}/{account}/webhook")
    return {"port": installation.port, "path": "/" + webhook["url"].split("/", 3)[3], "secret": webhook["secret"]}


def deliver(order: dict[str, Any]) -> dict[str, Any]:
    """Run the sender; return what it noted. Raises SystemExit when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.open_loop"],
        input=json.dumps(order) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def percentile(sorted_values: list[float], share: int) -> float:
    return round(sorted_values[min(len(sorted_values) - 1, len(sorted_values) * share // 100)], 2)


@contextmanager
def running(
    url: str, *, flows: str = FLOWS, names: tuple[str, ...] = ("erp", "shop"), connector: str = CONNECTOR
) -> Iterator[Installation]:
    """Start an installation whose connections are accounts of the remote."""
    with installed() as made:
        installation = Bench(made.folder, None)
        installation.connector = connector
        lines = [
            f"listen: {{host: 127.0.0.1, port: {installation.port}, web_port: {installation.web_port}}}",
            'network: {allow: ["127.0.0.0/8"]}',
            "connections:",
            *(f"  {name}: {{use: hostile, url: '{url}/{name}'}}" for name in names),
        ]
        (installation.folder / "tidegate.yaml").write_text("\n".join(lines) + flows)
        try:
            installation.do("up", "--detach")
            for name in names:
                installation.do("connect", name, "--yes")
            time.sleep(WARM_UP_SECONDS)
            yield installation
        finally:
            installation.run("down")


@contextmanager
def arrivals() -> Iterator[str]:
    """Start the remote; return its address."""
    with child("bench.arrivals") as process:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["url"])


@contextmanager
def bare_way(installation: Installation, url: str) -> Iterator[dict[str, Any]]:
    """Start the way without us on the same database server; return where to deliver."""
    project = Project(installation.folder)
    postgres = EmbeddedPostgres(project.postgres_dir, run_dir=project.run_dir)
    port = free_port()
    order = {"dsn": postgres.dsn(SUPERUSER, "postgres"), "port": port, "url": f"{url}/erp/api/erp/orders"}
    with child("bench.latency_bare", json.dumps(order)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield {"port": port, "path": "/", "secret": "whsec_" + "A" * 32}


@contextmanager
def child(module: str, order: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run a module until the block is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(order + "\n")
        process.stdin.flush()
        yield process
    finally:
        process.stdin.close()
        process.wait(30)


def http(method: str, url: str) -> Any:
    request = urllib.request.Request(url, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
