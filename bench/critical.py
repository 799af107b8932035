"""What a critical command waits for when its lane is full of bulk: `python -m bench.critical [--bulk 50000] [--seconds 20]`.

An installation as its operator has it, and one connection (`hub`) whose platform allows 20 calls a second. Orders go there,
and so do stock numbers. Orders come at a fixed rate, open loop: first on an idle lane, then while `--bulk` numbers of other
articles wait in the same lane. The time of an order runs from the 2xx for its webhook until the platform has its request.

The last line of standard output is one JSON object: `p95_ms_idle`, `p95_ms_saturated`, `ratio`, and how many numbers were
still waiting at the end of the measurement (above 0: the lane was full all the time).
"""

from __future__ import annotations

import argparse
import asyncio
import json
from contextlib import ExitStack

from bench.latency import arrivals, http, measure, running, say
from bench.stages import ask

FLOWS = """
owns: {stock.on_hand: wms}
flows:
  orders: {from: [shop], to: hub, since: 2020-01-01, mode: live}
  stock:  {from: wms, to: [hub], mode: live}
"""
RATE = 4
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bulk", type=int, default=50_000, help="stock numbers that wait in the lane")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each measurement lasts")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = stack.enter_context(arrivals())
        connector = "bench.latency_connector:PACED"
        installation = stack.enter_context(running(url, flows=FLOWS, names=("wms", "hub", "shop"), connector=connector))
        webhook = http("GET", f"{url}/webhook")
        target = {"port": installation.port, "path": "/" + webhook["url"].split("/", 3)[3], "secret": webhook["secret"]}
        measure(url, target, RATE, 5.0, first=0, installation=installation)
        idle = measure(url, target, RATE, options.seconds, first=10_000_000, installation=installation)
        say(f"idle: {json.dumps(idle)}")
        asyncio.run(ask(installation, FILL, options.bulk))
        asyncio.run(ask(installation, "SELECT pg_notify('tidegate_command', '')"))
        full = measure(url, target, RATE, options.seconds, first=20_000_000, installation=installation)
        left = asyncio.run(ask(installation, LEFT))[0][0]
        say(f"saturated: {json.dumps(full)}")
    print(
        json.dumps(
            {
                "p95_ms_idle": idle["p95_accepted_ms"],
                "p95_ms_saturated": full["p95_accepted_ms"],
                "ratio": round(full["p95_accepted_ms"] / idle["p95_accepted_ms"], 2),
                "orders": full["orders"],
                "bulk": options.bulk,
                "bulk_left": left,
                "bulk_calls": full["stock_calls"],
            }
        )
    )


if __name__ == "__main__":
    main()
