"""Whatever changes while a shop is polled, every order is read in its last state: nothing falls between two pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.connectors.woocommerce import cursor
from tidegate.connectors.woocommerce.cursor import following, query_of
from tidegate.connectors.woocommerce.wire import PAGE_MAX
from tidegate.sdk.rounds import Cursor, parse

START = datetime(2026, 11, 27, 12, tzinfo=UTC)


class Shop:
    """Orders with whole seconds of change, listed as the API lists them: `after` and `before` leave their own second out."""

    def __init__(self) -> None:
        self.changed: dict[int, datetime] = {}

    def page(self, query: dict[str, str]) -> list[tuple[int, datetime]]:
        rows = list(self.changed.items())
        if (after := query.get("modified_after")) is not None:
            rows = [row for row in rows if row[1] > _read(after)]
        if (before := query.get("modified_before")) is not None:
            rows = [row for row in rows if row[1] < _read(before)]
        # what shares a second comes in no promised order: the worst is the reverse of the ids
        rows.sort(key=(lambda row: row[0]) if query["orderby"] == "id" else (lambda row: (row[1], -row[0])))
        start = int(query.get("offset", "0"))
        return rows[start : start + PAGE_MAX]


def _read(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def poll(
    shop: Shop,
    state: Cursor,
    seen: dict[int, datetime],
    between: list[tuple[int, datetime]],
    now: datetime | None = None,
) -> Cursor:
    """Read a round, answered at `now`; before each page but the first something changes, while there is something in `between`."""
    for number in range(500):
        if number and between:
            order, moment = between.pop()
            shop.changed[order] = moment
        rows = shop.page(query_of(state))
        for order, moment in rows:
            seen[order] = max(moment, seen.get(order, moment))
        state, has_more = following(state, [moment for _, moment in rows], now)
        if not has_more:
            return state
    raise AssertionError("a round does not end")


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.sampled_from((0, 1, 3, 99, 100, 101, 250)), min_size=1, max_size=6),
    gaps=st.lists(st.integers(0, 400), min_size=6, max_size=6),
    moved=st.lists(st.integers(1, 900), max_size=20),
)
def test_every_order_is_read_in_its_last_state(counts: list[int], gaps: list[int], moved: list[int]) -> None:
    shop, seen, state, now = Shop(), {}, Cursor(), START
    number = 0
    for count, gap in zip(counts, gaps, strict=False):
        now += timedelta(seconds=gap)
        for _ in range(count):
            number += 1
            shop.changed[number] = now
        between = [(order, now + timedelta(seconds=1)) for order in moved if order <= number]
        state = poll(shop, state, seen, between)
        now += timedelta(seconds=1)
    state = poll(shop, state, seen, [])

    assert {order: seen.get(order) for order in shop.changed} == shop.changed


@settings(max_examples=60, deadline=None)
@given(late=st.integers(1, int(cursor.OVERLAP.total_seconds()) - 2))
def test_what_is_seen_late_is_found_by_the_overlap(late: int) -> None:
    """A request sets its time when it begins, and is visible when it commits."""
    shop, seen = Shop(), {}
    shop.changed[1] = START
    state = poll(shop, Cursor(), seen, [])
    shop.changed[2] = START + timedelta(seconds=30)
    state = poll(shop, state, seen, [])
    shop.changed[3] = START + timedelta(seconds=30) - timedelta(seconds=late)
    poll(shop, state, seen, [])

    assert set(seen) == {1, 2, 3}


def test_a_cursor_is_what_it_was_after_it_was_stored() -> None:
    state = Cursor(newest=START, deep_at=START, page_after=START, skip=90)

    assert parse(msgspec.json.encode(state).decode()) == state
    assert parse("") == Cursor()


@settings(max_examples=40, deadline=None)
@given(
    ahead=st.lists(st.integers(1, 10**8), min_size=1, max_size=3),
    crowd=st.sampled_from((0, 1, 99, 100, 130)),
    gaps=st.lists(st.integers(1, 900), min_size=2, max_size=5),
)
def test_what_is_of_a_time_to_come_hides_nothing(ahead: list[int], crowd: int, gaps: list[int]) -> None:
    """An import or a plugin wrote a time of next year; what changes today is read all the same, and so is that."""
    shop, seen, now = Shop(), dict[int, datetime](), START
    state = poll(shop, Cursor(), seen, [], now)
    shop.changed |= {1_000 + number: now + timedelta(seconds=far) for number, far in enumerate(ahead)}
    shop.changed |= dict.fromkeys(range(2_000, 2_000 + crowd), now + timedelta(days=365))
    for number, gap in enumerate(gaps):
        state = poll(shop, state, seen, [(7, now)], now)
        now += timedelta(seconds=gap)
        shop.changed[number] = now
    poll(shop, state, seen, [], now)

    assert seen == shop.changed


@settings(max_examples=30, deadline=None)
@given(ahead=st.integers(1, 10**8), pause=st.integers(0, 60), others=st.sampled_from((0, 1, 130)))
def test_what_changes_after_a_clock_was_set_back_is_read(ahead: int, pause: int, others: int) -> None:
    """The shop's clock was ahead, for its changes and for its answers, and is right again when it is asked once more."""
    shop, seen, now = Shop(), dict[int, datetime](), START
    wrong = now + timedelta(seconds=ahead)
    shop.changed[1] = wrong
    state = poll(shop, Cursor(), seen, [], wrong)
    shop.changed |= dict.fromkeys(range(2, 3 + others), now + timedelta(seconds=pause // 2))
    now += timedelta(seconds=pause)
    state = poll(shop, state, seen, [], now)
    for number in range(1_000, 1_003):  # life goes on: a deep round finds what lies less than an overlap back
        now += timedelta(seconds=400)
        shop.changed[number] = now
        state = poll(shop, state, seen, [], now)

    assert seen == shop.changed
