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

import yaml
from rich.console import Console
from rich.live import Live

from demo.keys import pressed_keys
from demo.screen import Picture, draw, line_of, verdict_table
from tidegate.app import connectors
from tidegate.cli.rehearse import EXAMPLE, bulk_sizes
from tidegate.rehearsal.adapt import choose_cast
from tidegate.rehearsal.plan import HOT_SKU, plan_articles
from tidegate.rehearsal.platforms import SIMULATED
from tidegate.rehearsal.play import Play, Request
from tidegate.rehearsal.profile import Faults, Profile
from tidegate.rehearsal.records import Report, Sample

PACE_SECONDS = 0.5
LONGEST_SECONDS = 3600.0
DROP_SHARE = 0.3
DROP_SECONDS = 15.0
ROLES = ("dispatch", "apply", "door", "postgres")
LINE_SECONDS = 5.0


def main() -> int:
    """Run the demo; exit 0 when all books agree at the end, 1 when not, 130 when it was stopped before."""
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
        "--seconds", type=float, help="end by itself after so long; until a key is pressed, when left out"
    )
    parser.add_argument("--pace", type=float, default=PACE_SECONDS, help=f"seconds between two orders ({PACE_SECONDS})")
    parser.add_argument("--seed", type=int, default=1, help="the same one gives the same shoppers and accidents")
    return parser.parse_args()


def _profile(arguments: argparse.Namespace) -> Profile:
    seconds = min(arguments.seconds or LONGEST_SECONDS, LONGEST_SECONDS)
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
        self._is_open = False
        self._picture: Picture | None = None
        self._live: Live | None = None
        self._said: list[str] = []
        self._next_line = 0.0
        self._kills = 0
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
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        loop.add_signal_handler(signal.SIGINT, self._interrupted, task)
        keys = asyncio.create_task(self._obey())
        looks = asyncio.create_task(self._look())
        self._console.print(
            "Tidegate demo: two shops, a till and an ERP; on the left Tidegate, on the right a naive script"
        )
        status = 130
        try:
            report = await task
            looks.cancel()
            self._stop_live()
            self._tell(report)
            with contextlib.suppress(Exception):
                self._console.print(await self._play.explain())
            status = 0 if report.ours.is_clean else 1
        except asyncio.CancelledError:
            self._stop_live()
            self._console.print("stopping ...")
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
            self._is_open = True
            line = f"open {time.monotonic() - self._began:.0f} s after the start; people begin to shop"
        self._said = [*self._said[-3:], line]
        if self._live is None:
            self._console.print(line)

    def show(self, sample: Sample, _total: int, naive: Sample | None) -> None:
        """See how it stands."""
        self._picture = Picture(
            sample=sample, naive=naive, articles=self._picture.articles if self._picture else {}, said=tuple(self._said)
        )
        self._draw()

    async def _look(self) -> None:
        """Look once a second at what each channel shows of some articles."""
        while True:
            await asyncio.sleep(1.0)
            if not self._is_open or self._picture is None:
                continue
            with contextlib.suppress(Exception):
                found = {sku: await self._play.look(sku) for sku in self._articles}
                self._picture = Picture(
                    sample=self._picture.sample, naive=self._picture.naive, articles=found, said=tuple(self._said)
                )
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

    # --- keys ------------------------------------------------------------------------------------------------------
    async def _obey(self) -> None:
        async for key in pressed_keys():
            if key == "q":
                self.say("nobody shops any more; what was bought is carried out")
                self._play.end_shopping()
            elif not self._is_open:
                continue
            elif key == "k":
                role = ROLES[self._kills % len(ROLES)]
                self._kills += 1
                pid = self._play.kill(role)
                self.say(f"kill -9 {role} (pid {pid})" if pid else f"there is no {role} just now")
            elif key == "n":
                self.say(
                    f"kill -9 the naive script (pid {await self._play.kill_naive()}); it starts again, with nothing in memory"
                )
            elif key == "d":
                await self._play.drop_webhooks(DROP_SHARE, DROP_SECONDS)
                self.say(f"{DROP_SHARE:.0%} of the shops' webhooks go lost for {DROP_SECONDS:.0f} s")

    def _interrupted(self, task: asyncio.Task[Report]) -> None:
        """Ctrl-C: end shopping first, everything the second time."""
        if self._is_open and not self._play.is_over:
            self.say("nobody shops any more; what was bought is carried out (Ctrl-C again: stop now)")
            self._play.end_shopping()
        else:
            task.cancel()

    def _tell(self, report: Report) -> None:
        self._console.print(verdict_table(report))
        for advice in report.advice:
            self._console.print(f"{'broke' if advice.is_broken else 'next '}: {advice.what}")


if __name__ == "__main__":
    sys.exit(main())
