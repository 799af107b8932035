"""Who is told what, and when: like alerts together, nobody at night for what can wait, a reminder, and the all-clear. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from tidegate.config.alerts import Alerts, QuietHours, Severity, time_of_day
from tidegate.config.schedule import seconds_of
from tidegate.kernel.ids import public_id
from tidegate.kernel.text import mask_people
from tidegate.monitor.alerts.records import Alert, Silence
from tidegate.monitor.alerts.rules import RULES, Rule

NoticeKind = Literal["firing", "reminder", "resolved"]
LISTED_MAX = 20
"""Subjects that a notice names; the others are counted."""
CAUSE_CHARS_MAX = 300
_RANK: Mapping[Severity, int] = {"info": 0, "warning": 1, "critical": 2}
_HEADS: Mapping[NoticeKind, str] = {"firing": "", "reminder": "still: ", "resolved": "over: "}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One message, to be told to each of its targets."""

    key: str
    """Equal for equal contents, so that nobody is told the same twice."""
    kind: NoticeKind
    rule: str
    severity: Severity
    alerts: tuple[UUID, ...]
    targets: tuple[str, ...]
    title: str
    body: str


class House(msgspec.Struct, frozen=True, kw_only=True):
    """Where the alerts are from, and how its people want to be told."""

    tenant: str
    cell: str
    timezone: str
    settings: Alerts
    targets: tuple[str, ...]
    """Names of all targets that can be told something."""

    @property
    def group_seconds(self) -> int:
        """For how long further alerts of a rule are collected."""
        return seconds_of(self.settings.group)


def plan_notices(alerts: Sequence[Alert], silences: Iterable[Silence], house: House, now: datetime) -> list[Notice]:
    """Return what must be told now. `alerts` are those of one tenant that fire, are not told to be over, or were told lately.

    The first alert of a rule is told at once; more of them within the group time are collected. Who is told of an alert is
    told when it is over. What began and ended unseen (silenced, at night) is not told at all.
    """
    if not house.targets:
        return []
    covers = tuple(silences)
    quiet = is_quiet(house.settings.quiet_hours, house.timezone, now)
    group = timedelta(seconds=house.group_seconds)
    notices: list[Notice] = []
    for name in sorted({alert.rule for alert in alerts} & RULES.keys()):
        of_rule = [alert for alert in alerts if alert.rule == name]
        may_be_told = [
            alert
            for alert in of_rule
            if not (quiet and alert.severity != "critical")
            and not any(silence.covers(alert.rule, alert.subject, now) for silence in covers)
        ]
        notices += _of_rule(RULES[name], of_rule, may_be_told, group, house, now)
    return notices


def is_quiet(hours: QuietHours | None, timezone: str, now: datetime) -> bool:
    """Return whether `now` is within quiet hours, which may pass midnight."""
    if hours is None:
        return False
    local = now.astimezone(ZoneInfo(timezone)).time()
    start, end = time_of_day(hours.start), time_of_day(hours.end)
    return start <= local < end if start < end else local >= start or local < end


def route(severity: Severity, settings: Alerts, targets: tuple[str, ...]) -> tuple[str, ...]:
    """Return who hears of a severity: whom the configuration names; everybody when it names nobody that exists."""
    named: tuple[str, ...] | None = getattr(settings.routes, severity)
    if named is None:
        return targets
    known = tuple(name for name in named if name in targets)
    return known or (() if not named else targets)


def _of_rule(
    rule: Rule, of_rule: Sequence[Alert], open_ones: Sequence[Alert], group: timedelta, house: House, now: datetime
) -> Iterable[Notice]:
    def is_collecting(state: str) -> bool:
        told = [alert.told_at for alert in of_rule if alert.told_state == state and alert.told_at is not None]
        return bool(told) and now - max(told) < group

    fresh = [alert for alert in open_ones if alert.state == "firing" and alert.told_state is None]
    if fresh and not is_collecting("firing"):
        yield _notice("firing", rule, fresh, house, now)
    remind = timedelta(seconds=seconds_of(house.settings.remind))
    told = [alert for alert in open_ones if alert.state == "firing" and alert.told_state == "firing"]
    unheard = [alert for alert in told if alert.acked_at is None]
    if any(alert.told_at is not None and now - alert.told_at >= remind for alert in unheard):
        yield _notice("reminder", rule, unheard, house, now)
    over = [alert for alert in open_ones if alert.state == "resolved" and alert.told_state == "firing"]
    if over and not is_collecting("resolved"):
        yield _notice("resolved", rule, over, house, now)


def _notice(kind: NoticeKind, rule: Rule, alerts: Sequence[Alert], house: House, now: datetime) -> Notice:
    ordered = sorted(alerts, key=lambda alert: (alert.fired_at, alert.alert_id))
    severity = max((alert.severity for alert in ordered), key=lambda each: _RANK[each])
    return Notice(
        key=_key(kind, rule.id, ordered),
        kind=kind,
        rule=rule.id,
        severity=severity,
        alerts=tuple(alert.alert_id for alert in ordered),
        targets=route(severity, house.settings, house.targets),
        title=f"[tidegate {house.tenant}] {severity}: {_HEADS[kind]}{title_of(rule, ordered)}",
        body=_body(kind, rule, ordered, house, now),
    )


def title_of(rule: Rule, alerts: Sequence[Alert]) -> str:
    """Return what is wrong in a line: with its subject, or with how many there are."""
    if len(alerts) == 1:
        return rule.title.format(subject=_line(alerts[0].subject))
    return rule.many.format(count=len(alerts))


def _key(kind: NoticeKind, rule: str, alerts: Sequence[Alert]) -> str:
    digest = hashlib.sha256()
    for alert in alerts:
        told = alert.told_at.isoformat() if kind == "reminder" and alert.told_at is not None else ""
        digest.update(f"{alert.alert_id} {told};".encode())
    return f"{kind}:{rule}:{digest.hexdigest()[:24]}"


def _body(kind: NoticeKind, rule: Rule, alerts: Sequence[Alert], house: House, now: datetime) -> str:
    zone = ZoneInfo(house.timezone)
    lines = []
    for alert in alerts[:LISTED_MAX]:
        lines.append(f"{_line(alert.subject) or rule.title}: {_line(mask_people(alert.cause))[:CAUSE_CHARS_MAX]}")
        lines.append(f"  since {_moment(alert.since, zone)}{_end(alert, zone)}, {_name(alert, house)}")
    if len(alerts) > LISTED_MAX:
        lines.append(f"... and {len(alerts) - LISTED_MAX} more: tidegate alerts")
    if kind == "resolved":
        lines += ["", "It is over; nothing has to be done."]
    else:
        lines += ["", f"What follows: {rule.effect}."]
        lines += ["What to do:   " + command for command in _commands(alerts)]
        lines += [f"Seen it:      tidegate alerts ack {_name(alerts[0], house)}"]
    lines += ["", f"{house.tenant} ({house.cell}), {_moment(now, zone)}"]
    return "\n".join(lines)


def _commands(alerts: Sequence[Alert]) -> list[str]:
    return list(dict.fromkeys(alert.next_command for alert in alerts if alert.next_command))[:5] or ["tidegate alerts"]


def _end(alert: Alert, zone: ZoneInfo) -> str:
    if alert.resolved_at is None:
        return ""
    minutes = (alert.resolved_at - alert.since).total_seconds() / 60
    return f" until {_moment(alert.resolved_at, zone)} ({minutes:.0f} minutes)"


def _name(alert: Alert, house: House) -> str:
    return public_id("alr", house.cell, alert.alert_id)


def _moment(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def _line(text: str) -> str:
    """Return text that stays in its line and moves no cursor: parts of it may be another system's words."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
