"""The people of the demo: shoppers at a gentle pace, a clerk who ships, a buyer who has goods delivered."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence

from e2e.people import Clerk, Shoppers
from e2e.stage import Stage, Stock

SHOPPERS = 2
"""One in each shop."""
CLERK_PAUSE_SECONDS = 4.0
DELIVERY_SECONDS = 20.0
DELIVERY_PIECES = 12
ORDERS_MAX = 10**9


class Crowd:
    """Everybody who does something in the shops and in the warehouse."""

    def __init__(self, stage: Stage, *, pace_seconds: float, stock: Callable[[], Mapping[str, int] | None]) -> None:
        """`pace_seconds` is the time between two orders, of all shoppers; `stock` tells what the ERP can sell."""
        seed = random.randrange(1_000_000)
        self.shoppers = Shoppers(
            stage, orders=ORDERS_MAX, shoppers=SHOPPERS, seed=seed, pause_seconds=pace_seconds * SHOPPERS
        )
        self.clerk = Clerk(stage, seed=seed, pause_seconds=CLERK_PAUSE_SECONDS)
        self._articles = stage.articles
        self._stock = stock
        self._stop = threading.Event()
        self._buyer = threading.Thread(target=self._buy, name="buyer", daemon=True)

    def start(self) -> None:
        """Let them begin."""
        self.shoppers.start()
        self.clerk.start()
        self._buyer.start()

    def stop_shopping(self) -> None:
        """Let shoppers and buyer go home; the clerk goes on shipping."""
        self.shoppers.stop()
        self._stop.set()

    def stop(self) -> None:
        """Let everybody go home, and wait until nobody has anything in hand."""
        self.stop_shopping()
        self.shoppers.join(30)
        self._buyer.join(5)
        self.clerk.stop()

    def _buy(self) -> None:
        while not self._stop.wait(DELIVERY_SECONDS):
            chosen = choose_delivery(self._articles, self._stock())
            if chosen is not None:
                self.clerk.order_goods(*chosen)


def choose_delivery(articles: Sequence[Stock], sellable: Mapping[str, int] | None) -> tuple[str, int] | None:
    """Return SKU and pieces of the article that is missing most, measured by what was there at first; None if none is."""
    if sellable is None:
        return None
    scarcest = min(articles, key=lambda article: sellable.get(article.sku, 0) / article.quantity)
    missing = scarcest.quantity - sellable.get(scarcest.sku, 0)
    return (scarcest.sku, min(missing, DELIVERY_PIECES)) if missing > 0 else None
