"""Lanes as people look at them: what waits in each, what is under way, which rule holds the head, and until when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from tidegate.commerce.commands import Priority
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
    """Tokens when they were last counted."""
    budget_at: datetime | None
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


async def read_lanes(conn: Connection, tenant_id: UUID, now: datetime) -> list[LaneView]:
    """Return the lanes of a tenant by name."""
    rows = await conn.fetch(_LIST, tenant_id, first_id_at(now - SAVED_SINCE))
    waiting: defaultdict[UUID, list[Any]] = defaultdict(list)
    for row in await conn.fetch(_WAITING, tenant_id):
        waiting[row["connection_id"]].append(row)
    return [describe(row, waiting[row["connection_id"]], now) for row in rows]


def describe(row: Any, waiting: Iterable[Any], now: datetime) -> LaneView:
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
    return LaneView(
        connection=row["name"],
        connector=row["connector"],
        state="open" if is_open and row["state"] == "active" else row["state"],
        budget_left=row["tokens"],
        budget_at=row["tokens_at"],
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
