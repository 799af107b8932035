"""Folding converges: whatever the order of arrival, the repetitions and the batches, state and ledger end the same."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.foldbed import ERP, OTHER_SHOP, SHOP, Book, line_seen, moved, order_seen

from tidegate.commerce.changes import CanonicalChange, OrderSeen
from tidegate.commerce.states import OrderState, PaymentState
from tidegate.orders.fold import ship_units

Story = Sequence[tuple[UUID, CanonicalChange]]
SKU_OF = {"L1": "A", "L2": "B", "L3": "A", "L4": "KIT"}
units = st.integers(0, 5)
states = st.sampled_from(
    [OrderState.PENDING, OrderState.OPEN, OrderState.OPEN, OrderState.ON_HOLD, OrderState.CANCELLED]
)
payments = st.sampled_from([PaymentState.PENDING, PaymentState.AUTHORISED, PaymentState.PAID])


@st.composite
def revisions(draw: st.DrawFn, external_id: str = "1", *, least: int = 0) -> list[OrderSeen]:
    """Return the versions of one order, oldest first; every line of the first one keeps at least `least` units."""
    seen = []
    for version in range(1, draw(st.integers(1, 5)) + 1):
        shown = draw(st.permutations(sorted(SKU_OF)))[: draw(st.integers(0, 4))]
        if least:
            shown = [*sorted(SKU_OF)]
        lines = [line_seen(line, SKU_OF[line], max(least, draw(units))) for line in shown]
        state, payment = draw(states), draw(payments)
        seen.append(order_seen(version, lines, external_id, order_state=state, payment_state=payment))
    return seen


def arrive(data: st.DataObject, story: Story, book: Book) -> Book:
    """Let a story arrive in any order, with repetitions, cut into any batches."""
    repeated = data.draw(st.lists(st.sampled_from(story), max_size=4)) if story else []
    waiting = data.draw(st.permutations([*story, *repeated]))
    while waiting:
        size = data.draw(st.integers(1, len(waiting)))
        book.fold(*waiting[:size])
        waiting = waiting[size:]
    book.check()
    return book


def told(story: Story, book: Book) -> Book:
    """Let a story arrive as it happened, one by one."""
    for event in story:
        book.fold(event)
    return book


@given(st.data())
def test_versions_of_an_order_end_in_the_newest_whatever_their_order(data: st.DataObject) -> None:
    story: Story = [(SHOP, seen) for seen in data.draw(revisions())]

    mixed = arrive(data, story, Book())

    assert mixed.view() == told(story, Book()).view()
    newest = story[-1][1]
    assert isinstance(newest, OrderSeen)
    order = mixed.order()
    assert (order.order_state, order.payment_state) == (newest.order_state, newest.payment_state)
    assert {line.external_id: line.current for line in order.lines.values() if line.current} == {
        line.external_id: line.current for line in newest.lines if line.current
    }


@given(st.data())
def test_orders_of_two_shops_and_movements_do_not_disturb_each_other(data: st.DataObject) -> None:
    story: Story = [
        *((SHOP, seen) for seen in data.draw(revisions("1"))),
        *((OTHER_SHOP, seen) for seen in data.draw(revisions("2"))),
        *((ERP, moved(f"m{index}", sku, 10 + index)) for index, sku in enumerate(("A", "B", "A"))),
    ]

    assert arrive(data, story, Book()).view() == told(story, Book()).view()


@given(st.data())
@settings(max_examples=150)
def test_shipments_between_the_versions_change_nothing_about_that(data: st.DataObject) -> None:
    """Up to the units that every version still has, goods may leave at any time."""
    versions = data.draw(revisions(least=3))
    books = Book(), Book()
    stories: list[Story] = []
    gone = {line: data.draw(st.integers(0, 3)) for line in SKU_OF}
    for book in books:
        book.fold((SHOP, versions[0]))
        stories.append(
            [
                *((SHOP, seen) for seen in versions[1:]),
                *(
                    (
                        ERP,
                        moved(f"m{line}{part}", SKU_OF[line], -count, kind="ship", order_reference=book.reference(),
                              line_reference=book.line_reference(line)),
                    )
                    for line in sorted(SKU_OF)
                    for part, count in enumerate((gone[line] // 2, gone[line] - gone[line] // 2))
                    if count
                ),
            ]
        )  # fmt: skip

    mixed, ordered = arrive(data, stories[0], books[0]), told(stories[1], books[1])

    assert mixed.view() == ordered.view()
    assert {line: mixed.order().lines[line].shipped for line in SKU_OF} == gone


@given(st.data())
def test_commands_are_planned_under_keys_that_say_the_same_thing_once(data: st.DataObject) -> None:
    """However often a create is planned, its key is one; a cancel is planned once for each time the order was cancelled."""
    versions = data.draw(revisions())

    book = arrive(data, [(SHOP, seen) for seen in versions], Book())

    assert len(set(book.planned("order.create"))) <= 1
    cancels = book.planned("order.cancel")
    assert len(cancels) == len(set(cancels))
    assert len(cancels) <= sum(seen.order_state is OrderState.CANCELLED for seen in versions)


@given(versions=revisions(), name=st.sampled_from(sorted(SKU_OF)), count=st.integers(1, 12), named=st.booleans())
def test_never_more_is_shipped_than_is_open(versions: list[OrderSeen], name: str, count: int, *, named: bool) -> None:
    book = Book()
    book.fold((SHOP, versions[-1]))
    order = book.order()
    line = order.lines.get(name)
    before = {each.line_id: each.open_units() for each in order.lines.values()}
    meant = {
        each.line_id for each in order.lines.values() if (each is line if named and line else each.sku == SKU_OF[name])
    }

    taken = ship_units(order, line_id=line.line_id if named and line else None, sku=SKU_OF[name], units=count)

    assert all(0 < part <= before[each.line_id] for each, part in taken)
    assert {each.line_id for each, _ in taken} <= meant
    assert sum(part for _, part in taken) == min(count, sum(before[line_id] for line_id in meant))
    assert all(each.shipped <= each.current for each in order.lines.values())


@given(revisions(), st.integers(1, 4))
def test_a_version_seen_under_another_mapping_is_applied_once_more_and_posts_nothing_new(
    versions: list[OrderSeen], mapping: int
) -> None:
    book = told([(SHOP, seen) for seen in versions], Book())
    before, posted = book.view(), len(book.entries)

    (outcome,) = book.fold((SHOP, versions[-1]), mapping=mapping)

    assert outcome.outcome == ("applied" if mapping > 1 else "superseded")
    assert len(book.entries) == posted
    assert book.view() == before
    book.check()


@given(st.permutations([(version, sequence) for version in (1, 2) for sequence in (1, 2, 3)]))
def test_inside_one_version_the_sequence_decides(arrival: list[tuple[int, int]]) -> None:
    """A -> B -> A inside one version: the last A counts, although its content was known before B came."""
    currents = {(1, 1): 1, (1, 2): 2, (1, 3): 3, (2, 1): 4, (2, 2): 5, (2, 3): 4}
    seen = {key: order_seen(key[0], [line_seen("L1", "A", units)]) for key, units in currents.items()}
    book = Book()

    for key in arrival:
        book.fold((SHOP, msgspec.structs.replace(seen[key], sequence=key[1])))

    assert book.order().lines["L1"].current == 4
    assert book.levels() == {("A", "main"): (0, 4)}
    book.check()
