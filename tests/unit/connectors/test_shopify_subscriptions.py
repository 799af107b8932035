"""Which subscriptions are made, kept and dropped; and where polling of orders goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.connectors.shopify.cursor import ORDERS_PER_PAGE, REACH, Cursor, following, variables
from tidegate.connectors.shopify.grants import missing_of, surplus_of
from tidegate.connectors.shopify.subscriptions import TOPICS, TRANSACTIONS, Found, Work, plan, topics_of

URL = "https://gate.example/in/c0/token"


def one(number: int, topic: str, uri: str = URL, **more: object) -> Found:
    return Found(id=str(number), topic=topic, uri=uri, **more)  # type: ignore[arg-type]


def test_what_is_complete_is_left_alone() -> None:
    assert plan([one(n, topic) for n, topic in enumerate(TOPICS)], TOPICS, URL) == Work(make=(), drop=())


def test_nothing_there_makes_everything() -> None:
    assert plan([], TOPICS, URL) == Work(make=TOPICS, drop=())


def test_a_doubled_a_filtered_and_a_needless_one_are_dropped_and_made_anew() -> None:
    found = [one(1, "A"), one(2, "A"), one(3, "B", include_fields=["id"]), one(4, "C", filter="x"), one(5, "OLD")]
    assert plan(found, ("A", "B", "C"), URL) == Work(make=("B", "C"), drop=("2", "3", "4", "5"))


def test_an_older_address_of_ours_is_dropped_and_other_peoples_are_not() -> None:
    others = [
        "https://gate.example/in/c0/older",
        "https://gate.example/other/app",
        "https://gate.example:8443/in/c0/x",
        "https://else.example/in/c0/x",
        "http://gate.example/in/c0/x",
        "pubsub://project:topic",
        "arn:aws:events:eu-west-1::event-source/x",
        "",
    ]
    found = [one(1, "A"), *(one(10 + n, "A", uri) for n, uri in enumerate(others))]
    assert plan(found, ("A",), URL) == Work(make=(), drop=("10",))


def test_transactions_are_subscribed_where_they_are_asked_for() -> None:
    assert TRANSACTIONS not in topics_of({})
    assert TRANSACTIONS not in topics_of({"transactions": "no"})
    assert TRANSACTIONS in topics_of({"transactions": "yes"})
    assert TRANSACTIONS in topics_of({"transactions": True})


def test_who_may_write_may_read() -> None:
    granted = ["read_orders", "read_products", "read_locations", "write_inventory", "read_customers"]
    assert missing_of([*granted, "write_merchant_managed_fulfillment_orders"]) == ()
    assert missing_of(granted) == (
        "read_merchant_managed_fulfillment_orders",
        "write_merchant_managed_fulfillment_orders",
    )
    assert surplus_of([*granted, "write_orders", "write_themes"]) == ("write_themes",)


# --- the cursor ------------------------------------------------------------------------------------------------------------
START = datetime(2026, 11, 27, tzinfo=UTC)


def poll(state: Cursor, changes: list[datetime]) -> tuple[Cursor, list[datetime]]:
    """Read one round of what the shop shows now."""
    seen: list[datetime] = []
    while True:
        query = variables(state)["query"]
        since = (
            datetime.fromisoformat(query.partition("'")[2].rstrip("'")) if query else datetime.min.replace(tzinfo=UTC)
        )
        rows = [at for at in sorted(changes) if at >= since]
        first = int(state.after or 0)
        page = rows[first : first + ORDERS_PER_PAGE]
        seen += page
        more = len(rows) > first + len(page)
        state, goes_on = following(state, page, None, end_cursor=str(first + len(page)), has_more=more)
        assert goes_on == more or not page
        if not goes_on:
            return state, seen


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(st.integers(0, 40), max_size=120), min_size=1, max_size=12))
def test_every_change_is_read_in_the_round_after_it_shows(steps: list[list[int]]) -> None:
    """Changes come in order, each shown at most 15 s late."""
    state, now, changes, read = Cursor(), START, [], set()
    for seconds in steps:
        now += timedelta(seconds=30)
        fresh = sorted(now + timedelta(seconds=s) for s in seconds)
        changes += fresh
        now = max([now, *fresh])
        state, seen = poll(state, changes)
        read |= set(seen)
        assert set(changes) <= read


def test_a_late_change_is_found_by_the_next_deep_round() -> None:
    state, _ = poll(Cursor(), [START])
    late = START + timedelta(minutes=1)
    changes = [START, START + timedelta(minutes=3)]
    state, seen = poll(state, changes)
    assert late not in seen
    changes = [*changes, late, START + timedelta(minutes=9)]
    found = []
    for minute in (9, 10, 11):
        changes.append(START + timedelta(minutes=minute, seconds=1))
        state, seen = poll(state, changes)
        found += seen
    assert late in found


def test_a_round_begins_a_little_before_the_newest_change() -> None:
    state = Cursor(newest=START, deep_at=START)
    assert REACH.start(state.newest, state.deep_at) == START - timedelta(seconds=15)
    assert variables(state)["query"] == "updated_at:>='2026-11-26T23:59:45Z'"
    assert variables(Cursor())["query"] == ""
