"""The knobs of this room."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DispatchSettings:
    """Bounds and times of the lanes."""

    safety_step_items: int = 5_000
    """Items whose safety stock is looked at in one transaction, when the rules changed."""
    window_commands: int = 128
    """Pending commands that a lane looks at: so many that go for the first time, and so many that are tried again."""
    window_seconds_min: float = 0.1
    """The window is not read again before this while it still holds work."""
    poll_seconds: float = 3.0
    """One query per node asks which lanes have work; notifications make it rarely needed."""
    wake_seconds: float = 0.03
    """Notifications that come together cost one look."""
    config_seconds: float = 15.0
    """How often connections and configuration are read again without being told."""
    rest_seconds: float = 1.0
    """Before a lane that ended by itself is started again."""
    lease_margin_seconds: float = 2.0
    """No byte is written when the node's lease runs for less than this."""
    lease_seconds: float = 15.0
    """The node's lease; also how long a process cut off from the database may go on sending."""
    drain_seconds: float = 10.0
    """How long calls in flight may take to finish when a lane ends."""
    open_orders_days: int = 60
    """Orders that are older are not asked for any more, where a platform is asked whether they are still there."""
    execute_seconds_max: float = 300.0
    """A connector's `execute` or `find` is ended after this; the outcome is then unknown."""
    conflicts_max: int = 8
    """Attempts at a command that meets a conflict each time."""
    first_look_seconds: float = 1.0
    """A read-back that finds the effect may come this soon."""
    second_look_seconds: float = 5.0
    """Between two read-backs that found nothing."""
    snooze_seconds_min: float = 0.5
    """Shortest wait after a 429."""
    absurd_wait_seconds: float = 86_400.0
    """A longer Retry-After is honoured for this long, then asked again; it is logged as absurd."""
    retry_share: float = 0.1
    """Retries in vain per first send."""
    retries_always: int = 12
    """Retries per minute that a lane may always make."""
    retry_beat_seconds: float = 1.0
    """Retries that may share a call, whatever call they were in before, become due at the same moments, so far apart."""
    breaker_failures: int = 5
    """Whole calls that fail in a row until the lane is parked."""
    breaker_seconds_max: float = 60.0
    """Longest time between two probes of a side that is down."""
    feed_backoff_seconds_max: float = 300.0
    """Longest time between two tries of a failing feed."""
    feed_wait_seconds: float = 30.0
    """How long a comparison of counts waits for movements of the same time."""
    unseen_settle_seconds: float = 45.0
    """How long after units were gone from a channel unexplained its orders must have been read, to believe that they were
    not sold: a platform's list shows an order some seconds late."""
    doubt_settle_seconds: float = 45.0
    """How long after a doubt a channel that sells by itself is told once more: what a look saw there may be sales that nobody
    told yet, and not our number."""
    untold_seconds: float = 5.0
    """How soon feeds are read again when a channel shows fewer units than its orders explain: webhooks may be lost."""
    drain_look_seconds: float = 3.0
    """Between two looks whether all orders are read that a channel took before it was lowered."""
    cancel_look_seconds: float = 5.0
    """After a channel cancelled an order because it was asked to: how long its own word is waited for before the order is read."""
    unseen_look_seconds: float = 15.0
    """Between two looks whether such units are explained."""
    poison_seconds: float = 300.0
    """Before an item whose number cannot be told is looked at again."""
    excerpt_bytes_max: int = 4096
    """Of an answer that is kept as evidence."""
    transaction_tries: int = 5
    """Tries of one database transaction that was ended for no fault of its own."""


DEFAULTS = DispatchSettings()
