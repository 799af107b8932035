"""Lanes as people look at them: what waits in each, what is under way, which rule holds the head, and until when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from tidegate.commerce.commands import Priority
from tidegate.config import Config
from tidegate.config.effective import effective
from tidegate.config.lanes import lane_rules
from tidegate.dispatch.meter import usage_of
from tidegate.kernel.ids import first_id_at, time_of
from tidegate.monitor.waiting import LaneFacts, Wait, explain_lane
from tidegate.store.connections import Connection
from tidegate.store.sql import query

SAVED_SINCE = timedelta(hours=24)
READS = "reads"
_LIST = query("lanes_list")
_WAITING = query("lanes_waiting")


class ClassWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """What waits of one priority class."""

    name: str
    """payment, order, fulfillment, inventory_critical, inventory, catalog, customer, analytics; or reads."""
    waiting: int
    oldest_seconds: float
    """How long the oldest has waited; 0 for what is not due yet."""


class LaneView(msgspec.Struct, frozen=True, kw_only=True):
    """One lane."""

    connection: str
    connector: str
    state: str
    """active, or why not; `open`: the breaker is."""
    budget_left: float | None
    """Calls or points that may be spent now, of the part of the budget that has the smallest share left; None: no call yet."""
    budget_limit: float | None
    """All that this part allows at once."""
    budget_rule: str
    """This part in words; '' before the first call."""
    used_last_minute: float | None
    """What was spent in the last minute."""
    budget_at: datetime | None
    """When it was last stored; what has come back since then is counted in."""
    share: float | None
    """How much of the platform's budget is ours by configuration; None where no configuration is known."""
    waiting: tuple[ClassWaiting, ...]
    """Most urgent first."""
    in_flight: int
    """Calls."""
    in_doubt: int
    parked: int
    """Commands that wait after a failed attempt."""
    snoozed_until: datetime | None
    open_since: datetime | None
    """Since when the other side counts as down."""
    held_by: str
    """The rule that holds the head of the lane; '' when nothing does."""
    held_until: datetime | None
    words: str
    """The same for people."""
    calls_saved: int
    """In the last 24 hours, by merging."""
    reads_saved: int
    """Since the lane exists, by bundling."""

    @property
    def is_waiting(self) -> bool:
        """Whether anything waits."""
        return bool(self.waiting)


async def read_lanes(conn: Connection, tenant_id: UUID, now: datetime, config: Config | None = None) -> list[LaneView]:
    """Return the lanes of a tenant by name. `config` says how much of each budget is ours."""
    rows = await conn.fetch(_LIST, tenant_id, first_id_at(now - SAVED_SINCE))
    waiting: defaultdict[UUID, list[Any]] = defaultdict(list)
    for row in await conn.fetch(_WAITING, tenant_id):
        waiting[row["connection_id"]].append(row)
    lanes = effective(config, now).config.lanes if config is not None else None
    return [
        describe(
            row,
            waiting[row["connection_id"]],
            now,
            share=None if lanes is None else lane_rules(lanes, row["name"]).share,
        )
        for row in rows
    ]


def describe(row: Any, waiting: Iterable[Any], now: datetime, *, share: float | None = None) -> LaneView:
    """Return the view of a row of `lanes_list` with its rows of `lanes_waiting`. Pure."""
    classes = _classes(waiting, now)
    facts = LaneFacts(
        state=row["state"],
        state_reason=row["state_reason"],
        snoozed_until=row["snoozed_until"],
        snooze_reason=row["snooze_reason"],
        writes_stopped=bool(row["writes_stopped"]),
        hold_rule=row["hold_rule"],
        hold_until=row["hold_until"],
    )
    held = explain_lane(facts, now)
    if held is None and row["parked_until"] is not None and row["parked"] and not classes:
        held = Wait(rule="parked", words="what waits is parked after a failed attempt", until=row["parked_until"])
    is_open = row["breaker_opened_at"] is not None
    usage = None if row["tokens_at"] is None else usage_of(row["budget"], (now - row["tokens_at"]).total_seconds())
    return LaneView(
        connection=row["name"],
        connector=row["connector"],
        state="open" if is_open and row["state"] == "active" else row["state"],
        budget_left=usage.left if usage is not None else None,
        budget_limit=usage.limit if usage is not None else None,
        budget_rule=usage.rule if usage is not None else "",
        used_last_minute=usage.used_last_minute if usage is not None else None,
        budget_at=row["tokens_at"],
        share=share,
        waiting=classes,
        in_flight=row["in_flight"],
        in_doubt=row["in_doubt"],
        parked=row["parked"],
        snoozed_until=facts.snoozed_until if facts.is_snoozed(now) else None,
        open_since=row["breaker_opened_at"],
        held_by=held.rule if held is not None else "",
        held_until=held.until if held is not None else None,
        words=held.words if held is not None else "",
        calls_saved=row["calls_saved"],
        reads_saved=row["reads_saved"],
    )


def _classes(rows: Iterable[Any], now: datetime) -> tuple[ClassWaiting, ...]:
    counts: defaultdict[int, int] = defaultdict(int)
    oldest: dict[int, datetime] = {}
    for row in rows:
        priority = row["priority"]
        since = time_of(UUID(row["oldest_id"])) if row["oldest_id"] is not None else row["oldest_at"]
        counts[priority] += row["waiting"]
        if since is not None:
            oldest[priority] = min(since, oldest.get(priority, since))
    names = {int(each): each.name.lower() for each in Priority}
    return tuple(
        ClassWaiting(
            name=names.get(priority, READS if not priority else str(priority)),
            waiting=counts[priority],
            oldest_seconds=max(0.0, (now - oldest.get(priority, now)).total_seconds()),
        )
        for priority in sorted(counts, key=lambda each: each or 1_000)
    )
