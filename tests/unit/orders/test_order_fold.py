"""Orders: lines by the channel's id, shipments by reference or SKU, totals that nearly fit."""

from __future__ import annotations

from uuid import UUID

import pytest
from tests.foldbed import MAIN, SHOP, line_seen, order_seen, variant_of

from tidegate.commerce.changes import OrderSeen, PaymentSeen, ShipmentLine
from tidegate.commerce.states import FulfillmentState
from tidegate.kernel.ids import new_id
from tidegate.orders.fold import fold_order, has_totals_mismatch, match_shipment_lines, new_order, ship_units
from tidegate.orders.records import Order

LINES = [line_seen("L1", "A", 3), line_seen("L2", "B", 2), line_seen("L3", "A", 4)]


def folded(*versions: OrderSeen) -> Order:
    order = new_order(versions[0], order_id=new_id(), connection_id=SHOP)
    for seen in versions:
        fold_order(order, seen, variant_of=lambda line: variant_of(line.sku), location_id=MAIN, make_id=new_id)
    return order


def test_a_line_keeps_its_id_through_edits_and_takes_over_what_changed() -> None:
    order = folded(order_seen(1, LINES))
    before = {name: line.line_id for name, line in order.lines.items()}

    again = [line_seen("L3", "A", 5, unit_price="9.50"), line_seen("L1", "A", 1)]
    fold_order(
        order, order_seen(2, again), variant_of=lambda line: variant_of(line.sku), location_id=MAIN, make_id=new_id
    )

    assert {name: line.line_id for name, line in order.lines.items()} == before
    assert [(line.position, line.current, line.unit_price) for line in order.lines.values()] == [
        (1, 1, "10.00"),
        (1, 0, "10.00"),
        (0, 5, "9.50"),
    ]


def test_the_newest_state_of_each_payment_is_kept() -> None:
    sale = PaymentSeen(external_id="p1", kind="sale", state="pending", amount_minor=100, method="card")
    settled = PaymentSeen(external_id="p1", kind="sale", state="settled", amount_minor=100, method="card")

    order = folded(order_seen(1, LINES, payments=(sale,)), order_seen(2, LINES, payments=(settled,)))

    assert order.payments == {"p1": settled}


@pytest.mark.parametrize(
    ("lines_minor", "shipping", "discount", "total", "is_mismatch"),
    [
        ([1000], 0, 0, 1000, False),
        ([1000, 500], 490, 90, 1900, False),
        ([1000, 500], 490, 90, 1902, False),  # a minor unit per line is rounding
        ([1000, 500], 490, 90, 1903, True),
        ([1000], 0, 0, 998, True),
        ([], 0, 0, 1, False),
        ([], 0, 0, 2, True),
    ],
)
def test_totals_that_do_not_add_up_are_seen(
    lines_minor: list[int], shipping: int, discount: int, total: int, *, is_mismatch: bool
) -> None:
    lines = [line_seen(f"L{index}", "A", 1, total_minor=minor) for index, minor in enumerate(lines_minor)]
    seen = order_seen(1, lines, shipping_minor=shipping, discount_minor=discount, total_minor=total)

    assert has_totals_mismatch(seen) is is_mismatch


# --- shipping ----------------------------------------------------------------------------------------------------------


def test_units_leave_the_named_line() -> None:
    order = folded(order_seen(1, LINES))
    line = order.lines["L3"]

    assert ship_units(order, line_id=line.line_id, sku="A", units=2) == [(line, 2)]

    assert order.lines["L1"].shipped == 0
    assert order.fulfillment_state is FulfillmentState.PARTIALLY_FULFILLED


def test_units_without_a_line_leave_the_lines_of_their_sku_in_order() -> None:
    order = folded(order_seen(1, LINES))

    taken = ship_units(order, line_id=None, sku="A", units=5)

    assert taken == [(order.lines["L1"], 3), (order.lines["L3"], 2)]


def test_what_is_more_than_open_belongs_to_no_line() -> None:
    order = folded(order_seen(1, LINES))

    assert ship_units(order, line_id=order.lines["L2"].line_id, sku="B", units=9) == [(order.lines["L2"], 2)]
    assert ship_units(order, line_id=order.lines["L2"].line_id, sku="B", units=1) == []
    assert ship_units(order, line_id=UUID(int=5), sku="B", units=1) == [], "another order's line"


def test_everything_shipped_is_fulfilled() -> None:
    order = folded(order_seen(1, LINES))

    for sku in ("A", "B"):
        ship_units(order, line_id=None, sku=sku, units=9)

    assert order.fulfillment_state is FulfillmentState.FULFILLED


# --- matching a shipment -----------------------------------------------------------------------------------------------


def part(sku: str, quantity: int, reference: str = "") -> ShipmentLine:
    return ShipmentLine(line_reference=reference, sku=sku, quantity=quantity)


def matched(order: Order, *parts: ShipmentLine) -> dict[str, int]:
    """Return units by the channel's line id; a reference in a test is the channel's line id."""
    names = {line.line_id: name for name, line in order.lines.items()}

    def parse(text: str) -> UUID | None:
        return order.lines[text].line_id if text in order.lines else None

    return {names[line_id]: units for line_id, units in match_shipment_lines(order, parts, parse).items()}


@pytest.mark.parametrize(
    ("parts", "units"),
    [
        ([part("A", 2, "L3")], {"L3": 2}),
        ([part("A", 2, "L3"), part("A", 1, "L3")], {"L3": 3}),
        ([part("A", 2)], {"L1": 2}),
        ([part("A", 5)], {"L1": 3, "L3": 2}),
        ([part("A", 3), part("A", 2)], {"L1": 3, "L3": 2}),
        ([part("A", 9)], {"L1": 3, "L3": 6}),  # the channel is told what left; it says so if it knows of fewer
        ([part("B", 1, "somebody else's")], {"L2": 1}),
        ([part("C", 1)], {}),
        ([part("A", 1, "L1"), part("A", 3)], {"L1": 3, "L3": 1}),
    ],
)
def test_shipped_units_find_their_lines(parts: list[ShipmentLine], units: dict[str, int]) -> None:
    assert matched(folded(order_seen(1, LINES)), *parts) == units


def test_units_that_the_channel_knows_as_fulfilled_are_not_told_again() -> None:
    order = folded(order_seen(1, LINES))
    order.lines["L1"].fulfilled = 3

    assert matched(order, part("A", 2)) == {"L3": 2}
