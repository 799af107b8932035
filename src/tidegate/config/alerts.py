"""The section `alerts` of the configuration: rules, who hears of what, and when people sleep.

Addresses are secrets, and are never part of it: `tidegate alerts add` stores them encrypted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tidegate.config.document import Document, Path, Problem

Severity = Literal["info", "warning", "critical"]
"""critical: somebody must act now, also at night. warning: today. info: worth knowing."""
Duration = Annotated[str, Meta(pattern=r"^[0-9]{1,5}[smhd]$")]
"""A length of time, which may be nothing: 0s, 90s, 5m, 4h, 2d."""
TimeOfDay = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
TargetName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]

_TARGET_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


class RuleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What differs from a rule's own defaults; what is absent stays as the rule has it."""

    enabled: bool = True
    threshold: float | None = None
    """In the rule's unit, see `tidegate alerts rules`."""
    hold: Duration | None = msgspec.field(name="for", default=None)
    """How long the cause must last before the alert fires."""
    severity: Severity | None = None


class AlertRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry for each rule."""

    failing_calls: RuleSettings = RuleSettings()
    slow_calls: RuleSettings = RuleSettings()
    backlog_age: RuleSettings = RuleSettings()
    latency: RuleSettings = RuleSettings()
    commands_age: RuleSettings = RuleSettings()
    stock_age: RuleSettings = RuleSettings()
    drift_age: RuleSettings = RuleSettings()
    quarantined: RuleSettings = RuleSettings()
    dead_letters: RuleSettings = RuleSettings()
    traffic_spike: RuleSettings = RuleSettings()
    refused_deliveries: RuleSettings = RuleSettings()
    budget_near_limit: RuleSettings = RuleSettings()
    rate_limited: RuleSettings = RuleSettings()
    breaker_open: RuleSettings = RuleSettings()
    webhook_silence: RuleSettings = RuleSettings()
    orders_missing: RuleSettings = RuleSettings()
    stale_feed: RuleSettings = RuleSettings()
    auth_failure: RuleSettings = RuleSettings()
    token_refused: RuleSettings = RuleSettings()
    credential_expires: RuleSettings = RuleSettings()
    order_not_forwarded: RuleSettings = RuleSettings()
    capture_missing: RuleSettings = RuleSettings()
    oversold: RuleSettings = RuleSettings()
    stock_unbalanced: RuleSettings = RuleSettings()
    conservation_imbalance: RuleSettings = RuleSettings()
    missing_worker: RuleSettings = RuleSettings()
    writes_stopped: RuleSettings = RuleSettings()
    disk_space: RuleSettings = RuleSettings()
    configuration_refused: RuleSettings = RuleSettings()
    database_away: RuleSettings = RuleSettings()


class QuietHours(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When only critical alerts are told. They may pass midnight."""

    start: TimeOfDay = msgspec.field(name="from")
    end: TimeOfDay = msgspec.field(name="to")


class Routes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which targets hear of which severity. An absent line means every target."""

    critical: tuple[TargetName, ...] | None = None
    warning: tuple[TargetName, ...] | None = None
    info: tuple[TargetName, ...] | None = None


class Alerts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is watched, and who is told. Without this section every rule is on and every target is told."""

    quiet_hours: QuietHours | None = None
    """In the configuration's time zone."""
    remind: Duration = "24h"
    """An alert that nobody acknowledged is told again after this time."""
    group: Duration = "2m"
    """Further alerts of a rule that was just told are collected for this time and told together."""
    routes: Routes = Routes()
    rules: AlertRules = AlertRules()


def time_of_day(text: str) -> time:
    """Return the time that `22:00` names."""
    hours, _, minutes = text.partition(":")
    return time(int(hours), int(minutes))


def check_alerts(alerts: Alerts, document: Document) -> Iterator[Problem]:
    """Yield what the types cannot say: hours that differ, thresholds that can be met."""
    quiet = alerts.quiet_hours
    if quiet is not None and quiet.start == quiet.end:
        yield Problem(
            mark=document.mark_of(("alerts", "quiet_hours")),
            message="quiet hours begin and end at the same time",
            hint='write for example {from: "22:00", to: "07:00"}',
        )
    if int(alerts.remind[:-1]) == 0:
        mark = document.mark_of(("alerts", "remind"))
        yield Problem(mark=mark, message="alerts.remind must be longer than nothing", hint="write for example 24h")
    for field in msgspec.structs.fields(AlertRules):
        settings: RuleSettings = getattr(alerts.rules, field.name)
        if settings.threshold is not None and not 0 <= settings.threshold < float("inf"):
            path: Path = ("alerts", "rules", field.name, "threshold")
            yield Problem(mark=document.mark_of(path), message=f"the threshold of {field.name} must be 0 or more")


def is_target_name(name: str) -> bool:
    """Return whether a target may be called so."""
    return _TARGET_NAME.fullmatch(name) is not None
