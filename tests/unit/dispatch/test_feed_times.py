"""When feeds are due."""

from __future__ import annotations

from datetime import timedelta

from tidegate.dispatch.feeds import FeedTimes
from tidegate.dispatch.settings import DEFAULTS
from tidegate.sdk.testing.hostile_connector import build_connector

CONNECTOR = build_connector(feed_interval=timedelta(seconds=60))


def times(**ages: float | None) -> FeedTimes:
    return FeedTimes(CONNECTOR, ages, 1000.0)


def test_never_read_is_due_and_the_others_go_on_where_they_were() -> None:
    feeds = times(orders=None, moves=20.0, shipments=500.0)

    assert [name for name, _ in feeds.due(1000.0)] == ["orders", "shipments"]
    assert dict(feeds.due(1045.0))["moves"] == 5.0
    assert feeds.next_wait(1000.0) == 0.0


def test_a_page_moves_the_feed_by_its_interval_or_not_at_all() -> None:
    feeds = times(moves=0.0, shipments=0.0)

    feeds.succeeded("orders", 1001.0, has_more=True)
    assert [name for name, _ in feeds.due(1001.0)] == ["orders"]
    feeds.succeeded("orders", 1002.0, has_more=False)
    assert feeds.due(1002.0) == []
    assert feeds.next_wait(1002.0) == 58.0


def test_failures_back_off_up_to_a_bound_and_success_forgets_them() -> None:
    feeds = times(moves=0.0, shipments=0.0)
    now = 1000.0
    for _ in range(40):
        feeds.failed("orders", now, DEFAULTS)
        wait = next(due - now for name, due in feeds._due.items() if name == "orders")
        assert 0.5 <= wait <= DEFAULTS.feed_backoff_seconds_max + 0.5
    feeds.succeeded("orders", now, has_more=False)
    feeds.failed("orders", now, DEFAULTS)

    assert next(due - now for name, due in feeds._due.items() if name == "orders") <= 1.5


def test_a_failing_feed_waits_at_least_as_long_as_it_was_told() -> None:
    feeds = times(moves=0.0, shipments=0.0)

    feeds.failed("orders", 1000.0, DEFAULTS, named_seconds=240.0)

    assert feeds.due(1239.0) == [("moves", 179.0), ("shipments", 179.0)]
    assert dict(feeds.due(1240.0))["orders"] == 0.0
