"""Gauges that no process counts: they are read from the database when somebody asks. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric

from tidegate.kernel import telemetry
from tidegate.monitor.conservation import Balance, total_imbalance
from tidegate.monitor.status import Status

_STATES = ("proposed", "pending", "sending", "in_doubt", "failed")


def build_gauges(status: Status, balances: list[Balance] | None, now: datetime) -> list[Metric]:
    """Return the metric families of a status; `balances` None means that the audit could not be made in time."""
    queue = status.queue
    families = [
        _gauge(telemetry.QUEUE_DEPTH, "Events that wait for T2.", {(): queue.waiting}),
        _gauge(
            telemetry.QUEUE_OLDEST_SECONDS,
            "Age of the oldest event that waits for T2.",
            {(): _age(queue.oldest_at, now)},
        ),
        _gauge(telemetry.EVENTS_PARKED, "Events that wait for a parent.", {(): queue.parked}),
        _gauge(telemetry.EVENTS_QUARANTINED, "Events that wait for a person.", {(): queue.quarantined}),
        _gauge(
            telemetry.COMMANDS_OPEN,
            "Commands that are not finished, and failed ones.",
            {(state,): status.count(state) for state in _STATES},
            ("state",),
        ),
        _gauge(
            telemetry.COMMANDS_OLDEST_SECONDS,
            "Age of the oldest command of a connection in a state.",
            _oldest_commands(status, now),
            ("connection", "state"),
        ),
        _gauge(
            telemetry.MARKS_DIRTY,
            "Items whose stock number a channel must be told.",
            {(lane.connection,): lane.dirty for lane in status.lanes},
            ("connection",),
        ),
        _gauge(
            telemetry.MARKS_OLDEST_SECONDS,
            "Age of the oldest change of stock that a channel was not told.",
            {(lane.connection,): _age(lane.dirty_since, now) for lane in status.lanes},
            ("connection",),
        ),
        _gauge(
            telemetry.CONNECTION_ACTIVE,
            "1 when the connection is active, 0 when it is paused, disabled or waits for credentials.",
            {(lane.connection,): float(lane.state == "active") for lane in status.lanes},
            ("connection",),
        ),
        _gauge(
            telemetry.LANE_SNOOZED_SECONDS,
            "How long a lane still waits because it was told to.",
            {(lane.connection,): _left(lane.snoozed_until, now) for lane in status.lanes},
            ("connection",),
        ),
        _gauge(
            telemetry.LANE_BUDGET_USED,
            "How much of a connection's call budget is spent, of the part that has the smallest share left: 0 to 1.",
            {
                (lane.connection,): 1.0 - usage.share_left
                for lane in status.lanes
                if (usage := lane.usage(now)) is not None
            },
            ("connection",),
        ),
        _gauge(
            telemetry.LANE_BUDGET_SPENT,
            "What the calls to a connection of the last minute cost, in the unit of its budget.",
            {
                (lane.connection,): usage.used_last_minute
                for lane in status.lanes
                if (usage := lane.usage(now)) is not None
            },
            ("connection",),
        ),
        _gauge(
            telemetry.LANE_BREAKER_OPEN,
            "1 while a connection counts as down: its breaker is open.",
            {(lane.connection,): float(lane.open_since is not None) for lane in status.lanes},
            ("connection",),
        ),
        _gauge(
            telemetry.DRIFT_OPEN,
            "Stock numbers of a channel that differ and that no policy heals by itself.",
            {(lane.connection,): lane.differs for lane in status.lanes},
            ("connection",),
        ),
        _gauge(
            telemetry.DRIFT_OLDEST_SECONDS,
            "Since when the oldest of them is seen.",
            {(lane.connection,): _age(lane.differs_since, now) for lane in status.lanes},
            ("connection",),
        ),
        _gauge(
            telemetry.FEED_AGE_SECONDS,
            "Since the last successful read of a feed.",
            {(feed.connection, feed.feed): _age(feed.last_ok_at, now) for feed in status.feeds if feed.last_ok_at},
            ("connection", "feed"),
        ),
        _gauge(
            telemetry.WRITES_STOPPED,
            "1 while all writes are stopped.",
            {(): float(any(switch.is_on for switch in status.switches if switch.name == "stop_all_writes"))},
        ),
        _gauge(
            telemetry.CONSERVATION_CHECKED,
            "1 when the conservation audit was made for this page.",
            {(): float(balances is not None)},
        ),
    ]
    if balances is not None:
        words = "Events that the conservation equation cannot place; 0 when all is well."
        families.append(_gauge(telemetry.CONSERVATION_IMBALANCE, words, {(): total_imbalance(balances)}))
    return families


def _oldest_commands(status: Status, now: datetime) -> dict[tuple[str, ...], float]:
    oldest: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for count in status.commands:
        key = (count.connection, count.state)
        oldest[key] = max(oldest[key], _age(count.oldest_at, now))
    return oldest


def _gauge(name: str, words: str, values: Mapping[tuple[str, ...], float], labels: Iterable[str] = ()) -> Metric:
    family = GaugeMetricFamily(name, words, labels=tuple(labels))
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _age(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment is not None else 0.0


def _left(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (moment - now).total_seconds()) if moment is not None else 0.0
