"""The number pushed to a channel lets it sell exactly what is available, whatever it still has in its own books."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tidegate.commerce.stock import ChannelOpen, Level, channel_quantity

units = st.integers(0, 1000)
levels = st.builds(
    Level,
    on_hand=st.integers(-1000, 1000),
    unavailable=units,
    committed=units,
    reserved=units,
    safety_stock=units,
)


@st.composite
def opens(draw: st.DrawFn) -> ChannelOpen:
    unfulfilled = draw(units)
    return ChannelOpen(unfulfilled=unfulfilled, shipped_unconfirmed=draw(st.integers(0, unfulfilled)))


@given(levels, opens())
def test_a_channel_that_counts_available_is_told_what_it_may_sell(level: Level, channel: ChannelOpen) -> None:
    told = channel_quantity(level, channel, stock_number="available")

    assert told == max(0, level.available - level.safety_stock)


@given(levels, opens())
def test_a_channel_that_takes_its_own_orders_off_may_sell_the_same(level: Level, channel: ChannelOpen) -> None:
    told = channel_quantity(level, channel, stock_number="on_hand")
    sellable_there = told - channel.unfulfilled
    sellable = level.available - level.safety_stock

    assert told >= max(0, channel.shipped_unconfirmed)
    if sellable >= 0:
        assert sellable_there == sellable
    else:
        assert sellable_there <= 0


@given(levels, opens(), st.integers(0, 100))
def test_more_stock_never_lowers_the_number(level: Level, channel: ChannelOpen, more: int) -> None:
    richer = Level(
        on_hand=level.on_hand + more,
        unavailable=level.unavailable,
        committed=level.committed,
        reserved=level.reserved,
        safety_stock=level.safety_stock,
    )

    for number in ("on_hand", "available"):
        told, told_more = (
            channel_quantity(one, channel, stock_number=number)  # type: ignore[arg-type]
            for one in (level, richer)
        )
        assert told <= told_more <= told + more


@pytest.mark.parametrize(
    ("level", "channel", "on_hand_number"),
    [
        (Level(on_hand=10), ChannelOpen(), 10),
        (Level(on_hand=10, committed=3), ChannelOpen(unfulfilled=3), 10),
        (Level(on_hand=10, committed=3), ChannelOpen(), 7),
        (Level(on_hand=7, committed=0), ChannelOpen(unfulfilled=3, shipped_unconfirmed=3), 10),
        (Level(on_hand=10, committed=3, safety_stock=2), ChannelOpen(unfulfilled=3), 8),
        (Level(on_hand=0, committed=5), ChannelOpen(unfulfilled=2), 0),
        (Level(on_hand=-4, committed=0), ChannelOpen(unfulfilled=2, shipped_unconfirmed=2), 2),
    ],
)
def test_numbers_worked_out_by_hand(level: Level, channel: ChannelOpen, on_hand_number: int) -> None:
    assert channel_quantity(level, channel, stock_number="on_hand") == on_hand_number


class TwoChannels(RuleBasedStateMachine):
    """Two shops sell one article of one warehouse: a counting-`on_hand` shop and a counting-`available` one.

    Facts happen in any order; after each, both shops are told their number and are asked what they would sell.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on_hand = 20
        self.open = {"on_hand": 0, "available": 0}
        """Placed, neither shipped nor cancelled: committed."""
        self.shipped = {"on_hand": 0, "available": 0}
        """Shipped, not yet confirmed in the shop."""

    @rule(shop=st.sampled_from(["on_hand", "available"]), count=st.integers(1, 9))
    def place(self, shop: str, count: int) -> None:
        self.open[shop] += count  # facts always post, even beyond what is there

    @rule(shop=st.sampled_from(["on_hand", "available"]), count=st.integers(1, 9))
    def cancel(self, shop: str, count: int) -> None:
        self.open[shop] -= min(count, self.open[shop])

    @rule(shop=st.sampled_from(["on_hand", "available"]), count=st.integers(1, 9))
    def ship(self, shop: str, count: int) -> None:
        count = min(count, self.open[shop])
        self.open[shop] -= count
        self.shipped[shop] += count
        self.on_hand -= count

    @precondition(lambda self: any(self.shipped.values()))
    @rule(shop=st.sampled_from(["on_hand", "available"]), count=st.integers(1, 9))
    def confirm(self, shop: str, count: int) -> None:
        self.shipped[shop] -= min(count, self.shipped[shop])

    @rule(delta=st.integers(-9, 9))
    def count_again(self, delta: int) -> None:
        self.on_hand += delta

    @invariant()
    def both_may_sell_what_is_available(self) -> None:
        level = Level(on_hand=self.on_hand, committed=sum(self.open.values()))
        available = self.on_hand - sum(self.open.values())
        own = {
            shop: ChannelOpen(unfulfilled=self.open[shop] + self.shipped[shop], shipped_unconfirmed=self.shipped[shop])
            for shop in self.open
        }
        first = channel_quantity(level, own["on_hand"], stock_number="on_hand")
        second = channel_quantity(level, own["available"], stock_number="available")

        assert max(0, first - own["on_hand"].unfulfilled) == max(0, available)
        assert second == max(0, available)
        assert first >= self.shipped["on_hand"], "the shop would refuse the fulfillment"


TestTwoChannels = TwoChannels.TestCase
