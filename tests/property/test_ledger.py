"""The ledger's arithmetic: counters are the sums of what their entries really moved, numbered without gaps."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tidegate.inventory.ledger import Counters, LevelKey, Posting, available_changes, post

ITEMS, PLACES = [UUID(int=1), UUID(int=2)], [UUID(int=3), UUID(int=4)]
KEYS: list[LevelKey] = [(item, place) for item in ITEMS for place in PLACES]
deltas = st.integers(-9, 9)
balances = st.integers(0, 9)


@st.composite
def postings(draw: st.DrawFn) -> list[Posting]:
    """Facts of any size and direction, also releases of what never stood there."""
    return [
        Posting(
            item_id=key[0], location_id=key[1], kind="adjust", cause_key=f"cause {index}", on_hand_delta=draw(deltas),
            unavailable_delta=draw(deltas), committed_delta=draw(deltas), reserved_delta=draw(deltas),
        )
        for index, key in enumerate(draw(st.lists(st.sampled_from(KEYS), max_size=20)))
    ]  # fmt: skip


levels = st.fixed_dictionaries(
    {
        key: st.builds(Counters, st.integers(-9, 9), balances, balances, balances, version=st.integers(0, 99))
        for key in KEYS
    }
)


@given(levels, postings())
def test_counters_are_what_they_were_and_the_sums_of_the_effective_deltas(
    stock: dict[LevelKey, Counters], facts: list[Posting]
) -> None:
    before = {key: replace(level) for key, level in stock.items()}

    entries = post(stock, facts)

    for key, level in stock.items():
        mine = [entry for entry in entries if entry.posting.key() == key]
        old = before[key]
        assert level.on_hand == old.on_hand + sum(entry.posting.on_hand_delta for entry in mine)
        assert level.unavailable == old.unavailable + sum(entry.unavailable_delta for entry in mine)
        assert level.committed == old.committed + sum(entry.committed_delta for entry in mine)
        assert level.reserved == old.reserved + sum(entry.reserved_delta for entry in mine)
        assert [entry.version for entry in mine] == list(range(old.version + 1, level.version + 1))
        if mine:
            assert (mine[-1].on_hand_after, mine[-1].committed_after) == (level.on_hand, level.committed)


@given(levels, postings())
def test_every_fact_posts_once_and_nothing_but_on_hand_goes_below_zero(
    stock: dict[LevelKey, Counters], facts: list[Posting]
) -> None:
    entries = post(stock, facts)

    assert [entry.posting for entry in entries] == facts
    for level in stock.values():
        assert min(level.unavailable, level.committed, level.reserved) >= 0
    for entry in entries:
        assert entry.committed_after >= 0
        assert abs(entry.committed_delta) <= abs(entry.posting.committed_delta)
        assert entry.committed_delta >= entry.posting.committed_delta, "only a release may be cut"


@given(levels, postings(), st.integers(0, 20))
def test_posting_in_two_batches_is_posting_in_one(
    stock: dict[LevelKey, Counters], facts: list[Posting], cut: int
) -> None:
    again = {key: replace(level) for key, level in stock.items()}

    whole = post(stock, facts)
    parts = post(again, facts[:cut]) + post(again, facts[cut:])

    assert whole == parts
    assert stock == again


@given(st.permutations(range(6)), st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_the_order_of_facts_does_not_matter_while_nothing_is_cut(order: list[int], units: list[int]) -> None:
    facts = [
        Posting(
            *KEYS[index % 4], "adjust", f"cause {index}", on_hand_delta=(-1) ** index * count, committed_delta=count
        )
        for index, count in enumerate(units)
    ]
    told, mixed = ({key: Counters(0, 0, 0, 0, 0) for key in KEYS} for _ in range(2))

    post(told, facts)
    post(mixed, [facts[index] for index in order])

    assert told == mixed


@given(levels, postings(), st.sets(st.sampled_from(KEYS)))
def test_what_is_available_changes_by_what_entries_moved_where_it_counts(
    stock: dict[LevelKey, Counters], facts: list[Posting], counted: set[LevelKey]
) -> None:
    def available(item: UUID) -> int:
        found = [level for key, level in stock.items() if key[0] == item and key in counted]
        return sum(level.on_hand - level.unavailable - level.committed - level.reserved for level in found)

    before = {item: available(item) for item in ITEMS}

    changes = available_changes(post(stock, facts), counted)

    assert {item: before[item] + changes.get(item, 0) for item in ITEMS} == {item: available(item) for item in ITEMS}
