"""A shop and a warehouse that know nothing but signed events: an order goes all the way, keys change without a pause."""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.acceptance.installation import InOrder, Installation, eventually, installed
from tests.hookbed import Receiver, Taken, deliver, post, receiving, reference_headers
from tidegate.sandbox.limits import Bucket
from tidegate.sdk.signatures import StandardWebhooks

FILE = """
listen: {{host: 127.0.0.1, port: {port}, web_port: {web_port}}}
network: {{allow: ["127.0.0.0/8"]}}
connections:
  shop: {{use: standard_webhooks, url: "{shop}"}}
  threepl: {{use: standard_webhooks, url: "{threepl}", signs_with: ed25519}}
  zap: {{use: standard_webhooks, url: "{zap}"}}
owns: {{stock.on_hand: threepl, shipment: threepl}}
flows:
  orders:    {{from: [shop], to: threepl, since: 2020-01-01, mode: live}}
  shipments: {{from: threepl, to: origin, mode: live}}
  stock:     {{from: threepl, to: [shop], mode: live}}
  events:    {{to: [zap], types: [order.*, shipment.*, stock.*], mode: live}}
alerts: {{rules: {{budget_near_limit: {{threshold: 0.6, for: 0s}}}}}}
"""


@dataclass
class Side:
    """One of the two systems: what it takes, and how it sends."""

    receiver: Receiver
    url: str = ""
    secret: str = ""
    verify_key: str = ""
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def send(self, event_type: str, data: dict[str, Any], *, secret: str | None = None) -> int:
        event = {"type": event_type, "timestamp": datetime.now(UTC).isoformat(), "data": data}
        return deliver(self.url, secret or self.secret, f"msg_{event_type}_{next(self.numbers)}", event)


@dataclass
class Day:
    tidegate: Installation
    shop: Side
    threepl: Side
    zap: Side

    def order(self, external_id: str, quantity: int, **changes: Any) -> int:
        data = {
            "id": external_id,
            "state": "open",
            "payment_state": "paid",
            "placed_at": datetime.now(UTC).isoformat(),
            "currency": "EUR",
            "total": str(10 * quantity),
            "customer": {"email": "zoe@example.com", "first_name": "Zoe"},
            "lines": [{"id": "1", "sku": "TEA", "title": "Tea", "quantity": quantity, "unit_price": "10.00"}],
        }
        return self.shop.send("order.paid", {**data, **changes})

    def asked(self, external_id: str, event_type: str = "order.create") -> dict[str, Any] | None:
        """What the 3PL was asked about a shop's order."""
        found = (one.event["data"] for one in self.threepl.receiver.of_type(event_type))
        return next((data for data in found if data.get("number") == external_id), None)

    def send_all_the_way(self) -> dict[str, Any]:
        """Have order A-1 of 3 TEA sold, asked for and shipped, unless it is already; return what the 3PL was asked.

        Tests of one file may be shared out over several processes, each with its own day, so none counts on another.
        """
        eventually(lambda: self.told() is not None, "the shop was not told", self.tidegate)
        if self.asked("A-1") is None:
            eventually(lambda: self.told() == 10, "the shop was not told 10", self.tidegate)
            assert self.order("A-1", 3) // 100 == 2
        eventually(lambda: self.asked("A-1") is not None, "the 3PL was not asked", self.tidegate)
        asked = self.asked("A-1")
        assert asked is not None
        if not self.shop.receiver.of_type("fulfillment.create"):
            eventually(lambda: self.told() == 7, "the shop does not show 7", self.tidegate)
            shipment = {
                "id": "S-1",
                "order": asked["id"],
                "lines": [{"sku": "TEA", "quantity": 3, "line": asked["lines"][0]["id"]}],
                "shipped_at": datetime.now(UTC).isoformat(),
                "tracking": "TRACK-9",
                "moves_stock": True,
            }
            assert self.threepl.send("shipment.created", shipment) // 100 == 2
        return asked

    def told(self) -> int | None:
        """The number of TEA that the shop was told last."""
        items = [
            item
            for one in self.shop.receiver.of_type("inventory.set")
            for item in one.event["data"]["items"]
            if item["sku"] == "TEA"
        ]
        return items[-1]["quantity"] if items else None


@contextmanager
def opened() -> Iterator[Day]:
    with receiving("/shop") as shop, receiving("/3pl/") as threepl, receiving("/zap") as zap, installed() as tidegate:
        ports = {"port": tidegate.port, "web_port": tidegate.web_port}
        text = FILE.format(**ports, shop=shop.url, threepl=threepl.url, zap=zap.url)
        (tidegate.folder / "tidegate.yaml").write_text(text)
        tidegate.do("up", "--detach")
        sides = {"shop": Side(shop), "threepl": Side(threepl), "zap": Side(zap)}
        for name, side in sides.items():
            made = tidegate.do("connect", name, "--yes", "--json").json
            side.url, side.secret = made["webhook"]["url"], made["webhook"]["secret"]
            (side.verify_key,) = made["hand_over"].values()
        day = Day(tidegate, **sides)
        # The warehouse counts its first article; then both are bound to it.
        side = sides["threepl"]
        assert side.send("stock.changed", {"id": "M-1", "sku": "TEA", "kind": "receive", "delta": 10}) // 100 == 2
        eventually(lambda: tidegate.run("stock", "show", "TEA").status == 0, "the article is not there", tidegate)
        for name in sides:
            tidegate.do("connect", name, "--yes")
        yield day


@pytest.fixture(scope="module")
def shared() -> Iterator[InOrder[Day]]:
    with closing(InOrder(opened)) as shared:
        yield shared


@pytest.fixture
def day(request: pytest.FixtureRequest, shared: InOrder[Day]) -> Day:
    return shared.of(request)


def test_a_counted_article_reaches_the_shop(day: Day) -> None:
    eventually(lambda: day.told() == 10, "the shop was not told 10", day.tidegate)

    taken = day.shop.receiver.of_type("inventory.set")[-1]
    Webhook(day.shop.verify_key).verify(taken.body, taken.headers)


def test_an_order_goes_all_the_way(day: Day) -> None:
    asked = day.send_all_the_way()
    taken = day.threepl.receiver.of_type("order.create")[-1]
    StandardWebhooks()(taken.headers, taken.body, [day.threepl.verify_key], datetime.now(UTC).timestamp())
    assert (asked["lines"][0]["sku"], asked["lines"][0]["quantity"], asked["total"]) == ("TEA", 3, "30.00")
    eventually(
        lambda: bool(day.shop.receiver.of_type("fulfillment.create")), "the shop did not hear of it", day.tidegate
    )

    told = day.shop.receiver.of_type("fulfillment.create")[0].event["data"]
    assert (told["order"], told["tracking"], told["lines"]) == ("A-1", "TRACK-9", [{"line": "1", "quantity": 3}])
    eventually(
        lambda: day.tidegate.do("stock", "show", "TEA", "--json").json["levels"][0]["on_hand"] == 7,
        "the goods did not leave",
        day.tidegate,
    )
    assert [one.event["data"]["number"] for one in day.threepl.receiver.of_type("order.create")] == ["A-1"]


def events_of(side: Side, number: str) -> list[dict[str, Any]]:
    found = (one.event["data"] for one in side.receiver.of_type("order.updated"))
    return [data for data in found if data["number"] == number]


def waits_for_sending(day: Day, number: str, side: Side) -> bool:
    """Whether all three changes of the order are applied and none of them is told yet."""
    view = day.tidegate.run("why", "order", number, "--json")
    planned = [step for step in view.json["steps"] if step["kind"] == "outcome"] if view.status == 0 else []
    return len(planned) >= 3 and not events_of(side, number)


def test_a_listener_is_told_how_things_stand_and_nobodys_name(day: Day) -> None:
    def last(event_type: str) -> Any:
        found = day.zap.receiver.of_type(event_type)
        return found[-1].event["data"] if found else None

    day.send_all_the_way()
    eventually(lambda: last("shipment.created") is not None, "the listener heard of no shipment", day.tidegate)
    eventually(lambda: (last("stock.updated") or {}).get("on_hand") == 7, "it does not know the stock", day.tidegate)
    eventually(
        lambda: (last("order.updated") or {}).get("fulfillment_state") == "fulfilled",
        "it does not know that the order left",
        day.tidegate,
    )

    order = last("order.updated")
    assert (order["number"], order["total"], order["lines"][0]["quantity_shipped"]) == ("A-1", "30.00", 3)
    assert (last("shipment.created")["tracking"], last("stock.updated")["sku"]) == ("TRACK-9", "TEA")
    for taken in day.zap.receiver.taken:
        Webhook(day.zap.verify_key).verify(taken.body, taken.headers)
        assert b"@" not in taken.body, "no customer"
    ids = [taken.headers["webhook-id"] for taken in day.zap.receiver.taken]
    assert len(set(ids)) == len(ids)
    day.tidegate.do("writes", "stop", "--reason", "to see what waits")
    for city in ("Rome", "Oslo", "Bonn"):
        day.order("A-1a", 1, shipping_method=city)
    eventually(lambda: waits_for_sending(day, "A-1a", day.zap), "the changes are not planned", day.tidegate)
    day.tidegate.do("writes", "resume")
    eventually(lambda: bool(events_of(day.zap, "A-1a")), "the order is not told", day.tidegate)
    eventually(lambda: day.asked("A-1a") is not None, "the 3PL was not asked", day.tidegate)
    assert [one["shipping_method"] for one in events_of(day.zap, "A-1a")] == ["Bonn"], "the newest state, once"

    day.tidegate.do("observe", "events", "--yes")
    told = len(day.zap.receiver.taken)
    day.order("A-1b", 1)
    eventually(lambda: day.asked("A-1b") is not None, "the 3PL was not asked", day.tidegate)
    assert len(day.zap.receiver.taken) == told, "a flow that observes tells nothing"


def test_a_repeated_delivery_changes_nothing_and_a_refusal_stops_nothing_else(day: Day) -> None:
    data = {"id": "M-1", "sku": "TEA", "kind": "receive", "delta": 10}
    before = day.tidegate.do("stock", "show", "TEA", "--json").json["levels"]

    assert day.threepl.send("stock.changed", data) // 100 == 2
    assert day.threepl.send("stock.counted", {"id": "C-1", "sku": "TEA", "counted": 99}) // 100 == 2
    assert day.threepl.send("customer.updated", {"id": "9"}) // 100 == 2
    assert day.threepl.send("stock.changed", data, secret=day.shop.secret) == 401
    eventually(
        lambda: day.tidegate.do("events", "list", "--outcome", "waiting", "--json").json == [],
        "events wait",
        day.tidegate,
    )

    assert day.tidegate.do("stock", "show", "TEA", "--json").json["levels"] == before
    (kept,) = day.tidegate.do("events", "list", "--outcome", "quarantined", "--json").json
    assert "delta" in kept["reason"]
    ignored = day.tidegate.do("events", "list", "--outcome", "ignored", "--json").json
    assert "unknown_type" in {one["code"] for one in ignored}


def test_a_receiver_that_is_away_gets_the_same_event_again(day: Day) -> None:
    day.threepl.receiver.answers += [(503, {"retry-after": "7"}, b"")]

    day.order("A-2", 1)

    def list_tries() -> list[Taken]:
        found = day.threepl.receiver.of_type("order.create")
        return [one for one in found if one.event["data"]["number"] == "A-2"]

    eventually(lambda: len(list_tries()) >= 2, "it was not sent again", day.tidegate)
    eventually(
        lambda: day.tidegate.do("commands", "list", "--state", "succeeded", "--json").json != [],
        "not done",
        day.tidegate,
    )

    tries = list_tries()
    assert len({one.headers["webhook-id"] for one in tries}) == 1
    assert len({one.body for one in tries}) == 1
    first, second = (int(one.headers["webhook-timestamp"]) for one in tries)
    assert second - first >= 6, "the second step is 5 s, and the receiver asked for 7"


def test_a_receiver_that_hangs_holds_up_nobody_else(day: Day) -> None:
    """A listener that never answers has all of its calls in flight; the shop and the 3PL go on meanwhile."""
    day.tidegate.do("live", "events", "--yes")  # an earlier test had it observe
    with day.zap.receiver.hanging():
        day.order("A-2a", 1)
        eventually(lambda: day.zap.receiver.hangs >= 1, "the listener was not called", day.tidegate)
        day.order("A-2b", 1)
        eventually(lambda: day.asked("A-2b") is not None, "the 3PL waits for somebody else", day.tidegate)
        assert not events_of(day.zap, "A-2b")
    eventually(lambda: bool(events_of(day.zap, "A-2b")), "the listener is told afterwards", day.tidegate)


def test_w3_w5_replays_and_clocks_of_signed_events(day: Day) -> None:
    """The same id, the same body under another id, clocks that go wrong in both directions, several signatures at once."""
    data = {"id": "M-9", "sku": "TEA", "kind": "receive", "delta": 5}
    body = json.dumps({"type": "stock.changed", "timestamp": datetime.now(UTC).isoformat(), "data": data}).encode()

    def send(message_id: str, *, seconds: float = 0, before: str = "", changed: bytes = body) -> int:
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        headers = reference_headers(day.threepl.secret, message_id, changed, at=at)
        headers["webhook-signature"] = before + headers["webhook-signature"]
        return post(day.threepl.url, changed, headers)

    def on_hand() -> int:
        return int(day.tidegate.do("stock", "show", "TEA", "--json").json["levels"][0]["on_hand"])

    had = on_hand()
    foreign = "v1," + base64.b64encode(bytes(32)).decode() + " v1a,AAAA v9,new "
    assert [send("msg_w", seconds=seconds) for seconds in (-330, 330)] == [401, 401]
    assert [send("msg_w", seconds=seconds) // 100 for seconds in (-270, 270)] == [2, 2], "the same id twice"
    assert send("msg_x", before=foreign) // 100 == 2, "the same body under another id, and signatures of other kinds"
    assert send("msg_x", before="v1,!!! ") in (200, 202, 204, 401)
    eventually(lambda: on_hand() == had + 5, "the movement is posted", day.tidegate)
    eventually(
        lambda: day.tidegate.do("events", "list", "--outcome", "waiting", "--json").json == [],
        "events wait",
        day.tidegate,
    )
    assert on_hand() == had + 5, "once"


def test_keys_change_without_a_pause_in_both_directions(day: Day) -> None:
    rotated = day.tidegate.do("webhook", "rotate", "threepl", "--json").json
    assert (rotated["is_new"], rotated["registered"]) == (True, False)
    again = day.tidegate.do("webhook", "rotate", "threepl", "--json").json
    assert (again["is_new"], again["secret"]) == (False, rotated["secret"])
    eventually(
        lambda: day.threepl.send("customer.updated", {"id": "1"}, secret=rotated["secret"]) // 100 == 2,
        "the new secret does not verify",
        day.tidegate,
    )
    assert day.threepl.send("customer.updated", {"id": "2"}) // 100 == 2, "the old one verifies beside it"

    new_key = day.tidegate.do("webhook", "rotate", "threepl", "--sending", "--json").json["value"]
    assert new_key.startswith("whpk_")
    assert new_key in day.tidegate.do("webhook", "keys", "threepl").out
    day.order("A-3", 1)
    eventually(lambda: day.asked("A-3") is not None, "the 3PL was not asked", day.tidegate)
    taken = day.threepl.receiver.of_type("order.create")[-1]
    now = datetime.now(UTC).timestamp()
    for key in (day.threepl.verify_key, new_key):
        StandardWebhooks()(taken.headers, taken.body, [key], now)

    ended = day.tidegate.do("webhook", "rotate", "threepl", "--finish", "--json").json["ended"]
    assert len(ended) == 2
    eventually(lambda: day.threepl.send("customer.updated", {"id": "3"}) == 401, "the old one still verifies")
    assert day.threepl.send("customer.updated", {"id": "4"}, secret=rotated["secret"]) // 100 == 2
    day.threepl.secret = rotated["secret"]
    assert day.tidegate.do("webhook", "rotate", "threepl", "--finish").out == "nothing older was in use\n"


def test_a_receiver_that_says_gone_is_sent_nothing_more_and_the_reason_is_shown(day: Day) -> None:
    day.threepl.receiver.answers += [(410, {}, b"")]

    day.order("A-4", 1)
    eventually(
        lambda: "asked to be sent nothing" in day.tidegate.run("status").out + day.tidegate.run("doctor").out,
        "the pause is not shown",
        day.tidegate,
    )
    sent = len(day.threepl.receiver.taken)
    day.order("A-5", 1)
    day.tidegate.do("connect", "threepl", "--yes")
    eventually(lambda: day.asked("A-5") is not None, "it does not go on", day.tidegate)

    assert day.asked("A-4") is not None
    assert len(day.threepl.receiver.taken) >= sent + 2
    assert day.tidegate.run("conservation").status in (0, 1)


def test_in_an_overload_the_alert_on_use_fires_before_the_first_429(day: Day) -> None:
    """R36: the warning comes while the budget still holds; a 429 comes only when another app takes half, and loses nothing."""
    receiver = day.threepl.receiver
    file = day.tidegate.folder / "tidegate.yaml"
    file.write_text(
        file.read_text() + "lanes: {threepl: {share: 0.1}}\n"
    )  # one a second: also a slow machine is too fast
    day.tidegate.do("config", "apply", "--yes")
    limit = receiver.limit = Bucket(2, 1, now=time.monotonic())
    names = [f"B-{number}" for number in range(30)]

    def firing() -> set[tuple[str, str]]:
        found = day.tidegate.do("alerts", "--json").json["alerts"]
        return {(alert["rule"], alert["subject"]) for alert in found}

    for name in names:
        assert day.order(name, 1) // 100 == 2
    eventually(lambda: ("budget_near_limit", "threepl") in firing(), "no alert on the use of the budget", day.tidegate)
    fired_at = time.monotonic()
    assert receiver.refused_at == [], "it was told to wait before anybody was warned"
    assert limit.meter.violations == 0

    limit.eat(0.9, time.monotonic())
    more = [f"C-{number}" for number in range(5)]
    for name in more:
        assert day.order(name, 1) // 100 == 2
    eventually(lambda: len(receiver.refused_at) > 0, "another app takes most of it, and nothing shows", day.tidegate)
    limit.eat(0.0, time.monotonic())
    wanted = {*names, *more}

    def asked() -> set[str]:
        return {one.event["data"].get("number") for one in receiver.of_type("order.create")}

    eventually(lambda: wanted <= asked(), "orders were lost", day.tidegate)
    assert min(receiver.refused_at) > fired_at
    receiver.limit = None
