"""The first day with Tidegate: a shop and an ERP are connected, an order goes all the way, and every step is explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.installation import InOrder, Installation, eventually, installed
from tidegate.sdk.testing.hostile_process import HostileProcess

FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders:    {from: [shop], to: erp, since: 2020-01-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
  stock:     {from: erp, to: [shop], mode: live}
"""
STOCK = {"TEA": 10, "CUP": 5, "POT": 5}


@dataclass
class Day:
    tidegate: Installation
    shop: HostileProcess
    erp: HostileProcess

    def order(self, sku: str, quantity: int) -> dict[str, Any]:
        placed: dict[str, Any] = self.shop.control(
            "POST", "/__shop/orders", {"lines": [{"sku": sku, "quantity": quantity}]}
        )
        return placed

    def erp_reference(self, placed: dict[str, Any]) -> str | None:
        """The reference of a shop's order in the ERP, None while it is not there."""
        orders = self.erp.world().erp_orders.values()
        return next((order.reference for order in orders if order.number == placed["number"]), None)

    def tracking_of(self, placed: dict[str, Any]) -> str | None:
        fulfillments = self.shop.world().fulfillments.values()
        return next((one.tracking for one in fulfillments if one.order_id == placed["order_id"]), None)

    def shop_number(self, sku: str) -> int:
        return self.shop.world().articles[f"art-{sku}"].shop_on_hand


@contextmanager
def opened() -> Iterator[Day]:
    with HostileProcess(account="shop") as shop, HostileProcess(account="erp") as erp, installed() as tidegate:
        shop.control("POST", "/__articles", [{"sku": sku} for sku in STOCK])
        tidegate.configure({"shop": shop, "erp": erp}, FLOWS)
        erp.control("POST", "/__articles", [{"sku": sku, "erp_on_hand": units} for sku, units in STOCK.items()])
        tidegate.do("up", "--detach")
        for name in ("erp", "shop"):
            tidegate.do("connect", name, "--yes")
        yield Day(tidegate, shop, erp)


@pytest.fixture(scope="module")
def shared() -> Iterator[InOrder[Day]]:
    with closing(InOrder(opened)) as shared:
        yield shared


@pytest.fixture
def day(request: pytest.FixtureRequest, shared: InOrder[Day]) -> Day:
    return shared.of(request)


def test_the_stock_of_the_erp_reaches_the_shop(day: Day) -> None:
    eventually(lambda: day.shop_number("POT") == 5, "the shop was not told 5 pots", day.tidegate)

    view = day.tidegate.do("stock", "show", "POT", "--json").json

    assert [level["on_hand"] for level in view["levels"]] == [5]
    assert [(c["connection"], c["was_told"], c["should_be_told"]) for c in view["channels"]] == [("shop", 5, 5)]


def test_an_order_goes_all_the_way_and_why_tells_it(day: Day) -> None:
    eventually(lambda: day.shop_number("TEA") == 10, "the shop was not told 10 teas", day.tidegate)

    placed = day.order("TEA", 3)
    eventually(lambda: day.erp_reference(placed) is not None, "the ERP did not get the order", day.tidegate)
    day.erp.control("POST", "/__erp/ship", {"reference": day.erp_reference(placed), "tracking": "TRACK-7"})
    eventually(lambda: day.tracking_of(placed) == "TRACK-7", "the shop did not hear of the shipment", day.tidegate)
    eventually(lambda: day.shop_number("TEA") == 7, "the shop does not show 7 teas", day.tidegate)

    assert set(day.erp.world().effects["order.create"].values()) == {1}
    story = day.tidegate.do("why", "order", placed["number"], "--json").json
    kinds = [step["kind"] for step in story["steps"]]
    assert kinds[0] == "received"
    assert {"outcome", "ledger", "planned", "sent", "answer", "finished", "shipped"} <= set(kinds)
    assert [step["at"] for step in story["steps"]] == sorted(step["at"] for step in story["steps"])
    bound = {(binding["connection"], binding["kind"]) for binding in story["bindings"]}
    assert {("erp", "order"), ("shop", "fulfillment")} <= bound
    assert story["waits"] == []
    text = day.tidegate.do("why", "order", placed["number"]).out
    assert "succeeded: create the order in erp" in text
    assert "TRACK-7" in text


def test_nothing_is_lost_and_the_books_say_so(day: Day) -> None:
    day.order("CUP", 1)
    eventually(
        lambda: day.tidegate.do("events", "list", "--outcome", "waiting", "--json").json == [],
        "events still wait",
        day.tidegate,
    )

    eventually(lambda: day.tidegate.run("conservation").status == 0, "the books do not balance", day.tidegate)

    report = day.tidegate.do("conservation", "--json").json
    assert report["imbalance"] == 0
    assert sum(balance["received"] for balance in report["balances"]) > 0


def test_a_replay_changes_nothing(day: Day) -> None:
    eventually(
        lambda: day.tidegate.do("commands", "list", "--state", "pending", "--json").json == [],
        "commands still wait",
        day.tidegate,
    )
    before = (day.erp.world().erp_orders.keys(), day.shop.world().fulfillments.keys())

    answer = day.tidegate.do("events", "replay", "--since", "1h", "--yes")
    assert "go through once more" in answer.out
    eventually(
        lambda: day.tidegate.do("events", "list", "--outcome", "waiting", "--json").json == [],
        "replayed events still wait",
        day.tidegate,
    )

    assert (day.erp.world().erp_orders.keys(), day.shop.world().fulfillments.keys()) == before
    assert all(
        set(effects.values()) == {1} for kind, effects in day.erp.world().effects.items() if kind == "order.create"
    )


def test_writes_can_be_stopped_and_go_on(day: Day) -> None:
    day.tidegate.do("writes", "stop", "--reason", "a test")
    placed = day.order("CUP", 1)
    eventually(lambda: waits(day, placed) == ["writes_stopped"], "the command is not planned", day.tidegate)

    assert day.erp_reference(placed) is None
    day.tidegate.do("writes", "resume")

    eventually(lambda: day.erp_reference(placed) is not None, "writes do not go on", day.tidegate)


def waits(day: Day, placed: dict[str, Any]) -> list[str]:
    """Return which rules hold the commands of an order; empty while it is not known."""
    answer = day.tidegate.run("why", "order", placed["number"], "--json")
    return [wait["rule"] for wait in answer.json["waits"]] if answer.status == 0 else []


def test_doctor_finds_nothing_to_mend(day: Day) -> None:
    eventually(lambda: day.tidegate.run("doctor").status == 0, "doctor is not content", day.tidegate)

    findings = day.tidegate.do("doctor", "--json").json

    assert [finding for finding in findings if finding["verdict"] == "fail"] == []
    assert "the other side lets us in" in {finding["words"] for finding in findings}


def test_status_shows_the_processes(day: Day) -> None:
    report = day.tidegate.do("status", "--json").json

    names = [process["name"] for process in report["processes"] if process["alive"]]
    assert names == ["supervisor", "door-1", "web-1", "apply-1", "dispatch-1"]
    assert {lane["connection"] for lane in report["lanes"]} == {"erp", "shop"}
    assert "supervisor" in day.tidegate.do("status").out


def test_an_event_is_shown_and_its_body_only_on_request(day: Day) -> None:
    event = day.tidegate.do("events", "list", "--connection", "shop", "--limit", "1", "--json").json[0]

    shown = day.tidegate.do("events", "show", event["event_id"], "--json").json
    assert "body" not in shown
    with_body = day.tidegate.do("events", "show", event["event_id"], "--body", "--json").json

    assert shown["outcomes"]
    assert with_body["body"].startswith("{")
