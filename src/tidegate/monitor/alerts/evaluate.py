"""From signals to readings: one function per rule. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

from tidegate.monitor.alerts.records import Credential, Fact, LateOrders, Reading, Signals
from tidegate.monitor.oversold import OversoldItem
from tidegate.monitor.stock_check import Stretch
from tidegate.monitor.sync_view import OrderCount
from tidegate.sdk.windows import SETTLE, window_text

WINDOW = "window"
"""What connectors call the read of the orders that were placed in a window."""
CALLS_MIN = 3
"""Fewer calls say nothing about a share of failures."""
SLOW_CALLS_MIN = 10
EVENTS_MIN = 20
ARRIVALS_MIN = 100
"""In ten minutes; less is no spike, however quiet it was before."""
SILENT_SECONDS_MIN = 600.0
FEED_INTERVALS = 5
SPIKE_WINDOW = timedelta(minutes=10)

Evaluator = Callable[[Signals], Iterator[Reading] | None]


def evaluate(signals: Signals) -> dict[str, list[Reading] | None]:
    """Return the readings of every rule; None for a rule whose signal was not seen in this round."""
    readings: dict[str, list[Reading] | None] = {}
    for rule, look in EVALUATORS.items():
        found = look(signals)
        readings[rule] = None if found is None else list(found)
    return readings


def _failing_calls(signals: Signals) -> Iterator[Reading] | None:
    if signals.calls is None:
        return None
    return (
        Reading(
            subject=each.connection,
            connection=each.connection,
            value=each.failed / each.calls if each.calls >= CALLS_MIN else 0.0,
            cause=f"{each.failed} of {each.calls} calls of the last 5 minutes failed"
            + (f", the last one with {each.code}" if each.code else ""),
        )
        for each in signals.calls
    )


def _slow_calls(signals: Signals) -> Iterator[Reading] | None:
    if signals.calls is None:
        return None
    return (
        Reading(
            subject=each.connection,
            connection=each.connection,
            value=each.slow_seconds if each.calls >= SLOW_CALLS_MIN else 0.0,
            cause=f"of {each.calls} calls 5 in 100 took {each.slow_seconds:.1f} s or longer",
        )
        for each in signals.calls
    )


def _backlog_age(signals: Signals) -> Iterator[Reading] | None:
    if signals.status is None:
        return None
    queue = signals.status.queue
    age = _age(queue.oldest_at, signals.now)
    return iter([Reading(subject="", value=age, cause=f"{queue.waiting} events wait, the oldest for {age:.0f} s")])


def _latency(signals: Signals) -> Iterator[Reading] | None:
    lag = signals.lag
    if lag is None:
        return None
    value = lag.slow_seconds if lag.events >= EVENTS_MIN else 0.0
    words = f"5 in 100 of the newest {lag.events} events took {lag.slow_seconds:.1f} s or longer until applied"
    return iter([Reading(subject="", value=value, cause=words)])


def _commands_age(signals: Signals) -> Iterator[Reading] | None:
    if signals.status is None:
        return None
    oldest: dict[str, datetime] = {}
    counts: dict[str, int] = {}
    for each in signals.status.commands:
        if each.state in {"pending", "sending", "in_doubt"}:
            oldest[each.connection] = min(oldest.get(each.connection, each.oldest_at), each.oldest_at)
            counts[each.connection] = counts.get(each.connection, 0) + each.commands
    return (
        Reading(
            subject=name,
            connection=name,
            value=_age(moment, signals.now),
            cause=f"{counts[name]} commands wait, the oldest for {_age(moment, signals.now):.0f} s",
        )
        for name, moment in oldest.items()
    )


def _stock_age(signals: Signals) -> Iterator[Reading] | None:
    if signals.status is None:
        return None
    stock = signals.config.flows.stock
    live = stock.targets if stock is not None and stock.mode == "live" else ()
    return (
        Reading(
            subject=lane.connection,
            connection=lane.connection,
            value=_age(lane.dirty_since, signals.now),
            cause=f"{lane.dirty} numbers are not told, the oldest for {_age(lane.dirty_since, signals.now):.0f} s",
        )
        for lane in signals.status.lanes
        if lane.connection in live
    )


def _drift_age(signals: Signals) -> Iterator[Reading] | None:
    if signals.status is None:
        return None
    return (
        Reading(
            subject=lane.connection,
            connection=lane.connection,
            value=_age(lane.differs_since, signals.now),
            cause=f"{lane.differs} numbers differ and are not healed, the oldest for {_age(lane.differs_since, signals.now):.0f} s",
        )
        for lane in signals.status.lanes
    )


def _quarantined(signals: Signals) -> Iterator[Reading] | None:
    if signals.status is None:
        return None
    count = signals.status.queue.quarantined
    return iter([Reading(subject="", value=float(count), cause=f"{count} events need a person")])


def _dead_letters(signals: Signals) -> Iterator[Reading] | None:
    if signals.status is None:
        return None
    failed: dict[str, int] = {}
    for each in signals.status.commands:
        if each.state == "failed":
            failed[each.connection] = failed.get(each.connection, 0) + each.commands
    return (
        Reading(subject=name, connection=name, value=float(count), cause=f"{count} commands ended as failed")
        for name, count in failed.items()
    )


def _traffic_spike(signals: Signals) -> Iterator[Reading] | None:
    if signals.arrivals is None:
        return None
    return (
        Reading(
            subject=each.connection,
            connection=each.connection,
            value=_times(each.recent, each.usual_per_hour),
            cause=f"{each.recent} in the last 10 minutes"
            + (f", {(each.usual_per_hour or 0.0) / 6:.0f} are usual" if each.usual_per_hour is not None else ""),
        )
        for each in signals.arrivals
    )


def _times(recent: int, usual_per_hour: float | None) -> float:
    if usual_per_hour is None or recent < ARRIVALS_MIN:
        return 0.0
    return recent / max(1.0, usual_per_hour * (SPIKE_WINDOW / timedelta(hours=1)))


def _refused_deliveries(signals: Signals) -> Iterator[Reading] | None:
    if signals.refused is None or not signals.is_first:
        return None
    total = sum(signals.refused.values())
    codes = ", ".join(f"{count} {code}" for code, count in sorted(signals.refused.items()) if count)
    return iter([Reading(subject="", value=float(total), cause=f"{total} in the last 10 minutes: {codes or 'none'}")])


def _budget_near_limit(signals: Signals) -> Iterator[Reading] | None:
    if signals.status is None:
        return None
    return _budgets(signals)


def _budgets(signals: Signals) -> Iterator[Reading]:
    assert signals.status is not None
    for lane in signals.status.lanes:
        usage = lane.usage(signals.now)
        if usage is None:
            continue
        own = f" of {usage.operation}" if usage.operation else ""
        words = f"{usage.left:.0f} of {usage.limit:.0f} calls{own} are left ({usage.rule})"
        yield Reading(subject=lane.connection, connection=lane.connection, value=usage.share_left, cause=words)


def _rate_limited(signals: Signals) -> Iterator[Reading] | None:
    if signals.status is None:
        return None
    return (
        Reading(
            subject=lane.connection,
            connection=lane.connection,
            value=_left(lane.snoozed_until, signals.now),
            cause=f"nothing is sent for another {_left(lane.snoozed_until, signals.now):.0f} s"
            + (f" ({lane.snooze_reason})" if lane.snooze_reason else ""),
        )
        for lane in signals.status.lanes
    )


def _breaker_open(signals: Signals) -> Iterator[Reading] | None:
    if signals.status is None:
        return None
    active = _active(signals)
    return (
        Reading(
            subject=lane.connection,
            connection=lane.connection,
            value=_age(lane.open_since, signals.now) if lane.connection in active else 0.0,
            cause=f"its calls have failed one after the other for {_age(lane.open_since, signals.now):.0f} s",
        )
        for lane in signals.status.lanes
    )


def _webhook_silence(signals: Signals) -> Iterator[Reading] | None:
    if signals.senders is None:
        return None
    active = _active(signals)
    return (
        Reading(
            subject=f"{each.connection} ({each.topic})",
            connection=each.connection,
            value=each.missed if each.missed is not None and each.silent_seconds >= SILENT_SECONDS_MIN else 0.0,
            cause=f"the last {each.topic} came {each.silent_seconds / 60:.0f} minutes ago; "
            f"{each.missed or 0.0:.0f} more would be usual since",
        )
        for each in signals.senders
        if each.connection in active
    )


def silent_windows(signals: Signals, fired: Sequence[Fact]) -> list[tuple[str, str]]:
    """Return (connection, window) of the orders that may have been placed while a topic was silent, for alerts that fire now. Pure.

    Only of connections that can list the orders of a window; at most the last day.
    """
    subjects = {fact.subject for fact in fired if fact.rule == "webhook_silence"}
    active = _active(signals) if subjects else {}
    until = signals.now.replace(microsecond=0)
    found: dict[str, datetime] = {}
    for each in signals.senders or ():
        connector = signals.connectors.get(active.get(each.connection, ""))
        if f"{each.connection} ({each.topic})" not in subjects or connector is None or WINDOW not in connector.fetch:
            continue
        since = max(each.last_at - SETTLE, until - timedelta(days=1)).replace(microsecond=0)
        found[each.connection] = min(since, found.get(each.connection, since))
    return [(name, window_text(since, until)) for name, since in sorted(found.items())]


def _orders_missing(signals: Signals) -> Iterator[Reading] | None:
    if signals.order_counts is None:
        return None
    return (
        Reading(
            subject=each.connection,
            connection=each.connection,
            value=float(each.missing),
            cause=_gap_of(each),
        )
        for each in signals.order_counts
    )


def _gap_of(count: OrderCount) -> str:
    if count.gap_since is None or count.gap_until is None:
        return f"{count.theirs} orders there and {count.ours} here, {count.since:%H:%M} to {count.until:%H:%M} UTC"
    return f"of {count.gap_since:%Y-%m-%d %H:%M} to {count.gap_until:%H:%M} UTC it has {count.missing} orders more than are known here"


def _stale_feed(signals: Signals) -> Iterator[Reading] | None:
    if signals.status is None:
        return None
    return _feeds(signals)


def _feeds(signals: Signals) -> Iterator[Reading]:
    assert signals.status is not None
    active = _active(signals)
    for feed in signals.status.feeds:
        connector = signals.connectors.get(active.get(feed.connection, ""))
        known = connector.feeds.get(feed.feed) if connector is not None else None
        if connector is None or known is None or not _is_polled(signals, connector.roles):
            continue
        age = _age(feed.last_ok_at, signals.now)
        floor = FEED_INTERVALS * known.interval.total_seconds()
        if feed.last_ok_at is None:
            age = float("1e9") if feed.last_error else 0.0
        since = f"for {age:.0f} s" if feed.last_ok_at is not None else "so far"
        words = f"feed {feed.feed} was not read {since}" + (f": {feed.last_error}" if feed.last_error else "")
        value = age if age > floor else 0.0
        subject = f"{feed.connection} ({feed.feed})"
        yield Reading(subject=subject, connection=feed.connection, value=value, cause=words)


def _is_polled(signals: Signals, roles: frozenset[str] | tuple[str, ...]) -> bool:
    return signals.config.polling.enabled or "erp" in roles


def _auth_failure(signals: Signals) -> Iterator[Reading] | None:
    if signals.status is None:
        return None
    known = {each.name for each in signals.credentials or () if each.kind == "token" and each.refused is not None}
    return (
        Reading(
            subject=lane.connection,
            connection=lane.connection,
            value=float(lane.state == "waiting_auth" or (lane.state == "paused" and lane.state_reason is not None)),
            cause=f"it is {lane.state}" + (f": {lane.state_reason}" if lane.state_reason else ""),
        )
        for lane in signals.status.lanes
        if lane.connection not in known  # it has an alert of its own
    )


def _token_refused(signals: Signals) -> Iterator[Reading] | None:
    if signals.credentials is None:
        return None
    return (
        Reading(subject=each.name, connection=each.name, value=1.0, cause=each.refused)
        for each in signals.credentials
        if each.kind == "token" and each.refused is not None
    )


def _credential_expires(signals: Signals) -> Iterator[Reading] | None:
    if signals.credentials is None:
        return None
    return (
        _ending(each, each.ends_at, signals.now)
        for each in signals.credentials
        if each.ends_at is not None and each.refused is None
    )


def _ending(credential: Credential, ends_at: datetime, now: datetime) -> Reading:
    days = (ends_at - now).total_seconds() / 86_400
    ends = f"{'ends' if days > 0 else 'ended'} at {ends_at:%Y-%m-%d %H:%M} UTC"
    if credential.kind == "key":
        return Reading(
            subject=f"API key {credential.name}",
            value=max(0.0, days),
            cause=f"the key {ends}; make another one, give it to its user, then revoke this one",
            next_command="tidegate keys list",
        )
    cause = f"its refresh token {ends} and is not being renewed: the connection is stopped, or nothing is asked of it"
    return Reading(subject=credential.name, connection=credential.name, value=max(0.0, days), cause=cause)


def _order_not_forwarded(signals: Signals) -> Iterator[Reading] | None:
    return _late_orders(signals.unforwarded, "released", signals.now)


def _capture_missing(signals: Signals) -> Iterator[Reading] | None:
    return _late_orders(signals.uncaptured, "whose goods left", signals.now)


def _oversold(signals: Signals) -> Iterator[Reading] | None:
    if signals.oversold is None:
        return None
    return (
        Reading(
            subject=each.sku,
            order=next((order.number for order in each.orders if not order.waits), ""),
            value=float(each.undecided),
            cause=_short_of(each),
        )
        for each in signals.oversold
    )


def _stock_unbalanced(signals: Signals) -> Iterator[Reading] | None:
    if signals.unbalanced is None:
        return None
    wrong: dict[str, list[Stretch]] = {}
    for each in signals.unbalanced:
        wrong.setdefault(each.sku, []).append(each)
    return (
        Reading(
            subject=sku,
            value=float(len({each.location for each in found})),
            cause=f"in {found[0].location} the entries {found[0].first} to {found[0].last} do not add up to its counters",
        )
        for sku, found in wrong.items()
    )


def _short_of(item: OversoldItem) -> str:
    units = "1 unit" if item.missing == 1 else f"{item.missing} units"
    if not item.orders:
        return f"{units} of {item.sku} lack, and no open order holds them"
    open_ones = [order for order in item.orders if not order.waits]
    waiting = len(item.orders) - len(open_ones)
    if not open_ones:
        return f"{units} of {item.sku} lack, and all {waiting} orders wait for goods"
    newest = open_ones[0]
    orders = "1 order" if len(open_ones) == 1 else f"{len(open_ones)} orders"
    more = f"; {waiting} more wait for goods" if waiting else ""
    return f"{units} of {item.sku} lack for {orders}, the newest is {newest.number} of {newest.channel}{more}"


def _late_orders(late: Sequence[LateOrders] | None, what: str, now: datetime) -> Iterator[Reading] | None:
    """Return a reading per channel; `what` says what happened to the oldest one that long ago."""
    if late is None:
        return None
    return (
        Reading(
            subject=each.channel,
            connection=each.channel,
            order=each.number,
            value=_age(each.oldest_at, now),
            cause=f"{each.orders} orders, the oldest is {each.number}, {what} {_age(each.oldest_at, now) / 60:.0f} minutes ago",
        )
        for each in late
    )


def _conservation_imbalance(signals: Signals) -> Iterator[Reading] | None:
    if signals.balances is None:
        return None
    sums: dict[str, int] = {}
    for balance in signals.balances:
        sums[balance.connection] = sums.get(balance.connection, 0) + abs(balance.difference)
    return (
        Reading(subject=name, connection=name, value=float(total), cause=f"{total} events cannot be placed")
        for name, total in sums.items()
    )


def _missing_worker(signals: Signals) -> Iterator[Reading] | None:
    if signals.missing is None or not signals.is_first:
        return None
    return (Reading(subject=name, value=1.0, cause=why) for name, why in signals.missing.items())


def _writes_stopped(signals: Signals) -> Iterator[Reading] | None:
    if signals.status is None or not signals.is_first:
        return None
    return (
        Reading(
            subject="",
            value=_age(switch.changed_at, signals.now) if switch.is_on else 0.0,
            cause=f"stopped by {switch.changed_by}" + (f": {switch.reason}" if switch.reason else ""),
        )
        for switch in signals.status.switches
        if switch.name == "stop_all_writes"
    )


def _disk_space(signals: Signals) -> Iterator[Reading] | None:
    disk = signals.disk
    if disk is None or not signals.is_first:
        return None
    share = disk.free_bytes / disk.total_bytes if disk.total_bytes else 1.0
    words = f"{disk.free_bytes / 1e9:.1f} of {disk.total_bytes / 1e9:.1f} GB are free"
    return iter([Reading(subject="", value=share, cause=words)])


def _configuration_refused(signals: Signals) -> Iterator[Reading] | None:
    refused = signals.refused_config
    words = f"version {refused.version}: {refused.reason}" if refused is not None else "none"
    return iter([Reading(subject="", value=float(refused is not None), cause=words)])


def _database_away(signals: Signals) -> Iterator[Reading] | None:
    if not signals.is_first:
        return None
    words = f"it did not answer for {signals.away_seconds:.0f} s; it answers again"
    return iter([Reading(subject="", value=signals.away_seconds, cause=words)])


EVALUATORS: Mapping[str, Evaluator] = MappingProxyType(
    {
        "failing_calls": _failing_calls,
        "slow_calls": _slow_calls,
        "backlog_age": _backlog_age,
        "latency": _latency,
        "commands_age": _commands_age,
        "stock_age": _stock_age,
        "drift_age": _drift_age,
        "quarantined": _quarantined,
        "dead_letters": _dead_letters,
        "traffic_spike": _traffic_spike,
        "refused_deliveries": _refused_deliveries,
        "budget_near_limit": _budget_near_limit,
        "rate_limited": _rate_limited,
        "breaker_open": _breaker_open,
        "webhook_silence": _webhook_silence,
        "orders_missing": _orders_missing,
        "stale_feed": _stale_feed,
        "auth_failure": _auth_failure,
        "token_refused": _token_refused,
        "credential_expires": _credential_expires,
        "order_not_forwarded": _order_not_forwarded,
        "capture_missing": _capture_missing,
        "oversold": _oversold,
        "stock_unbalanced": _stock_unbalanced,
        "conservation_imbalance": _conservation_imbalance,
        "missing_worker": _missing_worker,
        "writes_stopped": _writes_stopped,
        "disk_space": _disk_space,
        "configuration_refused": _configuration_refused,
        "database_away": _database_away,
    }
)


def _active(signals: Signals) -> dict[str, str]:
    """Return the connections that should work, with their connectors; the others have an alert of their own."""
    lanes = signals.status.lanes if signals.status is not None else ()
    return {lane.connection: lane.connector for lane in lanes if lane.state == "active"}


def _age(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment is not None else 0.0


def _left(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (moment - now).total_seconds()) if moment is not None else 0.0
