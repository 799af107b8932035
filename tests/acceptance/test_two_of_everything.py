"""With two of everything and one of each killed, every order arrives once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation, eventually, installed
from tidegate.runtime.control import running_state
from tidegate.runtime.project import Project
from tidegate.sdk.testing.hostile_process import HostileProcess

pytestmark = pytest.mark.crash
ORDERS = 60
FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders: {from: [shop], to: erp, since: 2020-01-01, mode: live}
  stock:  {from: erp, to: [shop], mode: live}
"""


def child_pids(folder: Path) -> dict[str, int]:
    state = running_state(Project(folder))
    assert state is not None
    return {f"{child.role}-{child.index}": child.pid for child in state.children}


def test_killing_one_of_each_loses_and_doubles_nothing() -> None:
    with HostileProcess(account="shop") as shop, HostileProcess(account="erp") as erp, installed() as tidegate:
        start(tidegate, shop, erp)
        before = child_pids(tidegate.folder)
        killed = ("door-1", "apply-2", "dispatch-1")

        for number in range(ORDERS):
            shop.control("POST", "/__shop/orders", {"lines": [{"sku": "TEA", "quantity": 1}]})
            if number % 20 == 10:
                os.kill(before[killed[number // 20]], signal.SIGKILL)
        eventually(lambda: len(erp.world().erp_orders) >= ORDERS, "orders are missing in the ERP", tidegate)
        eventually(lambda: settled(tidegate), "work is left over", tidegate)
        number_there = 100 + shop.world().articles["art-TEA"].shop_allocated - ORDERS
        eventually(
            lambda: shop.world().articles["art-TEA"].shop_on_hand == number_there, "another stock number", tidegate
        )

        world = erp.world()
        assert len(world.erp_orders) == ORDERS
        assert set(world.effects["order.create"].values()) == {1}
        assert tidegate.do("conservation", "--json").json["imbalance"] == 0
        level = tidegate.do("stock", "show", "TEA", "--json").json["levels"][0]
        assert (level["on_hand"], level["committed"], level["available"]) == (100, ORDERS, 100 - ORDERS)
        after = child_pids(tidegate.folder)
        assert {name for name in before if before[name] != after[name]} == set(killed)
        restarts = {
            process["name"]: process["restarts"] for process in tidegate.do("status", "--json").json["processes"]
        }
        assert [restarts[name] for name in killed] == [1, 1, 1]


def start(tidegate: Installation, shop: HostileProcess, erp: HostileProcess) -> None:
    shop.control("POST", "/__articles", [{"sku": "TEA"}])
    erp.control("POST", "/__articles", [{"sku": "TEA", "erp_on_hand": 100}])
    tidegate.configure({"shop": shop, "erp": erp}, FLOWS)
    tidegate.do("up", "--detach", "--door", "2", "--apply", "2", "--dispatch", "2")
    tidegate.do("connect", "erp", "--yes")
    tidegate.do("connect", "shop", "--yes")
    eventually(lambda: shop.world().articles["art-TEA"].shop_on_hand == 100, "the shop was not told 100", tidegate)


def settled(tidegate: Installation) -> bool:
    status = tidegate.do("status", "--json").json
    return status["queue"]["waiting"] == 0 and status["commands"] == []
