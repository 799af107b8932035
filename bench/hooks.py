"""What hostile hooks cost everybody else: `python -m bench.hooks [--orders 120]`.

A fresh project with a shop and an ERP of the test kit, and a hook that loops, allocates 2 GB, raises, ends its process or
returns nonsense for every tenth order. All others must reach the ERP; the worker's memory must stay. Nothing of yours is
touched.

The last line of standard output is one JSON object: `orders` that came, `sent`, `failed` by code, `doubled`, `worker_mb_before`
and `worker_mb_most` (resident memory of the dispatch process), `seconds` until everything was settled.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter

import psutil
from tests.acceptance.installation import Installation, eventually, installed

from tidegate.runtime.control import running_state
from tidegate.runtime.project import Project
from tidegate.sdk.testing.hostile_process import HostileProcess

FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders:    {from: [shop], to: erp, since: 2020-01-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
  stock:     {from: erp, to: [shop], mode: live}
hooks: {deadline: 1s}
maps:
  orders: {order: flows:change}
"""
HOOK = """\
import os
from tidegate.sdk.flows import transform


@transform("orders")
def change(order, cfg):
    tens, ones = divmod(int("".join(c for c in order.number if c in "0123456789")), 10)
    if ones == 3:
        match tens % 5:
            case 0:
                while True:
                    pass
            case 1:
                return bytearray(2 << 30)
            case 2:
                raise ValueError("no such box")
            case 3:
                os._exit(1)
            case 4:
                return [order]
    return order.replace(note="seen")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=120)
    options = parser.parse_args()
    with HostileProcess(account="shop") as shop, HostileProcess(account="erp") as erp, installed() as tidegate:
        shop.control("POST", "/__articles", [{"sku": "TEA"}])
        (tidegate.folder / "flows.py").write_text(HOOK)
        tidegate.configure({"shop": shop, "erp": erp}, FLOWS)
        erp.control("POST", "/__articles", [{"sku": "TEA", "erp_on_hand": 10_000}])
        tidegate.do("up", "--detach")
        for name in ("erp", "shop"):
            tidegate.do("connect", name, "--yes")
        print(json.dumps(measure(tidegate, shop, erp, options.orders)))


def measure(tidegate: Installation, shop: HostileProcess, erp: HostileProcess, orders: int) -> dict[str, object]:
    worker = dispatch_process(tidegate)
    before = worker.memory_info().rss
    most, started = before, time.monotonic()
    for _ in range(orders):
        shop.control("POST", "/__shop/orders", {"lines": [{"sku": "TEA", "quantity": 1}]})

    def is_settled() -> bool:
        nonlocal most
        most = max(most, worker.memory_info().rss)
        return sum(states(tidegate, "succeeded", "failed").values()) == orders

    eventually(is_settled, "the orders did not settle", tidegate)
    seconds = time.monotonic() - started
    effects = erp.world().effects["order.create"]
    print(f"{len(effects)} of {orders} orders in the ERP after {seconds:.1f} s", file=sys.stderr)
    failed = tidegate.do("commands", "list", "--state", "failed", "--limit", "1000", "--json").json
    return {
        "orders": orders,
        "sent": len(effects),
        "failed": dict(Counter(each["code"] for each in failed)),
        "doubled": sum(count > 1 for count in effects.values()),
        "worker_mb_before": before >> 20,
        "worker_mb_most": most >> 20,
        "seconds": round(seconds, 1),
    }


def states(tidegate: Installation, *wanted: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for state in wanted:
        listed = tidegate.do("commands", "list", "--state", state, "--limit", "1000", "--json").json
        found[state] = sum(each["kind"] == "order.create" for each in listed)
    return found


def dispatch_process(tidegate: Installation) -> psutil.Process:
    state = running_state(Project(tidegate.folder))
    assert state is not None
    pid = next(child.pid for child in state.children if child.role == "dispatch")
    return psutil.Process(pid)


if __name__ == "__main__":
    main()
