"""The rules: what each one watches, when it fires, what it means, and what to type next. Data, and pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tidegate.config.alerts import Alerts, RuleSettings, Severity
from tidegate.config.schedule import seconds_of


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. It is about many subjects: one alert for each."""

    id: str
    title: str
    """What is wrong, in a few words; `{subject}` is who."""
    many: str
    """The same for several subjects; `{count}` is how many."""
    meaning: str
    """What is measured, of what, over which time."""
    unit: str
    threshold: float
    """Bad is what is above it (below it for `is_floor`)."""
    is_floor: bool = False
    hold_seconds: float
    """How long the cause must last before the alert fires."""
    clear_seconds: float = 30.0
    """How long the cause must be gone before the alert is over."""
    severity: Severity
    effect: str
    """What follows when nobody acts."""
    next_command: str
    """What to type; `{subject}` and `{connection}` are filled in."""
    every_rounds: int = 1
    """It is measured in each so-manyth round."""

    def is_bad(self, value: float, threshold: float) -> bool:
        """Return whether a value is on the wrong side."""
        return value < threshold if self.is_floor else value > threshold


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A rule as a tenant's configuration has it."""

    rule: Rule
    enabled: bool
    threshold: float
    hold_seconds: float
    severity: Severity


_RULES = (
    Rule(
        id="failing_calls",
        title="calls to {subject} fail",
        many="calls to {count} connections fail",
        meaning="share of the calls to a connection in the last 5 minutes that failed, from 3 calls on; "
        "being told to wait is no failure",
        unit="share of calls",
        threshold=0.5,
        hold_seconds=20,
        severity="critical",
        effect="commands are tried again and pile up; orders and stock reach it late",
        next_command="tidegate commands list --connection {connection} --limit 20",
    ),
    Rule(
        id="slow_calls",
        title="{subject} answers slowly",
        many="{count} connections answer slowly",
        meaning="the time that 95 of 100 calls of the last 5 minutes stayed below, from 10 calls on",
        unit="seconds",
        threshold=10.0,
        hold_seconds=30,
        severity="warning",
        effect="its lane gets through fewer calls; a backlog may follow",
        next_command="tidegate status",
    ),
    Rule(
        id="backlog_age",
        title="events wait too long",
        many="events wait too long",
        meaning="age of the oldest event that is not applied, whatever it waits for",
        unit="seconds",
        threshold=60.0,
        hold_seconds=20,
        severity="critical",
        effect="orders, shipments and stock changes are seen late",
        next_command="tidegate events list --outcome waiting",
    ),
    Rule(
        id="latency",
        title="events are applied slowly",
        many="events are applied slowly",
        meaning="time from receipt until applied that 95 of 100 of the newest events stayed below, last 5 minutes, "
        "from 20 events on; nothing is left out",
        unit="seconds",
        threshold=30.0,
        hold_seconds=30,
        severity="warning",
        effect="numbers in the shops are older than they could be",
        next_command="tidegate status",
    ),
    Rule(
        id="commands_age",
        title="commands for {subject} wait too long",
        many="commands for {count} connections wait too long",
        meaning="age of the oldest unfinished command of a connection, whatever it waits for",
        unit="seconds",
        threshold=900.0,
        hold_seconds=30,
        severity="warning",
        effect="orders, cancels or shipments do not reach it",
        next_command="tidegate commands list --connection {connection} --state pending",
    ),
    Rule(
        id="stock_age",
        title="{subject} is not told stock numbers",
        many="{count} channels are not told stock numbers",
        meaning="age of the oldest change of stock that a live channel was not told",
        unit="seconds",
        threshold=900.0,
        hold_seconds=30,
        severity="warning",
        effect="it may sell what is not there, or not sell what is",
        next_command="tidegate status",
    ),
    Rule(
        id="drift_age",
        title="{subject} shows other stock numbers than it was told",
        many="{count} channels show other stock numbers than they were told",
        meaning="since when the oldest stock number of a channel is seen to differ that no policy heals by itself: it waits for "
        "approval, is only reported, failed, or was told anew in vain",
        unit="seconds",
        threshold=1800.0,
        hold_seconds=0,
        severity="warning",
        effect="it may sell what is not there, or not sell what is",
        next_command="tidegate drift list --no-refresh --connection {connection}",
    ),
    Rule(
        id="quarantined",
        title="events are in quarantine",
        many="events are in quarantine",
        meaning="events that need a person",
        unit="events",
        threshold=0.0,
        hold_seconds=0,
        severity="warning",
        effect="what they say is not applied; the rest goes on",
        next_command="tidegate events list --outcome quarantined",
    ),
    Rule(
        id="dead_letters",
        title="commands for {subject} failed for good",
        many="commands for {count} connections failed for good",
        meaning="failed commands of a connection that wait for a person",
        unit="commands",
        threshold=0.0,
        hold_seconds=0,
        severity="warning",
        effect="these orders, cancels, shipments or numbers are not told",
        next_command="tidegate commands list --connection {connection} --state failed",
    ),
    Rule(
        id="traffic_spike",
        title="unusually much comes from {subject}",
        many="unusually much comes from {count} connections",
        meaning="deliveries and news of a connection in the last 10 minutes against the same hour of earlier days "
        "(newer days weigh more; the first days: against all hours so far), from 100 on",
        unit="times the usual",
        threshold=4.0,
        hold_seconds=30,
        severity="warning",
        effect="a backlog may follow; a sender may be looping",
        next_command="tidegate events list --connection {connection} --limit 20",
    ),
    Rule(
        id="refused_deliveries",
        title="deliveries are refused at the door",
        many="deliveries are refused at the door",
        meaning="deliveries of the last 10 minutes that were refused (signature, unknown path, size), nothing of them stored",
        unit="deliveries",
        threshold=20.0,
        hold_seconds=0,
        severity="warning",
        effect="a sender signs with another secret, or somebody tries addresses",
        next_command="tidegate doctor",
    ),
    Rule(
        id="budget_near_limit",
        title="the call budget of {subject} is nearly used up",
        many="the call budgets of {count} connections are nearly used up",
        meaning="what is left of a connection's budget",
        unit="share of the budget",
        threshold=0.1,
        is_floor=True,
        hold_seconds=30,
        severity="warning",
        effect="calls wait for their turn; urgent ones go first",
        next_command="tidegate lanes",
    ),
    Rule(
        id="rate_limited",
        title="{subject} told us to wait",
        many="{count} connections told us to wait",
        meaning="how long a connection said that nothing may be sent to it",
        unit="seconds",
        threshold=60.0,
        hold_seconds=0,
        severity="warning",
        effect="nothing reaches it until then",
        next_command="tidegate lanes",
    ),
    Rule(
        id="breaker_open",
        title="{subject} counts as down",
        many="{count} connections count as down",
        meaning="since when the calls to a connection, or to its host, failed one after the other; until one is answered again",
        unit="seconds",
        threshold=20.0,
        hold_seconds=0,
        severity="critical",
        effect="one call at a time asks whether it is back; everything else for it waits, nothing is lost. Look whether the "
        "system runs and its address is right",
        next_command="tidegate doctor --only connections",
    ),
    Rule(
        id="webhook_silence",
        title="nothing comes from {subject} any more",
        many="nothing comes from {count} senders any more",
        meaning="how many deliveries of a connection's topic would usually have come since the last one, by the same hours "
        "of earlier days (the first days: by all hours so far); never before 10 minutes of silence",
        unit="missed deliveries",
        threshold=20.0,
        hold_seconds=30,
        severity="warning",
        effect="orders or changes may be missed until the next poll; a channel that can list the orders of a time is asked at once",
        next_command="tidegate doctor --only webhooks",
    ),
    Rule(
        id="orders_missing",
        title="{subject} has orders that are not known here",
        many="{count} channels have orders that are not known here",
        meaning="orders that a channel counts in a closed window of the last day and that are not known here, minutes after the "
        "window was read",
        unit="orders",
        threshold=0.0,
        hold_seconds=0,
        severity="critical",
        effect="nobody ships them; the window is read again with the next counts. Look whether orders are in quarantine",
        next_command="tidegate events list --connection {connection} --outcome quarantined",
        every_rounds=3,
    ),
    Rule(
        id="stale_feed",
        title="{subject} cannot be read",
        many="{count} feeds cannot be read",
        meaning="since the last successful read of a feed, and at least five of its intervals",
        unit="seconds",
        threshold=120.0,
        hold_seconds=0,
        severity="warning",
        effect="movements, shipments or missed orders are not seen",
        next_command="tidegate doctor",
    ),
    Rule(
        id="auth_failure",
        title="{subject} does not let us in",
        many="{count} connections do not let us in",
        meaning="a connection that waits for new credentials, or was paused by what its other side said",
        unit="connections",
        threshold=0.0,
        hold_seconds=0,
        severity="critical",
        effect="nothing is sent to it or read from it; commands wait, none is lost",
        next_command="tidegate connect {connection}",
    ),
    Rule(
        id="token_refused",
        title="{subject} does not renew its token",
        many="{count} connections do not renew their tokens",
        meaning="a refresh token that the platform refused: it is expired, revoked, or was used by somebody else",
        unit="connections",
        threshold=0.0,
        hold_seconds=0,
        severity="critical",
        effect="nothing is sent to it or read from it; commands wait, none is lost, and go on when the app is authorised anew",
        next_command="tidegate authorise {connection}",
    ),
    Rule(
        id="credential_expires",
        title="a credential ends soon: {subject}",
        many="{count} credentials end soon",
        meaning="time until a key of our API ends, or a refresh token that nobody is renewing",
        unit="days",
        threshold=14.0,
        is_floor=True,
        hold_seconds=0,
        severity="warning",
        effect="from then on what uses it is refused",
        next_command="tidegate authorise {connection}",
    ),
    Rule(
        id="order_not_forwarded",
        title="paid orders of {subject} did not reach the ERP",
        many="paid orders of {count} channels did not reach the ERP",
        meaning="time since an open order was released (paid or authorised) and live, and the ERP does not have it",
        unit="seconds",
        threshold=900.0,
        hold_seconds=0,
        severity="critical",
        effect="nobody ships what was paid for",
        next_command="tidegate why order {order}",
        every_rounds=3,
    ),
    Rule(
        id="capture_missing",
        title="goods of {subject} left and nobody takes the money",
        many="goods of {count} channels left and nobody takes the money",
        meaning="time since goods of an authorised order left, last 2 days, where the flow captures on shipment and no payment "
        "of the order was captured or is being captured",
        unit="seconds",
        threshold=900.0,
        hold_seconds=0,
        severity="critical",
        effect="the authorisation lapses after some days, and the money is lost",
        next_command="tidegate why order {order}",
        every_rounds=3,
    ),
    Rule(
        id="oversold",
        title="more of {subject} is sold than there is",
        many="more of {count} articles is sold than there is",
        meaning="units of an article that orders hold and that no location has, where a sale of the last 30 days took the last ones; "
        "not those of orders that wait for goods",
        unit="units",
        threshold=0.0,
        hold_seconds=0,
        severity="critical",
        effect="the newest orders of it cannot be shipped until more arrives",
        next_command="tidegate stock oversold",
    ),
    Rule(
        id="stock_unbalanced",
        title="the stock of {subject} is not the sum of its entries",
        many="the stock of {count} articles is not the sum of its entries",
        meaning="levels of an article whose counters are not the sum of their ledger entries, as far as the walk over all levels has come",
        unit="levels",
        threshold=0.0,
        hold_seconds=0,
        severity="critical",
        effect="something wrote to the database past Tidegate, or Tidegate has a fault: its numbers cannot be trusted",
        next_command="tidegate stock check",
        every_rounds=3,
    ),
    Rule(
        id="conservation_imbalance",
        title="the books of {subject} do not balance",
        many="the books of {count} connections do not balance",
        meaning="events that were received and are nowhere, or are somewhere and were never received, last 48 hours",
        unit="events",
        threshold=0.0,
        hold_seconds=0,
        severity="critical",
        effect="something was lost or doubled",
        next_command="tidegate conservation",
        every_rounds=3,
    ),
    Rule(
        id="missing_worker",
        title="{subject} is missing",
        many="{count} processes are missing",
        meaning="a role without any live worker loop, or a process that does not stay alive",
        unit="processes",
        threshold=0.0,
        hold_seconds=20,
        severity="critical",
        effect="its work is not done: nothing comes in, is applied, or goes out",
        next_command="tidegate status",
    ),
    Rule(
        id="writes_stopped",
        title="all writes are still stopped",
        many="all writes are still stopped",
        meaning="since the switch stopped all writes",
        unit="seconds",
        threshold=1800.0,
        hold_seconds=0,
        clear_seconds=0.0,
        severity="warning",
        effect="nothing reaches any other system",
        next_command="tidegate writes resume",
    ),
    Rule(
        id="disk_space",
        title="the disk is nearly full",
        many="the disks of {count} machines are nearly full",
        meaning="free share of the disk that holds the project",
        unit="share of the disk",
        threshold=0.1,
        is_floor=True,
        hold_seconds=0,
        severity="critical",
        effect="a full disk stops everything: the door answers 503",
        next_command="tidegate doctor",
    ),
    Rule(
        id="configuration_refused",
        title="the newest configuration cannot be used",
        many="the newest configuration cannot be used",
        meaning="a stored configuration that this release refuses; the last good one is at work",
        unit="configurations",
        threshold=0.0,
        hold_seconds=0,
        severity="warning",
        effect="what was changed does not count; everything else goes on",
        next_command="tidegate config check",
    ),
    Rule(
        id="database_away",
        title="the database was away",
        many="the database was away",
        meaning="how long the rules could not be looked at; told when it is back, because nothing can be looked up before",
        unit="seconds",
        threshold=30.0,
        hold_seconds=0,
        clear_seconds=0.0,
        severity="critical",
        effect="senders were answered 503 and repeat; nothing was lost",
        next_command="tidegate doctor",
    ),
)

RULES: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in _RULES})
"""Rule id -> rule, in the order of the reference."""


def tune(alerts: Alerts) -> dict[str, Tuned]:
    """Return every rule as the configuration has it."""
    tuned = {}
    for rule in RULES.values():
        settings: RuleSettings = getattr(alerts.rules, rule.id)
        tuned[rule.id] = Tuned(
            rule=rule,
            enabled=settings.enabled,
            threshold=rule.threshold if settings.threshold is None else settings.threshold,
            hold_seconds=rule.hold_seconds if settings.hold is None else float(seconds_of(settings.hold)),
            severity=settings.severity or rule.severity,
        )
    return tuned
