"""kill -9 in the middle of a bulk retry: what is sent is sent, the next retry goes on, and every effect happens once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tests.acceptance.installation import Installation, eventually, installed

from tidegate.sdk.testing.hostile_process import HostileProcess

pytestmark = pytest.mark.crash
ORDERS = 260
FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders:    {from: [shop], to: erp, since: 2020-01-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
"""


def issues(tidegate: Installation) -> list[dict[str, object]]:
    found: list[dict[str, object]] = tidegate.do("issues", "list", "--all", "--json").json
    return found


def test_a_bulk_retry_that_is_killed_goes_on_and_doubles_nothing() -> None:
    with HostileProcess(account="shop") as shop, HostileProcess(account="erp") as erp, installed() as tidegate:
        shop.control("POST", "/__articles", [{"sku": "TEA"}])
        erp.control("POST", "/__articles", [{"sku": "TEA", "erp_on_hand": 1000}])
        tidegate.configure({"shop": shop, "erp": erp}, FLOWS)
        tidegate.do("up", "--detach")
        for name in ("erp", "shop"):
            tidegate.do("connect", name, "--yes")
        rule = {
            "kind": "status",
            "status": 422,
            "code": "no",
            "method": "POST",
            "path": "/api/erp/orders",
            "times": None,
        }
        erp.control("PUT", "/__faults", {"rules": [rule]})
        for _ in range(ORDERS):
            shop.control("POST", "/__shop/orders", {"lines": [{"sku": "TEA", "quantity": 1}]})
        eventually(lambda: [i["standing"] for i in issues(tidegate)] == [ORDERS], "not all failed", tidegate)
        issue = str(issues(tidegate)[0]["issue_id"])
        erp.control("PUT", "/__faults", {"rules": []})

        retry = [sys.executable, "-m", "tidegate", "issues", "retry", issue, "--yes"]
        killed = 0
        for _ in range(3):
            with subprocess.Popen(
                retry, env=tidegate.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            ) as process:
                assert process.stderr is not None
                process.stderr.read(1)  # its first word of progress: a step is committed, the next one is under way
                os.kill(process.pid, signal.SIGKILL)
                killed += process.wait() == -signal.SIGKILL
        assert killed, "none was killed in time"
        tidegate.do("issues", "retry", issue, "--yes")

        eventually(lambda: len(erp.world().erp_orders) == ORDERS, "orders are missing", tidegate)
        eventually(lambda: issues(tidegate)[0]["state"] == "resolved", "not resolved", tidegate)
        world = erp.world()
        assert len(world.erp_orders) == ORDERS
        assert set(world.effects["order.create"].values()) == {1}
        assert issues(tidegate)[0]["seen"] == ORDERS
        assert tidegate.run("conservation").status == 0
