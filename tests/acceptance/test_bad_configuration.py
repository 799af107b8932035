"""Broken configurations are tried again and again while deliveries come in: the old version goes on working, unharmed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.acceptance.installation import Installation, eventually, installed
from tests.applybed import order_event
from tidegate.kernel.redaction import Secret
from tidegate.sdk.testing.hostile_process import HostileProcess
from tidegate.sdk.testing.sender import SendReport, WebhookSender, build_delivery

FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders: {from: [shop], to: erp, since: 2020-01-01, mode: observe}
"""
BROKEN = (
    "connections: [",
    "flows: {orders: {from: nobody, to: erp, since: 2020-01-01}}",
    "polling: {enabled: maybe}",
    "password: hunter2",
    "\x00",
)
PER_SECOND = 200


@dataclass
class Stream:
    """Deliveries at a steady pace from a thread of their own, until stopped."""

    url: str
    secret: Secret
    reports: list[SendReport] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        asyncio.run(self._send())

    async def _send(self) -> None:
        async with WebhookSender(self.url, self.secret) as sender, asyncio.TaskGroup() as group:
            gate = asyncio.Semaphore(64)
            loop = asyncio.get_running_loop()
            begun, number = loop.time(), 0
            while not self.stopping.is_set():
                await gate.acquire()
                group.create_task(self._deliver(sender, number)).add_done_callback(lambda _: gate.release())
                number += 1
                await asyncio.sleep(max(0.0, begun + number / PER_SECOND - loop.time()))

    async def _deliver(self, sender: WebhookSender, number: int) -> None:
        event = order_event(f"C{number}", [("TEA", 1)])
        self.reports.append(await sender.send(build_delivery(event)))


@pytest.fixture
def tidegate() -> Iterator[tuple[Installation, HostileProcess]]:
    with HostileProcess(account="shop") as shop, HostileProcess(account="erp") as erp, installed() as installation:
        shop.control("POST", "/__articles", [{"sku": "TEA"}])
        installation.configure({"shop": shop, "erp": erp}, FLOWS)
        erp.control("POST", "/__articles", [{"sku": "TEA", "erp_on_hand": 10}])
        installation.do("up", "--detach")
        for name in ("erp", "shop"):
            installation.do("connect", name, "--yes")
        yield installation, shop


def test_a_bad_configuration_never_stops_what_runs(tidegate: tuple[Installation, HostileProcess]) -> None:
    installation, shop = tidegate
    file = installation.folder / "tidegate.yaml"
    good = file.read_text()
    ((url, secret),) = shop.world().subscriptions.items()
    before = installation.do("config", "history", "--json").json
    stream = Stream(url, Secret(secret))
    sending = threading.Thread(target=stream.run)
    sending.start()
    try:
        for broken in BROKEN:
            file.write_text(f"{good}\n{broken}\n")
            answer = installation.run("config", "apply", "--yes")
            assert answer.status == 78, answer.out + answer.err
            assert "tidegate.yaml:" in answer.err
            assert installation.run("status").status == 0
    finally:
        stream.stopping.set()
        sending.join()
    refused = [report for report in stream.reports if not report.accepted or report.tries > 1]
    numbers = {"events": len(stream.reports), "errors": len(refused), "applies": len(BROKEN)}
    print(json.dumps(numbers))

    assert len(stream.reports) > len(BROKEN)
    assert refused == []
    file.write_text(good)
    eventually(
        lambda: installation.do("events", "list", "--outcome", "waiting", "--json").json == [],
        "events still wait",
        installation,
    )
    assert installation.do("events", "list", "--outcome", "quarantined", "--json").json == []
    assert installation.do("config", "history", "--json").json == before
    story = installation.do("why", "order", "NC0", "--json").json
    assert {step["detail"]["config_version"] for step in story["steps"] if step["kind"] == "outcome"} == {
        before[0]["version"]
    }
    assert installation.do("config", "diff").out.endswith("are the same\n")
    eventually(lambda: installation.run("conservation").status == 0, "the books do not balance", installation)


def test_back_and_forth_from_the_command_line(tidegate: tuple[Installation, HostileProcess]) -> None:
    installation, _ = tidegate
    file = installation.folder / "tidegate.yaml"
    good = file.read_text()
    first = installation.do("config", "history", "--json").json[0]["version"]

    file.write_text(good.replace("mode: observe", "mode: live"))
    refused = installation.run("config", "apply")
    assert (refused.status, "consent_missing" in refused.err) == (78, True)
    assert "! orders become live: erp is written to from now on" in refused.out
    assert installation.run("config", "diff", "--exit-code").status == 1
    installation.do("config", "apply", "--yes")
    assert installation.do("config", "history", "--json").json[0]["changes"] == ["flows.orders.mode: observe -> live"]

    file.write_text("# mine, not applied\n" + file.read_text())
    answer = installation.do("config", "rollback", str(first))
    assert file.read_text() == good
    (backup,) = installation.folder.glob("tidegate.yaml.*.bak")
    assert backup.read_text().startswith("# mine, not applied\n")
    assert f"version {first + 2} is that of version {first}" in answer.out

    installation.do("config", "rollback", str(first + 1), "--yes")
    assert "mode: live" in file.read_text()
    assert installation.run("config", "diff", "--exit-code").status == 0


def test_a_start_never_undoes_a_version_that_was_made_elsewhere(tidegate: tuple[Installation, HostileProcess]) -> None:
    installation, _ = tidegate
    file = installation.folder / "tidegate.yaml"
    old = file.read_text()
    step = (installation.folder / "run" / "config.json").read_text()
    file.write_text(old + "polling: {interval_min: 60s}\n")
    installation.do("config", "apply", "--yes")
    newest = installation.do("config", "history", "--json").json[0]["version"]
    file.write_text(old)  # as it is on a machine that did not make the change
    (installation.folder / "run" / "config.json").write_text(step)

    installation.do("down")
    started = installation.do("up", "--detach")

    assert f"version {newest}, made elsewhere" in started.out
    assert installation.do("config", "history", "--json").json[0]["version"] == newest
    assert "file is behind" in installation.do("config", "diff").out
    installation.do("config", "pull")
    assert "interval_min: 60s" in file.read_text()
