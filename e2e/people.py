"""The people of the play, as threads: shoppers who order in both shops, a clerk who ships and takes goods in."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence

from realsystems.graphql_client import ShopError
from realsystems.tryton.rest import RestError
from realsystems.vendure_driver import PlacedOrder

from e2e.stage import Stage, Stock


class Shoppers:
    """Threads that buy until enough orders are placed."""

    def __init__(self, stage: Stage, *, orders: int, shoppers: int, seed: int = 1, pause_seconds: float = 0.0) -> None:
        self._stage = stage
        self._wanted = orders
        self._pause_seconds = pause_seconds
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.placed: list[PlacedOrder] = []
        self.sold_out: Counter[str] = Counter()
        self.refused: list[str] = []
        self._threads = [
            threading.Thread(target=self._shop, args=(index, random.Random(seed * 1000 + index)), daemon=True)
            for index in range(shoppers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def count(self) -> int:
        with self._lock:
            return len(self.placed)

    def short(self) -> Counter[str]:
        """Return how many units of which article people wanted and could not get: it was sold out."""
        with self._lock:
            return sum((Counter(order.short) for order in self.placed), Counter(self.sold_out))

    def is_done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _shop(self, index: int, rng: random.Random) -> None:
        name = ("shop_a", "shop_b")[index % 2]
        shop = self._stage.shops[name]
        articles = [a for a in self._stage.articles if a.sku != ("RARE-B" if name == "shop_a" else "RARE-A")]
        while not self._stop.is_set() and self.count() < self._wanted:
            basket = fill_basket(articles, rng)
            try:
                result = shop.place_order(basket, f"shopper{index}@example.com", payment_method="card")
            except (ShopError, OSError) as error:
                with self._lock:
                    self.refused.append(f"{name}: {type(error).__name__} {str(error)[:200]}")
                self._stop.wait(0.5)
                continue
            with self._lock:
                if isinstance(result, PlacedOrder):
                    self.placed.append(result)
                else:
                    self.sold_out.update(result.short)
            if self._pause_seconds:
                self._stop.wait(rng.uniform(0, 2 * self._pause_seconds))


def fill_basket(articles: Sequence[Stock], rng: random.Random) -> dict[str, int]:
    """Return one to three articles, the first of the list most often (Zipf), one or two pieces each."""
    weights = [1 / (place + 1) for place in range(len(articles))]
    chosen = {article.sku for article in rng.choices(articles, weights, k=rng.randint(1, 3))}
    return {sku: rng.randint(1, 2) for sku in sorted(chosen)}


class Clerk:
    """Ships what can be shipped, some of it in two parcels, and takes in the goods that were ordered in between."""

    def __init__(self, stage: Stage, *, seed: int = 2, pause_seconds: float = 0.5) -> None:
        self._stage = stage
        self._pause_seconds = pause_seconds
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._deliveries: list[tuple[str, int]] = []
        self._lock = threading.Lock()
        self.shipped = 0
        self.waiting = 0
        self.idle_rounds = 0
        self.received: Counter[str] = Counter()
        self.problems: list[str] = []
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def is_idle(self) -> bool:
        """Whether the last round found nothing to ship but what waits for goods."""
        return self.idle_rounds > 3

    def order_goods(self, sku: str, quantity: int) -> None:
        """Have goods delivered at the next opportunity."""
        with self._lock:
            self._deliveries.append((sku, quantity))

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self._take_in()
                self._ship_round()
            except (RestError, OSError) as error:  # the ERP is busy: people try again
                self.problems.append(f"{type(error).__name__}: {str(error)[:200]}")
            self._stop.wait(self._pause_seconds)

    def _take_in(self) -> None:
        with self._lock:
            deliveries, self._deliveries = self._deliveries, []
        for place, (sku, quantity) in enumerate(deliveries):
            try:
                self._stage.erp.warehouse.receive_goods(sku, quantity)
            except (RestError, OSError):
                with self._lock:
                    self._deliveries += deliveries[place:]
                raise
            self.received[sku] += quantity

    def _ship_round(self) -> None:
        warehouse = self._stage.erp.warehouse
        waiting, shipped_before = 0, self.shipped
        for shipment in warehouse.open_shipments():
            if self._stop.is_set():
                return
            pieces = {line.sku: 0 for line in shipment.lines}
            for line in shipment.lines:
                pieces[line.sku] += line.quantity
            part = self._part_of(pieces)
            if warehouse.ship(shipment.shipment_id, f"TRK{shipment.shipment_id:06d}", part):
                self.shipped += 1
            else:
                waiting += 1
        self.waiting = waiting
        self.idle_rounds = self.idle_rounds + 1 if self.shipped == shipped_before else 0

    def _part_of(self, pieces: dict[str, int]) -> dict[str, int] | None:
        """Return the pieces of a first parcel for one shipment in six that has several, else None for all."""
        if sum(pieces.values()) < 2 or self._random.random() > 1 / 6:
            return None
        first = min(pieces)
        return {sku: (max(1, count - 1) if sku == first else count) for sku, count in pieces.items()}
