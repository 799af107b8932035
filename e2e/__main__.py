"""`make e2e`: the main job on real systems under fire; `--small` for every change.

Prints what it does on stderr and one JSON object as the last line of stdout. Exit status 1 when a figure is not what it
must be. `oversold_by_tidegate` counts articles that only one shop sells or that are in plenty: there a unit sold below
zero can only come from a wrong number. `oversold_in_a_race` is the one article that both shops sell out at the same time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from typing import Any

from realsystems.worldpg import free_port

from e2e.killer import Killer
from e2e.people import Clerk, Shoppers
from e2e.stage import Stage
from e2e.verdict import Verdict, judge
from e2e.watch import FAILED, PARKED, SOLD_OF_RECEIVED, Watch

SETTLE_SECONDS = 900.0
SHIP_SECONDS = 240.0
"""How long the clerk goes on shipping after the last order; what is not shipped then stays open in every system."""
KILL_ORDER = ("apply", "dispatch", "door", "postgres", "dispatch", "apply", "postgres", "door")


def say(text: str) -> None:
    """Tell people on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Run the play, once with everything broken and once with nothing but webhooks to rely on."""
    parser = argparse.ArgumentParser(
        prog="python -m e2e", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="30 orders, one kill per kind of process, one run")
    parser.add_argument("--orders", type=int, help="orders to place (300, small 30)")
    parser.add_argument("--shoppers", type=int, default=8)
    parser.add_argument("--keep", action="store_true", help="leave all systems running at the end")
    parser.add_argument("--skip-webhooks-only", action="store_true", help="leave the second run (polling off) out")
    arguments = parser.parse_args()
    orders = arguments.orders or (30 if arguments.small else 300)
    kills = KILL_ORDER[:4] if arguments.small else KILL_ORDER
    main_run = play(
        "e2e_small" if arguments.small else "e2e", orders=orders, shoppers=arguments.shoppers, kills=kills,
        drop_share=0.05, polling=True, processes=2, keep=arguments.keep,
    )  # fmt: skip
    figures: dict[str, Any] = dict(main_run)
    is_clean = bool(figures.pop("is_clean"))
    if not arguments.small and not arguments.skip_webhooks_only:
        second = play(
            "e2e_webhooks", orders=max(60, orders // 3), shoppers=arguments.shoppers, kills=KILL_ORDER[:4],
            drop_share=0.0, polling=False, processes=2, keep=arguments.keep,
        )  # fmt: skip
        is_clean = bool(second.pop("is_clean")) and is_clean
        figures["webhooks_only"] = second
    print(json.dumps(figures))
    return 0 if is_clean else 1


def play(
    name: str, *, orders: int, shoppers: int, kills: tuple[str, ...], drop_share: float, polling: bool, processes: int,
    keep: bool,
) -> dict[str, Any]:  # fmt: skip
    """Run one play from an empty stage to the verdict; leaves the data in place."""
    stage = Stage(name, say=say, processes=processes)
    say(f"{name}: installing the shops and the ERP (from the package registries; seconds when they are there)")
    stage.install()
    stage.start_systems(fresh=True)
    relay_port = free_port()
    stage.make_project(public_url=f"http://127.0.0.1:{relay_port}", polling=polling)
    relay = subprocess.Popen(
        [sys.executable, "-m", "e2e.relay", str(relay_port), f"http://127.0.0.1:{stage.door_port}", str(drop_share)],
        stdout=subprocess.DEVNULL,
    )
    try:
        stage.up()
        say("Tidegate is up, two of every process; the systems are connected")
        return _act(stage, f"http://127.0.0.1:{relay_port}", orders=orders, shoppers=shoppers, kills=kills)
    finally:
        if not keep:
            stage.down()
            relay.terminate()
            relay.wait(10)
            stage.stop_systems()
            say(f"{name}: stopped; the systems' data is left in place")


def _act(stage: Stage, relay_url: str, *, orders: int, shoppers: int, kills: tuple[str, ...]) -> dict[str, Any]:
    watch = Watch(stage.project)
    wait_for_stock(stage)
    people = Shoppers(stage, orders=orders, shoppers=shoppers)
    clerk = Clerk(stage)
    killer = Killer(stage, watch, lambda: relay_stats(relay_url)["in_flight"])
    started = time.monotonic()
    people.start()
    clerk.start()
    goods_ordered = False
    for place, role in enumerate(kills):
        wait_until(
            lambda place=place: people.count() >= orders * (place + 1) // (len(kills) + 2) or people.is_done(), 600
        )
        if not goods_ordered and people.count() >= orders // 2:
            goods_ordered = order_goods(clerk)
        say(f"{people.count()} orders placed; kill -9 {role}")
        killer.kill(role, place)
    wait_until(lambda: people.count() >= orders // 2 or people.is_done(), 600)
    if not goods_ordered:
        order_goods(clerk)
    people.join(900)
    people.stop()
    say(f"{people.count()} orders placed in {time.monotonic() - started:.0f} s; settling")
    wait_until(clerk.is_idle, SHIP_SECONDS)
    clerk.stop()
    say(f"{clerk.shipped} shipments made; the clerk goes home")
    verdict, seconds = settle(stage, watch, clerk, relay_url, min(SETTLE_SECONDS, 180 + 3.0 * orders))
    for difference in verdict.differences[:20]:
        say(f"  differs: {difference}")
    with contextlib.suppress(OSError):
        say(f"failed commands: {watch.fetch(FAILED)}; parked or quarantined: {watch.fetch(PARKED)}")
    had_work = sum(record["had_work"] for record in killer.records)
    for record in killer.records:
        say(f"  killed {record}")
    return {
        **verdict.figures,
        "kills": len(killer.records),
        "kills_with_work_in_flight": had_work,
        "kill_records": killer.records,
        "units_short": dict(sorted(people.short().items())),
        "goods_received": sum(clerk.received.values()),
        "goods_received_and_sold": watch.value(SOLD_OF_RECEIVED),
        "shop_errors": len(people.refused),
        "relay": relay_stats(relay_url),
        "settle_seconds": round(seconds),
        "is_clean": verdict.is_clean(),
    }


def order_goods(clerk: Clerk) -> bool:
    """Have more of the scarce articles delivered."""
    for sku, quantity in (("RARE-A", 5), ("RARE-B", 5), ("HOT", 15)):
        clerk.order_goods(sku, quantity)
    return True


def wait_for_stock(stage: Stage) -> None:
    """Wait until both shops show what the ERP has: the play begins with full shelves."""
    wanted = {article.sku: article.quantity for article in stage.articles}

    def is_stocked() -> bool:
        return all({sku: shop.stock_levels()[sku][0] for sku in wanted} == wanted for shop in stage.shops.values())

    if not wait_until(is_stocked, 120):
        levels = {name: shop.stock_levels() for name, shop in stage.shops.items()}
        raise RuntimeError(f"the shops never showed the ERP's stock: {levels}")
    say("both shops show the ERP's stock")


def settle(stage: Stage, watch: Watch, clerk: Clerk, relay_url: str, patience_seconds: float) -> tuple[Verdict, float]:
    """Wait until everything is quiet and equal, or until patience ends; return the last verdict."""
    started = time.monotonic()
    while True:
        try:
            open_work = {name: count for name, count in watch.in_flight().items() if count and name != "events_parked"}
            stats = relay_stats(relay_url)
            verdict = judge(stage, watch)
        except OSError as error:
            say(f"looking again: {error}")
            time.sleep(2)
            continue
        seconds = time.monotonic() - started
        is_quiet = not open_work and not stats["in_flight"] and not stats["copies_waiting"]
        if (is_quiet and verdict.is_clean()) or seconds > patience_seconds:
            return verdict, seconds
        say(f"  open: {open_work}, copies waiting {stats['copies_waiting']}, {len(verdict.differences)} differences,"
            f" {clerk.waiting} shipments wait for goods")  # fmt: skip
        time.sleep(4)


def wait_until(condition: Any, seconds: float) -> bool:
    """Return whether `condition` came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return False


def relay_stats(url: str) -> dict[str, Any]:
    """Return what the bad network has in hand and has done."""
    with urllib.request.urlopen(f"{url}/__stats", timeout=10) as answer:
        stats: dict[str, Any] = json.loads(answer.read())
    return stats


if __name__ == "__main__":
    sys.exit(main())
