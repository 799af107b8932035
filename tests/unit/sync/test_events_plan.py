"""Who is told of what: once per entity and batch, and only what was asked for."""

from __future__ import annotations

from uuid import UUID

import pytest
from tests.foldbed import ERP, SHOP, Book, line_seen, moved, observing, order_seen, shipped

from tidegate.commerce.changes import ShipmentLine
from tidegate.commerce.commands import CommandKind
from tidegate.commerce.events import EVENT_TYPES, matches
from tidegate.commerce.states import CommandState, OrderState
from tidegate.config.records import Mode
from tidegate.sync.plan import plan_waiting
from tidegate.sync.policy import Listener

ZAP = UUID(int=77)


def told(book: Book) -> list[tuple[str, CommandState]]:
    commands = [each for each in book.results[-1].commands if each.kind is CommandKind.EVENT_SEND]
    assert {each.connection_id for each in commands} <= {ZAP}
    return sorted((each.target_key.split(":")[1], each.state) for each in commands)


def listening(*types: str, mode: Mode = "live") -> Book:
    return Book(policy=observing(listeners=(Listener(ZAP, mode, types),)))


def test_an_order_its_shipment_and_its_stock_are_told_once_each_however_much_changed() -> None:
    book = listening("*")

    book.fold((SHOP, order_seen(1, [line_seen("a", "A", 2)])), (SHOP, order_seen(2, [line_seen("a", "A", 3)])))

    assert told(book) == [("item", CommandState.PENDING), ("order", CommandState.PENDING)]
    lines = [ShipmentLine(line_reference=book.line_reference("a"), sku="A", quantity=3)]
    book.fold((ERP, shipped("s1", book.reference(), lines)), (ERP, moved("m1", "A", 5)))
    assert told(book) == [("item", CommandState.PENDING), ("shipment", CommandState.PENDING)]


@pytest.mark.parametrize(
    ("types", "state", "wanted"),
    [
        (("order.*",), "open", ["order"]),
        (("order.cancelled",), "open", []),
        (("order.cancelled",), "cancelled", ["order"]),
        (("shipment.created",), "open", []),
        (("stock.*",), "open", ["item"]),
    ],
)
def test_only_what_was_asked_for_is_told(types: tuple[str, ...], state: str, wanted: list[str]) -> None:
    book = listening(*types)

    book.fold((SHOP, order_seen(1, [line_seen("a", "A", 2)])))
    if state == "cancelled":
        book.fold((SHOP, order_seen(2, [line_seen("a", "A", 2)], order_state=OrderState.CANCELLED)))

    assert [subject for subject, _ in told(book)] == wanted


def test_a_flow_that_proposes_asks_a_person() -> None:
    book = listening("order.*", mode="propose")

    book.fold((SHOP, order_seen(1, [line_seen("a", "A", 2)])))

    assert told(book) == [("order", CommandState.PROPOSED)]


def test_patterns_name_whole_types_or_families() -> None:
    assert [each for each in EVENT_TYPES if matches(each, ["order.*"])] == ["order.updated", "order.cancelled"]
    assert not matches("order.updated", ["order", "Order.*", ""])


def test_orders_that_wait_for_goods_are_told_although_nothing_else_of_them_changed() -> None:
    policy = observing(listeners=(Listener(ZAP, "live", ("order.*",)),))
    one, two = UUID(int=1), UUID(int=2)

    plans = plan_waiting([two, one], {two}, iter((7,)).__next__, policy, None)

    assert [(each.connection_id, each.kind, each.entity_id, each.version) for each in plans] == [
        (ZAP, CommandKind.EVENT_SEND, one, 7)
    ]
    assert plan_waiting([one], (), int, observing(listeners=(Listener(ZAP, "live", ("stock.*",)),)), None) == []
