"""Where an ERP counts the goods, each order is taken off once: while it is open, or by what shipped it, and never by both."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from tests.foldbed import ERP, OTHER_SHOP, SHOP, Book, item_of, line_seen, moved, order_seen

from tidegate.commerce.states import OrderState
from tidegate.kernel.ids import public_id

NUMBERS = ["1", "2", "3"]
PARTS = {"A": Counter(A=1), "B": Counter(B=1), "KIT": Counter(A=2, B=1)}


@given(st.data())
def test_no_order_is_taken_off_twice_or_forgotten_whatever_the_erp_knows_of_it(data: st.DataObject) -> None:
    """Orders that the ERP shipped, in parts, late or twice told; those it does not know yet; its own sales; counts in between."""
    book, draw = Book(), data.draw
    lines = {number: (draw(st.sampled_from(sorted(PARTS))), draw(st.integers(1, 5))) for number in NUMBERS}
    versions: Counter[str] = Counter()
    known: dict[str, int] = {}
    counted: Counter[str] = Counter()
    told: list[tuple[object, object]] = []
    kinds = ["place", "ship", "ship", "ship", "receive", "count", "own", "cancel", "again"]
    steps = ["place", *draw(st.lists(st.sampled_from(kinds), min_size=4, max_size=20))]
    cancelled: set[str] = set()
    for index, step in enumerate(steps):
        open_ones = [name for name, units in known.items() if units < lines[name][1] and name not in cancelled]
        number = draw(st.sampled_from(open_ones if step == "ship" and open_ones else NUMBERS))
        sku, units = lines[number]
        shop = SHOP if int(number) % 2 else OTHER_SHOP
        event = None
        if step == "place" and number not in cancelled:
            versions[number] += 1
            event = (shop, order_seen(versions[number], [line_seen(f"l{number}", sku, units)], number))
            known.setdefault(number, 0)
        elif step == "ship" and known.get(number, units) < units and number not in cancelled:
            part = draw(st.integers(1, units - known[number]))
            known[number] += part
            reference = public_id("ord", "c0", book.order(number, shop).order_id)
            event = (ERP, moved(f"s{index}", sku, -part, kind="ship", order_reference=reference))
        elif step in ("receive", "count"):
            delta = draw(st.integers(1, 9)) if step == "receive" else draw(st.integers(-3, 3)) or 1
            counted["A"] += delta
            event = (ERP, moved(f"r{index}", "A", delta, kind="receive" if step == "receive" else "adjust"))
        elif step == "own":
            counted["B"] -= 1
            event = (ERP, moved(f"o{index}", "B", -1, kind="ship"))
        elif step == "cancel" and known.get(number) == 0:
            versions[number] += 1
            cancelled.add(number)
            cancel = order_seen(
                versions[number], [line_seen(f"l{number}", sku, units)], number, order_state=OrderState.CANCELLED
            )
            event = (shop, cancel)
        elif step == "again" and told:
            event = draw(st.sampled_from(told))
        if event is not None:
            told.append(event)
            book.fold(event)  # type: ignore[arg-type]
        check(book, lines, known, cancelled, counted)
    for event in draw(st.permutations(told)):  # everything once more, in any order: nothing is news
        book.fold(event)  # type: ignore[arg-type]
    check(book, lines, known, cancelled, counted)
    book.check()


def check(
    book: Book,
    lines: dict[str, tuple[str, int]],
    known: dict[str, int],
    cancelled: set[str],
    counted: Counter[str],
) -> None:
    """Assert that what is available is what was counted, less every order that stands, shipped or not."""
    for sku in ("A", "B"):
        levels = [level for (item, _), level in book.stock.items() if item == item_of(sku)]
        available = sum(level.on_hand - level.committed for level in levels)
        standing = [lines[number] for number in known if number not in cancelled]
        assert available == counted[sku] - sum(units * PARTS[name][sku] for name, units in standing)
        shipped = sum(known[number] * PARTS[lines[number][0]][sku] for number in known)
        assert sum(level.on_hand for level in levels) == counted[sku] - shipped
