"""`make first-live`: from `tidegate init` to everything live, beside a shop and an ERP that have a past.

The shop has 500 orders of before and 40 articles, of which 6 have other SKUs than in the ERP; the ERP has the goods. A scripted
newcomer connects both, observes, looks at drift and plan, resolves the matches, takes one SKU live, then everything. What was
written is counted by the systems themselves: sales and movements in the ERP, stock numbers and fulfillments in the shop.

Prints what it does on stderr and one JSON object as the last line of stdout. Exit status 1 when a figure is not what it must
be.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from realsystems.statedir import default_state_dir
from realsystems.tryton import Article, TrytonErp
from realsystems.vendure import PASSWORD, VendureShop
from realsystems.vendure_driver import PlacedOrder
from realsystems.worldpg import WorldPostgres, free_port

from e2e.newcomer import Newcomer, wait_for
from e2e.people import fill_basket
from e2e.stage import Stock

SKUS = 40
UNMATCHED = 6
PAST_ORDERS = 500
SHOPPERS = 4
FIRST_SKU = "MUG-01"
READ_SECONDS = 600.0


def say(text: str) -> None:
    """Tell people on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Books:
    """What the systems say of themselves."""

    sales: int
    moves: int
    numbers: dict[str, tuple[int, int]]
    """SKU in the shop -> (on hand, allocated)."""
    fulfillments: int

    def writes_since(self, before: Books) -> int:
        """Return how many writes there were: sales, movements, numbers that changed, fulfillments."""
        told = sum(self.numbers[sku] != before.numbers[sku] for sku in self.numbers)
        return (
            abs(self.sales - before.sales)
            + abs(self.moves - before.moves)
            + told
            + abs(self.fulfillments - before.fulfillments)
        )


class Play:
    """The two systems and the newcomer."""

    def __init__(self, *, orders: int) -> None:
        self.orders = orders
        self.world = WorldPostgres()
        self.shop = VendureShop("first_live_shop", world=self.world, say=say)
        self.erp = TrytonErp(self.world, database="first_live_tryton")
        self.newcomer = Newcomer(default_state_dir() / "first_live" / "acme", say)
        self.articles = [
            Stock(f"MUG-{number:02d}", f"Harbour mug {number}", 990 + 10 * number, 600 + number)
            for number in range(1, SKUS + 1)
        ]
        self.sku_in_shop = {
            one.sku: one.sku if place < SKUS - UNMATCHED else f"SHOP-{place:03d}"
            for place, one in enumerate(self.articles)
        }
        self.past: set[str] = set()

    # --- the past ------------------------------------------------------------------------------------------------
    def set_up(self) -> None:
        """Install and start both systems, with articles, stock and orders of before."""
        with ThreadPoolExecutor() as pool:
            for installed in [pool.submit(self.erp.install), pool.submit(self.shop.install)]:
                installed.result()
        self.world.start()
        if self.world.has_database(self.erp.database):
            self.erp.stop()
            self.world.drop_database(self.erp.database)
        with ThreadPoolExecutor() as pool:
            for started in [pool.submit(self._open_erp), pool.submit(self._open_shop)]:
                started.result()
        self._buy(self.orders)
        say(f"{len(self.past)} orders of before stand in the shop")

    def _open_erp(self) -> None:
        self.erp.start()
        self.erp.warehouse.add_articles(
            [
                Article(sku=one.sku, name=one.title, price=Decimal(one.price_minor) / 100, quantity=one.quantity)
                for one in self.articles
            ]
        )

    def _open_shop(self) -> None:
        self.shop.start(fresh=True)
        self.shop.admin(
            "mutation ($input: UpdateChannelInput!) { updateChannel(input: $input) { __typename } }",
            {"input": {"id": "1", "defaultCurrencyCode": "EUR", "availableCurrencyCodes": ["EUR"]}},
        )
        self.shop.seed_catalogue(
            [(self.sku_in_shop[one.sku], one.title, one.price_minor, 1000) for one in self.articles]
        )

    def _buy(self, count: int) -> None:
        sold = [Stock(self.sku_in_shop[one.sku], one.title, one.price_minor, one.quantity) for one in self.articles]

        def shop(index: int) -> list[str]:
            rng = random.Random(index)
            placed = []
            for _ in range(count // SHOPPERS + (index < count % SHOPPERS)):
                result = self.shop.place_order(
                    fill_basket(sold, rng), f"buyer{index}@example.com", payment_method="card"
                )
                placed += [result.code] if isinstance(result, PlacedOrder) else []
            return placed

        with ThreadPoolExecutor(SHOPPERS) as pool:
            for codes in pool.map(shop, range(SHOPPERS)):
                self.past.update(codes)

    def books(self) -> Books:
        """Ask both systems for their own books."""
        return Books(
            sales=self.erp.client.count("sale.sale", []),
            moves=self.erp.client.count("stock.move", []),
            numbers=self.shop.driver.stock_levels(),
            fulfillments=len(self.shop.driver.fulfillments()),
        )

    def stop(self) -> None:
        """Stop everything; databases and folders stay."""
        try:
            self.newcomer.look("status")
            self.newcomer._run("down")
        except (RuntimeError, ValueError, OSError) as error:
            say(f"not stopped by itself: {error}")
        self.shop.stop()
        self.erp.stop()
        self.world.stop()

    # --- the newcomer --------------------------------------------------------------------------------------------
    def config(self) -> str:
        """Return what the newcomer's file says."""
        return f"""\
listen: {{host: 127.0.0.1, port: {self.door_port}, web_port: {self.web_port}}}
network: {{allow: ["127.0.0.0/8"]}}
connections:
  shop: {{use: vendure, url: "{self.shop.base_url}"}}
  erp:  {{use: tryton, url: "{self.erp.base_url}", database: {self.erp.database}}}
owns: {{stock.on_hand: erp, shipment: erp, price: erp}}
flows:
  orders:    {{from: [shop], to: erp, since: {self.since}, mode: observe}}
  shipments: {{from: erp, to: origin, mode: observe}}
  stock:     {{from: erp, to: [shop], mode: observe}}
"""

    def go_live(self) -> dict[str, Any]:
        """Do what a newcomer does, and return the figures."""
        newcomer = self.newcomer
        if newcomer.folder.exists():
            shutil.rmtree(newcomer.folder)
        newcomer.folder.parent.mkdir(parents=True, exist_ok=True)
        self.door_port, self.web_port = free_port(), free_port()
        self.since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        before = self.books()
        started = time.monotonic()

        newcomer.type("init", str(newcomer.folder))
        newcomer.write_config(self.config())
        newcomer.type("config", "check")
        newcomer.type("up", "--detach")
        newcomer.type("connect", "erp", "--yes", "--set", f"rest_key={self.erp.rest_key}")
        newcomer.type("connect", "shop", "--yes", "--set", "username=superadmin", "--set", f"password={PASSWORD}")
        wait_for(self._has_read_the_past, "the past orders are read", seconds=READ_SECONDS)

        drift = newcomer.type_json("drift", "--top", "20")
        say(f"drift: {drift['total']} differences, at risk {drift['risk_by_currency']}")
        for row in drift["rows"][:5]:
            say(
                f"  {row['sku']} {row['field']}: {row['owner']} {row['owner_value']}, {row['other']} {row['other_value']}, {row['cause']}"
            )
        newcomer.type("plan")
        answers = {shop: f"bind:{sku}" for sku, shop in self.sku_in_shop.items() if shop != sku}
        opened = newcomer.decide(answers)
        say(f"{opened} articles matched nothing")
        newcomer.type("matches", "import", "--dry-run")
        newcomer.type("matches", "import")
        after = newcomer.type_json("drift", "--top", "20")
        unmatched = [row for row in after["rows"] if row["cause"] == "unmatched"]
        observed = self.books()
        writes = observed.writes_since(before)
        say(f"observed: {writes} writes counted by the systems, {len(unmatched)} articles match nothing now")

        newcomer.type("live", "stock", "--sku", FIRST_SKU, "--yes")
        newcomer.type("live", "orders", "--yes")
        wait_for(lambda: self._shows(FIRST_SKU), f"the shop shows the ERP's number of {FIRST_SKU}")
        moved = {sku for sku, number in self.books().numbers.items() if number != observed.numbers[sku]}
        say(f"one SKU is live; numbers that changed in the shop: {sorted(moved)}")
        fresh = self.shop.place_order({FIRST_SKU: 1}, "first@example.com", payment_method="card")
        if not isinstance(fresh, PlacedOrder):
            raise RuntimeError(f"the shop does not sell {FIRST_SKU}: {fresh.reason}")  # noqa: TRY004 - sold out
        code = fresh.code
        wait_for(lambda: self._sales()[code] == 1, f"the new order {code} is in the ERP")

        newcomer.type("live", "shipments", "--yes")
        newcomer.type("live", "stock", "--yes")
        wait_for(lambda: self._count_live() == SKUS, "every number is the ERP's", seconds=300)
        minutes = (time.monotonic() - started) / 60

        sales = self._sales()
        return {
            "commands": len(newcomer.commands),
            "minutes": round(minutes, 1),
            "past_orders_created": sum(count for number, count in sales.items() if number in self.past),
            "writes_in_observe": writes,
            "skus_live": self._count_live(),
        }

    def _has_read_the_past(self) -> bool:
        found = self.newcomer.look("status")
        queue = found["queue"]
        received = self.newcomer.look("conservation")["balances"]
        orders = sum(each["received"] for each in received if each["connection"] == "shop")
        return bool(orders >= len(self.past) and queue["waiting"] == 0 and queue["parked"] == 0)

    def _sales(self) -> Counter[str]:
        """Return how many sales the ERP has per number of an order."""
        return Counter(sale.reference for sale in self.erp.warehouse.sales())

    def _shows(self, sku: str) -> bool:
        """Whether the shop shows the ERP's count; it takes its own open orders off by itself."""
        on_hand, _ = self.shop.driver.stock_levels()[self.sku_in_shop[sku]]
        return on_hand == self.erp.warehouse.stock()[sku]

    def _count_live(self) -> int:
        numbers, counted = self.shop.driver.stock_levels(), self.erp.warehouse.stock()
        return sum(numbers[self.sku_in_shop[one.sku]][0] == counted[one.sku] for one in self.articles)


def main() -> int:
    """Play it once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=PAST_ORDERS, help="orders of before")
    options = parser.parse_args()
    play = Play(orders=options.orders)
    try:
        play.set_up()
        figures = play.go_live()
    finally:
        play.stop()
    for number, command in enumerate(play.newcomer.commands, start=1):
        say(f"{number:2d}  {command.partition(' --set')[0]}")
    print(json.dumps(figures))
    good = not figures["past_orders_created"] and not figures["writes_in_observe"] and figures["skus_live"] == SKUS
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
