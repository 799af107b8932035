"""The knobs of the evaluator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AlertSettings:
    """Bounds and times, with units."""

    round_seconds: float = 15.0
    """How often the rules are looked at."""
    stale_rounds: float = 4.0
    """`/readyz` says so when the rules were not looked at for this many rounds."""
    start_grace_seconds: float = 30.0
    """After the start of a process, before others are missed: they start one after the other."""
    refresh_seconds: float = 60.0
    """How often what a firing alert says is brought up to date."""
    node_lease_seconds: float = 20.0
    """A worker loop whose heartbeat is older than this does not count as live."""
    witness_seconds: float = 60.0
    """How often a gateway that does not lead writes down what it misses on its machine, without being asked by a change."""
    calls_seconds: float = 300.0
    """Calls that count."""
    lag_seconds: float = 300.0
    """Events that count for their latency; at most `lag_events_max` of them."""
    lag_events_max: int = 2000
    window_seconds: float = 600.0
    """Deliveries that count as recent."""
    history_days: int = 28
    """How far back what is usual is looked for."""
    orders_days: int = 2
    """How far back paid orders are looked for in the ERP."""
    credentials_days: float = 60.0
    """How far ahead ends of credentials are looked for."""
    audited_hours: int = 48
    audited_waiting_max: int = 20_000
    """With a longer backlog the audit would cost more than it tells."""
    checked_levels: int = 200
    """Stock levels of a tenant whose entries are added up in one slow round."""
    checked_entries: int = 1000
    """Of each of them; the others of a long ledger come in the next rounds."""
    count_lag_seconds: float = 5.0
    """Events are counted for the rhythm so long after their receipt: their transactions have ended."""
    count_seconds_max: float = 60.0
    """Of the log that one round counts while it is behind and much comes in; an hour when little does."""
    count_every_rounds: int = 3
    """In which rounds they are counted."""
    versions_seconds: float = 60.0
    """How often configurations are read without being told."""
    prune_seconds: float = 3600.0
    outbox_seconds: float = 30.0
    """How often notices are looked for while none is known to wait."""
    heartbeat_seconds: float = 60.0
    """How often heartbeat targets are called."""
    deliveries_max: int = 4
    """Notices under way at once."""
    claim_seconds: float = 60.0
    """A notice that was taken and not told within this time is taken again."""
    tries_max: int = 12
    """Tries of one notice; with the waits between them about three hours."""
    retry_seconds_min: float = 5.0
    retry_seconds_max: float = 1800.0
    keep_days: int = 90
    """Alerts that are over, and notices, are kept so long."""
    away_seconds: float = 2.0
    """Between two tries to reach a database that is away."""


DEFAULTS = AlertSettings()
