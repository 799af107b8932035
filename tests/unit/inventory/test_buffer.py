"""What channels are not told of where all of them are told the same, and what may be sold too often."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.inventory import allocate
from tidegate.inventory.allocate import Pace
from tidegate.inventory.buffer import Buffer, Seller, broadcast, limit_of

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


def seller(channel: UUID, velocity: float, lag: float = 10.0, *, enforces: bool = True) -> Seller:
    return Seller(channel=channel, pace=Pace(velocity, lag), enforces=enforces)


def test_without_a_buffer_each_channel_is_told_of_all_and_the_slower_one_says_what_that_risks() -> None:
    plan = broadcast(100, [seller(A, 3.0), seller(B, 0.5)], "off", limit=10)

    assert plan.told == {A: 100, B: 100}
    assert plan.risks == {A: 5, B: 5}


def test_a_buffer_of_so_many_units_takes_as_much_off_the_risk() -> None:
    plan = broadcast(100, [seller(A, 3.0), seller(B, 0.5)], 4, limit=10)

    assert plan.told == {A: 96, B: 96}
    assert plan.risks == {A: 1, B: 5}


def test_plenty_is_told_less_what_the_others_sell_meanwhile_and_nothing_is_risked() -> None:
    plan = broadcast(100, [seller(A, 3.0), seller(B, 0.5)], "auto", limit=10)

    assert plan.told == {A: 95, B: 70}
    assert plan.bound == 0


def test_in_a_rush_the_slow_ones_get_a_part_of_what_may_be_sold_too_often() -> None:
    sellers = [seller(A, 75.0), *(seller(UUID(int=n), 3.0) for n in range(2, 6))]
    plan = broadcast(500, sellers, "auto", limit=limit_of("10%", 500))

    assert plan.told[A] == 450
    assert sorted(plan.told[UUID(int=n)] for n in range(2, 6)) == [12, 12, 13, 13]
    assert plan.bound == 50


def test_where_nothing_may_be_sold_too_often_the_last_units_are_for_the_fastest() -> None:
    plan = broadcast(3, [seller(A, 3.0), seller(B, 0.5)], "auto", limit=0)

    assert plan.told == {A: 3, B: 0}
    assert plan.bound == 0


def test_whoever_sells_below_zero_sells_until_it_hears_of_it() -> None:
    plan = broadcast(100, [seller(A, 3.0), seller(B, 0.5, enforces=False)], "auto", limit=10)

    assert plan.risks == {A: 0, B: 5}


def test_a_peak_counts_where_it_is_more_than_what_was_sold_lately_and_takes_numbers_to_be_slow() -> None:
    assert allocate.at_peak(Pace(0.0, 0.5), 3.0) == Pace(3.0, allocate.LAG_SECONDS)
    assert allocate.at_peak(Pace(5.0, 20.0), 3.0) == Pace(5.0, 20.0)
    assert allocate.at_peak(Pace(5.0, 0.5), 0.0) == Pace(5.0, 0.5)


@pytest.mark.parametrize(
    ("rule", "sellable", "units"), [("10%", 99, 9), ("10%", -5, 0), ("0%", 99, 0), ("100%", 7, 7), (4, 99, 4)]
)
def test_how_much_may_be_sold_too_often(rule: str | int, sellable: int, units: int) -> None:
    assert limit_of(rule, sellable) == units


velocities = st.floats(0, 200, allow_nan=False)


@given(
    left=st.integers(-50, 2000),
    pace=st.lists(st.tuples(velocities, st.floats(0, 30, allow_nan=False)), max_size=6),
    shows=st.lists(st.one_of(st.none(), st.integers(0, 2000)), min_size=6, max_size=6),
    buffer=st.one_of(st.sampled_from(["off", "auto"]), st.integers(0, 500)),
    limit=st.integers(0, 300),
)
def test_nobody_is_told_of_more_than_there_is_and_the_limit_is_kept(
    left: int, pace: list[tuple[float, float]], shows: list[int | None], buffer: Buffer, limit: int
) -> None:
    """I12."""
    sellers = [
        msgspec.structs.replace(seller(UUID(int=n), *one), shows=units)
        for n, (one, units) in enumerate(zip(pace, shows, strict=False), 1)
    ]
    plan = broadcast(left, sellers, buffer, limit=limit)

    assert plan.told.keys() == plan.risks.keys() == {one.channel for one in sellers}
    assert all(0 <= units <= max(0, left) for units in plan.told.values())
    assert all(0 <= plan.risks[one.channel] <= one.blind_units for one in sellers)
    if buffer == "auto":
        assert plan.bound <= limit
    if len(sellers) == 1 and buffer in ("off", "auto"):
        assert plan.told[UUID(int=1)] == max(0, left)
        assert plan.bound == 0


@given(
    left=st.integers(0, 300),
    sells=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    limit=st.integers(0, 40),
    buffer=st.one_of(st.sampled_from(["off", "auto"]), st.integers(0, 100)),
    data=st.data(),
)
def test_no_day_sells_more_too_often_than_the_bound(
    left: int, sells: list[int], limit: int, buffer: Buffer, data: st.DataObject
) -> None:
    """I12: channels hear of everything once per lag, in which each sells at most what it was said to sell."""
    sellers = [seller(UUID(int=n), units / 10, 10.0) for n, units in enumerate(sells, 1)]
    bound, really = 0, left
    while really > 0:
        plan = broadcast(really, sellers, buffer, limit=limit)
        bound = max(bound, plan.bound)
        sold = sum(data.draw(st.integers(0, min(one.blind_units, plan.told[one.channel]))) for one in sellers)
        if not sold:
            break
        really -= sold
    assert -really <= bound


def test_what_goes_under_other_skus_is_held_back_of_a_kit() -> None:
    """A sells the kit and its parts, B the kit only, C the parts only; nobody's own number says what the others take."""
    sellers = [
        msgspec.structs.replace(seller(A, 1.0), sells_apart=True),
        seller(B, 0.5),
        msgspec.structs.replace(seller(C, 2.0), is_told=False, sells_apart=True),
    ]
    plan = broadcast(100, sellers, "auto", limit=0)

    assert plan.told == {A: 100 - 20 - 10 - 5, B: 100 - 20 - 10 - 10}
    assert plan.bound == 0
    assert broadcast(100, sellers, "off", limit=0).risks == {A: 10, B: 5}
    alone = broadcast(30, [msgspec.structs.replace(seller(A, 1.0), sells_apart=True)], "auto", limit=0)
    assert (alone.told, alone.bound) == ({A: 20}, 0)


@given(
    left=st.integers(0, 200),
    sells=st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.booleans()), min_size=1, max_size=5),
    limit=st.integers(0, 40),
    buffer=st.one_of(st.sampled_from(["off", "auto"]), st.integers(0, 100)),
    data=st.data(),
)
def test_a_kit_is_sold_no_more_too_often_than_the_bound_however_its_parts_are_sold(
    left: int, sells: list[tuple[int, bool, bool]], limit: int, buffer: Buffer, data: st.DataObject
) -> None:
    """I12: what is left after parts were sold by themselves, never more than there are, is what kits can be made of."""
    sellers = [
        msgspec.structs.replace(
            seller(UUID(int=n), units / 10, 10.0), is_told=is_told, sells_apart=apart or not is_told
        )
        for n, (units, is_told, apart) in enumerate(sells, 1)
    ]
    plan = broadcast(left, sellers, buffer, limit=limit)
    really, kits = left, 0
    for one in sellers:
        apart = data.draw(st.integers(0, min(one.blind_units, really))) if one.sells_apart else 0
        really -= apart
        if one.is_told:
            kits += data.draw(st.integers(0, min(one.blind_units - apart, plan.told[one.channel])))
    assert kits - really <= plan.bound


STEPS = 3
"""Steps that a channel is behind: it shows what was there so many steps ago, less what it sold itself since."""


@given(
    left=st.integers(0, 120),
    sells=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    limit=st.integers(0, 40),
    buffer=st.one_of(st.sampled_from(["off", "auto"]), st.integers(0, 60)),
    data=st.data(),
)
def test_channels_that_are_behind_sell_no_more_too_often_than_the_bound(
    left: int, sells: list[int], limit: int, buffer: Buffer, data: st.DataObject
) -> None:
    """I12: a channel that shows what was there a lag ago, and sells at most its velocity."""
    sellers = [seller(UUID(int=n), float(units), float(STEPS)) for n, units in enumerate(sells, 1)]
    history, bound = [left] * (STEPS + 1), 0
    own: dict[UUID, list[int]] = {one.channel: [0] * STEPS for one in sellers}
    told: list[Mapping[UUID, int]] = []
    for step in range(40):
        shown = told[step - STEPS] if step >= STEPS else dict.fromkeys(own, 0)
        known = [msgspec.structs.replace(one, shows=shown[one.channel]) for one in sellers]
        plan = broadcast(history[-1 - STEPS], known, buffer, limit=limit)
        told.append(plan.told)
        bound = max(bound, plan.bound)
        really = history[-1]
        for one, most in zip(sellers, sells, strict=True):
            left_there = max(0, plan.told[one.channel] - sum(own[one.channel][-STEPS:]))
            sold = data.draw(st.integers(0, min(most, left_there)))
            own[one.channel].append(sold)
            really -= sold
        history.append(really)
        if really <= 0 and all(units <= 0 for units in history[-1 - STEPS :]):
            break
    assert -history[-1] <= bound


def test_while_another_one_still_shows_more_the_fastest_is_told_less() -> None:
    slow = msgspec.structs.replace(seller(B, 0.5), shows=80)
    plan = broadcast(20, [seller(A, 3.0), slow], "auto", limit=2)

    assert plan.told == {A: 15, B: 2}
    assert plan.is_passing
    assert broadcast(20, [seller(A, 3.0), seller(B, 0.5)], "auto", limit=2).told == {A: 18, B: 2}
