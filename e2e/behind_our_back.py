"""`python -m e2e.behind_our_back`: stock is changed in Vendure's and Tryton's own APIs, and nobody tells Tidegate.

A real Vendure shop and a real Tryton are connected and live, as in `e2e.first_live`; looks are due every minute. Then two numbers
are edited in Vendure's Admin API, one up and one down, and two articles are counted and received in Tryton. Nobody asks for
anything: what was edited is found by a look and told anew by policy, what was counted is read by the feed and told. The systems
themselves say when every number is right. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from e2e.first_live import SKUS, Play, say
from e2e.newcomer import wait_for

LOOKS = 'reconcile: {default: {every: "* * * * *", jitter: 0s}}\n'
EDITED = {"MUG-02": 900, "MUG-03": 1}
"""SKU -> what somebody types into the shop."""
COUNTED = {"MUG-04": 77}
RECEIVED = {"MUG-05": 25}


class Behind(Play):
    """The two systems, live, and somebody who changes numbers in them."""

    def config(self) -> str:
        """Return the newcomer's file, with looks every minute."""
        return super().config() + LOOKS

    def change(self) -> dict[str, Any]:
        """Change numbers behind Tidegate's back, and return how long each took to be right again."""
        started = time.monotonic()
        self.shop.driver.set_stock({self.sku_in_shop[sku]: number for sku, number in EDITED.items()})
        wrong = [sku for sku in EDITED if not self._shows(sku)]
        say(f"edited in the shop: {EDITED}; wrong now: {wrong}")
        wait_for(lambda: all(self._shows(sku) for sku in EDITED), "what was edited is right again", seconds=240)
        healed_after = time.monotonic() - started

        started = time.monotonic()
        for sku, number in COUNTED.items():
            self.erp.warehouse.count(sku, number)
        for sku, number in RECEIVED.items():
            self.erp.warehouse.receive_goods(sku, number)
        moved = [*COUNTED, *RECEIVED]
        wait_for(lambda: all(self._shows(sku) for sku in moved), "what was counted is shown", seconds=240)
        told_after = time.monotonic() - started
        wait_for(lambda: self._count_live() == SKUS, "every number is the ERP's")

        (shop,) = [each for each in self.newcomer.look("sync", "status")["items"] if each["connection"] == "shop"]
        story = [
            step["words"] for step in self.newcomer.look("why", "sku", "MUG-02")["steps"] if step["kind"] == "drift"
        ]
        for words in story:
            say(f"why sku MUG-02: {words}")
        return {
            "edited_in_vendure": len(wrong),
            "healed_after_s": round(healed_after, 1),
            "changed_in_tryton": len(moved),
            "told_after_s": round(told_after, 1),
            "skus_right": self._count_live(),
            "differences_found": shop["differences"],
            "in_the_story": len(story),
        }


def main() -> int:
    """Play it once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=20, help="orders of before")
    play = Behind(orders=parser.parse_args().orders)
    try:
        play.set_up()
        play.go_live()
        figures = play.change()
    finally:
        play.stop()
    print(json.dumps(figures))
    good = (
        figures["edited_in_vendure"] == len(EDITED) and figures["skus_right"] == SKUS and figures["in_the_story"] >= 2
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
