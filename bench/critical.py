"""What a payment waits for when its lane is full of bulk: `python -m bench.critical [--bulk 50000] [--seconds 20]`.

An installation as its operator has it, and one connection (`hub`) whose platform allows 20 calls a second: a shop that is told
stock numbers and holds the money of its shoppers. What is measured are captures: goods have left already, the webhook says
that the money is reserved, so T2 plans the capture and the lane of `hub` sends it. They come at a fixed rate, open loop: first
on an idle lane, then from the moment on at which `--bulk` numbers of other articles appear in the same lane at once. The time
of a capture runs from the 2xx for its webhook until the platform has its request.

`--command order` measures orders for the platform instead. The last line of standard output is one JSON object: `p95_ms_idle`,
`p95_ms_saturated`, `ratio`, and how many numbers were still waiting at the end of the measurement (above 0: the lane was full
all the time).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from contextlib import ExitStack
from typing import Any

from bench.latency import arrivals, deliver, measure, running, say, webhook_of
from bench.stages import ask
from tests.acceptance.installation import Installation

ORDERS = """
owns: {stock.on_hand: wms}
flows:
  orders: {from: [shop], to: hub, since: 2020-01-01, mode: live}
  stock:  {from: wms, to: [hub], mode: live}
"""
PAYMENTS = """
owns: {stock.on_hand: wms, shipment: wms, payment: hub}
flows:
  orders:    {from: [shop], to: wms, since: 2020-01-01, mode: observe}
  shipments: {from: wms, to: origin, capture: hub, mode: observe}
  payments:  {from: hub, mode: live}
  stock:     {from: wms, to: [hub], mode: live}
"""
RATE = 4
WARM_UP_SECONDS = 5.0
PLACING_RATE = 40
PLACED_SECONDS_MAX = 60.0
FILL = """
WITH t AS (SELECT tenant_id, connection_id FROM connection WHERE name = 'hub'),
n AS MATERIALIZED (
  SELECT 'BULK-' || g AS sku, gen_random_uuid() AS variant_id, gen_random_uuid() AS item_id FROM generate_series(1, $1) g
), v AS (
  INSERT INTO variant (tenant_id, variant_id, sku) SELECT t.tenant_id, n.variant_id, n.sku FROM n, t
), i AS (
  INSERT INTO inventory_item (tenant_id, item_id, sku) SELECT t.tenant_id, n.item_id, n.sku FROM n, t
), vi AS (
  INSERT INTO variant_item (tenant_id, variant_id, item_id, required_qty)
  SELECT t.tenant_id, n.variant_id, n.item_id, 1 FROM n, t
), b AS (
  INSERT INTO binding (tenant_id, connection_id, kind, external_id, internal_id)
  SELECT t.tenant_id, t.connection_id, 'variant', 'bulk-' || n.sku, n.variant_id FROM n, t
)
INSERT INTO channel_stock (tenant_id, connection_id, item_id, mode, dirty, dirty_at)
SELECT t.tenant_id, t.connection_id, n.item_id, 'live', true, clock_timestamp() FROM n, t
"""
LEFT = "SELECT count(*) FROM channel_stock m JOIN connection c USING (tenant_id, connection_id) WHERE c.name = 'hub' AND m.dirty"
PLACED = "SELECT count(*) FROM order_line"
SHIP = "UPDATE order_line SET shipped = current"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bulk", type=int, default=50_000, help="stock numbers that wait in the lane")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each measurement lasts")
    parser.add_argument("--command", choices=("payment", "order"), default="payment", help="what is measured")
    options = parser.parse_args()
    is_payment = options.command == "payment"
    steps = ((0, WARM_UP_SECONDS), (10_000_000, options.seconds), (20_000_000, options.seconds))
    with ExitStack() as stack:
        url = stack.enter_context(arrivals())
        connector = "bench.latency_connector:PACED"
        flows = PAYMENTS if is_payment else ORDERS
        installation = stack.enter_context(running(url, flows=flows, names=("wms", "hub", "shop"), connector=connector))
        target = webhook_of(url, installation, "shop")
        if is_payment:
            place(installation, target, steps)
            target = {**webhook_of(url, installation, "hub"), "event": "payment"}
        seen = []
        for first, seconds in steps:
            if first == steps[-1][0]:
                asyncio.run(ask(installation, FILL, options.bulk))
                asyncio.run(ask(installation, "SELECT pg_notify('tidegate_command', '')"))
            seen.append(measure(url, target, RATE, seconds, first=first, installation=installation))
            say(json.dumps(seen[-1]))
        _, idle, full = seen
        left = asyncio.run(ask(installation, LEFT))[0][0]
    print(
        json.dumps(
            {
                "p95_ms_idle": idle["p95_accepted_ms"],
                "p95_ms_saturated": full["p95_accepted_ms"],
                "ratio": round(full["p95_accepted_ms"] / idle["p95_accepted_ms"], 2),
                "command": options.command,
                "commands": full["orders"],
                "bulk": options.bulk,
                "bulk_left": left,
                "bulk_calls": full["stock_calls"],
            }
        )
    )


def place(installation: Installation, target: dict[str, Any], steps: tuple[tuple[int, float], ...]) -> None:
    """Place the orders whose payments are told of later, and say that their goods have left."""
    for first, seconds in steps:
        placing = {"rate": PLACING_RATE, "seconds": RATE * seconds / PLACING_RATE, "first": first}
        deliver({**target, **placing, "event": "paid_order"})
    wanted = sum(int(RATE * seconds) for _, seconds in steps)
    until = time.monotonic() + PLACED_SECONDS_MAX
    while asyncio.run(ask(installation, PLACED))[0][0] < wanted:
        if time.monotonic() > until:
            raise SystemExit(f"not all of {wanted} orders were applied{installation.report()}")
        time.sleep(0.2)
    asyncio.run(ask(installation, SHIP))


if __name__ == "__main__":
    main()
