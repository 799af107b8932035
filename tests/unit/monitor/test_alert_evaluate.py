"""Readings from synthetic signals: each rule's value, and what counts for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidegate.config import parse
from tidegate.config.snapshots import Refusal
from tidegate.dispatch.meter import Rule, pack
from tidegate.monitor.alerts.evaluate import EVALUATORS, evaluate
from tidegate.monitor.alerts.judge import Memory, judge
from tidegate.monitor.alerts.records import (
    Arrivals,
    CallStats,
    Disk,
    Lag,
    LateOrders,
    Reading,
    Sender,
    Signals,
)
from tidegate.monitor.alerts.rules import RULES, tune
from tidegate.monitor.conservation import Balance
from tidegate.monitor.oversold import OversoldItem
from tidegate.monitor.status import (
    CommandCount,
    FeedStatus,
    LaneStatus,
    QueueStatus,
    Status,
    SwitchStatus,
)
from tidegate.monitor.stock_check import Stretch
from tidegate.sdk.budgets import TokenBucket
from tidegate.sdk.testing.hostile_connector import CONNECTOR

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
CONFIG = parse(
    """
connections: {shop: {use: hostile, url: "http://127.0.0.1:1"}, erp: {use: hostile, url: "http://127.0.0.1:2"}}
owns: {stock.on_hand: erp}
flows: {stock: {from: erp, to: [shop], mode: live}}
"""
)


def lane(name: str = "shop", **changes: Any) -> LaneStatus:
    values: dict[str, Any] = {
        "connection": name, "connector": "hostile", "state": "active", "state_reason": None, "tokens": None,
        "tokens_at": None, "budget": None, "snoozed_until": None, "snooze_reason": None, "open_since": None, "dirty": 0, "dirty_since": None,
        "parked_until": None,
    }  # fmt: skip
    return LaneStatus(**{**values, **changes})


def status(**parts: Any) -> Status:
    values: dict[str, Any] = {
        "queue": QueueStatus(waiting=0, oldest_at=None, parked=0, quarantined=0), "commands": (), "lanes": (), "feeds": (),
        "nodes": (), "switches": (),
    }  # fmt: skip
    return Status(**{**values, **parts})


def signals(**parts: Any) -> Signals:
    return Signals(now=NOW, config=CONFIG, connectors={"hostile": CONNECTOR}, **parts)


def look(rule: str, **parts: Any) -> dict[str, float]:
    found = evaluate(signals(**parts))[rule]
    assert found is not None
    return {reading.subject: reading.value for reading in found}


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_every_rule_has_its_function() -> None:
    assert list(EVALUATORS) == list(RULES)


def test_what_was_not_looked_at_has_no_readings() -> None:
    found = evaluate(signals())

    assert {rule for rule, readings in found.items() if readings is not None} == {
        "configuration_refused", "database_away",
    }  # fmt: skip


def test_calls() -> None:
    calls = (
        CallStats(connection="shop", calls=10, failed=6, slow_seconds=12.0, code="timeout"),
        CallStats(connection="erp", calls=2, failed=2, slow_seconds=12.0),
    )

    assert look("failing_calls", calls=calls) == {"shop": 0.6, "erp": 0.0}
    assert look("slow_calls", calls=calls) == {"shop": 12.0, "erp": 0.0}


def test_queue() -> None:
    found = status(queue=QueueStatus(waiting=3, oldest_at=ago(90), parked=1, quarantined=2))

    assert look("backlog_age", status=found) == {"": 90.0}
    assert look("quarantined", status=found) == {"": 2.0}
    assert look("backlog_age", status=status()) == {"": 0.0}


def test_a_breaker_counts_since_it_opened_and_only_where_the_connection_should_work() -> None:
    lanes = (
        lane("shop", open_since=ago(25)),
        lane("erp"),
        lane("old", open_since=ago(90), state="disabled"),
    )

    assert look("breaker_open", status=status(lanes=lanes)) == {"shop": 25.0, "erp": 0.0, "old": 0.0}


def test_latency_needs_some_events() -> None:
    assert look("latency", lag=Lag(events=20, slow_seconds=40.0)) == {"": 40.0}
    assert look("latency", lag=Lag(events=19, slow_seconds=40.0)) == {"": 0.0}


def test_commands() -> None:
    def count(state: str, age: float, connection: str = "erp") -> CommandCount:
        return CommandCount(connection=connection, kind="order.create", state=state, commands=2, oldest_at=ago(age))

    found = status(commands=(count("pending", 50), count("in_doubt", 70), count("failed", 500), count("proposed", 900)))

    assert look("commands_age", status=found) == {"erp": 70.0}
    assert look("dead_letters", status=found) == {"erp": 2.0}


def stored(tokens: float) -> str:
    """A meter of 1000 calls at once and per second, with so many left."""
    rule = Rule(TokenBucket(1000, 1000))
    meter = rule.start(-tokens / 1000)
    meter, ticket = rule.take(meter, 0.0, "", 0.0)
    return pack(rule.end(meter, ticket, 0.0), 0.0)


def test_lanes() -> None:
    found = status(
        lanes=(
            lane("shop", dirty=3, dirty_since=ago(100), budget=stored(0.0), tokens_at=NOW),
            lane("erp", dirty=3, dirty_since=ago(100), budget=stored(1000.0), tokens_at=ago(5), snoozed_until=ago(-90)),
            lane("old", state="waiting_auth", state_reason="refused"),
            lane("off", state="disabled"),
            lane("odd", state="paused", state_reason="no such database"),
        )
    )

    assert look("stock_age", status=found) == {"shop": 100.0}
    differs = status(lanes=(lane("shop", differs=2, differs_since=ago(50)), lane("erp")))
    assert look("drift_age", status=differs) == {"shop": 50.0, "erp": 0.0}
    assert look("budget_near_limit", status=found) == {"shop": 0.0, "erp": 1.0}
    assert look("rate_limited", status=found)["erp"] == 90.0
    auth = look("auth_failure", status=found)
    assert {name for name, value in auth.items() if value} == {"old", "odd"}


def test_budgets_fill_up_by_themselves() -> None:
    found = status(lanes=(lane(budget=stored(0.0), tokens_at=ago(0.5)),))

    assert look("budget_near_limit", status=found) == {"shop": pytest.approx(0.5)}


def test_a_spike_is_measured_against_what_is_usual() -> None:
    def arrivals(recent: int, usual: float | None) -> tuple[Arrivals, ...]:
        return (Arrivals(connection="shop", recent=recent, usual_per_hour=usual),)

    assert look("traffic_spike", arrivals=arrivals(500, 600)) == {"shop": 5.0}
    assert look("traffic_spike", arrivals=arrivals(99, 1)) == {"shop": 0.0}
    assert look("traffic_spike", arrivals=arrivals(500, None)) == {"shop": 0.0}
    assert look("traffic_spike", arrivals=arrivals(500, 0)) == {"shop": 500.0}


def test_silence_needs_ten_minutes_and_a_connection_that_should_work() -> None:
    def sender(name: str, seconds: float, missed: float | None) -> Sender:
        return Sender(connection=name, topic="order", last_at=ago(seconds), missed=missed, silent_seconds=seconds)

    senders = (sender("shop", 700, 35), sender("erp", 500, 35), sender("old", 700, 35), sender("new", 700, None))
    lanes = (lane("shop"), lane("erp"), lane("old", state="disabled"), lane("new"))

    assert look("webhook_silence", senders=senders, status=status(lanes=lanes)) == {
        "shop (order)": 35, "erp (order)": 0.0, "new (order)": 0.0,
    }  # fmt: skip


def test_feeds_have_their_own_pace() -> None:
    name, feed = next(iter(CONNECTOR.feeds.items()))
    pace = feed.interval.total_seconds() * 5

    def of(last_ok_at: datetime | None, error: str | None = None, state: str = "active") -> dict[str, float]:
        feeds = (FeedStatus(connection="shop", feed=name, last_ok_at=last_ok_at, last_error=error),)
        return look("stale_feed", status=status(lanes=(lane(state=state),), feeds=feeds))

    subject = f"shop ({name})"
    assert of(ago(pace + 1)) == {subject: pace + 1}
    assert of(ago(pace - 1)) == {subject: 0.0}
    assert of(None) == {subject: 0.0}
    assert of(None, "refused")[subject] > 1e6
    assert of(ago(1e5), state="waiting_auth") == {}


def test_the_rest() -> None:
    balance = Balance(
        connection="shop",
        hour=NOW,
        received=5,
        duplicate=0,
        applied=3,
        superseded=0,
        ignored=0,
        quarantined=0,
        pending=0,
    )
    switch = SwitchStatus(name="stop_all_writes", is_on=True, reason=None, changed_by="me", changed_at=ago(60))
    late = LateOrders(channel="shop", orders=2, oldest_at=ago(1000), number="1001")

    assert look("conservation_imbalance", balances=(balance, balance)) == {"shop": 4.0}
    assert look("writes_stopped", status=status(switches=(switch,))) == {"": 60.0}
    assert look("order_not_forwarded", unforwarded=(late,)) == {"shop": 1000.0}
    assert look("capture_missing", uncaptured=(late,)) == {"shop": 1000.0}
    lacking = OversoldItem(sku="A", missing=3, since=ago(60), orders=(), undecided=2)
    assert look("oversold", oversold=(lacking,)) == {"A": 2.0}
    wrong = [Stretch(sku="A", location=place, first=1, last=5) for place in ("main", "main", "store")]
    assert look("stock_unbalanced", unbalanced=tuple(wrong)) == {"A": 2.0}
    assert look("missing_worker", missing={"apply": "no heartbeat"}) == {"apply": 1.0}
    assert look("disk_space", disk=Disk(free_bytes=5, total_bytes=100)) == {"": 0.05}
    assert look("refused_deliveries", refused={"signature": 20, "unknown_path": 5}) == {"": 25.0}
    assert look("configuration_refused", refused_config=Refusal(version=3, reason="line 2")) == {"": 1.0}
    assert look("configuration_refused") == {"": 0.0}
    assert look("database_away", away_seconds=45.0) == {"": 45.0}


def test_what_is_about_the_whole_belongs_to_one_tenant() -> None:
    found = evaluate(
        signals(is_first=False, missing={"apply": "x"}, disk=Disk(free_bytes=0, total_bytes=1), refused={})
    )

    assert [found[rule] for rule in ("missing_worker", "disk_space", "refused_deliveries", "database_away")] == [
        None
    ] * 4


# --- judging -----------------------------------------------------------------------------------------------------------
def round_of(memory: Memory, value: float | None, now: datetime, section: str = "") -> Any:
    config = parse(f"alerts: {{rules: {{dead_letters: {{for: 30s}}{section}}}}}")
    reading = [Reading(subject="erp", connection="erp", value=value, cause=f"{value}")] if value is not None else None
    return judge(memory, {"dead_letters": reading}, tune(config.alerts), now, refresh_seconds=60)


def test_a_subject_goes_through_its_life() -> None:
    memory = Memory()

    assert not round_of(memory, 2, NOW)
    fired = round_of(memory, 3, NOW + timedelta(seconds=30)).fired
    assert [(fact.rule, fact.subject, fact.value, fact.since) for fact in fired] == [("dead_letters", "erp", 3, NOW)]
    assert fired[0].next_command == "tidegate commands list --connection erp --state failed"
    assert not round_of(memory, 4, NOW + timedelta(seconds=40))
    assert round_of(memory, 4, NOW + timedelta(seconds=90)).refreshed
    assert not round_of(memory, None, NOW + timedelta(seconds=100))
    assert not round_of(memory, 0, NOW + timedelta(seconds=110))
    assert round_of(memory, 0, NOW + timedelta(seconds=140)).resolved == [("dead_letters", "erp")]


def test_a_subject_that_is_gone_is_well_and_a_rule_that_is_off_ends_at_once() -> None:
    memory = Memory()
    tuned = tune(parse("").alerts)
    reading = [Reading(subject="erp", value=1, cause="")]
    assert judge(memory, {"dead_letters": reading}, tuned, NOW, refresh_seconds=60).fired

    off = tune(parse("alerts: {rules: {dead_letters: {enabled: false}}}").alerts)
    assert judge(memory, {"dead_letters": reading}, off, NOW, refresh_seconds=60).resolved == [("dead_letters", "erp")]

    judge(memory, {"dead_letters": reading}, tuned, NOW + timedelta(hours=2), refresh_seconds=60)
    later = NOW + timedelta(hours=2, seconds=10)
    judge(memory, {"dead_letters": []}, tuned, later, refresh_seconds=60)
    done = judge(memory, {"dead_letters": []}, tuned, later + timedelta(seconds=31), refresh_seconds=60)
    assert done.resolved == [("dead_letters", "erp")]


def test_an_order_number_cannot_become_a_command() -> None:
    memory = Memory()
    reading = [Reading(subject="shop", connection="shop", order="1; rm -rf ~", value=9e9, cause="")]

    (fact,) = judge(memory, {"order_not_forwarded": reading}, tune(parse("").alerts), NOW, refresh_seconds=60).fired

    assert fact.next_command == "tidegate why order '1; rm -rf ~'"
