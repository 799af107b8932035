"""Maps as an engineer uses them: tried over the orders that really came, checked, put to work, and tested with captures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, eventually, installed
from tidegate.sdk.testing.hostile_process import HostileProcess

FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders:    {from: [shop], to: erp, since: 2020-01-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
  stock:     {from: erp, to: [shop], mode: live}
"""
MAPS = """
tables:
  branches: {csv: tables/branches.csv}
maps:
  orders:
    note: "'WEB-' + number"
    fields.branch: {from: channel, table: branches}
    order: flows:change
"""
HOOK = """\
from tidegate.sdk.flows import transform


@transform("orders")
def change(order, cfg):
    if len(order.lines) > 1:
        raise ValueError("too many lines")
    return order.replace(customer=order.customer.replace(ref="C-" + order.number))
"""
TEST = """\
from tidegate.testing import replay


def test_only_what_we_meant():
    diff = replay("orders.json").diff()
    assert diff.only("note", "fields", "customer.ref")
    assert not diff.only("note")
"""


@dataclass
class Bench:
    tidegate: Installation
    shop: HostileProcess
    erp: HostileProcess

    def order(self, *skus: str) -> dict[str, Any]:
        lines = [{"sku": sku, "quantity": 1} for sku in skus]
        placed: dict[str, Any] = self.shop.control("POST", "/__shop/orders", {"lines": lines})
        return placed

    def write(self, name: str, text: str) -> Path:
        path = self.tidegate.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with HostileProcess(account="shop") as shop, HostileProcess(account="erp") as erp, installed() as tidegate:
        shop.control("POST", "/__articles", [{"sku": sku} for sku in ("TEA", "CUP")])
        tidegate.configure({"shop": shop, "erp": erp}, FLOWS)
        erp.control("POST", "/__articles", [{"sku": sku, "erp_on_hand": 99} for sku in ("TEA", "CUP")])
        tidegate.do("up", "--detach")
        for name in ("erp", "shop"):
            tidegate.do("connect", name, "--yes")
        yield Bench(tidegate, shop, erp)


def test_a_map_is_tried_applied_and_tested(bench: Bench) -> None:
    tidegate = bench.tidegate
    orders = [bench.order("TEA"), bench.order("CUP"), bench.order("TEA", "CUP")]
    eventually(lambda: len(bench.erp.world().erp_orders) == 3, "the ERP did not get the orders", tidegate)

    # without a map nothing differs
    none = tidegate.do("map", "test", "--json").json
    assert (none["events_seen"], none["sent"], none["changed"], none["failed"]) == (3, 3, 0, 0)

    # a file that is missing, and a typo, are named with their places
    plain = (tidegate.folder / "tidegate.yaml").read_text()
    candidate = bench.write("candidate.yaml", plain + MAPS)
    missing = tidegate.run("map", "test", "--map", str(candidate))
    assert missing.status == 78
    assert "branches.csv" in missing.err
    bench.write("tables/branches.csv", "shop,branch\nshop,007\n")
    bench.write("flows.py", HOOK)
    typo = bench.write("typo.yaml", plain + MAPS.replace("+ number", "+ numbr"))
    wrong = tidegate.run("map", "test", "--map", str(typo))
    assert wrong.status == 78
    assert "there is no value or function 'numbr' here; did you mean 'number'?" in wrong.err

    # the candidate over what really came: field by field, failures with their line; nothing is written or sent
    tried = tidegate.run("map", "test", "--map", str(candidate), "--json")
    assert tried.status == 1
    assert (tried.json["changed"], tried.json["failed"]) == (2, 1)
    assert tried.json["fields"] == {"note": 2, "customer.ref": 2, "fields.branch": 2}
    (refused,) = [event["refused"] for event in tried.json["events"] if event["refused"]]
    assert (refused["code"], refused["reason"]) == (
        "hook_failed", "ValueError: too many lines at flows.py:7 in change"
    )  # fmt: skip
    shown = tidegate.run("map", "test", "--map", str(candidate), "--order", orders[0]["number"])
    assert shown.status == 0
    assert f"WEB-{orders[0]['number']}" in shown.out
    assert "1 orders, 1 sent before: 1 changed" in shown.out
    assert len(bench.erp.world().erp_orders) == 3

    # hooks that cannot be loaded are refused before they are put to work
    bench.write("tidegate.yaml", plain + MAPS)
    bench.write("flows.py", "import nosuch\n" + HOOK)
    for command in ("check", "apply"):
        broken = tidegate.run("config", command)
        assert broken.status == 78
        assert "cannot be loaded at flows.py:1 in <module>: ModuleNotFoundError" in broken.err
    bench.write("flows.py", HOOK)

    # put to work: the next order is shaped, and names what it was made under
    tidegate.do("config", "apply", "--yes")
    placed = bench.order("TEA")
    eventually(lambda: len(bench.erp.world().erp_orders) == 4, "the ERP did not get the shaped order", tidegate)
    after = tidegate.do("map", "test", "--order", placed["number"], "--json").json
    assert (after["sent"], after["changed"], after["unchanged"]) == (1, 0, 1)
    assert tidegate.do("map", "show", "--json").json["digest"]

    # a changed table is a new version, though the document is the same
    bench.write("tables/branches.csv", "shop,branch\nshop,008\n")
    changed = tidegate.do("map", "test", "--order", placed["number"], "--json").json
    assert changed["fields"] == {"fields.branch": 1}
    assert "is taken over" in tidegate.do("config", "apply", "--yes").out

    # captured without what is private, and replayed in a test of the author
    tidegate.do("map", "capture", "--last", "2", "--out", str(tidegate.folder / "orders.json"))
    captured = (tidegate.folder / "orders.json").read_text()
    assert "@example.test" not in captured.replace("person@example.test", "")
    replayed = tidegate.run("map", "test", "--file", str(tidegate.folder / "orders.json"), "--json")
    assert replayed.json["events_seen"] == 2

    # the map is taken back in the file: the captured orders differ from what it makes, and the author's test says so
    bench.write("test_ours.py", TEST)
    for text, status in ((plain, 0), (plain + "maps: {orders: {number: \"'N' + number\"}}\n", 1)):
        bench.write("tidegate.yaml", text)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "test_ours.py"],
            cwd=tidegate.folder, env=tidegate.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        assert status == 0 or "number: '" in done.stdout  # the words of the failing assertion name the field
