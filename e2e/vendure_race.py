"""`python -m e2e.vendure_race`: two real Vendure shops sell the last units of one article at the same time; units are shared out.

In each round both shops sell an article of which there are a few units (`--units`), and more people want it than there are
units. In even rounds a crowd comes to both shops at once. In odd rounds it comes to one shop only, so that units have to leave
the other one; and while they are on their way, people come to that one too. A round is over when all is sold, or when nobody
waits any longer. Rounds overlap, because moving units takes a minute (docs/reference/allocation.md).

The verdict comes from the books of both shops and of the ERP. What a shop sold although its own number said that it had none is
`oversold_by_one_shop`; what was sold too often beside that is `oversold_across`: it must be 0. The last line of stdout is one
JSON object; exit status 1 when a figure is not what it must be. Where the packages of the real systems cannot be had, it says
so and ends with 0.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import cycle
from typing import Any

from realsystems.graphql_client import ShopError
from realsystems.packages import RegistryUnreachableError
from realsystems.vendure import ShopUnavailableError
from realsystems.vendure_driver import PlacedOrder

from e2e.newcomer import wait_for
from e2e.stage import SHOPS, Stage, Stock
from e2e.watch import Watch

CROWD = 2
"""So many times as many people as there are units come to a shop at once."""
REGULARS = 2
"""So many people per shop come again and again until all is sold."""
LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 180.0
"""How long people wait for an article that a shop does not show, and that is not sold out."""
BETWEEN_SECONDS = 4.0
SETTLE_SECONDS = 300.0
STRANDED_SECONDS = 150.0
"""How long units may be on their way from one shop to the other after the last round."""
SAME_MOMENT_SECONDS = 5.0
"""A purchase that began before a lower number was set, and is noted after it, was no fault of the shop."""
WITHDRAWALS = "SELECT coalesce(sum(withdrawals), 0)::int FROM channel_allocation"
OPEN = """
SELECT (SELECT count(*) FROM event_queue) + (SELECT count(*) FROM event_parked) + (SELECT count(*) FROM fetch_request)
     + (SELECT count(*) FROM command WHERE state IN ('pending', 'sending', 'in_doubt'))
"""


def say(text: str) -> None:
    """Tell people on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def own_oversale(movements: Iterable[Mapping[str, Any]]) -> int:
    """Return the units that a shop sold although its own number said that it had none. Pure.

    `movements` are those of one article there, in order: adjustments of the number, and allocations to orders.
    """
    on_hand = allocated = oversold = 0
    numbers: list[tuple[float, int]] = []
    for movement in movements:
        at, quantity = _seconds(movement["createdAt"]), int(movement["quantity"])
        match movement["type"]:
            case "ADJUSTMENT":
                numbers.append((at, on_hand))
                on_hand += quantity
            case "ALLOCATION":
                allocated += quantity
                lately = [number for until, number in numbers if until >= at - SAME_MOMENT_SECONDS]
                excess = allocated - max([on_hand, *lately])
                oversold += max(0, min(quantity, excess))
            case "RELEASE":
                allocated -= quantity
            case "SALE":  # negative: what is shipped was allocated
                allocated, on_hand = allocated + quantity, on_hand + quantity
            case _:
                pass
    return oversold


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


@dataclass
class Round:
    """One article, sold by both shops until nothing is left."""

    number: int
    sku: str
    units: int
    favourite: str
    """Where the crowd comes in an odd round."""
    sold: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_over(self) -> bool:
        """Whether all units are sold."""
        with self.lock:
            return self.sold.total() >= self.units

    @property
    def other(self) -> str:
        """The shop that the crowd does not come to in an odd round."""
        return next(name for name in SHOPS if name != self.favourite)


class Shelf:
    """What both shops let people buy, looked at once a second for all rounds together."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._shown: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in SHOPS}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._look, args=(name,), daemon=True) for name in SHOPS]

    def __enter__(self) -> Shelf:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def on_hand(self, shop: str, sku: str) -> int:
        """Return the number that the shop was told."""
        return self._shown[shop].get(sku, (0, 0))[0]

    def left(self, shop: str, sku: str) -> int:
        """Return what people can buy there."""
        on_hand, allocated = self._shown[shop].get(sku, (0, 0))
        return max(0, on_hand - allocated)

    def _look(self, name: str) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(ShopError, OSError):
                self._shown[name] = self._stage.shops[name].stock_levels()
            self._stop.wait(LOOK_SECONDS)


class Race:
    """The rounds."""

    def __init__(self, stage: Stage, shelf: Shelf, rounds: Sequence[Round], *, seed: int) -> None:
        self._stage, self._shelf, self._rounds, self._seed = stage, shelf, rounds, seed
        self.placed: list[tuple[str, PlacedOrder]] = []
        self._lock = threading.Lock()
        self._done = 0

    def run(self, at_once: int) -> None:
        """Play all rounds, so many at a time."""
        with ThreadPoolExecutor(at_once) as pool:
            for _ in pool.map(self._play, self._rounds):
                pass

    def _play(self, turn: Round) -> None:
        began, rng = time.monotonic(), random.Random(self._seed * 1000 + turn.number)
        time.sleep(rng.uniform(0, BETWEEN_SECONDS))
        people: list[threading.Thread] = []
        start = threading.Barrier(turn.units * CROWD * (1 + (turn.number % 2 == 0)))
        busy = SHOPS if turn.number % 2 == 0 else (turn.favourite,)
        for shop in busy:
            people += [self._send(self._buy_at, turn, shop, start) for _ in range(turn.units * CROWD)]
        for person in people:
            person.join(PATIENCE_SECONDS)
        if turn.number % 2:
            self._wait_for_move(turn, rng)
        people = [self._send(self._come_again, turn, shop) for shop in SHOPS for _ in range(REGULARS)]
        for person in people:
            person.join(PATIENCE_SECONDS + 60)
        with self._lock:
            self._done += 1
            errors = f", errors: {turn.errors[:2]}" if turn.errors else ""
            say(
                f"round {turn.number:2d} ({self._done}/{len(self._rounds)}): sold {dict(sorted(turn.sold.items()))} of "
                f"{turn.units}, {turn.refused} refused, {time.monotonic() - began:.0f} s{errors}"
            )

    def _send(self, what: Any, *arguments: Any) -> threading.Thread:
        person = threading.Thread(target=what, args=arguments, daemon=True)
        person.start()
        return person

    def _wait_for_move(self, turn: Round, rng: random.Random) -> None:
        """Wait until the other shop is told fewer units, or for as long as somebody may be who comes before that."""
        before = self._shelf.on_hand(turn.other, turn.sku)
        deadline = time.monotonic() + rng.uniform(0, 8)
        while time.monotonic() < deadline and self._shelf.on_hand(turn.other, turn.sku) >= before:
            time.sleep(0.05)

    def _buy_at(self, turn: Round, shop: str, start: threading.Barrier) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            start.wait(30)
        self._buy(turn, shop)

    def _come_again(self, turn: Round, shop: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not turn.is_over and time.monotonic() < deadline:
            if self._shelf.left(shop, turn.sku):
                self._buy(turn, shop)
            time.sleep(LOOK_SECONDS / 2)

    def _buy(self, turn: Round, shop: str) -> None:
        try:
            result = self._stage.shops[shop].place_order({turn.sku: 1}, "racer@example.com", accept_partial=False)
        except (ShopError, OSError) as error:
            with turn.lock:
                turn.errors.append(f"{shop}: {str(error)[:160]}")
            return
        with turn.lock:
            if isinstance(result, PlacedOrder):
                turn.sold[shop] += sum(result.units.values())
            else:
                turn.refused += 1
        if isinstance(result, PlacedOrder):
            with self._lock:
                self.placed.append((shop, result))


class Kills:
    """`kill -9` of dispatch and apply in turn, every so many seconds; none when that is 0."""

    def __init__(self, stage: Stage, every_seconds: float) -> None:
        self._stage, self._every = stage, every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.count = 0

    def __enter__(self) -> Kills:
        if self._every:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._every:
            self._thread.join(10)

    def _work(self) -> None:
        for role in cycle(("dispatch", "apply")):
            if self._stop.wait(self._every):
                return
            state = self._stage.state()
            for pid in state.pids(role)[:1] if state is not None else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.count += 1


def set_up(stage: Stage, *, is_shared: bool) -> None:
    """Start the systems and Tidegate, and wait until the shops show what there is: each its part, or each all of it."""
    stage.start_systems(fresh=True)
    stage.make_project()
    stage.up()
    say("Tidegate is up")
    times = 1 if is_shared else len(SHOPS)

    def is_shown() -> bool:
        shown = [shop.stock_levels() for shop in stage.shops.values()]
        return all(sum(levels[one.sku][0] for levels in shown) == one.quantity * times for one in stage.articles)

    wait_for(is_shown, "the shops show all units", seconds=300)


def settle(stage: Stage, watch: Watch, codes: set[str]) -> None:
    """Wait until the ERP has every order and nothing is under way; what never comes is counted afterwards."""

    def is_settled() -> bool:
        with contextlib.suppress(OSError):
            known = {sale.reference for sale in stage.erp.warehouse.sales()}
            return codes <= known and watch.value(OPEN) == 0
        return False

    try:
        wait_for(is_settled, "all orders are in the ERP", seconds=SETTLE_SECONDS)
        wait_for(lambda: not find_stranded(stage), "what is left is shown", seconds=STRANDED_SECONDS)
    except TimeoutError as error:
        say(str(error))


def sold_of(stage: Stage) -> dict[str, Counter[str]]:
    """Return the units that each shop sold by its own books, by SKU."""
    sold: dict[str, Counter[str]] = {name: Counter() for name in SHOPS}
    for name in SHOPS:
        for order in stage.shops[name].orders():
            if order["state"] != "Cancelled":
                for line in order["lines"]:
                    sold[name][line["productVariant"]["sku"]] += line["quantity"]
    return sold


def find_stranded(stage: Stage) -> int:
    """Return the units that are left and that no shop shows."""
    sold = sum(sold_of(stage).values(), Counter())
    shown: Counter[str] = Counter()
    for shop in stage.shops.values():
        for sku, (on_hand, allocated) in shop.stock_levels().items():
            shown[sku] += max(0, on_hand - allocated)
    return sum(max(0, one.quantity - sold[one.sku] - shown[one.sku]) for one in stage.articles)


def judge(stage: Stage, watch: Watch, rounds: Sequence[Round], seconds: float) -> dict[str, Any]:
    """Return the figures from the books of the shops and the ERP."""
    sold = sold_of(stage)
    across = by_one = 0
    for turn in rounds:
        too_many = max(0, sum(of_shop[turn.sku] for of_shop in sold.values()) - turn.units)
        own = sum(own_oversale(shop.driver.stock_movements(turn.sku)) for shop in stage.shops.values())
        by_one += own
        across += max(0, too_many - own)
        if too_many or own:
            say(f"{turn.sku}: {too_many} too many, {own} of them sold by a shop that showed none")
    orders = {order["code"] for shop in stage.shops.values() for order in shop.orders()}
    sales = Counter(sale.reference for sale in stage.erp.warehouse.sales() if sale.web_id)
    return {
        "rounds": len(rounds),
        "sold": sum(of_shop.total() for of_shop in sold.values()),
        "units": sum(turn.units for turn in rounds),
        "oversold_across": across,
        "oversold_by_one_shop": by_one,
        "withdrawals": watch.value(WITHDRAWALS),
        "stranded": find_stranded(stage),
        "lost": len(orders - set(sales)),
        "doubled": sum(count - 1 for code, count in sales.items() if code in orders)
        + sum(count for code, count in sales.items() if code not in orders),
        "seconds": round(seconds),
        "refused": sum(turn.refused for turn in rounds),
        "errors": sum(len(turn.errors) for turn in rounds),
    }


def main() -> int:
    """Play all rounds once."""
    parser = argparse.ArgumentParser(
        prog="python -m e2e.vendure_race", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50, help="articles that are raced for (50)")
    parser.add_argument("--units", type=int, default=6, help="units of each (6)")
    parser.add_argument("--at-once", type=int, default=6, help="rounds at a time (6)")
    parser.add_argument("--kill-every", type=float, default=0.0, help="seconds between kills of our processes; 0: none")
    parser.add_argument(
        "--allocation", choices=("always", "off"), default="always", help="off: one number for both, which oversells"
    )
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    rounds = [
        Round(number, f"RACE-{number:03d}", chosen.units, SHOPS[number // 2 % 2])
        for number in range(1, chosen.rounds + 1)
    ]
    articles = [Stock(turn.sku, f"Signal lamp {turn.number}", 1990, turn.units) for turn in rounds]
    stage = Stage("vendure_race", say=say, articles=articles, allocation=chosen.allocation)
    say("installing the shops and the ERP (from the package registries; seconds when they are there)")
    try:
        stage.install()
    except (RegistryUnreachableError, ShopUnavailableError) as error:
        print(f"skipped: {error}")
        return 0
    try:
        set_up(stage, is_shared=chosen.allocation == "always")
        watch = Watch(stage.project)
        began = time.monotonic()
        with Shelf(stage) as shelf, Kills(stage, chosen.kill_every) as kills:
            race = Race(stage, shelf, rounds, seed=chosen.seed)
            race.run(chosen.at_once)
        say(f"{len(race.placed)} orders placed, {kills.count} kills; settling")
        settle(stage, watch, {order.code for _, order in race.placed})
        figures = judge(stage, watch, rounds, time.monotonic() - began)
        if chosen.kill_every:
            figures["kills"] = kills.count
    finally:
        stage.down()
        stage.stop_systems()
    print(json.dumps(figures))
    wrong = ("oversold_across", "stranded", "lost", "doubled")
    return 0 if not any(figures[name] for name in wrong) and figures["withdrawals"] else 1


if __name__ == "__main__":
    sys.exit(main())
