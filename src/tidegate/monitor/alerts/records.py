"""What the rules see, what they say of it, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from tidegate.config.alerts import Severity
from tidegate.config.records import Config
from tidegate.config.snapshots import Refusal
from tidegate.monitor.conservation import Balance
from tidegate.monitor.oversold import OversoldItem
from tidegate.monitor.status import Status
from tidegate.monitor.stock_check import Stretch
from tidegate.monitor.sync_view import OrderCount
from tidegate.sdk.connector import Connector


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One subject of a rule as it is now."""

    subject: str
    value: float
    cause: str
    """In words, with numbers."""
    connection: str = ""
    order: str = ""
    """Number of an order to look at first."""
    threshold: float | None = None
    """Where the subject has one of its own."""
    next_command: str = ""
    """What to type, where it is another one than the rule's."""


class CallStats(msgspec.Struct, frozen=True, kw_only=True):
    """Calls to one connection in the last minutes."""

    connection: str
    calls: int
    failed: int
    slow_seconds: float
    """95 of 100 calls took no longer."""
    code: str | None = None
    """Of the newest failure."""


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How long events took from receipt until applied."""

    events: int
    slow_seconds: float
    """95 of 100 took no longer."""


class LateOrders(msgspec.Struct, frozen=True, kw_only=True):
    """Orders of a channel that wait for something: released and not with the ERP, or shipped and not captured."""

    channel: str
    orders: int
    oldest_at: datetime
    """When that happened to the first one."""
    number: str
    """Of that one."""


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """What came from one connection."""

    connection: str
    recent: int
    """In the last ten minutes."""
    usual_per_hour: float | None
    """None: too little is known."""


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries of one connection and topic."""

    connection: str
    topic: str
    last_at: datetime
    missed: float | None
    """How many would usually have come since the last one; None: too little is known."""
    silent_seconds: float


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A credential whose end is known."""

    kind: Literal["token", "key"]
    """A refresh token of a connection, or a key of our API."""
    name: str
    ends_at: datetime | None
    refused: str | None = None
    """Why the platform does not take it any more."""


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """The disk that holds the project."""

    free_bytes: int
    total_bytes: int


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one round has seen of one tenant. None: it was not looked at, or could not be seen."""

    now: datetime
    config: Config
    connectors: Mapping[str, Connector]
    is_first: bool = True
    """Whether alerts about the whole installation belong to this tenant."""
    status: Status | None = None
    calls: tuple[CallStats, ...] | None = None
    lag: Lag | None = None
    arrivals: tuple[Arrivals, ...] | None = None
    senders: tuple[Sender, ...] | None = None
    refused: Mapping[str, int] | None = None
    """Code -> refused deliveries of the last ten minutes."""
    credentials: tuple[Credential, ...] | None = None
    """Those that were refused, and those that end within weeks."""
    unforwarded: tuple[LateOrders, ...] | None = None
    """Released orders that the ERP does not have."""
    uncaptured: tuple[LateOrders, ...] | None = None
    """Authorised orders whose goods left without a capture."""
    order_counts: tuple[OrderCount, ...] | None = None
    """What channels count of their own orders."""
    oversold: tuple[OversoldItem, ...] | None = None
    """Articles of which orders hold more than there is."""
    unbalanced: tuple[Stretch, ...] | None = None
    """Ledger entries that do not add up to their counters, as far as the walk over all levels has come."""
    balances: tuple[Balance, ...] | None = None
    missing: Mapping[str, str] | None = None
    """What is missing -> why one thinks so."""
    disk: Disk | None = None
    refused_config: Refusal | None = None
    """A stored configuration that cannot be used: an older one is at work."""
    away_seconds: float = 0.0
    """How long the database was away before this round."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `alert`."""

    tenant_id: UUID
    alert_id: UUID
    rule: str
    subject: str
    severity: Severity
    state: Literal["firing", "resolved"]
    since: datetime
    fired_at: datetime
    resolved_at: datetime | None
    value: float
    threshold: float
    cause: str
    flaps: int
    told_state: Literal["firing", "resolved"] | None
    told_at: datetime | None
    acked_by: str | None
    acked_at: datetime | None
    next_command: str
    """What to type next."""


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody is told of what it covers until it ends."""

    silence_id: UUID
    rule: str | None
    subject: str | None
    until: datetime
    reason: str
    created_by: str

    def covers(self, rule: str, subject: str, now: datetime) -> bool:
        """Return whether an alert is silenced now."""
        return self.until > now and self.rule in (None, rule) and self.subject in (None, subject)


Subject = tuple[str, str]
"""(rule, subject)"""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be stored of one subject."""

    rule: str
    subject: str
    severity: Severity
    value: float
    threshold: float
    cause: str
    next_command: str
    since: datetime
    relapses: int = 0


class Changes(msgspec.Struct, kw_only=True):
    """What one round changed for one tenant."""

    fired: list[Fact] = []
    refreshed: list[Fact] = []
    resolved: list[Subject] = []

    def __bool__(self) -> bool:
        return bool(self.fired or self.refreshed or self.resolved)
