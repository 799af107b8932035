"""The show: people trade, looks are taken, and what they find is displayed until it ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from e2e.stage import Stage
from rich.console import Console
from rich.live import Live

from demo.beliefs import Differences, Numbers
from demo.board import People, Places, Snapshot, plain_line, render, summary_lines
from demo.crowd import Crowd
from demo.looks import Look
from demo.readers import ErpReader, ErpView, GateReader, GateView, ShopReader, ShopView
from demo.trails import Trails

SHOP_SECONDS = 1.0
ERP_SECONDS = 2.0
GATE_SECONDS = 1.0
DISPLAY_SECONDS = 0.5
LINE_SECONDS = 5.0
SETTLE_SECONDS = 90.0


class Show:
    """One run between opening and closing."""

    def __init__(self, stage: Stage, console: Console, *, pace_seconds: float) -> None:
        self._stage = stage
        self._console = console
        self._trails = Trails()
        self._gate_reader = GateReader(stage.project)
        shops = {name: ShopReader(shop, name, self._trails) for name, shop in stage.shops.items()}
        self._shops: dict[str, Look[ShopView]] = {
            name: Look(name, reader.read, SHOP_SECONDS) for name, reader in shops.items()
        }
        self._erp: Look[ErpView] = Look("erp", ErpReader(stage.erp, self._trails).read, ERP_SECONDS)
        self._gate: Look[GateView] = Look("ledger", self._gate_reader.read, GATE_SECONDS)
        self._crowd = Crowd(stage, pace_seconds=pace_seconds, stock=self._erp_stock)
        self._differences = Differences()
        self._began: float | None = None
        self._start_seconds = 0.0
        self._next_line = 0.0

    def run(self, *, start_seconds: float, run_seconds: float | None) -> bool:
        """Show until interrupted, or for `run_seconds` and then until all agree; return whether they did.

        Prints a summary in the end, also when interrupted.
        """
        self._began, self._start_seconds = time.monotonic(), start_seconds
        self._next_line = self._began + LINE_SECONDS
        self._console.print(f"open {start_seconds:.1f} s after the start; people begin to shop")
        for look in self._looks():
            look.start()
        self._crowd.start()
        try:
            self._display(run_seconds)
        finally:
            self._summarize()
        return self._snapshot().is_settled()

    def stop(self) -> None:
        """Let people go home and look no more."""
        if self._began is None:
            return
        self._crowd.stop()
        for look in self._looks():
            look.stop()
        for look in self._looks():
            look.join(5)
        self._gate_reader.close()

    def _looks(self) -> list[Look[Any]]:
        return [*self._shops.values(), self._erp, self._gate]

    def _erp_stock(self) -> Mapping[str, int] | None:
        view = self._erp.current
        return None if view is None else view.sellable

    def _display(self, run_seconds: float | None) -> None:
        if not self._console.is_terminal:
            self._watch(run_seconds, self._print_line)
            return
        places = self._places()
        with Live(console=self._console, auto_refresh=False, vertical_overflow="crop") as live:

            def show(snapshot: Snapshot) -> None:
                size = self._console.size
                live.update(render(snapshot, places, width=size.width, height=size.height), refresh=True)

            self._watch(run_seconds, show)

    def _watch(self, run_seconds: float | None, show: Callable[[Snapshot], None]) -> None:
        """Look and show again and again until the run's time is over and everything has settled."""
        ends = None if run_seconds is None else time.monotonic() + run_seconds
        while ends is None or time.monotonic() < ends:
            time.sleep(DISPLAY_SECONDS)
            show(self._snapshot())
        self._crowd.stop_shopping()
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(DISPLAY_SECONDS)
            snapshot = self._snapshot()
            show(snapshot)
            if snapshot.is_settled():
                return

    def _print_line(self, snapshot: Snapshot) -> None:
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            self._console.print(plain_line(snapshot, time.strftime("%H:%M:%S")))

    def _summarize(self) -> None:
        for line in summary_lines(self._snapshot()):
            self._console.print(line, soft_wrap=True)

    def _snapshot(self) -> Snapshot:
        now = time.monotonic()
        shops = {name: look.current for name, look in self._shops.items()}
        erp, gate = self._erp.current, self._gate.current
        numbers: Numbers = {
            **{name: None if view is None else view.sellable for name, view in shops.items()},
            "erp": None if erp is None else erp.sellable,
            "ledger": None if gate is None else gate.available,
        }
        rows = self._differences.compare([article.sku for article in self._stage.articles], numbers, now)
        return Snapshot(
            up_seconds=now - (self._began or now),
            start_seconds=self._start_seconds,
            rows=rows,
            shops=shops,
            erp=erp,
            gate=gate,
            people=self._people(),
            troubles={look.name: look.trouble for look in self._looks() if look.trouble},
            newest=self._trails.newest(),
            complete=self._trails.newest_complete(),
            longest_seconds=self._differences.longest_seconds,
            longest_sku=self._differences.longest_sku,
        )

    def _people(self) -> People:
        shoppers, clerk = self._crowd.shoppers, self._crowd.clerk
        return People(
            ordered=shoppers.count(),
            sold_out=sum(shoppers.sold_out.values()),
            refused=len(shoppers.refused),
            shipped=clerk.shipped,
            waiting=clerk.waiting,
            received=sum(clerk.received.values()),
        )

    def _places(self) -> Places:
        command = Path(sys.executable).parent / "tidegate"
        return Places(
            door=f"http://127.0.0.1:{self._stage.door_port}",
            health=f"http://127.0.0.1:{self._stage.web_port}",
            command=_from_here(command) if command.exists() else f"{_from_here(Path(sys.executable))} -m tidegate",
            project=_from_here(self._stage.project.folder),
        )


def _from_here(path: Path) -> str:
    """Return a path as one types it from the current folder."""
    here = Path.cwd()
    return os.path.relpath(path, here) if path.is_relative_to(here) else str(path)
