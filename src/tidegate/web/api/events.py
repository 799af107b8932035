"""`/v1/events`: what came in and what became of it; send it through once more."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Meta

from tidegate.eventlog.replay import replay
from tidegate.kernel.errors import ConflictError
from tidegate.kernel.ids import public_id, time_of
from tidegate.monitor import events_view
from tidegate.monitor.events_view import EventFilter
from tidegate.store.connections import Connection as Conn
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, needs, problems
from tidegate.web.api.identifiers import TEXT, Connection, EventId, IdempotencyKey, parse_id
from tidegate.web.api.lists import EXAMPLE_CURSOR, Cursor, Limit, read_id_cursor, write_cursor
from tidegate.web.api.words import masked

LIST = "events"
Outcome = Literal["applied", "superseded", "ignored", "quarantined", "needs_fetch", "waiting", "parked"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that came in."""

    id: str
    received_at: datetime
    connection: str
    source: Annotated[str, Meta(description="webhook, poll, fetch, import, operator or result")]
    topic: str
    sender_id: Annotated[str | None, Meta(description="The sender's own id of it")]
    occurred_at: datetime | None
    conflict: Annotated[bool, Meta(description="The sender used this id before, for another body")]
    outcome: Annotated[str, Meta(description="What became of it, or waiting, parked, quarantined")]
    code: str | None
    reason: str | None
    run: Annotated[int, Meta(description="0 for the first time it was applied, then one more for each replay")]


class EventOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event in one run."""

    run: int
    outcome: str
    code: str
    reason: str | None
    entity_kind: str | None
    entity_id: str | None
    connector_version: str
    mapping_version: str
    code_version: str
    config_version: int
    at: datetime


class EventDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One event, without its body."""

    id: str
    received_at: datetime
    connection: str
    source: str
    topic: str
    ordering_key: Annotated[str, Meta(description="Events that share it are applied in order")]
    sender_id: str | None
    occurred_at: datetime | None
    conflict: bool
    undecodable: Annotated[str | None, Meta(description="Why its key fields could not be read")]
    body_sha256: str
    outcomes: Annotated[tuple[EventOutcome, ...], Meta(description="By run; empty while it waits for the first")]


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events, newest first."""

    items: tuple[Event, ...]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null on the last one")]


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """An event goes through once more."""

    event_id: str
    queued: Annotated[bool, Meta(description="Always true: what cannot be replayed is answered with a problem")]


_EVENT = Event(
    id="evt_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
    received_at=datetime.fromisoformat("2026-11-27T10:00:00.123+00:00"),
    connection="shop",
    source="webhook",
    topic="order.updated",
    sender_id="1001:7",
    occurred_at=None,
    conflict=False,
    outcome="applied",
    code="applied",
    reason=None,
    run=0,
)


@get(
    "/",
    **needs("events:read"),
    summary="List events",
    responses={
        200: answer(EventPage, "Events, newest first", EventPage(items=(_EVENT,), next_cursor=EXAMPLE_CURSOR)),
        **problems(*READ_PROBLEMS),
    },
    raises=[],
)
async def list_events(
    desk: NamedDependency[Desk],
    limit: Limit = 50,
    cursor: Cursor = None,
    connection: Connection = None,
    topic: Annotated[
        str | None, QueryParameter(description="Only of this topic.", min_length=1, max_length=200, pattern=TEXT)
    ] = None,
    outcome: Annotated[
        Outcome | None, QueryParameter(description="Only with this outcome, or still on its way.")
    ] = None,
    since: Annotated[datetime | None, QueryParameter(description="Received since.")] = None,
) -> EventPage:
    """What came in, newest first, with what became of it in its last run. Bodies are not given out."""
    async with desk.reading() as conn:
        connection_id = await desk.find_connection(conn, connection)
        chosen = EventFilter(
            connection_id=connection_id,
            state=outcome,
            topic=topic,
            since=since,
            before=read_id_cursor(LIST, cursor),
        )
        rows = await events_view.list_events(conn, desk.tenant_id, chosen, limit + 1)
    items = tuple(_event(row, desk.cell) for row in rows[:limit])
    more = write_cursor(LIST, rows[limit - 1]["event_id"]) if len(rows) > limit else None
    return EventPage(items=items, next_cursor=more)


@get(
    "/{event_id:str}",
    **needs("events:read"),
    summary="Show an event",
    responses={
        200: answer(
            EventDetail,
            "One event",
            EventDetail(
                **{
                    name: getattr(_EVENT, name)
                    for name in Event.__struct_fields__
                    if name in EventDetail.__struct_fields__
                },
                ordering_key="order:1001",
                undecodable=None,
                body_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                outcomes=(),
            ),
        ),
        **problems(*READ_PROBLEMS),
    },
)
async def show_event(desk: NamedDependency[Desk], event_id: EventId) -> EventDetail:
    """One event with its keys, and what became of it in each run."""
    wanted = parse_id("evt", event_id)
    async with desk.reading() as conn:
        row, outcomes = await events_view.read_event(conn, desk.tenant_id, wanted)
    return _detail(row, outcomes, desk.cell)


@post(
    "/{event_id:str}/replay",
    **needs("events:replay"),
    status_code=202,
    summary="Replay an event",
    responses={
        202: answer(Replay, "It goes through once more", Replay(event_id=_EVENT.id, queued=True)),
        **problems(*WRITE_PROBLEMS),
    },
)
async def replay_event(
    desk: NamedDependency[Desk], event_id: EventId, idempotency_key: IdempotencyKey
) -> Response[Any]:
    """Send a stored event through once more, as a further run.

    Harmless by design: what was applied already changes nothing, and no command is sent twice. An event that is still on
    its way is answered with 409 `event_on_its_way`.
    """
    wanted = parse_id("evt", event_id)

    async def effect(conn: Conn) -> Replay:
        await events_view.read_event(conn, desk.tenant_id, wanted)
        if not await replay(conn, desk.tenant_id, [wanted]):
            raise ConflictError(
                "the event is still on its way", code="event_on_its_way", hint="wait until it has an outcome"
            )
        subject = str(wanted)
        await events_view.record_replay(conn, desk.tenant_id, actor=desk.caller.actor, subject=subject, number=1)
        return Replay(event_id=desk.public("evt", wanted), queued=True)

    return await desk.once(idempotency_key, effect, status=202)


def build_router() -> Router:
    """Return the routes of events."""
    return Router("/events", route_handlers=[list_events, show_event, replay_event], tags=["events"])


def _event(row: Any, cell: str) -> Event:
    return Event(
        id=public_id("evt", cell, row["event_id"]),
        received_at=time_of(row["event_id"]),
        connection=row["connection"],
        source=row["source"],
        topic=row["topic"],
        sender_id=row["external_id"],
        occurred_at=row["occurred_at"],
        conflict=row["conflict"],
        outcome=row["state"],
        code=row["code"],
        reason=masked(row["reason"]),
        run=row["run"],
    )


_ENTITY_KINDS = {"order": "ord", "order_line": "lin", "fulfillment": "ful", "variant": "var", "location": "loc"}


def _detail(row: Any, outcomes: list[Any], cell: str) -> EventDetail:
    return EventDetail(
        id=public_id("evt", cell, row["event_id"]),
        received_at=time_of(row["event_id"]),
        connection=row["connection"],
        source=row["source"],
        topic=row["topic"],
        ordering_key=row["ordering_key"],
        sender_id=row["external_id"],
        occurred_at=row["occurred_at"],
        conflict=row["conflict"],
        undecodable=masked(row["undecodable"]),
        body_sha256=row["body_sha256"],
        outcomes=tuple(
            EventOutcome(
                entity_id=_entity(outcome, cell),
                reason=masked(outcome["reason"]),
                **{
                    name: outcome[name]
                    for name in EventOutcome.__struct_fields__
                    if name not in ("entity_id", "reason")
                },
            )
            for outcome in outcomes
        ),
    )


def _entity(outcome: Any, cell: str) -> str | None:
    if outcome["entity_id"] is None:
        return None
    return public_id(_ENTITY_KINDS.get(outcome["entity_kind"], "ent"), cell, outcome["entity_id"])
