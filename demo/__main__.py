"""`python -m demo`: simulated platforms, Tidegate, and the script that one writes in an afternoon, under the same load.

Keys, while one watches: `k` kill -9 a process of Tidegate, `n` kill -9 the naive script, `d` drop 30 % of the webhooks for a
while, `q` end. At the end the books of both sides are compared, and `tidegate why` tells the story of one order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from importlib.resources import files

import msgspec
import yaml
from rich.console import Console
from rich.live import Live

from demo.hands import Hands
from demo.keys import pressed_keys
from demo.screen import Picture, draw, line_of, verdict_table
from tidegate.app import connectors
from tidegate.cli.rehearse import EXAMPLE, bulk_sizes
from tidegate.kernel.errors import TidegateError
from tidegate.rehearsal.adapt import choose_cast
from tidegate.rehearsal.plan import HOT_SKU, plan_articles
from tidegate.rehearsal.platforms import SIMULATED
from tidegate.rehearsal.play import Play, Request
from tidegate.rehearsal.profile import Faults, Profile
from tidegate.rehearsal.records import Report, Sample

PACE_SECONDS = 0.5
LONGEST_SECONDS = 3600.0
LINE_SECONDS = 5.0
UNWATCHED_SECONDS = 60.0
"""How long people shop where nobody can press a key."""


def main() -> int:
    """Run the demo; exit 0 when nothing was lost or doubled and all books agree, 1 when not, 130 when it was stopped before.

    What channels sell on after the last unit is shown and explained; it is no failure of the demo.
    """
    arguments = _arguments()
    for name in [name for name in os.environ if name.startswith("TIDEGATE_")]:
        del os.environ[name]  # the demo has a project and a database of its own
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    console = Console(force_terminal=is_terminal, highlight=False, markup=False, soft_wrap=not is_terminal)
    return asyncio.run(_Demo(arguments, console).run())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help=f"how long people shop; until q is pressed, when left out ({UNWATCHED_SECONDS:.0f} without a terminal)",
    )
    parser.add_argument("--pace", type=float, default=PACE_SECONDS, help=f"seconds between two orders ({PACE_SECONDS})")
    parser.add_argument("--seed", type=int, default=1, help="the same one gives the same shoppers and accidents")
    return parser.parse_args()


def _profile(arguments: argparse.Namespace) -> Profile:
    patience = LONGEST_SECONDS if sys.stdin.isatty() else UNWATCHED_SECONDS
    seconds = min(arguments.seconds or patience, LONGEST_SECONDS)
    return Profile(
        name="demo",
        title="people shop, things break",
        orders=max(1, int(seconds / max(arguments.pace, 0.001))),
        seconds=seconds,
        skus=12,
        hot_share=0.4,
        stock=400,
        hot_stock=120,
        faults=Faults(duplicates=0.1, reordered=0.2, replies_lost=0.01, errors=0.02),
        shipments_per_second=0.5,
        drain_seconds=120.0,
        seed=arguments.seed,
    )


class _Demo:
    def __init__(self, arguments: argparse.Namespace, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._picture: Picture | None = None
        self._live: Live | None = None
        self._said: list[str] = []
        self._next_line = 0.0
        self._hands: Hands | None = None
        root = yaml.safe_load((files("tidegate.cli") / EXAMPLE).read_text(encoding="utf-8"))
        cast = choose_cast(root, SIMULATED)
        profile = _profile(arguments)
        self._articles = [article.sku for article in plan_articles(profile)][:3]
        self._play = Play(
            Request(
                profile=profile,
                root=root,
                files={},
                cast=cast,
                bulk_max=bulk_sizes(cast, connectors()),
                with_naive=True,
            ),
            self,
        )

    async def run(self) -> int:
        task = asyncio.create_task(self._play.run())
        self._hands = hands = Hands(self._play, self.say, task.cancel)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        loop.add_signal_handler(signal.SIGINT, hands.interrupt)
        keys = asyncio.create_task(hands.obey(pressed_keys()))
        looks = asyncio.create_task(self._look())
        self._console.print(
            "Tidegate demo: two shops, a till and an ERP, and beside it a naive script with the same shoppers"
        )
        status = 130
        try:
            report = await task
            looks.cancel()
            self._stop_live()
            self._tell(report)
            with contextlib.suppress(Exception):
                self._console.print(await self._play.explain())
            status = 0 if report.ours.is_kept else 1
        except asyncio.CancelledError:
            self._stop_live()
            self._console.print("stopping ...")
        except TidegateError as error:
            self._stop_live()
            self._console.print(f"error: {error}")
            status = 1
        finally:
            self._stop_live()
            for other in (keys, looks):
                other.cancel()
            await asyncio.gather(keys, looks, return_exceptions=True)
            await self._play.close()
            self._console.print("stopped; nothing is left behind")
        return status

    # --- the audience of the play ----------------------------------------------------------------------------------
    def say(self, line: str) -> None:
        """Hear what happens."""
        if line.startswith("open after"):
            if self._hands is not None:
                self._hands.is_open = True
            line = f"open {time.monotonic() - self._began:.0f} s after the start; people begin to shop"
        self._said = [*self._said[-3:], line]
        if self._live is None:
            self._console.print(line)

    def show(self, sample: Sample, _total: int, naive: Sample | None) -> None:
        """See how it stands."""
        articles = self._picture.articles if self._picture else {}
        self._picture = Picture(
            sample=sample, naive=naive, articles=articles, said=tuple(self._said), has_keys=sys.stdin.isatty()
        )
        self._draw()

    async def _look(self) -> None:
        """Look once a second at what each channel shows of some articles."""
        while True:
            await asyncio.sleep(1.0)
            if self._picture is None:
                continue
            with contextlib.suppress(Exception):
                found = {sku: await self._play.look(sku) for sku in self._articles}
                self._picture = msgspec.structs.replace(self._picture, articles=found, said=tuple(self._said))
                self._draw()

    def _draw(self) -> None:
        if self._picture is None:
            return
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(draw(self._picture), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            self._console.print(line_of(self._picture, HOT_SKU))

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _tell(self, report: Report) -> None:
        self._console.print(verdict_table(report))
        for advice in report.advice:
            self._console.print(f"{'broke' if advice.is_broken else 'next '}: {advice.what}")


if __name__ == "__main__":
    sys.exit(main())
