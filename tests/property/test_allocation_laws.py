"""Units that are shared out among channels are never sold twice, whatever gets lost, late or out of order; and none is left."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.allocationwalk import World

from tidegate.inventory import allocate
from tidegate.inventory.allocate import Claim, Counting, Lot

kinds = st.lists(st.sampled_from(list(Counting)), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(kinds, st.integers(0, 30), st.randoms(use_true_random=False), st.integers(0, 200), st.booleans())
def test_channels_that_refuse_to_sell_below_zero_never_oversell(
    made: list[Counting], stock: int, chance: Random, steps: int, known: bool
) -> None:
    """I11: what every channel may at worst still sell, and what is promised, is never more than there is."""
    world = World(chance, made, stock, known=known)
    for _ in range(steps):
        world.step()
        world.check()


@settings(max_examples=100, deadline=None)
@given(kinds, st.integers(0, 30), st.randoms(use_true_random=False), st.integers(0, 200))
def test_a_shop_that_shows_another_number_than_it_was_told_sells_no_more_than_its_lot_says(
    made: list[Counting], stock: int, chance: Random, steps: int
) -> None:
    """What it was not told is sold beyond what there is, once; nobody else is given a unit on top."""
    world = World(chance, made, stock, garbage=True)
    for _ in range(steps):
        world.step()
        world.check()


@settings(max_examples=40, deadline=None)
@given(kinds, st.integers(0, 30), st.randoms(use_true_random=False), st.integers(0, 80), st.integers(0, 3))
def test_no_unit_is_stranded_where_nobody_buys(
    made: list[Counting], stock: int, chance: Random, steps: int, buyer: int
) -> None:
    """When nothing goes wrong any more, one channel alone can sell all that is left."""
    world = World(chance, made, stock)
    for _ in range(steps):
        world.step()
    world.settle(world.channels[buyer % len(world.channels)])

    assert world.sold == world.stock


@given(st.sampled_from(list(Counting)), st.integers(0, 9), st.integers(-3, 12), st.integers(0, 12))
def test_what_bounds_a_lot_no_more_is_not_waited_for(counting: Counting, settled: int, units: int, cap: int) -> None:
    """Orders told of what it might have sold untold: it can be lowered or looked at again at once."""
    lot = allocate.sell(Lot(counting=counting, settled=settled, cap=cap), units)

    assert lot.settled == max(0, settled - units)
    if counting is Counting.BOOKED:
        assert lot.is_draining
    else:
        assert lot.is_draining == (lot.settled > cap - min(0, units))


def walks(
    patch: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    *,
    count: int = 2000,
    stops: bool = True,
) -> int:
    """Return how many of some walks find something wrong while a safeguard is taken out."""
    patch(monkeypatch)
    wrong = 0
    for seed in range(count):
        chance = Random(seed)
        world = World(
            chance, [chance.choice(list(Counting)) for _ in range(chance.randint(2, 4))], chance.randint(1, 20)
        )
        try:
            for _ in range(250):
                world.step()
                world.check()
        except AssertionError:
            wrong += 1
            if stops:
                break
    return wrong


def _raise_before_the_withdrawal_is_confirmed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lot, "worst", property(lambda lot: lot.asked if lot.asked is not None else lot.settled))


def _doubt_at_its_best(patch: pytest.MonkeyPatch) -> None:
    real = allocate.answer

    def answer(lot: Lot, fate: allocate.Fate, **more: Any) -> Lot:
        found = real(lot, fate, **more)
        if fate == "unsure" and lot.settled is not None:
            return msgspec.structs.replace(found, settled=min(lot.settled, lot.asked or 0))
        return found

    patch.setattr(allocate, "answer", answer)


def _no_zero_fence(patch: pytest.MonkeyPatch) -> None:
    """A blind channel counts as what it was told as soon as that has arrived."""
    real = allocate.answer

    def answer(lot: Lot, fate: allocate.Fate, **more: Any) -> Lot:
        found = real(lot, fate, **more)
        return msgspec.structs.replace(found, settled=lot.asked, cap=None) if found.is_draining else found

    patch.setattr(allocate, "answer", answer)


def _late_numbers_forgotten(patch: pytest.MonkeyPatch) -> None:
    real = allocate.answer
    patch.setattr(allocate, "answer", lambda lot, fate, **more: real(lot, fate, **(more | {"is_late": False})))


def _stale_answers_trusted(patch: pytest.MonkeyPatch) -> None:
    """A number that was refused as stale counts as arrived."""
    real = allocate.answer
    patch.setattr(
        allocate,
        "answer",
        lambda lot, fate, **more: (
            msgspec.structs.replace(lot, settled=lot.asked, asked=None)
            if fate == "refused" and lot.settled is not None
            else real(lot, fate, **more)
        ),
    )


def _booked_lowered_at_once(patch: pytest.MonkeyPatch) -> None:
    real = allocate.answer

    def answer(lot: Lot, fate: allocate.Fate, **more: Any) -> Lot:
        if lot.counting is Counting.BOOKED and fate == "arrived" and lot.settled is not None and not more["is_late"]:
            return msgspec.structs.replace(lot, settled=lot.asked, asked=None)
        return real(lot, fate, **more)

    patch.setattr(allocate, "answer", answer)


def _raises_out_of_thin_air(patch: pytest.MonkeyPatch) -> None:
    """Whoever is short is given what it is short of, whether or not there is so much in the pool."""
    real = allocate._raises
    patch.setattr(allocate, "_raises", lambda able, aims, _pool: real(able, aims, sum(aims.values())))


def _untold_sales_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What a channel that compares may have sold untold is forgotten when the next number is set."""
    patch.setattr(Lot, "slack", lambda _lot, _shown: 0)
    real = allocate.answer
    patch.setattr(
        allocate,
        "answer",
        lambda lot, fate, **more: real(lot, fate, **(more | ({"before": 1 << 30} if fate == "arrived" else {}))),
    )


def _sales_told_count_twice(patch: pytest.MonkeyPatch) -> None:
    real = allocate.sell
    patch.setattr(allocate, "sell", lambda lot, units: real(lot, units * 2))


@pytest.mark.parametrize(
    "mutation",
    [
        _raise_before_the_withdrawal_is_confirmed,
        _doubt_at_its_best,
        _no_zero_fence,
        _late_numbers_forgotten,
        _stale_answers_trusted,
        _booked_lowered_at_once,
        _raises_out_of_thin_air,
        _untold_sales_forgotten,
        _sales_told_count_twice,
    ],
)
def test_each_safeguard_is_needed(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert walks(mutation, monkeypatch) > 0


def test_the_walks_find_nothing_when_nothing_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert walks(lambda _patch: None, monkeypatch, count=300) == 0


@given(
    st.integers(-50, 500),
    st.lists(
        st.tuples(st.floats(0.1, 10), st.integers(0, 50), st.floats(0.001, 100), st.integers(0, 200)),
        min_size=1,
        max_size=6,
    ),
)
def test_parts_add_up_and_raises_come_out_of_the_pool(
    sellable: int, given_: list[tuple[float, int, float, int]]
) -> None:
    claims = [
        Claim(
            channel=UUID(int=place),
            lot=Lot(counting=Counting.COMPARED, settled=has),
            shown=has,
            weight=weight,
            minimum=minimum,
            velocity=velocity,
        )
        for place, (weight, minimum, velocity, has) in enumerate(given_)
    ]
    planned = allocate.plan(sellable, claims)

    assert sum(planned.aims.values()) == max(0, sellable)
    before = {claim.channel: claim.lot.worst or 0 for claim in claims}
    raised = sum(max(0, move.units - before[channel]) for channel, move in planned.moves.items())
    assert raised <= max(0, planned.pool or 0)


@given(st.integers(0, 2000), st.integers(0, 500), st.floats(0, 120), st.floats(0, 60), st.integers(1, 8))
def test_what_is_scarce_stays_so_until_there_is_clearly_more(
    sellable: int, units: int, seconds: float, lag: float, channels: int
) -> None:
    pace = allocate.pace_of(units, seconds, lag)
    scarce = allocate.is_scarce(sellable, pace, channels, was_scarce=False)

    assert not scarce or allocate.is_scarce(sellable, pace, channels, was_scarce=True)
    assert not scarce or allocate.is_scarce(max(0, sellable - 1), pace, channels, was_scarce=False)
    assert units or not scarce
