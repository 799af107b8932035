"""Keeps alerts and notices: a change of state and what is told of it are one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tidegate.kernel import crashpoint
from tidegate.kernel.ids import new_id
from tidegate.monitor.alerts.machine import FLAP_WINDOW, Track, resume
from tidegate.monitor.alerts.notices import House, plan_notices
from tidegate.monitor.alerts.records import Alert, Changes, Silence, Subject
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_FIRING = query("alerts_firing")
_FIRE = query("alerts_fire")
_REFRESH = query("alerts_refresh")
_RESOLVE = query("alerts_resolve")
_TO_TELL = query("alerts_to_tell")
_TOLD = query("alerts_told")
_SILENCES = query("alerts_silences")
_NOTICE_ADD = query("alerts_notice_add")


async def load_firing(conn: Connection, now: datetime) -> dict[UUID, dict[Subject, Track]]:
    """Return the tracks of all alerts that fire, by tenant."""
    tracks: dict[UUID, dict[Subject, Track]] = {}
    for row in await conn.fetch(_FIRING, now - FLAP_WINDOW):
        tracks.setdefault(row["tenant_id"], {})[row["rule"], row["subject"]] = resume(
            since=row["since"], fired_at=row["fired_at"], fires=tuple(row["fires"]), relapses=row["flaps"]
        )
    return tracks


async def store_round(
    conn: Connection, tenant_id: UUID, changes: Changes, house: House, now: datetime, *, silent: frozenset[str]
) -> tuple[int, bool]:
    """Store what changed and what is to be told of it, in one transaction.

    Returns how many notices were made, and whether anything is left that may have to be told later. The all-clear of rules
    in `silent` is not told.
    """
    async with conn.transaction():
        await _store(conn, tenant_id, changes, now)
        alerts = await _read(conn, tenant_id, house, now)
        unsaid = [alert.alert_id for alert in alerts if _is_over(alert) and alert.rule in silent]
        if unsaid:
            await conn.execute(_TOLD, tenant_id, unsaid, "resolved", now)
        open_ones = [alert for alert in alerts if alert.alert_id not in set(unsaid)]
        silences = [Silence(**row) for row in await conn.fetch(_SILENCES, tenant_id, now)] if open_ones else []
        notices = plan_notices(open_ones, silences, house, now)
        for notice in notices:
            for target in notice.targets:
                await conn.execute(
                    _NOTICE_ADD, tenant_id, new_id(), notice.key, target, notice.kind, notice.severity, notice.title,
                    notice.body, list(notice.alerts), now,
                )  # fmt: skip
            state = "resolved" if notice.kind == "resolved" else "firing"
            await conn.execute(_TOLD, tenant_id, list(notice.alerts), state, now)
        crashpoint.reach("alerts.round.stored")
    return len(notices), any(alert.state == "firing" or _is_over(alert) for alert in open_ones)


async def _store(conn: Connection, tenant_id: UUID, changes: Changes, now: datetime) -> None:
    for fact in changes.fired:
        await conn.execute(
            _FIRE, tenant_id, new_id(), fact.rule, fact.subject, fact.severity, fact.since, now, fact.value,
            fact.threshold, fact.cause, fact.next_command,
        )  # fmt: skip
    for fact in changes.refreshed:
        await conn.execute(
            _REFRESH, tenant_id, fact.rule, fact.subject, fact.severity, fact.value, fact.threshold, fact.cause,
            fact.next_command, fact.relapses,
        )  # fmt: skip
    for rule, subject in changes.resolved:
        await conn.execute(_RESOLVE, tenant_id, rule, subject, now)


async def _read(conn: Connection, tenant_id: UUID, house: House, now: datetime) -> Sequence[Alert]:
    lately = now - timedelta(seconds=house.group_seconds)
    return [as_alert(row) for row in await conn.fetch(_TO_TELL, tenant_id, lately)]


def as_alert(row: Any) -> Alert:
    """Return the alert of a row."""
    return Alert(**dict(row))


def _is_over(alert: Alert) -> bool:
    """Whether somebody was told of it, and not yet that it is over."""
    return alert.state == "resolved" and alert.told_state == "firing"
