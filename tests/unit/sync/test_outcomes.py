"""What becomes of each kind of event, and what follows from it."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest
from tests.foldbed import ERP, NOW, OTHER_SHOP, SHOP, Book, line_seen, moved, observing, order_seen, prepared, shipped

from tidegate.commerce.changes import (
    FulfillmentSeen,
    Ignored,
    LocationSeen,
    NeedsFetch,
    OrderGone,
    ShipmentLine,
    VariantSeen,
)
from tidegate.commerce.states import OrderState, PaymentState
from tidegate.kernel.ids import new_id, public_id
from tidegate.sync.fold import PARENT_WAIT

TWO_LINES = [line_seen("L1", "A", 3), line_seen("L2", "B", 2)]


def outcome(book: Book, connection: UUID, change: object, **options: object) -> tuple[str, str]:
    (found,) = book.fold((connection, change), **options)  # type: ignore[arg-type]
    book.check()
    return found.outcome, found.code


def test_an_order_commits_its_units_and_is_created_in_the_erp() -> None:
    book = Book()

    assert outcome(book, SHOP, order_seen(1, TWO_LINES)) == ("applied", "applied")

    assert book.levels() == {("A", "main"): (0, 3), ("B", "main"): (0, 2)}
    assert book.planned("order.create") == [(ERP, book.order().order_id, 1)]


def test_an_order_of_a_channel_outside_of_the_flow_holds_its_units_until_it_is_cancelled() -> None:
    """Goods that were sold there cannot be sold here, whoever ships them; no ERP is told of them by us."""
    book = Book(policy=observing(order_channels=frozenset({OTHER_SHOP}), orders_mode="live"))

    assert outcome(book, SHOP, order_seen(1, TWO_LINES)) == ("applied", "no_flow")
    assert outcome(book, SHOP, order_seen(2, TWO_LINES, order_state=OrderState.CLOSED)) == ("applied", "no_flow")
    assert book.levels() == {("A", "main"): (0, 3), ("B", "main"): (0, 2)}
    assert outcome(book, SHOP, order_seen(3, TWO_LINES, order_state=OrderState.CANCELLED)) == ("applied", "no_flow")

    assert book.levels() == {}
    assert book.planned("order.create") == book.planned("order.cancel") == []


def test_a_bundle_commits_what_it_is_made_of() -> None:
    book = Book()

    book.fold((SHOP, order_seen(1, [line_seen("L1", "KIT", 2)])))

    assert book.levels() == {("A", "main"): (0, 4), ("B", "main"): (0, 2)}
    book.check()


def test_a_later_version_posts_the_difference_only() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, TWO_LINES)))

    book.fold((SHOP, order_seen(2, [line_seen("L1", "A", 1), line_seen("L3", "A", 1)])))

    assert book.levels() == {("A", "main"): (0, 2)}
    assert [(e.posting.kind, e.committed_delta) for e in book.entries[2:]] == [
        ("release", -2),
        ("release", -2),
        ("commit", 1),
    ]
    book.check()


def test_a_line_that_vanished_is_kept_with_nothing_left_of_it() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, TWO_LINES)))

    book.fold((SHOP, order_seen(2, TWO_LINES[:1])))

    assert {name: line.current for name, line in book.order().lines.items()} == {"L1": 3, "L2": 0}


@pytest.mark.parametrize("state", [OrderState.CANCELLED, OrderState.DRAFT])
def test_an_order_that_promises_nothing_commits_nothing(state: OrderState) -> None:
    book = Book()

    book.fold((SHOP, order_seen(1, TWO_LINES, order_state=state)))

    assert book.entries == []
    assert book.planned("order.create") == []


def test_a_cancelled_order_gives_its_units_back_and_is_cancelled_once() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, TWO_LINES)))
    cancelled = order_seen(2, TWO_LINES, order_state=OrderState.CANCELLED)

    book.fold((SHOP, cancelled))
    book.fold((SHOP, order_seen(3, TWO_LINES, order_state=OrderState.CANCELLED, payment_state=PaymentState.REFUNDED)))

    assert book.levels() == {}
    assert [(connection, entity) for connection, entity, _ in book.planned("order.cancel")] == [
        (ERP, book.order().order_id)
    ]
    book.check()


GONE = OrderGone(external_id="1", version=5)


def test_an_order_that_was_deleted_for_good_gives_its_units_back_once() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, TWO_LINES)))

    assert outcome(book, SHOP, GONE, source="fetch") == ("applied", "order_gone")
    assert outcome(book, SHOP, GONE, source="fetch") == ("superseded", "same_content")
    again = msgspec.structs.replace(GONE, version=9)
    assert outcome(book, SHOP, again, source="fetch") == ("applied", "order_gone")

    assert book.order().order_state is OrderState.CANCELLED
    assert book.levels() == {}
    assert len(book.planned("order.cancel")) == 1
    book.check()


def test_a_late_webhook_does_not_bring_a_deleted_order_back_and_a_restored_one_comes_back() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, TWO_LINES)))
    book.fold((SHOP, GONE), source="fetch")

    assert outcome(book, SHOP, order_seen(3, TWO_LINES)) == ("superseded", "older_version")
    assert book.levels() == {}
    assert outcome(book, SHOP, order_seen(6, TWO_LINES))[0] == "applied"
    assert book.levels() != {}
    book.check()


def test_a_change_after_the_look_counts_more_than_the_look() -> None:
    book = Book()
    book.fold((SHOP, order_seen(7, TWO_LINES)))

    assert outcome(book, SHOP, GONE, source="fetch") == ("superseded", "older_version")
    assert book.order().order_state is OrderState.OPEN


def test_a_look_that_tells_no_time_is_the_newest() -> None:
    book = Book()
    book.fold((SHOP, order_seen(7, TWO_LINES)))

    assert outcome(book, SHOP, OrderGone(external_id="1"), source="fetch") == ("applied", "order_gone")
    assert book.levels() == {}


def test_of_a_deleted_order_that_has_left_nothing_is_cancelled_and_an_unknown_one_is_no_news() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, [line_seen("L1", "A", 1)])))
    book.fold((ERP, moved("m1", "A", -1, kind="ship", order_reference=book.reference())))

    assert outcome(book, SHOP, GONE, source="fetch") == ("applied", "order_gone")
    assert book.order().order_state is OrderState.OPEN
    assert book.planned("order.cancel") == []
    unknown = msgspec.structs.replace(GONE, external_id="2")
    assert outcome(book, SHOP, unknown, source="fetch") == ("ignored", "order_unknown")


def test_old_and_equal_versions_change_nothing() -> None:
    book = Book()
    book.fold((SHOP, order_seen(2, TWO_LINES)))
    before = book.view()

    assert outcome(book, SHOP, order_seen(1, [])) == ("superseded", "older_version")
    assert outcome(book, SHOP, order_seen(2, TWO_LINES)) == ("superseded", "same_content")
    assert book.view() == before


def test_an_equal_version_with_another_content_is_read_and_the_answer_counts() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, TWO_LINES)))
    other = order_seen(1, [line_seen("L1", "A", 4)])

    assert outcome(book, SHOP, other) == ("needs_fetch", "needs_fetch")
    (asked,) = book.results[-1].fetches
    assert (asked.connection_id, asked.topic, asked.external_id) == (SHOP, "order", "1")
    assert outcome(book, SHOP, other, source="fetch") == ("applied", "applied")
    assert book.levels() == {("A", "main"): (0, 4)}


def test_a_thin_event_asks_for_a_read() -> None:
    book = Book()

    assert outcome(book, SHOP, NeedsFetch(topic="order", external_id="7")) == ("needs_fetch", "needs_fetch")
    assert [(f.topic, f.external_id) for f in book.results[-1].fetches] == [("order", "7")]


def test_the_mapper_may_say_that_there_is_nothing_to_keep() -> None:
    assert outcome(Book(), SHOP, Ignored(code="not_placed")) == ("ignored", "not_placed")


def test_a_totals_mismatch_passes_through_and_is_flagged() -> None:
    book = Book()

    assert outcome(book, SHOP, order_seen(1, TWO_LINES, total_minor=4_000)) == ("applied", "totals_mismatch")
    assert book.planned("order.create") != []


# --- movements ---------------------------------------------------------------------------------------------------------


def test_a_movement_posts_once_whatever_is_edited_of_it_later() -> None:
    """An ERP touches movements again, for costs or a remark: their new version is the same fact."""
    book = Book()
    assert outcome(book, ERP, moved("m1", "A", 10)) == ("applied", "receive")

    assert outcome(book, ERP, moved("m1", "A", 10)) == ("superseded", "same_content")
    assert outcome(book, ERP, moved("m1", "A", 10, version=2)) == ("superseded", "movement_known")
    assert outcome(book, ERP, moved("m1", "A", 12, version=2)) == ("superseded", "movement_known")
    assert outcome(book, ERP, moved("m1", "A", 10), mapping=2) == ("superseded", "older_version")

    assert book.levels() == {("A", "main"): (10, 0)}


def test_movements_of_a_system_that_does_not_own_the_count_are_left_alone_and_not_remembered() -> None:
    book = Book()
    assert outcome(book, OTHER_SHOP, moved("m1", "A", 10)) == ("ignored", "not_owner")

    book.policy = observing(stock_owner=OTHER_SHOP)

    assert outcome(book, OTHER_SHOP, moved("m1", "A", 10)) == ("applied", "receive")
    assert book.levels() == {("A", "main"): (10, 0)}


def test_shipments_of_a_system_that_does_not_own_them_are_left_alone_and_not_remembered() -> None:
    book = Book()
    book.policy = observing(shipment_owner=ERP, shipments_modes={SHOP: "live"})
    book.fold((SHOP, order_seen(1, [line_seen("L1", "A", 2)])))
    part = [ShipmentLine(line_reference="", sku="A", quantity=1)]
    assert outcome(book, OTHER_SHOP, shipped("s1", book.reference(), part)) == ("ignored", "not_owner")
    assert outcome(book, ERP, shipped("s1", book.reference(), part)) == ("applied", "shipped")

    book.policy = observing(shipment_owner=OTHER_SHOP, shipments_modes={SHOP: "live"})

    assert outcome(book, OTHER_SHOP, shipped("s1", book.reference(), part)) == ("applied", "shipped")


def test_goods_that_leave_for_an_order_end_its_commitment() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, TWO_LINES)), (ERP, moved("m0", "A", 10)))
    ship = moved("m1", "A", -2, kind="ship", order_reference=book.reference(), line_reference=book.line_reference("L1"))

    assert outcome(book, ERP, ship) == ("applied", "ship")

    assert book.levels() == {("A", "main"): (8, 1), ("B", "main"): (0, 2)}
    assert book.order().lines["L1"].shipped == 2


def test_goods_that_leave_another_place_end_the_commitment_where_it_stands() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, TWO_LINES)))
    ship = moved("m1", "A", -3, kind="ship", order_reference=book.reference(), location_external_id="store")

    book.fold((ERP, ship))

    assert book.levels() == {("A", "store"): (-3, 0), ("B", "main"): (0, 2)}
    book.check()


def test_more_goods_than_the_order_has_open_still_leave_the_house() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, TWO_LINES)))

    book.fold((ERP, moved("m1", "A", -5, kind="ship", order_reference=book.reference())))

    assert book.levels() == {("A", "main"): (-5, 0), ("B", "main"): (0, 2)}
    assert book.order().lines["L1"].shipped == 3
    book.check()


def test_goods_that_leave_for_nobody_we_know_only_leave() -> None:
    book = Book()
    for index, reference in enumerate(("", "SO-77", public_id("ord", "c0", new_id()))):
        book.fold((ERP, moved(f"m{index}", "A", -1, kind="ship", order_reference=reference)))

    assert book.levels() == {("A", "main"): (-3, 0)}
    book.check()


def test_an_order_and_its_shipping_in_one_batch_post_in_the_order_in_which_they_happened() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, TWO_LINES)))

    book.fold(
        (SHOP, order_seen(2, [line_seen("L1", "A", 5), TWO_LINES[1]])),
        (ERP, moved("m1", "A", -5, kind="ship", order_reference=book.reference())),
        (SHOP, order_seen(3, [line_seen("L1", "A", 6), TWO_LINES[1]])),
    )

    assert [(e.posting.kind, e.committed_delta) for e in book.entries[2:]] == [
        ("commit", 2),
        ("ship", -5),
        ("commit", 1),
    ]
    assert book.levels() == {("A", "main"): (-5, 1), ("B", "main"): (0, 2)}
    book.check()


# --- shipments ---------------------------------------------------------------------------------------------------------


def test_a_shipment_becomes_one_fulfillment_in_the_channel_of_its_order() -> None:
    book = Book()
    book.fold((OTHER_SHOP, order_seen(1, TWO_LINES)))
    order = book.order(connection=OTHER_SHOP)
    line = ShipmentLine(line_reference=public_id("lin", "c0", order.lines["L1"].line_id), sku="A", quantity=2)
    reference = public_id("ord", "c0", order.order_id)

    assert outcome(book, ERP, shipped("s1", reference, [line])) == ("applied", "shipped")
    assert outcome(book, ERP, shipped("s1", reference, [line], version=2)) == ("superseded", "shipment_known")

    (made,) = [f for result in book.results for f in result.fulfillments]
    assert made.units == {order.lines["L1"].line_id: 2}
    assert [(connection, entity) for connection, entity, _ in book.planned("fulfillment.create")] == [
        (OTHER_SHOP, made.fulfillment_id)
    ]
    assert book.levels() == {("A", "main"): (0, 3), ("B", "main"): (0, 2)}, "goods move by movements"


def test_a_shipment_waits_for_its_order() -> None:
    book = Book()

    (found,) = book.fold((ERP, shipped("s1", public_id("ord", "c0", new_id()), [])))

    assert (found.outcome, found.code) == ("parked", "order_unknown")
    (park,) = book.results[-1].parks
    assert park.until == NOW + PARENT_WAIT
    assert book.state.gates == {}, "it is looked at again"


def test_a_shipment_that_is_not_ours_or_fits_no_line_is_not_guessed() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, TWO_LINES)))
    unknown = [ShipmentLine(line_reference="", sku="C", quantity=1)]

    assert outcome(book, ERP, shipped("s1", "SO-1", unknown)) == ("ignored", "not_ours")
    assert outcome(book, ERP, shipped("s2", book.reference(), unknown)) == ("quarantined", "no_line_matches")


def test_while_shipments_are_observed_nothing_is_told() -> None:
    book = Book(observing(shipments_modes={}))
    book.fold((SHOP, order_seen(1, TWO_LINES)))

    book.fold((ERP, shipped("s1", book.reference(), [ShipmentLine(line_reference="", sku="A", quantity=1)])))

    assert len(book.results[-1].fulfillments) == 1
    assert book.planned("fulfillment.create") == []


# --- echoes and masters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "code"),
    [(public_id("ful", "c0", new_id()), "echo"), ("F-1", "foreign_fulfillment")],
    ids=["ours", "foreign"],
)
def test_the_echo_of_a_fulfillment_is_known_as_ours(reference: str, code: str) -> None:
    seen = FulfillmentSeen(
        external_id="f1", order_external_id="1", reference=reference, tracking="", state="done", version=1
    )

    assert outcome(Book(), SHOP, seen) == ("ignored", code)


def test_articles_and_places_are_recognised() -> None:
    book = Book()

    assert outcome(book, SHOP, VariantSeen(external_id="v", sku="A", title="A", version=1)) == ("applied", "known")
    assert outcome(book, ERP, LocationSeen(external_id="store", name="Store", version=1)) == ("applied", "known")


def test_an_event_with_several_changes_ends_in_the_gravest_outcome() -> None:
    book = Book()
    both = prepared(ERP, moved("m1", "A", 1), Ignored(code="other"), NeedsFetch(topic="order", external_id="1"))

    assert [found.outcome for found in book.fold_prepared([both])] == ["needs_fetch"]
    assert book.levels() == {("A", "main"): (1, 0)}


def test_two_shipments_by_sku_do_not_tell_of_the_same_line_twice() -> None:
    """The channel has confirmed neither yet, and would refuse the second one."""
    book = Book()
    book.fold((SHOP, order_seen(1, [line_seen("l1", "A", 1), line_seen("l2", "A", 1)])))

    for shipment in ("s1", "s2"):
        part = ShipmentLine(line_reference="", sku="A", quantity=1)
        book.fold((ERP, shipped(shipment, book.reference(), [part])))

    told = [fulfillment.units for result in book.results for fulfillment in result.fulfillments]
    lines = book.order().lines
    assert told == [{lines["l1"].line_id: 1}, {lines["l2"].line_id: 1}]


def test_a_part_of_no_units_does_not_spoil_its_shipment() -> None:
    book = Book()
    book.fold((SHOP, order_seen(1, [line_seen("l1", "A", 1), line_seen("l2", "B", 1)])))

    parts = [
        ShipmentLine(line_reference=book.line_reference(line), sku=sku, quantity=units)
        for line, sku, units in (("l1", "A", 1), ("l2", "B", 0))
    ]
    book.fold((ERP, shipped("s1", book.reference(), parts)))

    (fulfillment,) = book.results[-1].fulfillments
    assert list(fulfillment.units.values()) == [1]


def test_a_cancel_while_the_flow_observes_is_not_forgotten() -> None:
    """The ERP may have the order from before, and would ship it."""
    book = Book()
    book.fold((SHOP, order_seen(1, [line_seen("l1", "A", 1)])))
    book.policy = observing(orders_mode="observe")

    book.fold((SHOP, order_seen(2, [line_seen("l1", "A", 1)], order_state=OrderState.CANCELLED)))

    assert [entity for _, entity, _ in book.planned("order.cancel")] == [book.order().order_id]
