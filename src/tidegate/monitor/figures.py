"""Figures of the overview: rates, lags, what waits, money at risk, and what follows from them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec

from tidegate.commerce.money import Money
from tidegate.kernel.ids import time_of
from tidegate.monitor.status import Status

Tone = Literal["good", "doubt", "bad", "plain"]
SLOW_SECONDS = 60.0
"""What waits longer than this to be applied or sent deserves a look."""
HEARTBEAT_SECONDS = 30.0
"""A node that was not heard of for so long hangs, or is gone."""
FEED_SECONDS = 900.0
"""A feed that was not read with success for so long is silent."""


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How long one step took lately, in seconds."""

    stage: str
    """received_to_applied, planned_to_sent or sent_to_answered."""
    words: str
    samples: int
    p50_seconds: float | None
    """None without samples."""
    p95_seconds: float | None


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What waits at one stage."""

    stage: str
    words: str
    number: int
    oldest_at: datetime | None
    needs_person: bool


class AtRisk(msgspec.Struct, frozen=True, kw_only=True):
    """Value of orders that stand at one place on their way."""

    reason: str
    """Stable: `order.create:failed`, `unplanned`, ..."""
    words: str
    orders: int
    total: Money
    tone: Tone


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in one minute."""

    at: datetime
    received: int
    sent: int


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody should look at."""

    code: str
    tone: Tone
    words: str
    place: str
    """Page that leads on, for example `/commands?state=failed`."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict over everything."""

    tone: Tone
    words: str
    findings: tuple[Finding, ...]
    """The worst first."""


LAG_WORDS: Mapping[str, str] = {
    "received_to_applied": "received to applied",
    "planned_to_sent": "planned to sent",
    "sent_to_answered": "sent to answered",
}
WAITING_WORDS: Mapping[str, tuple[str, bool]] = {
    "queued": ("events to be applied", False),
    "replaying": ("replayed events to be applied", False),
    "parked": ("events that wait for a parent", False),
    "quarantined": ("events in quarantine", True),
    "proposed": ("commands to approve or reject", True),
    "proposed_stock": ("stock numbers to approve or reject", True),
    "pending": ("commands to be sent", False),
    "sending": ("commands that await their answer", False),
    "in_doubt": ("commands in doubt", False),
    "failed": ("commands that failed", True),
    "stock": ("stock numbers to tell", False),
    "fetch": ("entities to be fetched anew", False),
}
"""Stage -> (words, whether a person has to act). In the order of the way through."""
_KIND_WORDS = {
    "order.create": "orders for the ERP",
    "order.cancel": "cancellations",
    "fulfillment.create": "shipments to report",
    "payment.capture": "payments to capture",
    "payment.void": "payments to release",
    "refund.create": "refunds to make or to report",
    "event.send": "events to tell",
}
_STATE_WORDS: Mapping[str, tuple[str, Tone]] = {
    "failed": ("failed", "bad"),
    "in_doubt": ("in doubt", "doubt"),
    "proposed": ("proposed, nobody approved yet", "doubt"),
    "pending": ("waiting to be sent", "plain"),
    "sending": ("sent, no answer yet", "plain"),
}
_TONE_RANK: Mapping[str, int] = {"bad": 0, "doubt": 1, "plain": 2, "good": 3}


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least `share` (0 to 1) of the values do not exceed; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def measure_lag(stage: str, seconds: Sequence[float]) -> Lag:
    """Return the lag of a stage from its samples. Clocks of two machines may differ a little: nothing is below 0."""
    positive = [max(0.0, value) for value in seconds]
    return Lag(
        stage=stage,
        words=LAG_WORDS[stage],
        samples=len(positive),
        p50_seconds=percentile(positive, 0.5),
        p95_seconds=percentile(positive, 0.95),
    )


def lags_of(applied: Iterable[Any], calls: Iterable[Any]) -> tuple[Lag, ...]:
    """Return the lags of all stages from rows of `overview_applied` and `overview_calls`."""
    to_applied = [(row["at"] - time_of(row["event_id"])).total_seconds() for row in applied]
    to_sent: list[float] = []
    to_answered: list[float] = []
    for row in calls:
        to_sent.extend((row["started_at"] - time_of(member)).total_seconds() for member in row["members"][:1])
        if row["duration_ms"] is not None:
            to_answered.append(row["duration_ms"] / 1000)
    return (
        measure_lag("received_to_applied", to_applied),
        measure_lag("planned_to_sent", to_sent),
        measure_lag("sent_to_answered", to_answered),
    )


def waiting_of(rows: Iterable[Any]) -> tuple[Waiting, ...]:
    """Return what waits at every stage, empty ones too, in the order of the way through."""
    found: dict[str, Any] = {row["stage"]: row for row in rows}
    return tuple(
        _waiting(stage, words, found.get(stage), needs_person=needs_person)
        for stage, (words, needs_person) in WAITING_WORDS.items()
    )


def _waiting(stage: str, words: str, row: Any, *, needs_person: bool) -> Waiting:
    oldest_at = None
    if row is not None:
        oldest_id: UUID | None = row["oldest_id"]
        oldest_at = time_of(oldest_id) if oldest_id is not None else row["oldest_at"]
    number = row["number"] if row is not None else 0
    return Waiting(stage=stage, words=words, number=number, oldest_at=oldest_at, needs_person=needs_person)


def at_risk_of(in_commands: Iterable[Any], unplanned: Iterable[Any]) -> tuple[AtRisk, ...]:
    """Return the money at risk, the worst first, one entry per reason and currency."""
    found = [
        AtRisk(
            reason="unplanned",
            words="paid orders that nothing was planned for",
            orders=row["orders"],
            total=Money(row["total_minor"], row["currency"]),
            tone="bad",
        )
        for row in unplanned
    ]
    for row in in_commands:
        state_words, tone = _STATE_WORDS[row["state"]]
        found.append(
            AtRisk(
                reason=f"{row['kind']}:{row['state']}",
                words=f"{_KIND_WORDS.get(row['kind'], row['kind'])}: {state_words}",
                orders=row["orders"],
                total=Money(row["total_minor"], row["currency"]),
                tone=tone,
            )
        )
    return tuple(sorted(found, key=lambda risk: (_TONE_RANK[risk.tone], -risk.total.amount_minor, risk.reason)))


def total_at_risk(risks: Iterable[AtRisk]) -> tuple[Money, ...]:
    """Return the sums of what is not merely on its way, by currency."""
    sums: dict[str, int] = {}
    for risk in risks:
        if risk.tone != "plain":
            sums[risk.total.currency] = sums.get(risk.total.currency, 0) + risk.total.amount_minor
    return tuple(Money(amount, currency) for currency, amount in sorted(sums.items()))


def judge_health(
    status: Status,
    waiting: Iterable[Waiting],
    *,
    missing_processes: Sequence[str],
    imbalance: int | None,
    now: datetime,
) -> Health:
    """Return the verdict; `imbalance` None means that the conservation audit was not made."""
    findings = sorted(
        [
            *_process_findings(status, missing_processes, now),
            *_connection_findings(status, now),
            *_waiting_findings(waiting, now),
        ],
        key=lambda finding: _TONE_RANK[finding.tone],
    )
    if imbalance:
        words = f"the conservation audit cannot place {imbalance} events: tidegate conservation"
        findings.insert(0, Finding(code="imbalance", tone="bad", words=words, place="/events"))
    if not findings:
        return Health(tone="good", words="All is well.", findings=())
    tone = findings[0].tone
    number = len(findings)
    words = "One thing needs a look." if number == 1 else f"{number} things need a look."
    return Health(tone=tone, words=words, findings=tuple(findings))


def _process_findings(status: Status, missing: Sequence[str], now: datetime) -> Iterable[Finding]:
    for switch in status.switches:
        if switch.is_on:
            words = f"all writes are stopped by {switch.changed_by}: {switch.reason or 'no reason given'}"
            yield Finding(code="writes_stopped", tone="bad", words=words, place="/flows")
    for name in missing:
        yield Finding(code="process_missing", tone="bad", words=f"the process {name} is not running", place="/")
    old = now - timedelta(seconds=HEARTBEAT_SECONDS)
    roles = {node.role for node in status.nodes if node.heartbeat_at >= old}
    for role in ("apply", "dispatch"):
        if role not in roles:
            words = f"no {role} process works: what came in stays where it is"
            yield Finding(code="worker_missing", tone="bad", words=words, place="/")


def _connection_findings(status: Status, now: datetime) -> Iterable[Finding]:
    for lane in status.lanes:
        if lane.state == "waiting_auth":
            words = f"{lane.connection} refuses our credential; renew it with: tidegate connect {lane.connection}"
            yield Finding(code="auth", tone="bad", words=words, place="/connections")
        elif lane.state != "active":
            words = f"{lane.connection} is {lane.state}" + (f": {lane.state_reason}" if lane.state_reason else "")
            yield Finding(code="connection", tone="doubt", words=words, place="/connections")
        if lane.snoozed_until is not None and lane.snoozed_until > now:
            words = f"{lane.connection} asked us to wait" + (f": {lane.snooze_reason}" if lane.snooze_reason else "")
            yield Finding(code="snoozed", tone="doubt", words=words, place="/connections")
    for feed in status.feeds:
        silent = feed.last_ok_at is None or now - feed.last_ok_at > timedelta(seconds=FEED_SECONDS)
        if feed.last_error is not None and silent:
            words = f"the feed {feed.feed} of {feed.connection} cannot be read: {feed.last_error}"
            yield Finding(code="feed", tone="bad", words=words, place="/connections")


def _waiting_findings(waiting: Iterable[Waiting], now: datetime) -> Iterable[Finding]:
    places = {
        "quarantined": "/events?state=quarantined",
        "queued": "/events?state=waiting",
        "parked": "/events?state=parked",
        "proposed": "/flows#proposals",
        "proposed_stock": "/flows#proposals",
        "stock": "/connections",
    }
    for stage in waiting:
        if not stage.number:
            continue
        age = (now - stage.oldest_at).total_seconds() if stage.oldest_at is not None else 0.0
        place = places.get(stage.stage, f"/commands?state={stage.stage}")
        words = f"{stage.words}: {stage.number}"
        if stage.stage in ("failed", "quarantined"):
            yield Finding(code=stage.stage, tone="bad", words=words, place=place)
        elif stage.stage in ("in_doubt", "proposed", "proposed_stock"):
            yield Finding(code=stage.stage, tone="doubt", words=words, place=place)
        elif stage.stage in ("queued", "pending", "sending", "stock") and age > SLOW_SECONDS:
            yield Finding(
                code=f"slow_{stage.stage}", tone="doubt", words=f"{words}, and the oldest waits for long", place=place
            )
