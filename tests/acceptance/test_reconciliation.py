"""Looks on a whole installation: what was edited over there is told anew, asked for, held, and told in the story of the SKU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.installation import Installation, eventually, installed
from tidegate.sdk.testing.hostile_process import HostileProcess

FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  stock: {from: erp, to: [shop], mode: live}
reconcile: {erp: {enabled: false}, shop: {heal: {stock: POLICY}}}
"""


@dataclass
class Day:
    tidegate: Installation
    shop: HostileProcess

    def shown(self, sku: str) -> int:
        return int(self.shop.world().articles[f"art-{sku}"].shop_on_hand)

    def edit(self, sku: str, number: int) -> None:
        self.shop.control("POST", "/__articles", [{"sku": sku, "shop_on_hand": number}])

    def status(self) -> Any:
        (shop,) = [each for each in self.tidegate.do("sync", "status", "--json").json["items"] if each["is_scheduled"]]
        return shop

    def run(self) -> Any:
        return self.tidegate.do("sync", "run", "shop", "--json").json


@pytest.fixture
def day() -> Iterator[Day]:
    with HostileProcess(account="shop") as shop, HostileProcess(account="erp") as erp, installed() as tidegate:
        shop.control("POST", "/__articles", [{"sku": "TEA", "shop_on_hand": 0}, {"sku": "CUP", "shop_on_hand": 0}])
        erp.control("POST", "/__articles", [{"sku": "TEA", "erp_on_hand": 10}, {"sku": "CUP", "erp_on_hand": 5}])
        tidegate.configure({"shop": shop, "erp": erp}, FLOWS.replace("POLICY", "auto"))
        tidegate.do("up", "--detach")
        for name in ("erp", "shop"):
            tidegate.do("connect", name, "--yes")
        yield Day(tidegate, shop)


def test_what_was_edited_over_there_is_found_and_healed_by_policy(day: Day) -> None:
    eventually(lambda: (day.shown("TEA"), day.shown("CUP")) == (10, 5), "the shop is not told the ERP's numbers")
    eventually(lambda: day.status()["due_at"] is not None, "no look is planned")

    day.edit("TEA", 99)
    day.run()
    eventually(lambda: day.shown("TEA") == 10, "what was edited is not healed")
    day.run()
    assert day.status()["differences"] == 0
    story = [step["words"] for step in day.tidegate.do("why", "sku", "TEA", "--json").json["steps"]]
    assert any("found stock 99, where it should be 10" in words for words in story), story
    assert any("told stock anew because of a look, by reconcile" in words for words in story), story
    assert any("even again" in words for words in story), story

    assert day.tidegate.do("sync", "pause", "shop", "--for", "2h", "--json").json == {"paused": ["shop"]}
    assert day.status()["paused_until"] is not None
    text = day.tidegate.run("sync", "run", "shop").out
    assert "go on with: tidegate sync resume shop" in text
    assert "nothing is read" in text, "a look that is held does not go on"
    assert day.tidegate.do("sync", "resume", "--json").json == {"resumed": ["shop"]}
    assert "nothing was paused" in day.tidegate.do("sync", "resume").out

    file = day.tidegate.folder / "tidegate.yaml"
    file.write_text(file.read_text().replace("stock: auto", "stock: approve"))
    day.tidegate.do("config", "apply", "--yes")
    day.edit("CUP", 1)
    day.run()
    (row,) = day.tidegate.do("drift", "list", "--no-refresh", "--json").json["rows"]
    assert (row["sku"], row["heal"], day.shown("CUP")) == ("CUP", "waits", 1)
    assert "wait for approval: tidegate drift approve --connection shop" in day.tidegate.do("sync", "status").out
    assert day.tidegate.do("drift", "approve", "--all", "--dry-run", "--json").json["chosen"] == 1
    assert day.tidegate.do("drift", "approve", "--sku", "C*", "--json").json["told"] == 1
    eventually(lambda: day.shown("CUP") == 5, "what was approved is not told")

    assert day.tidegate.run("drift", "heal").status == 64
    assert day.tidegate.run("sync", "pause", "nowhere").status == 78
