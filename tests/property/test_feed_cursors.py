"""Feeds skip nothing, in whatever order transactions commit, and end, however many records share one time."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.feedbed import BEGIN, Read, Row, Table, TrytonTable, VendureTable, read_round

from tidegate.connectors.tryton import feeds
from tidegate.connectors.vendure import client, cursor

FEEDS = [
    pytest.param(client.read_orders, VendureTable, id="vendure"),
    pytest.param(feeds.read_moves, TrytonTable, id="tryton"),
]
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

Transaction = tuple[int, int, int]
"""(begin, duration, number of records), times in milliseconds."""


def transactions(longest: timedelta, spread: timedelta) -> st.SearchStrategy[list[Transaction]]:
    durations = st.integers(0, longest // timedelta(milliseconds=1)) | st.just(longest // timedelta(milliseconds=1))
    begins = st.integers(0, spread // timedelta(milliseconds=1))
    sizes = st.sampled_from([1, 2, 49, 50, 51, 99, 130, 200, 201])
    return st.lists(st.tuples(begins, durations, sizes), min_size=1, max_size=6)


def rows_of(found: Sequence[Transaction], seed: int) -> list[Row]:
    ids = list(range(1, sum(size for _, _, size in found) + 1))
    random.Random(seed).shuffle(ids)
    rows = []
    for begin, duration, size in found:
        written = BEGIN + timedelta(milliseconds=begin)
        rows += [Row(ids.pop(), written, written + timedelta(milliseconds=duration)) for _ in range(size)]
    return rows


def poll(read: Read, table: Table, state: str, pauses: Sequence[int], seen: set[str]) -> str:
    """Read one round after each pause (in milliseconds)."""
    for pause in pauses:
        table.now += timedelta(milliseconds=pause)
        ids, state, _ = read_round(read, table, state)
        seen |= set(ids)
    return state


@pytest.mark.parametrize(("read", "table_of"), FEEDS)
@QUICK
@given(
    found=transactions(cursor.OVERLAP, spread=timedelta(minutes=20)),
    pauses=st.lists(st.integers(0, 400_000), max_size=8),
    seed=st.integers(0, 1000),
)
def test_what_commits_within_the_overlap_is_read_by_the_next_round(
    read: Read, table_of: Any, found: list[Transaction], pauses: list[int], seed: int
) -> None:
    rows = rows_of(found, seed)
    table, seen = table_of(rows, seed=seed), set[str]()

    poll(read, table, "", [*pauses, 3_600_000], seen)

    assert seen == {str(row.id) for row in rows}


@pytest.mark.parametrize(("read", "table_of"), FEEDS)
@QUICK
@given(
    found=transactions(cursor.DEEP_EVERY, spread=timedelta(hours=2)),
    pauses=st.lists(st.integers(0, 1_200_000), max_size=12),
    seconds_per_page=st.sampled_from([0.0, 0.5, 5.0]),
    seed=st.integers(0, 1000),
)
def test_what_commits_late_is_read_by_a_deep_round(
    read: Read, table_of: Any, found: list[Transaction], pauses: list[int], seconds_per_page: float, seed: int
) -> None:
    rows = rows_of(found, seed)
    last = max(row.committed for row in rows) + timedelta(minutes=30)
    table, seen = table_of(rows, seed=seed, seconds_per_page=seconds_per_page), set[str]()

    state = poll(read, table, "", pauses, seen)
    table.rows.append(Row(len(rows) + 1, last, last))  # life goes on
    table.now = max(table.now, last)
    poll(read, table, state, [1_000, 1_000], seen)

    assert seen == {str(row.id) for row in table.rows}


@pytest.mark.parametrize(("read", "table_of"), FEEDS)
@pytest.mark.parametrize("count", [49, 50, 51, 60, 100, 200, 201, 450])
@pytest.mark.parametrize("microseconds", [0, 456, 999])
def test_a_crowd_of_equal_times_is_read_whole(read: Read, table_of: Any, count: int, microseconds: int) -> None:
    moment = BEGIN + timedelta(microseconds=microseconds)
    rows = [Row(number, moment, moment) for number in range(1, count + 1)]
    rows += [Row(count + after, moment + timedelta(milliseconds=after), moment) for after in (1, 2, 3)]
    table = table_of(rows)
    table.now += timedelta(hours=1)

    ids, state, _ = read_round(read, table, "")
    again, _, _ = read_round(read, table, state)

    assert set(ids) == set(again) == {str(row.id) for row in rows}


def test_orders_that_leave_a_crowd_hide_no_others() -> None:
    class Leaving(VendureTable):
        """Between two pages some orders of the crowd are changed: the rest of it moves up."""

        def visible(self) -> list[Row]:
            found = super().visible()
            left = {row.id for row in self.rows[:3]}
            self.rows = [*self.rows[3:], *(Row(row.id, BEGIN + timedelta(minutes=1), BEGIN) for row in self.rows[:3])]
            assert left
            return found

    table = Leaving([Row(number, BEGIN, BEGIN) for number in range(1, 301)])
    table.now += timedelta(hours=1)

    ids, _, _ = read_round(client.read_orders, table, "")

    assert set(ids) == {str(number) for number in range(1, 301)}


@pytest.mark.parametrize(("read", "table_of"), FEEDS)
def test_an_idle_feed_reads_one_page_and_stays(read: Read, table_of: Any) -> None:
    table = table_of([Row(1, BEGIN, BEGIN), Row(2, BEGIN + timedelta(hours=1), BEGIN)])
    state = poll(read, table, "", [7_200_000, 1_000], set())

    for _ in range(3):
        ids, after, pages = read_round(read, table, state)
        assert (ids, after, pages) == (["2"], state, 1)


@pytest.mark.parametrize(("read", "table_of"), FEEDS)
def test_the_overlap_reaches_a_commit_at_its_very_end(read: Read, table_of: Any) -> None:
    end = BEGIN + cursor.OVERLAP
    late = Row(2, BEGIN + timedelta(milliseconds=1), end + timedelta(milliseconds=1))
    table, seen = table_of([Row(1, BEGIN, BEGIN), late, Row(3, end, end)]), set[str]()

    state = poll(read, table, "", [0, 1_000, 29_000], seen)
    assert seen == {"1", "3"}
    poll(read, table, state, [1_000], seen)

    assert seen == {"1", "2", "3"}


@pytest.mark.parametrize(("read", "table_of"), FEEDS)
def test_a_deep_round_begins_where_the_one_before_stood_even_after_a_quiet_night(read: Read, table_of: Any) -> None:
    first, late = Row(1, BEGIN, BEGIN), Row(2, BEGIN + timedelta(seconds=10), BEGIN + timedelta(minutes=4))
    evening = Row(3, BEGIN + timedelta(minutes=2), BEGIN + timedelta(minutes=2))
    morning = Row(4, BEGIN + timedelta(hours=9), BEGIN + timedelta(hours=9))
    table, seen = table_of([first, late, evening, morning]), set[str]()

    state = poll(read, table, "", [0, 1_000, 150_000, 150_000], seen)
    assert seen == {"1", "3"}
    poll(read, table, state, [9 * 3_600_000, 1_000], seen)

    assert seen == {"1", "2", "3", "4"}


@pytest.mark.parametrize(("read", "table_of"), FEEDS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    ahead=st.lists(st.integers(1, 10**8), min_size=1, max_size=3),
    crowd=st.sampled_from((0, 49, 201)),
    pauses=st.lists(st.integers(1, 900), min_size=2, max_size=4),
    wrong_by=st.sampled_from((0, 20, 10**7)),
)
def test_what_is_of_a_time_to_come_hides_nothing(
    read: Read, table_of: Any, ahead: list[int], crowd: int, pauses: list[int], wrong_by: int
) -> None:
    """Its time is next year's, or the system's clock was ahead and is right again; what changes today is read all the same."""
    far = [BEGIN + timedelta(seconds=seconds) for seconds in ahead] + [BEGIN + timedelta(days=365)] * crowd
    table, seen = table_of([Row(1_000 + number, moment, BEGIN) for number, moment in enumerate(far)]), set[str]()
    table.wrong_by = timedelta(seconds=wrong_by)
    state = poll(read, table, "", [1_000], seen)
    table.wrong_by = timedelta(0)
    for number, pause in enumerate(pauses, start=1):
        table.now += timedelta(seconds=pause)
        table.rows.append(Row(number, table.now, table.now))
        state = poll(read, table, state, [1_000], seen)

    assert seen == {str(row.id) for row in table.rows}
