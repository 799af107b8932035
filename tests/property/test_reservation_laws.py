"""Reservations over random days: requests in any order and any batches, repeated, crashed, overtaken by facts (I8 to I10)."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import structs

from tidegate.inventory.decide import (
    CLAIM_WAIT,
    Ask,
    Claim,
    Decided,
    Held,
    Refusal,
    Release,
    Reservation,
    Reserve,
    Result,
    Situation,
    decide,
)
from tidegate.inventory.ledger import Counters, Entry, Posting, post
from tidegate.inventory.reserve import Claimant, Hold, ReservationState, Shelf, Standing, claims_of, end_postings

A, B = UUID(int=1), UUID(int=2)
MAIN, STORE = UUID(int=11), UUID(int=12)
SHOP = UUID(int=21)
BILLS = {"A": ((A, 1),), "B": ((B, 1),), "SET": ((A, 2), (B, 1)), "SIX": ((A, 6),)}
SAFETY = {(A, MAIN): 1}
KEYS = [(item, place) for item in (A, B) for place in (MAIN, STORE)]
START = datetime(2026, 11, 27, 10, tzinfo=UTC)

lines = st.lists(st.tuples(st.sampled_from(sorted(BILLS)), st.integers(1, 4)), min_size=1, max_size=3).map(tuple)
places = st.sampled_from([None, None, MAIN, STORE])
seconds = st.integers(1, 60)


@dataclass
class Store:
    """What the database would hold. A transaction that dies leaves it as it was."""

    now: datetime = START
    levels: dict[tuple[UUID, UUID], Counters] = field(
        default_factory=lambda: {k: Counters(0, 0, 0, 0, 0) for k in KEYS}
    )
    rows: dict[UUID, Standing] = field(default_factory=dict)
    asked: dict[UUID, Reserve] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    orders: dict[str, UUID] = field(default_factory=dict)
    ids: Iterable[int] = field(default_factory=lambda: itertools.count(1000))
    ends: Counter[UUID] = field(default_factory=Counter)

    def situation(self) -> Situation:
        """Return what the shell would read under its locks."""
        shelves = {item: Shelf({}, 0) for item in (A, B)}
        for (item, place), level in self.levels.items():
            free = level.on_hand - level.unavailable - level.committed - level.reserved - SAFETY.get((item, place), 0)
            shelves[item].free[place] = free
            shelves[item].cap += free
        references = {
            row.reference: Held(key, self.asked[key].lines, self.asked[key].location_id, row.due_at)
            for key, row in self.rows.items()
            if row.state is ReservationState.HELD and row.reference is not None
        }
        orders = {(SHOP, name): order_id for name, order_id in self.orders.items()}
        return Situation(self.now, shelves, dict(self.rows), references, orders)

    def carry_out(self, asks: Sequence[Ask]) -> list[Result]:
        """Decide a batch and store what it changes."""
        ids = self.ids
        decided = decide(self.situation(), asks, lambda: UUID(int=next(iter(ids))))
        self.keep(decided)
        return decided.results

    def keep(self, decided: Decided) -> None:
        self.post(decided.postings)
        for made in decided.made:
            reference = made.ask.reference
            self.asked[made.reservation_id] = made.ask
            self.rows[made.reservation_id] = Standing(
                made.reservation_id, ReservationState.HELD, awaits_order=False, due_at=made.due_at, holds=made.holds,
                reference=reference,
            )  # fmt: skip
        for key, ending in decided.ended.items():
            row = self.rows[key]
            assert row.is_live, "nothing that has ended ends again"
            self.ends[key] += row.state is ReservationState.HELD
            self.rows[key] = structs.replace(
                row,
                state=ending.state,
                awaits_order=ending.awaits_order,
                holds=row.holds if ending.awaits_order else (),
                due_at=ending.due_at or row.due_at,
                order_id=ending.order_id or row.order_id,
                connection_id=ending.connection_id or row.connection_id,
                order_reference=ending.order_reference or row.order_reference,
            )

    def post(self, postings: Sequence[Posting]) -> None:
        made = post(self.levels, postings)
        for entry in made:
            if entry.posting.reservation_id is not None:
                assert entry.reserved_delta == entry.posting.reserved_delta, "what is given back was held"
                assert entry.committed_delta == entry.posting.committed_delta
            if entry.posting.kind == "reserve":
                left = entry.on_hand_after - entry.unavailable_after - entry.committed_after - entry.reserved_after
                assert left >= SAFETY.get(entry.posting.key(), 0), "a promise took what is not there"
        self.entries += made

    def order(self, name: str, units: int, *, named: Iterable[UUID] = (), stands: bool = True) -> None:
        """Let an order for A come in, as T2 does: its units stand committed, and it claims what it names."""
        if name in self.orders:
            return
        order_id = UUID(int=next(iter(self.ids)))
        self.orders[name] = order_id
        claimant = Claimant(
            order_id, SHOP, frozenset({name}), frozenset(named), frozenset(), frozenset({A}), stands=stands
        )
        postings = [Posting(A, MAIN, "commit", f"commit:{order_id}", committed_delta=units)] if stands else []
        decided = Decided()
        for standing, ending in claims_of([claimant], self.rows.values()):
            postings += end_postings(standing, ending)
            decided.ended[standing.reservation_id] = ending
        self.post(postings)
        self.keep(decided)

    def check(self) -> None:
        held: Counter[tuple[UUID, UUID]] = Counter()
        for row in self.rows.values():
            assert row.holds if row.is_live else not row.holds
            if row.state is ReservationState.HELD:
                for hold in row.holds:
                    held[hold.item_id, hold.location_id] += hold.units
        causes = Counter(entry.posting.cause_key for entry in self.entries)
        assert not causes or max(causes.values()) == 1, causes.most_common(2)
        for key, level in self.levels.items():
            mine = [entry for entry in self.entries if entry.posting.key() == key]
            assert level.reserved == held[key], "I10: reserved is what held reservations hold"
            assert level.reserved == sum(entry.reserved_delta for entry in mine)
            assert level.committed == sum(entry.committed_delta for entry in mine)
            assert [entry.version for entry in mine] == list(range(1, level.version + 1))
        assert not self.ends or max(self.ends.values()) == 1, "a reservation leaves `held` once"


class Days(RuleBasedStateMachine):
    """A shop's days: carts, checkouts, time, deliveries, counts, and processes that die in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.last: list[tuple[Reserve, UUID]] = []

    def ids(self) -> list[UUID]:
        return sorted(self.store.rows)

    @initialize(units=st.lists(st.integers(0, 12), min_size=4, max_size=4))
    def fill(self, units: list[int]) -> None:
        self.store.post(
            [Posting(*key, "receive", f"first:{index}", on_hand_delta=units[index]) for index, key in enumerate(KEYS)]
        )

    @rule(data=st.data(), wanted=st.lists(st.tuples(lines, places, seconds), min_size=1, max_size=6))
    def reserve(self, data: st.DataObject, wanted: list[tuple[tuple[tuple[str, int], ...], UUID | None, int]]) -> None:
        """A batch of requests; the process may die before its commit, and then the batch comes again."""
        asks = [
            Reserve(asked, tuple(BILLS[sku] for sku, _ in asked), length, "test", place, f"cart-{index % 3}")
            for index, (asked, place, length) in enumerate(wanted)
        ]
        if data.draw(st.booleans(), label="dies before its commit"):
            deepcopy(self.store).carry_out(asks)
        for ask, result in zip(asks, self.store.carry_out(asks), strict=True):
            if isinstance(result, Reservation):
                self.last.append((ask, result.reservation_id))
            elif result.code == "insufficient_stock":
                assert any(line.available < line.wanted for line in result.shortages) or len(ask.lines) > 1

    @precondition(lambda self: self.last)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        """A held reservation asked for again under its name is the same one."""
        ask, reservation_id = data.draw(st.sampled_from(self.last))
        row = self.store.rows[reservation_id]
        if row.state is ReservationState.HELD and row.due_at > self.store.now:
            (result,) = self.store.carry_out([ask])
            assert isinstance(result, Reservation)
            assert (result.reservation_id, result.is_new) == (reservation_id, False)

    @precondition(lambda self: self.store.rows)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """Releases and claims, several of the same reservation in one batch too."""
        chosen = data.draw(st.lists(st.sampled_from(self.ids()), min_size=1, max_size=4))
        asks: list[Ask] = []
        for key in chosen:
            kind = data.draw(st.sampled_from(["release", "claim", "claim for an order"]))
            if kind == "release":
                asks.append(Release(key, "test"))
            elif kind == "claim":
                asks.append(Claim(key, "test"))
            else:
                asks.append(Claim(key, "test", SHOP, data.draw(st.sampled_from("wxyz"))))
        before = {key: self.store.rows[key] for key in chosen}
        results = self.store.carry_out(asks)
        for ask, result in zip(asks, results, strict=True):
            row = before[ask.reservation_id]  # type: ignore[union-attr]
            if isinstance(ask, Claim) and row.state is ReservationState.HELD and row.due_at <= self.store.now:
                assert isinstance(result, Refusal)

    @rule(name=st.sampled_from("wxyz"), units=st.integers(1, 9), data=st.data())
    def order(self, name: str, units: int, data: st.DataObject) -> None:
        """An order comes, whatever is there: facts always post."""
        named = data.draw(st.lists(st.sampled_from(self.ids()), max_size=2)) if self.store.rows else []
        self.store.order(name, units, named=named, stands=data.draw(st.booleans()))

    @rule(index=st.integers(0, 3), units=st.integers(-6, 6))
    def count(self, index: int, units: int) -> None:
        """Somebody counted."""
        cause = f"count:{next(iter(self.store.ids))}"
        self.store.post([Posting(*KEYS[index], "count", cause, on_hand_delta=units)])

    @rule(passes=st.sampled_from([timedelta(seconds=5), timedelta(seconds=61), CLAIM_WAIT]))
    def time_passes(self, passes: timedelta) -> None:
        self.store.now += passes

    @rule()
    def sweep(self) -> None:
        """What is due expires, twice does no more."""
        self.store.carry_out([])
        entries = len(self.store.entries)
        self.store.carry_out([])
        assert len(self.store.entries) == entries
        assert all(row.due_at > self.store.now for row in self.store.rows.values() if row.is_live)

    @invariant()
    def books_are_right(self) -> None:
        self.store.check()


TestDays = Days.TestCase
TestDays.settings = settings(max_examples=60, stateful_step_count=25)


@given(st.lists(st.tuples(lines, places), min_size=2, max_size=8), st.integers(0, 8), st.integers(0, 20))
def test_requests_in_two_batches_get_what_they_get_in_one(
    wanted: list[tuple[tuple[tuple[str, int], ...], UUID | None]], cut: int, units: int
) -> None:
    asks = [Reserve(asked, tuple(BILLS[sku] for sku, _ in asked), 60, "test", place) for asked, place in wanted]

    def run(*batches: Sequence[Ask]) -> tuple[list[object], dict[tuple[UUID, UUID], Counters]]:
        store = Store()
        store.post([Posting(*key, "receive", f"first:{key}", on_hand_delta=units) for key in KEYS])
        return [result for batch in batches for result in store.carry_out(batch)], store.levels

    assert run(asks) == run(asks[:cut], asks[cut:])


@given(st.permutations(range(5)), st.integers(0, 12))
def test_whoever_comes_first_nobody_gets_too_much_and_nothing_is_left_that_somebody_wanted(
    order: list[int], units: int
) -> None:
    """Requests of different size in any order: all that is granted fits, and what is left satisfies none that was refused."""
    sizes = [1, 2, 3, 4, 5]
    store = Store()
    store.post([Posting(A, STORE, "receive", "first", on_hand_delta=units)])
    store.levels[A, MAIN] = Counters(1, 0, 0, 0, 0)
    asks = [Reserve((("A", sizes[index]),), (BILLS["A"],), 60, "test") for index in order]
    results = store.carry_out(asks)
    granted = [sizes[index] for index, result in zip(order, results, strict=True) if isinstance(result, Reservation)]
    refused = [sizes[index] for index, result in zip(order, results, strict=True) if isinstance(result, Refusal)]
    assert sum(granted) <= units
    assert all(size > units - sum(granted) for size in refused)


def test_a_bundle_is_held_part_by_part_and_a_line_is_refused_for_the_sum_of_all() -> None:
    store = Store()
    store.post([Posting(A, STORE, "receive", "a", on_hand_delta=5), Posting(B, STORE, "receive", "b", on_hand_delta=9)])
    store.levels[A, MAIN] = Counters(1, 0, 0, 0, 0)
    both = (("SET", 2), ("A", 2))
    (short,) = store.carry_out([Reserve(both, (BILLS["SET"], BILLS["A"]), 60, "test")])
    assert isinstance(short, Refusal)
    assert {(line.sku, line.wanted, line.available) for line in short.shortages} == {("SET", 2, 2), ("A", 2, 5)}
    (made,) = store.carry_out([Reserve((("SET", 2), ("A", 1)), (BILLS["SET"], BILLS["A"]), 60, "test")])
    assert isinstance(made, Reservation)
    assert store.rows[made.reservation_id].holds == (Hold(A, STORE, 5), Hold(B, STORE, 2))


def test_what_is_short_in_one_place_is_not_promised_in_another() -> None:
    """Units that facts took too many of, and units missing in channels, count against the whole, request by request."""
    store = Store()
    store.post([Posting(A, STORE, "receive", "a", on_hand_delta=5)])
    store.post([Posting(A, MAIN, "commit", "b", committed_delta=2)])  # oversold there; one more is kept as safety stock
    asks = [Reserve((("A", 1),), (BILLS["A"],), 60, "test") for _ in range(4)]
    granted = [isinstance(result, Reservation) for result in store.carry_out(asks)]
    assert granted == [True, True, False, False]


def test_what_a_step_frees_is_there_for_the_next_request_of_its_batch_and_what_a_claim_keeps_is_not() -> None:
    store = Store()
    store.post([Posting(A, STORE, "receive", "a", on_hand_delta=5)])
    store.levels[A, MAIN] = Counters(1, 0, 0, 0, 0)
    wish = Reserve((("A", 5),), (BILLS["A"],), 60, "test")

    def kinds(*asks: Ask) -> list[type]:
        return [type(result) for result in store.carry_out(asks)]

    (first,) = store.carry_out([wish])
    assert isinstance(first, Reservation)
    assert kinds(wish, Release(first.reservation_id, "test"), wish) == [Refusal, Reservation, Reservation]
    second = max(store.rows)
    assert kinds(Claim(second, "test"), wish) == [Reservation, Refusal], "it stands committed until its order comes"
    assert kinds(Release(second, "test"), wish) == [Reservation, Reservation]
    store.check()
