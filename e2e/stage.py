"""Set the stage: real shops and a real ERP from the registries, and a Tidegate project between them, as a user makes it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from realsystems.statedir import default_state_dir
from realsystems.tryton import Article, TrytonErp
from realsystems.vendure import PASSWORD, VendureShop
from realsystems.worldpg import WorldPostgres, free_port

from tidegate.runtime.project import Project
from tidegate.runtime.state import RunState, read_state

SHOPS = ("shop_a", "shop_b")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Stock:
    """An article of the play."""

    sku: str
    title: str
    price_minor: int
    quantity: int
    """Pieces on the ERP's shelf when the curtain rises."""


def article_list(plain: int = 8, plain_quantity: int = 400) -> list[Stock]:
    """Return the articles: some in plenty, one that only shop A runs out of, one only shop B, one that both sell out."""
    articles = [Stock(f"MUG-{n:02d}", f"Harbour mug {n}", 990 + 150 * n, plain_quantity) for n in range(1, plain + 1)]
    return [
        *articles,
        Stock("RARE-A", "Lighthouse lamp", 4990, 6),
        Stock("RARE-B", "Ship's bell", 7990, 6),
        Stock("HOT", "Storm jacket", 12990, 20),
    ]


class Stage:
    """The systems and the project. Every run has databases and a project folder of its own; they are left in place."""

    def __init__(
        self,
        name: str,
        *,
        say: Say,
        processes: int = 1,
        articles: Sequence[Stock] | None = None,
        allocation: str = "off",
    ) -> None:
        """`articles`: those of `article_list` when none are named. `allocation`: off, auto, always."""
        self.name = name
        self.folder = default_state_dir() / "stages" / name
        self.world = WorldPostgres()
        self.shops = {shop: VendureShop(f"{name}_{shop}", world=self.world, say=say) for shop in SHOPS}
        self.erp = TrytonErp(self.world, database=f"{name}_tryton")
        self.project = Project(self.folder / "project")
        self.articles = list(articles) if articles is not None else article_list()
        self.door_port = self.web_port = 0
        self._say = say
        self._processes = processes
        self._allocation = allocation

    # --- the systems -------------------------------------------------------------------------------------------
    def install(self) -> None:
        """Get the shops from npm and the ERP from PyPI, side by side. Later runs find them installed."""
        with ThreadPoolExecutor() as pool:
            jobs: list[Future[Any]] = [pool.submit(self.erp.install), pool.submit(self.shops["shop_a"].install)]
            for job in jobs:
                job.result()

    def start_systems(self, *, fresh: bool = True) -> None:
        """Start everything that is not Tidegate and fill it with articles; the shops begin with nothing to sell."""
        self.world.start()
        if fresh:
            self.forget_erp()
        with ThreadPoolExecutor() as pool:
            jobs = [pool.submit(self.open_erp)]
            jobs += [pool.submit(self.open_shop, name, fresh=fresh) for name in self.shops]
            for job in jobs:
                job.result()

    def forget_erp(self) -> None:
        """Drop the ERP's database if there is one; the world's PostgreSQL must run."""
        if self.world.has_database(self.erp.database):
            self.erp.stop()
            self.world.drop_database(self.erp.database)

    def open_erp(self) -> None:
        """Start the ERP, with its articles; those that it has keep their stock."""
        started = time.monotonic()
        self.erp.start()
        self.erp.warehouse.add_articles(
            [
                Article(sku=a.sku, name=a.title, price=Decimal(a.price_minor) / 100, quantity=a.quantity)
                for a in self.articles
            ]
        )
        self._say(f"Tryton (ERP) is up at {self.erp.base_url} after {time.monotonic() - started:.0f} s")

    def open_shop(self, name: str, *, fresh: bool) -> None:
        """Start a shop, with its articles; new ones have nothing to sell, those that it has keep their stock."""
        started = time.monotonic()
        shop = self.shops[name]
        shop.start(fresh=fresh)
        shop.admin(
            "mutation ($input: UpdateChannelInput!) { updateChannel(input: $input) { __typename } }",
            {"input": {"id": "1", "defaultCurrencyCode": "EUR", "availableCurrencyCodes": ["EUR"]}},
        )
        known = shop.driver.variant_ids(refresh=True)
        shop.seed_catalogue([(a.sku, a.title, a.price_minor, 0) for a in self.articles if a.sku not in known])
        self._say(f"Vendure ({shop.name}) is up at {shop.base_url} after {time.monotonic() - started:.0f} s")

    def stop_systems(self) -> None:
        """Stop everything that is not Tidegate; the databases stay."""
        for shop in self.shops.values():
            shop.stop()
        self.erp.stop()
        self.world.stop()

    # --- Tidegate ----------------------------------------------------------------------------------------------
    def make_project(self, *, public_url: str | None = None, polling: bool = True) -> None:
        """Make a fresh project folder with `tidegate init` and write its configuration."""
        if self.project.folder.exists():
            self.tidegate("down", check=False)
            shutil.rmtree(self.project.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._run([sys.executable, "-m", "tidegate", "init", str(self.project.folder)])
        self.door_port, self.web_port = free_port(), free_port()
        self.project.config_file.write_text(self.config_text(public_url, polling=polling), encoding="utf-8")

    def config_text(self, public_url: str | None = None, *, polling: bool = True) -> str:
        """Return the configuration of this play; the ports of the door and the health page must be chosen."""
        shops = "\n".join(f"  {name}: {{use: vendure, url: '{shop.base_url}'}}" for name, shop in self.shops.items())
        names = ", ".join(self.shops)
        return f"""\
tenant: main
cell: c0
listen: {{host: 127.0.0.1, port: {self.door_port}, web_port: {self.web_port}}}
public_url: {public_url or f"http://127.0.0.1:{self.door_port}"}
network: {{allow: ["127.0.0.0/8"]}}
connections:
{shops}
  erp: {{use: tryton, url: '{self.erp.base_url}', database: {self.erp.database}}}
owns: {{stock.on_hand: erp, stock.available: tidegate, order: origin, shipment: erp}}
flows:
  orders: {{from: [{names}], to: erp, since: 2026-01-01, mode: live}}
  shipments: {{from: erp, to: origin, mode: live}}
  stock: {{from: erp, to: [{names}], mode: live, allocation: {{mode: "{self._allocation}"}}}}
processes: {{door: {self._processes}, apply: {self._processes}, dispatch: {self._processes}, web: 1}}
polling: {{enabled: {str(polling).lower()}}}
"""

    def up(self) -> None:
        """Start Tidegate in the background and connect the systems, as a user would."""
        self.tidegate("up", "--detach")
        for name in ("erp", *self.shops):
            self.connect(name)

    def connect(self, name: str, *, moved: bool = False) -> None:
        """Connect a system that answers, the ERP first, or again after it `moved`; Tidegate must run."""
        shop_login = {"username": "superadmin", "password": PASSWORD}
        answers = {"rest_key": self.erp.rest_key} if name == "erp" else shop_login
        given = [part for field, value in answers.items() for part in ("--set", f"{field}={value}")]
        self.tidegate("connect", name, "--yes", *(["--moved"] if moved else []), *given)

    def down(self) -> None:
        """Stop Tidegate; its project folder stays."""
        self.tidegate("down", check=False)

    def tidegate(self, *arguments: str, check: bool = True) -> str:
        """Run a `tidegate` command on the project and return what it printed."""
        return self._run(
            [sys.executable, "-m", "tidegate", arguments[0], "--project", str(self.project.folder), *arguments[1:]],
            check=check,
        )

    def state(self) -> RunState | None:
        """Return which Tidegate processes run."""
        return read_state(self.project.state_file)

    def _run(self, command: Sequence[str], *, check: bool = True) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "NO_COLOR": "1"}
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command[2:])} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout
