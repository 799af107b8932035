"""A Shopify app whose tokens expire, through a whole installation (SECURITY V9, A8): a browser allows it, tokens run out again
and again, dispatch is killed around a renewal, the merchant revokes the app and allows it anew. Nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, eventually, installed
from tests.sandboxbed import RunningSandbox, call, running
from tidegate.runtime.project import Project
from tidegate.runtime.state import read_state

SECRET = "shpss_sandbox_0123456789abcdef0123456789"
WORLD = {
    "seed": 5,
    "time_scale": 900.0,  # a token of an hour lives four seconds
    "items": [{"sku": f"S{n}", "title": f"Tea {n}", "stock": 100, "price_minor": 1290} for n in range(1, 4)],
    "platforms": {
        "shop": {"kind": "shopify"},
        "erp": {"kind": "erp", "options": {"database": "rec_tryton", "rest_key": "key-of-the-test"}},
    },
}
FILE = """
listen: {{host: 127.0.0.1, port: {port}, web_port: {web_port}}}
network: {{allow: ["127.0.0.0/8"]}}
connections:
  {name}: {{use: shopify, store: sandbox.myshopify.com, url: "{shop}"}}
  erp: {{use: tryton, url: "{erp}", database: rec_tryton}}
owns: {{stock.on_hand: erp, shipment: erp}}
flows:
  orders: {{from: [{name}], to: erp, since: 2026-01-01, mode: live}}
  shipments: {{from: erp, to: origin, mode: live}}
  stock: {{from: erp, to: [{name}], mode: live}}
"""


class Day:
    """One installation and its sandbox."""

    def __init__(self, tidegate: Installation, sandbox: RunningSandbox) -> None:
        self.tidegate, self.sandbox = tidegate, sandbox
        self.name = "shop"

    def configure(self, name: str) -> None:
        self.name = name
        ports = {"port": self.tidegate.port, "web_port": self.tidegate.web_port}
        urls = {"shop": self.sandbox.url("shop"), "erp": self.sandbox.url("erp")}
        (self.tidegate.folder / "tidegate.yaml").write_text(FILE.format(name=name, **ports, **urls))

    def renewals(self) -> int:
        effects = self.sandbox.ask("GET", "/books/shop")["effects"]
        return int(effects.get("token_refresh", {"times": 0})["times"])

    def count(self, sku: str, quantity: int) -> None:
        """Somebody counts in the ERP; the shop is told."""
        self.sandbox.ask("POST", "/stock", {"platform": "erp", "sku": sku, "quantity": quantity})
        eventually(lambda: self.told(sku) == quantity, f"the shop is told {quantity}", self.tidegate)

    def restarts(self) -> int:
        found = self.tidegate.do("status", "--json").json["processes"]
        return int(next(one["restarts"] for one in found if one["name"] == "dispatch-1"))

    def told(self, sku: str) -> Any:
        (channel,) = self.tidegate.do("stock", "show", sku, "--json").json["channels"]
        return channel["was_told"]

    def alerts(self) -> dict[str, Any]:
        return {alert["rule"]: alert for alert in self.tidegate.do("alerts", "--json").json["alerts"]}

    def state(self) -> str:
        rows = self.tidegate.do("status", "--json").json["lanes"]
        return str(next(row["state"] for row in rows if row["connection"] == self.name))

    def kill_dispatch(self) -> None:
        state = read_state(Project(self.tidegate.folder).state_file)
        assert state is not None
        os.kill(state.pids("dispatch")[0], signal.SIGKILL)

    @contextmanager
    def asking(self, *arguments: str, stdin: str | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """Run a command that prints an address to open; give it and the address."""
        command = [sys.executable, "-m", "tidegate", *arguments]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(command, text=True, env=self.tidegate.environment(), **pipes) as process:
            try:
                assert process.stdin is not None
                assert process.stderr is not None
                if stdin is not None:
                    process.stdin.write(stdin + "\n")
                    process.stdin.flush()
                    if "--paste" not in arguments:
                        process.stdin.close()
                        process.stdin = None
                lines = iter(process.stderr.readline, "")
                url = next((line.strip() for line in lines if line.startswith("  http")), "")
                assert url, f"no address was printed: {process.stderr.read()}"
                yield process, url
            finally:
                if process.poll() is None:
                    process.kill()

    def allow(self, url: str) -> str:
        """The merchant says yes; return where the browser is sent."""
        reply = call(url)
        assert reply.status == 302, reply.body
        return reply.headers["location"]


def end(process: subprocess.Popen[str], given: str | None = None) -> str:
    out, err = process.communicate(given, timeout=240)
    assert process.returncode == 0, out + err
    return out


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    with running(WORLD, tmp_path, kinds=()) as sandbox, installed() as tidegate:
        yield Day(tidegate, sandbox)


def test_tokens_run_out_dispatch_dies_the_app_is_revoked_and_nothing_is_lost(day: Day) -> None:
    tidegate, sandbox = day.tidegate, day.sandbox
    day.configure("shop")
    environment = {**tidegate.environment(), "TIDEGATE_CRASH_AT": "oauth.answered:2"}
    subprocess.run([sys.executable, "-m", "tidegate", "up", "--detach"], env=environment, check=True, timeout=240)
    answers = {"database": "rec_tryton", "rest_key": "key-of-the-test"}
    tidegate.do("connect", "erp", "--from-json", "-", "--yes", stdin=json.dumps(answers))

    # A person allows the app; the browser comes back to the pages, once.
    answers = {"client_id": "sandbox-client", "client_secret": SECRET}
    with day.asking("connect", "shop", "--authorise", "--from-json", "-", "--yes", "--json", stdin=json.dumps(answers)) as (
        process, url
    ):  # fmt: skip
        back = day.allow(url)
        assert back.startswith(f"http://127.0.0.1:{tidegate.web_port}/oauth/callback?")
        assert [call(back).status for _ in range(2)] == [200, 400]
        connected = json.loads(end(process))
    assert connected["webhook"]["registered"]
    code = back.partition("code=")[2].partition("&")[0]
    eventually(lambda: day.told("S1") == 100, "the shop is told its numbers", tidegate)

    # Tokens run out; dispatch dies once between the platform's answer and its storage, and twice wherever it stands.
    for number in range(1, 6):
        sandbox.buy("shop", "S1")
        sandbox.ask("POST", "/expire/shop")
        if number > 3:
            day.kill_dispatch()
        day.count("S2", 50 + number)
    eventually(lambda: sandbox.ask("GET", "/books/erp")["orders"] == 5, "the orders are in the ERP", tidegate)
    assert day.renewals() >= 5
    assert day.restarts() == 3
    assert day.state() == "active"
    assert "token_refused" not in day.alerts()

    # The merchant revokes the app: an alert of its own says what to type, and what is to be sent waits.
    sandbox.ask("POST", "/do/shop/revoke", {})
    sandbox.ask("POST", "/stock", {"platform": "erp", "sku": "S3", "quantity": 33})
    eventually(lambda: day.state() == "waiting_auth", "the connection waits for a person", tidegate)
    eventually(lambda: "token_refused" in day.alerts(), "there is an alert", tidegate)
    alert = day.alerts()["token_refused"]
    assert (alert["subject"], alert["next_command"]) == ("shop", "tidegate authorise shop")
    assert "token_refused" in {one["code"] for one in tidegate.run("doctor", "--json").json}

    # Somebody allows it anew, at a machine without a browser: what waited goes on.
    with day.asking("authorise", "shop", "--paste", "--json") as (process, url):
        end(process, day.allow(url) + "\n")
    eventually(lambda: day.told("S3") == 33, "what waited is told", tidegate)

    # The connection gets another name: nothing is asked for again.
    day.configure("harbour")
    tidegate.do("connect", "harbour", "--yes")
    before = day.renewals()
    sandbox.buy("shop", "S1")
    sandbox.ask("POST", "/expire/shop")
    day.count("S2", 70)
    assert day.renewals() > before
    eventually(lambda: sandbox.ask("GET", "/books/erp")["orders"] == 6, "the order is in the ERP", tidegate)

    eventually(lambda: tidegate.run("conservation").status == 0, "the books balance", tidegate)
    logs = "".join(path.read_text(errors="replace") for path in (tidegate.folder / "logs").glob("*.log"))
    assert not [word for word in (code, "shpat_", "shprt_") if word in logs]
