"""A kit is told what its parts allow, never more and never less, whatever is sold, cancelled, counted and received meanwhile."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.foldbed import BILLS, MAIN, SHOP, Book, item_of, line_seen, order_seen

from tidegate.commerce.significance import Quiet
from tidegate.commerce.states import OrderState
from tidegate.inventory.kits import PartStock, kits_of
from tidegate.inventory.ledger import Counters, Posting, post
from tidegate.kernel.ids import new_id
from tidegate.sync.urgent import Mark, Part, urgent_marks

PARTS = BILLS["KIT"]
stock = st.builds(PartStock, units=st.integers(1, 5), available=st.integers(-20, 50), withheld=st.integers(0, 10))


@given(st.lists(stock, min_size=1, max_size=5))
def test_so_many_kits_can_be_made_and_not_one_more(parts: list[PartStock]) -> None:
    kits = kits_of(parts)

    left = [part.available - part.withheld - kits * part.units for part in parts]
    assert all(units >= 0 for units in left)
    assert any(units < part.units for units, part in zip(left, parts, strict=True))


@given(st.lists(stock, min_size=1, max_size=4), st.integers(0, 3))
def test_a_part_that_is_shared_out_lets_no_kit_be_sold(parts: list[PartStock], place: int) -> None:
    chosen = parts[place % len(parts)]
    shared = PartStock(units=chosen.units, available=chosen.available, withheld=chosen.withheld, is_shared=True)

    assert kits_of([*parts, shared]) <= 0


class KitsAndParts(RuleBasedStateMachine):
    """Orders of kits and of parts come in any order, change and are cancelled; stock is received and counted."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.versions: dict[str, int] = {}
        self.lines: dict[str, tuple[str, int]] = {}

    @rule(sku=st.sampled_from(["A", "B"]), units=st.integers(-3, 8))
    def receive(self, sku: str, units: int) -> None:
        post(self.book.stock, [Posting(item_of(sku), MAIN, "adjust", f"count:{new_id()}", on_hand_delta=units)])

    @rule(number=st.sampled_from("1234"), sku=st.sampled_from(["A", "B", "KIT"]), units=st.integers(1, 4))
    def sell(self, number: str, sku: str, units: int) -> None:
        sku, _ = self.lines.setdefault(number, (sku, units))
        self._see(number, sku, units)

    @rule(number=st.sampled_from("1234"))
    def cancel(self, number: str) -> None:
        if number in self.lines:
            self._see(number, *self.lines[number], state=OrderState.CANCELLED)

    def _see(self, number: str, sku: str, units: int, state: OrderState = OrderState.OPEN) -> None:
        self.versions[number] = self.versions.get(number, 0) + 1
        line = line_seen(f"{number}-1", sku, units)
        self.book.fold((SHOP, order_seen(self.versions[number], [line], number, order_state=state)))

    def left_of(self, sku: str) -> int:
        levels: list[Counters] = [level for (item, _), level in self.book.stock.items() if item == item_of(sku)]
        return sum(level.on_hand - level.unavailable - level.committed - level.reserved for level in levels)

    @invariant()
    def what_is_told_of_a_kit_can_be_sold_to_the_last_one(self) -> None:
        told = kits_of(PartStock(units=units, available=self.left_of(sku)) for sku, units in PARTS.items())

        promised = max(0, told)
        assert all(self.left_of(sku) >= promised * units for sku, units in PARTS.items() if promised)
        assert any(self.left_of(sku) < (told + 1) * units for sku, units in PARTS.items())

    @invariant()
    def the_channel_follows_its_own_sales_in_kits(self) -> None:
        """What the channel shows of a kit goes down by kits, and what it shows of the parts does not."""
        sold = {item: units for result in self.book.results[-1:] for (_, item), units in result.sold.items()}
        assert set(sold) <= {item_of(sku) for sku in BILLS}
        held = {item_of(sku): 0 for sku in BILLS}
        for order in self.book.state.orders.values():
            for line in order.lines.values():
                held[item_of(line.sku)] += order.held_units(line)
        total = dict.fromkeys(held, 0)
        for result in self.book.results:
            for (_, item), units in result.sold.items():
                total[item] += units
        assert total == held


TestKitsAndParts = KitsAndParts.TestCase


@given(st.integers(1, 4), st.integers(0, 20), st.integers(-6, 6), st.integers(0, 5), st.integers(0, 5))
def test_a_kit_is_urgent_only_when_a_part_moves_its_bound_out_of_what_can_wait(
    units: int, before: int, change: int, lowest: int, more: int
) -> None:
    part, kit = new_id(), new_id()
    mark = Mark(SHOP, kit, Quiet(lowest, lowest + more), Part(part, units))

    urgent = urgent_marks([mark], {part: before}, {part: change})

    most_before, most = before // units, (before + change) // units
    fell, rose = most < lowest and most < most_before, most_before <= lowest + more < most
    assert urgent == ([(SHOP, kit)] if fell or rose else [])
