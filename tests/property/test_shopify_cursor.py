"""Whatever changes while a Shopify shop is polled, every order is read in its last state, and each round ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.connectors.shopify import cursor
from tidegate.connectors.shopify.cursor import Cursor, following, variables

START = datetime(2026, 11, 27, 12, tzinfo=UTC)
PAGE = 4
PAGES = 3
"""Of one question, in these tests; the shop gives as many and one more."""


class Shop:
    """Orders as the search gives them: by time of change and id, from a place inside of a question, up to a limit."""

    def __init__(self) -> None:
        self.changed: dict[int, datetime] = {}

    def page(self, asked: dict[str, Any]) -> tuple[list[tuple[int, datetime]], str | None, bool]:
        rows = sorted(self.changed.items(), key=lambda row: (row[1], row[0]))
        if asked["query"]:
            bound = datetime.fromisoformat(asked["query"].split("'")[1])
            rows = [row for row in rows if row[1] >= bound]
        if asked["after"] is not None:
            moment, number = msgspec.json.decode(asked["after"], type=tuple[datetime, int])
            rows = [row for row in rows if (row[1], row[0]) > (moment, number)]
        found = rows[: asked["first"]]
        end = msgspec.json.encode((found[-1][1], found[-1][0])).decode() if found else None
        return found, end, len(rows) > len(found)


Moved = list[tuple[int, datetime]]


def poll(shop: Shop, stored: str, seen: dict[int, datetime], between: Moved, now: datetime | None = None) -> str:
    """Read a round, answered at `now`, each page by whoever has read what the one before stored; something changes before each page but the first."""
    pages = 0
    while True:
        state = msgspec.json.decode(stored, type=Cursor) if stored else Cursor()
        if pages and between:
            order, moment = between.pop()
            shop.changed[order] = moment
        rows, end, has_more = shop.page(variables(state))
        for order, moment in rows:
            seen[order] = max(moment, seen.get(order, moment))
        assert state.pages <= PAGES + len(shop.changed) // PAGE, (
            "it asks for more behind one question than the shop gives"
        )
        reached, goes_on = following(state, [moment for _, moment in rows], now, end_cursor=end, has_more=has_more)
        stored, pages = msgspec.json.encode(reached).decode(), pages + 1
        assert pages < 200, "a round does not end"
        if not goes_on:
            return stored


@pytest.fixture(autouse=True, scope="module")
def small_pages() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cursor, "ORDERS_PER_PAGE", PAGE)
        patch.setattr(cursor, "PAGES_PER_QUESTION", PAGES)
        yield


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.sampled_from((0, 1, 3, 4, 5, 8, 11, 30)), min_size=1, max_size=6),
    gaps=st.lists(st.integers(0, 400), min_size=6, max_size=6),
    moved=st.lists(st.integers(1, 60), max_size=12),
)
def test_every_order_is_read_in_its_last_state(counts: list[int], gaps: list[int], moved: list[int]) -> None:
    """Crowds of one second, changes between two pages, and a process that is another one for each page."""
    shop, seen, stored, now = Shop(), dict[int, datetime](), "", START
    number = 0
    for count, gap in zip(counts, gaps, strict=False):
        now += timedelta(seconds=gap)
        for _ in range(count):
            number += 1
            shop.changed[number] = now
        between = [(order, now + timedelta(seconds=1)) for order in moved if order <= number]
        stored = poll(shop, stored, seen, between)
        now += timedelta(seconds=1)
    poll(shop, stored, seen, [])

    assert {order: seen.get(order) for order in shop.changed} == shop.changed


@settings(max_examples=40, deadline=None)
@given(late=st.integers(1, int(cursor.REACH.overlap.total_seconds())), others=st.integers(0, 20))
def test_what_the_search_shows_late_is_found_by_the_overlap(late: int, others: int) -> None:
    shop, seen = Shop(), dict[int, datetime]()
    shop.changed[1] = START
    stored = poll(shop, "", seen, [])
    now = START + timedelta(seconds=60)
    shop.changed |= dict.fromkeys(range(2, 3 + others), now)
    stored = poll(shop, stored, seen, [])
    shop.changed[99] = now - timedelta(seconds=late)
    poll(shop, stored, seen, [])

    assert set(seen) == set(shop.changed)


@settings(max_examples=40, deadline=None)
@given(late=st.integers(1, 290), pauses=st.lists(st.integers(1, 100), min_size=8, max_size=8))
def test_what_it_shows_minutes_late_is_found_by_a_deep_round(late: int, pauses: list[int]) -> None:
    shop, seen, stored, now = Shop(), dict[int, datetime](), "", START
    for number, pause in enumerate(pauses, start=1):
        now += timedelta(seconds=pause)
        shop.changed[number] = now
        stored = poll(shop, stored, seen, [])
    shop.changed[99] = now - timedelta(seconds=late)
    for number in range(10, 17):  # life goes on
        now += timedelta(seconds=100)
        shop.changed[number] = now
        stored = poll(shop, stored, seen, [])

    assert set(seen) == set(shop.changed)


def test_an_idle_shop_is_asked_for_one_page_and_the_cursor_stays() -> None:
    shop, seen = Shop(), dict[int, datetime]()
    shop.changed |= dict.fromkeys(range(1, 4), START)
    stored = poll(shop, poll(shop, "", seen, []), seen, [])

    state = msgspec.json.decode(stored, type=Cursor)
    assert following(state, [START] * 3, None, end_cursor="x", has_more=False) == (state, False)


@settings(max_examples=40, deadline=None)
@given(
    ahead=st.lists(st.integers(1, 10**8), min_size=1, max_size=9),
    gaps=st.lists(st.integers(1, 900), min_size=2, max_size=5),
    wrong_by=st.sampled_from((0, 10, 10**7)),
)
def test_what_is_of_a_time_to_come_hides_nothing(ahead: list[int], gaps: list[int], wrong_by: int) -> None:
    """Its time is next year's, or the shop's clock was ahead and is right again; what changes today is read all the same."""
    shop, seen, now = Shop(), dict[int, datetime](), START
    stored = poll(shop, "", seen, [], now)
    shop.changed |= {1_000 + number: now + timedelta(seconds=far) for number, far in enumerate(ahead)}
    stored = poll(shop, stored, seen, [], now + timedelta(seconds=wrong_by))
    for number, gap in enumerate(gaps):
        stored = poll(shop, stored, seen, [(7, now)], now)
        now += timedelta(seconds=gap)
        shop.changed[number] = now
    poll(shop, stored, seen, [], now)

    assert seen == shop.changed
