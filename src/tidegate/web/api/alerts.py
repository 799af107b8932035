"""`/v1/alerts`: what the rules found, and saying that it was seen."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta

from tidegate.kernel.errors import ConflictError
from tidegate.kernel.ids import public_id
from tidegate.kernel.text import mask_people
from tidegate.monitor.alerts import operator
from tidegate.monitor.alerts.records import Alert as Found
from tidegate.store.connections import Connection as Conn
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, needs, problems
from tidegate.web.api.identifiers import IdempotencyKey, id_pattern, parse_id

AlertId = Annotated[str, PathParameter(description="Id of an alert.", pattern=id_pattern("alr"))]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that fires, or fired, for a subject."""

    id: str
    rule: str
    subject: str
    severity: str
    state: Annotated[str, Meta(description="firing or resolved")]
    since: Annotated[datetime, Meta(description="Since when its cause is there")]
    fired_at: datetime
    resolved_at: datetime | None
    value: float
    threshold: float
    cause: Annotated[str, Meta(description="For people")]
    next_command: Annotated[str, Meta(description="What to type next")]
    acked_by: str | None
    acked_at: datetime | None


class AlertList(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts: those that fire first, newest first."""

    items: tuple[Alert, ...]
    evaluated_at: Annotated[datetime | None, Meta(description="When the rules were looked at last; null: never")]


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that somebody has seen."""

    alert_id: str


_AT = datetime.fromisoformat("2026-11-27T10:00:00+00:00")
_ALERT = Alert(
    id="alr_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
    rule="calls_failing",
    subject="erp",
    severity="error",
    state="firing",
    since=_AT,
    fired_at=_AT,
    resolved_at=None,
    value=0.5,
    threshold=0.2,
    cause="half of the calls to erp fail",
    next_command="tidegate issues list --connection erp",
    acked_by=None,
    acked_at=None,
)


@get(
    "/",
    **needs("alerts:read"),
    summary="List alerts",
    responses={
        200: answer(AlertList, "Alerts", AlertList(items=(_ALERT,), evaluated_at=_AT)),
        **problems(*READ_PROBLEMS),
    },
)
async def list_alerts(
    desk: NamedDependency[Desk],
    limit: Annotated[int, QueryParameter(ge=1, le=200, description="How many at most.")] = 100,
    resolved: Annotated[bool, QueryParameter(description="Those that are over too.")] = False,
) -> AlertList:
    """What the rules found, newest first, those that fire before those that are over. All in one answer."""
    async with desk.reading() as conn:
        found = await operator.list_alerts(conn, desk.tenant_id, include_resolved=resolved, limit=limit)
        evaluated_at = await operator.read_last_round(conn)
    return AlertList(items=tuple(_alert(each, desk.cell) for each in found), evaluated_at=evaluated_at)


@post(
    "/{alert_id:str}/acknowledge",
    **needs("alerts:write"),
    status_code=200,
    summary="Acknowledge an alert",
    responses={
        200: answer(Acknowledged, "It was seen", Acknowledged(alert_id=_ALERT.id)),
        **problems(*WRITE_PROBLEMS),
    },
)
async def acknowledge_alert(
    desk: NamedDependency[Desk], alert_id: AlertId, idempotency_key: IdempotencyKey
) -> Response[Any]:
    """Say that a person has seen an alert: nobody is told of it again, except that it is over."""
    wanted = parse_id("alr", alert_id)

    async def effect(conn: Conn) -> Acknowledged:
        known = await operator.find_alert(conn, desk.tenant_id, wanted)
        done = await operator.acknowledge(
            conn, tenant_id=desk.tenant_id, actor=desk.caller.actor, alert_ids=[known.alert_id], now=desk.now
        )
        if not done:
            raise ConflictError("it was acknowledged before, or is over", code="wrong_state")
        return Acknowledged(alert_id=desk.public("alr", wanted))

    return await desk.once(idempotency_key, effect)


def build_router() -> Router:
    """Return the routes of alerts."""
    return Router("/alerts", route_handlers=[list_alerts, acknowledge_alert], tags=["alerts"])


def _alert(alert: Found, cell: str) -> Alert:
    return Alert(
        id=public_id("alr", cell, alert.alert_id),
        cause=mask_people(alert.cause),
        **{name: getattr(alert, name) for name in Alert.__struct_fields__ if name not in ("id", "cause")},
    )
