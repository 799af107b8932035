"""`/v1/looks`: when connections are compared by themselves, what the last look came to, and holding them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from msgspec import Meta

from tidegate.dispatch import looks
from tidegate.kernel.ids import public_id
from tidegate.monitor.sync_view import LastLook, LookView, read_looks
from tidegate.store.connections import Connection as Conn
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, body, needs, problems
from tidegate.web.api.identifiers import IdempotencyKey
from tidegate.web.api.words import masked

PAUSE_SECONDS_MAX = 30 * 86_400
ConnectionName = Annotated[
    str, Meta(max_length=40, pattern="^[a-z][a-z0-9_]*$", description="Only this one; null: all")
]


class FinishedLook(msgspec.Struct, frozen=True, kw_only=True):
    """The newest look that is over."""

    run_id: str
    state: Annotated[str, Meta(description="done or failed")]
    finished_at: datetime | None
    calls: int
    articles: int
    differences: int
    healed: Annotated[int, Meta(description="Numbers that were told anew because of it")]
    heal_waits: Annotated[int, Meta(description="Numbers that wait for approval because of it")]
    error: str | None


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """How one connection is compared."""

    connection: str
    due_at: Annotated[datetime | None, Meta(description="The next look; null when it is only looked at on request")]
    interval_seconds: Annotated[float | None, Meta(description="As looks adapted to")]
    staleness_seconds: Annotated[float | None, Meta(description="How long a change can stay unseen by looks")]
    calls_per_day: Annotated[float | None, Meta(description="What looking costs at this interval")]
    paused_at: datetime | None
    paused_until: datetime | None
    state: Annotated[str | None, Meta(description="Of a look under way: waiting, reading, comparing or healing")]
    differences: Annotated[int, Meta(description="Open now")]
    waiting: Annotated[int, Meta(description="Of them, waiting for approval")]
    last: FinishedLook | None


class LookList(msgspec.Struct, frozen=True, kw_only=True):
    """All connections that are looked at."""

    items: tuple[Look, ...]


class PauseLooks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is held, and until when."""

    connection: ConnectionName | None = None
    seconds: Annotated[int, Meta(ge=1, le=PAUSE_SECONDS_MAX, description="null: until it is resumed")] | None = None


class ResumeLooks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes on."""

    connection: ConnectionName | None = None


class LooksChanged(msgspec.Struct, frozen=True, kw_only=True):
    """What was held, or goes on."""

    connections: tuple[str, ...]


_AT = datetime.fromisoformat("2026-11-27T10:00:00+00:00")
_LAST = FinishedLook(
    run_id="run_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
    state="done",
    finished_at=_AT,
    calls=3,
    articles=240,
    differences=1,
    healed=1,
    heal_waits=0,
    error=None,
)
_LOOK = Look(
    connection="shop",
    due_at=_AT,
    interval_seconds=900.0,
    staleness_seconds=902.5,
    calls_per_day=288.0,
    paused_at=None,
    paused_until=None,
    state=None,
    differences=0,
    waiting=0,
    last=_LAST,
)


@get(
    "/looks",
    **needs("runs:read"),
    summary="List looks",
    responses={200: answer(LookList, "Looks", LookList(items=(_LOOK,))), **problems(*READ_PROBLEMS)},
    tags=["drift"],
)
async def list_looks(desk: NamedDependency[Desk]) -> LookList:
    """When each connection is compared next, what the last look came to, and what looking costs."""
    async with desk.reading() as conn:
        found = await read_looks(conn, desk.tenant_id)
    return LookList(items=tuple(_look(view, desk.cell) for view in found))


@post(
    "/looks/pause",
    **needs("drift:run"),
    status_code=200,
    summary="Pause looks",
    responses={
        200: answer(LooksChanged, "They are held", LooksChanged(connections=("shop",))),
        **problems(*WRITE_PROBLEMS),
    },
    tags=["drift"],
)
async def pause_looks(
    desk: NamedDependency[Desk],
    data: Annotated[PauseLooks, body("All connections, for an hour", PauseLooks(seconds=3600))],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Begin no more looks, and hold what is under way. Outlives restarts; repeating it changes only its end."""

    async def effect(conn: Conn) -> LooksChanged:
        await desk.find_connection(conn, data.connection)
        until = datetime.now(UTC) + timedelta(seconds=data.seconds) if data.seconds is not None else None
        names = (data.connection,) if data.connection is not None else None
        found = await looks.pause(conn, tenant_id=desk.tenant_id, names=names, actor=desk.caller.actor, until=until)
        return LooksChanged(connections=found)

    return await desk.once(idempotency_key, effect)


@post(
    "/looks/resume",
    **needs("drift:run"),
    status_code=200,
    summary="Resume looks",
    responses={
        200: answer(LooksChanged, "They go on", LooksChanged(connections=("shop",))),
        **problems(*WRITE_PROBLEMS),
    },
    tags=["drift"],
)
async def resume_looks(
    desk: NamedDependency[Desk],
    data: Annotated[ResumeLooks, body("All connections", ResumeLooks())],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Let looks go on from where they were held; what came due meanwhile is looked at once."""

    async def effect(conn: Conn) -> LooksChanged:
        await desk.find_connection(conn, data.connection)
        names = (data.connection,) if data.connection is not None else None
        found = await looks.resume(conn, tenant_id=desk.tenant_id, names=names, actor=desk.caller.actor)
        return LooksChanged(connections=found)

    return await desk.once(idempotency_key, effect)


def build_router() -> Router:
    """Return the routes of looks."""
    return Router("/", route_handlers=[list_looks, pause_looks, resume_looks])


def _look(view: LookView, cell: str) -> Look:
    same = (
        "connection",
        "due_at",
        "interval_seconds",
        "staleness_seconds",
        "calls_per_day",
        "paused_at",
        "paused_until",
    )
    return Look(
        **{name: getattr(view, name) for name in same},
        state=view.under_way.state if view.under_way is not None else None,
        differences=view.differences,
        waiting=view.waiting,
        last=_last(view.last, cell) if view.last is not None else None,
    )


def _last(last: LastLook, cell: str) -> FinishedLook:
    same = ("state", "finished_at", "calls", "articles", "differences", "healed", "heal_waits")
    return FinishedLook(
        run_id=public_id("run", cell, last.run_id),
        error=masked(last.error),
        **{name: getattr(last, name) for name in same},
    )
