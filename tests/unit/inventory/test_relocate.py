"""Which orders leave from another location when theirs has not what was promised there."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tidegate.inventory.relocate import Need, Standing, relocate

MAIN, NEAR, FAR = (UUID(int=n) for n in (1, 2, 3))
A, B = UUID(int=11), UUID(int=12)


def order(number: int, *needs: tuple[UUID, int, UUID]) -> Standing:
    lines = (
        Need(UUID(int=1000 * number + index), item, place, units) for index, (item, units, place) in enumerate(needs)
    )
    return Standing(UUID(int=100 + number), tuple(lines))


def test_the_newest_orders_move_as_a_whole_to_where_all_of_them_is() -> None:
    newest, older = order(2, (A, 2, MAIN), (B, 1, MAIN)), order(1, (A, 3, MAIN))

    (move,) = relocate({(A, MAIN): 2}, [newest, older], {(A, NEAR): 9, (A, FAR): 2, (B, FAR): 1}, [NEAR, FAR])
    assert (move.order_id, move.location_id, move.lacks) == (newest.order_id, FAR, (((A, MAIN), 2),))
    (move,) = relocate({(A, MAIN): 2}, [newest, older], {(A, NEAR): 9}, [NEAR, FAR])
    assert move.order_id == older.order_id, "no parcel is split: the newest one stays"
    assert relocate({(A, MAIN): 2}, [newest, older], {(A, NEAR): 2, (B, FAR): 1}, [NEAR, FAR]) == []


needs = st.lists(st.tuples(st.sampled_from([A, B]), st.integers(1, 4), st.sampled_from([MAIN, NEAR])), max_size=3)
levels = st.tuples(st.sampled_from([A, B]), st.sampled_from([MAIN, NEAR, FAR]))


@given(
    st.dictionaries(st.tuples(st.sampled_from([A, B]), st.just(MAIN)), st.integers(1, 8)),
    st.lists(needs, max_size=6),
    st.dictionaries(levels, st.integers(1, 9)),
)
def test_no_level_is_promised_more_than_it_had_and_nobody_moves_for_nothing(
    short: dict[tuple[UUID, UUID], int],
    wanted: list[list[tuple[UUID, int, UUID]]],
    sellable: dict[tuple[UUID, UUID], int],
) -> None:
    orders = [order(number, *each) for number, each in enumerate(wanted)]
    moves = relocate(short, orders, sellable, [MAIN, NEAR, FAR])

    assert len({move.order_id for move in moves}) == len(moves)
    left, free = dict(short), dict(sellable)
    by_id = {each.order_id: each for each in orders}
    for move in moves:
        held = by_id[move.order_id].needs
        assert any(left.get((need.item_id, need.location_id), 0) > 0 for need in held)
        for need in held:
            if need.location_id != move.location_id:
                key = (need.item_id, need.location_id)
                left[key] = left.get(key, 0) - need.units
                free[need.item_id, move.location_id] = free.get((need.item_id, move.location_id), 0) - need.units
    assert all(units >= 0 for units in free.values())
