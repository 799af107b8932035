"""The way from nothing, or from yesterday's data, to two open shops: which steps there are and what each waits for."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import yaml
from e2e.stage import SHOPS, Stage
from realsystems.tryton.install import REQUIREMENTS
from realsystems.vendure import SHOP_FILES
from realsystems.worldpg import free_port, is_free

from demo.gate import Gate
from demo.steps import Step

STOCK_SECONDS = 120.0
SHOP_TITLES = {"shop_a": "shop A", "shop_b": "shop B"}


class Opening:
    """Opens the stage. Data of an earlier run is taken up where it was left, unless that cannot be done."""

    def __init__(self, stage: Stage, gate: Gate, *, fresh: bool) -> None:
        self._stage = stage
        self._gate = gate
        self._opened_file = opened_file(stage)
        self._fresh = fresh

    def steps(self) -> list[Step]:
        """Return the steps of the start."""
        return [
            Step("postgres", "PostgreSQL 18 for the shops and the ERP", self._start_world),
            Step("erp_packages", f"Tryton: {erp_packages()} packages from the Python index", self._install_erp),
            Step("shop_packages", f"Vendure: {shop_packages()} packages from npm", self._install_shops),
            Step("erp_base", "Tryton: modules, company, accounts, warehouse", self._make_erp_base,
                 needs=("postgres", "erp_packages")),
            Step("shop_base", "Vendure: tables, taxes, shipping, payment", self._make_shop_base,
                 needs=("postgres", "shop_packages")),
            Step("gate", "Tidegate: database, door, workers", self._start_gate, needs=("postgres",)),
            Step("erp", "Tryton: server and articles", self._open_erp, needs=("erp_base",)),
            *(Step(name, f"Vendure: {SHOP_TITLES[name]}, server and articles", partial(self._open_shop, name),
                   needs=("shop_base",)) for name in SHOPS),
            Step("connect_erp", "Tidegate: connect Tryton", partial(self._connect, "erp"), needs=("gate", "erp")),
            *(Step(f"connect_{name}", f"Tidegate: connect {SHOP_TITLES[name]}", partial(self._connect, name),
                   needs=("connect_erp", name)) for name in SHOPS),
            Step("stock", "Both shops show Tryton's stock", self._wait_for_stock,
                 needs=tuple(f"connect_{name}" for name in SHOPS)),
        ]  # fmt: skip

    # --- systems -----------------------------------------------------------------------------------------------
    def _start_world(self) -> str:
        self._stage.world.start()
        reason = self._why_fresh()
        self._fresh = bool(reason)
        if not reason:
            return "with the data of the last run"
        self._opened_file.unlink(missing_ok=True)
        self._stage.forget_erp()
        return reason

    def _why_fresh(self) -> str:
        """Return why databases are made anew; '' when those of the last run can be used."""
        stage = self._stage
        if self._fresh:
            return "all data new, as asked"
        if not self._opened_file.exists():
            return "all data new"
        names = [stage.erp.database, *(shop.name for shop in stage.shops.values())]
        if not all(stage.world.has_database(name) for name in names) or not stage.project.root_key_file.exists():
            return "all data new: some of it was gone"
        if stage.erp.is_outdated():
            return "all data new: the ERP is set up differently since"
        return ""

    def _install_erp(self) -> str:
        return "" if self._stage.erp.install() else "there already"

    def _install_shops(self) -> str:
        shop = self._stage.shops[SHOPS[0]]
        return "" if shop.install_packages() else "there already"

    def _make_erp_base(self) -> str:
        return "" if self._stage.erp.make_base() else "there already"

    def _make_shop_base(self) -> None:
        self._stage.shops[SHOPS[0]].install()

    def _open_erp(self) -> str:
        self._stage.open_erp()
        return self._stage.erp.base_url

    def _open_shop(self, name: str) -> str:
        self._stage.open_shop(name, fresh=self._fresh)
        return self._stage.shops[name].base_url

    # --- Tidegate ----------------------------------------------------------------------------------------------
    def _start_gate(self) -> str:
        stage = self._stage
        self._gate.end_leftover()
        if self._fresh:
            stage.make_project()
        else:
            stage.door_port, stage.web_port = kept_ports(stage.project.config_file)
            stage.project.config_file.write_text(stage.config_text(), encoding="utf-8")
        self._gate.start()
        return f"http://127.0.0.1:{stage.door_port}"

    def _connect(self, name: str) -> str:
        """Connect a system, unless everything is where it was when it was connected."""
        config = self._stage.config_text()
        if self._opened_file.exists() and self._opened_file.read_text(encoding="utf-8") == config:
            return "as before"
        self._stage.project.config_file.write_text(config, encoding="utf-8")
        self._stage.connect(name, moved=not self._fresh)
        return ""

    def _wait_for_stock(self) -> str:
        """Wait until the shops have heard of the ERP's stock; shops that sold before have."""
        if not self._fresh:
            self._note_opened()
            return "since the last run"
        wanted = {article.sku: article.quantity for article in self._stage.articles}
        deadline = time.monotonic() + STOCK_SECONDS
        for name in SHOPS:
            while any(self._stage.shops[name].stock_levels()[sku][0] != number for sku, number in wanted.items()):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{SHOP_TITLES[name]} never showed the ERP's stock")
                time.sleep(0.2)
        self._note_opened()
        return f"{sum(wanted.values()):,} pieces of {len(wanted)} articles"

    def _note_opened(self) -> None:
        self._opened_file.write_text(self._stage.config_text(), encoding="utf-8")


def opened_file(stage: Stage) -> Path:
    """Return the file with the configuration that everything was connected with; there is one after a first start."""
    return stage.folder / "opened.yaml"


def kept_ports(config_file: Path) -> tuple[int, int]:
    """Return the ports of door and health page: those of the last run if they are free."""
    listen = yaml.safe_load(config_file.read_text(encoding="utf-8"))["listen"]
    door, web = (port if is_free(port) else free_port() for port in (int(listen["port"]), int(listen["web_port"])))
    return door, web


def erp_packages() -> int:
    """Return how many packages the ERP consists of."""
    return REQUIREMENTS.read_text(encoding="utf-8").count("==")


def shop_packages() -> int:
    """Return how many packages the shops consist of."""
    lock = json.loads((SHOP_FILES / "package-lock.json").read_text(encoding="utf-8"))
    return len(lock["packages"]) - 1
