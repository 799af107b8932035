"""What each channel is told of an item that is shared out, worked out by hand."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tidegate.inventory import allocate
from tidegate.inventory.allocate import Claim, Counting, Lot, Move

A, B, C = (UUID(int=number) for number in (1, 2, 3))


def claim(channel: UUID, has: int | None, *, counting: Counting = Counting.COMPARED, **more: Any) -> Claim:
    lot = Lot(counting=counting, settled=has)
    return Claim(channel=channel, lot=lot, **{"shown": has, **more})


def test_minimums_come_first_and_the_rest_goes_by_weight_and_velocity() -> None:
    claims = [claim(A, 0, minimum=4), claim(B, 0, weight=2.0), claim(C, 0, velocity=2.0, weight=1.0)]

    assert allocate.aim(29, claims) == {A: 4 + 5, B: 10, C: 10}


def test_nothing_is_raised_before_it_is_known_what_everybody_has() -> None:
    planned = allocate.plan(10, [claim(A, None, shown=None), claim(B, 0)])

    assert planned.pool is None
    assert planned.moves == {A: Move(0, "close")}


def test_a_short_channel_gets_what_is_free_and_the_rest_is_withdrawn_first() -> None:
    planned = allocate.plan(10, [claim(A, 0), claim(B, 8)])

    assert planned.pool == 2
    assert planned.moves == {A: Move(2, "raise"), B: Move(6, "withdraw")}


def test_too_many_are_withdrawn_at_once() -> None:
    planned = allocate.plan(4, [claim(A, 10), claim(B, 10)])

    assert planned.pool == -16
    assert planned.moves == {A: Move(2, "withdraw"), B: Move(2, "withdraw")}


def test_units_are_taken_from_a_blind_channel_last_and_by_closing_it() -> None:
    blind = claim(C, 8, counting=Counting.BLIND)

    assert allocate.plan(8, [claim(A, 0, velocity=8.0), blind]).moves == {C: Move(0, "close")}
    assert C not in allocate.plan(16, [claim(A, 0), claim(B, 8), blind]).moves


def test_a_number_in_flight_counts_at_its_worst() -> None:
    lot = allocate.begin(Lot(counting=Counting.COMPARED, settled=3), 9, shown=3)
    assert lot.worst == 9
    assert allocate.answer(lot, "refused", before=3, shows=3).worst == 3
    assert allocate.answer(lot, "arrived", before=3, shows=9, seen=9).worst == 9
    assert allocate.answer(lot, "unsure", before=3, shows=3, is_late=True).worst == 9


def test_a_channel_that_has_nothing_is_not_slow() -> None:
    assert allocate.velocity_of(0, 0) > allocate.velocity_of(0, 120)
    assert allocate.velocity_of(100, 1) > allocate.velocity_of(10, 1)


@pytest.mark.parametrize(
    ("conditional", "deducts", "number", "counting"),
    [
        (True, True, "available", Counting.COMPARED),
        (False, True, "on_hand", Counting.BOOKED),
        (False, False, "available", Counting.BLIND),
        (False, False, "on_hand", Counting.BLIND),
        (True, False, "available", Counting.BLIND),
    ],
)
def test_how_a_channel_counts_follows_from_its_connector(
    conditional: bool, deducts: bool, number: Any, counting: Counting
) -> None:
    found = allocate.counting_of(conditional_set=conditional, deducts_own_orders=deducts, stock_number=number)
    assert found is counting
