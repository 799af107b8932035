"""Alerts: what is wrong now, seen by whom, and being quiet about it for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from litestar import Response

from tidegate.kernel.ids import parse_public_id, public_id
from tidegate.monitor.alerts.operator import (
    acknowledge,
    list_alerts,
    list_notices,
    list_silences,
    list_targets,
    read_last_round,
    silence,
)
from tidegate.web.pages.visit import Here
from tidegate.web.problems import ProblemError

SHOWN = 100
HOURS = {"1": 1, "4": 4, "24": 24, "168": 168}
STALE = timedelta(seconds=60)


async def show(here: Here) -> Response[Any]:
    """Show what is wrong, who is told, and what is quiet."""
    show_all = here.asked("all") == "yes"
    async with here.reading() as conn:
        found = await list_alerts(conn, here.tenant_id, include_resolved=show_all, limit=SHOWN)
        silences = await list_silences(conn, here.tenant_id, here.now)
        targets = await list_targets(conn, here.tenant_id)
        notices = await list_notices(conn, here.tenant_id, 10)
        looked_at = await read_last_round(conn)
    return here.show(
        "alerts.html",
        alerts=[(public_id("alr", here.cell, alert.alert_id), alert) for alert in found],
        silences=silences,
        targets=targets,
        notices=notices,
        looked_at=looked_at,
        is_stale=looked_at is None or here.now - looked_at > STALE,
        show_all=show_all,
        hours=list(HOURS),
    )


async def see(here: Here) -> Response[Any]:
    """Say that a person has seen an alert."""
    try:
        alert_id: UUID = parse_public_id(here.path("id"), kind="alr")
    except ValueError as error:
        raise ProblemError(404, "alert_unknown", "there is no such alert") from error
    async with here.writing() as conn:
        done = await acknowledge(conn, tenant_id=here.tenant_id, actor=here.actor, alert_ids=[alert_id], now=here.now)
    return here.go(
        "/alerts", "Seen: nobody is told again, only that it is over." if done else "It was seen, or is over."
    )


async def be_quiet(here: Here) -> Response[Any]:
    """Tell nobody of a rule, a subject or both for some hours; 0 hours ends an earlier silence."""
    hours, reason = HOURS.get(here.field("hours"), 0), here.field("reason")
    rule, subject = here.field("rule") or None, here.field("subject") or None
    if not reason:
        return here.go("/alerts", "Nothing was changed: say why it may be quiet.")
    async with here.writing() as conn:
        await silence(
            conn,
            tenant_id=here.tenant_id,
            actor=here.actor,
            rule=rule,
            subject=subject,
            until=here.now + timedelta(hours=hours),
            reason=reason,
            now=here.now,
        )
    return here.go("/alerts", f"Nobody is told for {hours} h." if hours else "It is not quiet any more.")
