"""`/v1/drift` and `/v1/runs`: where systems differ, and looking again."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta

from tidegate.dispatch.drift import compared_connections, request_run
from tidegate.dispatch.heal import Chosen, choose, heal
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import public_id
from tidegate.monitor import drift_view
from tidegate.monitor.drift_view import DriftPlace, DriftRow, RunLine, RunView
from tidegate.store.connections import Connection as Conn
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, body, needs, problems
from tidegate.web.api.identifiers import Connection, IdempotencyKey, id_pattern, parse_id
from tidegate.web.api.lists import EXAMPLE_CURSOR, Cursor, Limit, read_cursor, read_id_cursor, write_cursor
from tidegate.web.api.words import masked
from tidegate.web.problems import ProblemError

LIST = "runs"
DIFFERENCES = "drift"
HEALED_AT_ONCE = 1_000
"""Numbers of one request: their marks stay locked until its end."""
RunId = Annotated[str, PathParameter(description="Id of a run.", pattern=id_pattern("run"))]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A field that differs between its owner and another system. Numbers are exact, so they are texts."""

    connection: str
    external_id: str
    sku: str
    field: str
    location: str | None
    owner: str
    other: str
    owner_value: str | None
    other_value: str | None
    currency: str
    risk: Annotated[str | None, Meta(description="Value at risk; null where no price is known")]
    risk_currency: str
    cause: Annotated[str, Meta(description="Why, as a stable word")]
    since: Annotated[datetime, Meta(description="Since when it is seen")]
    seen_at: datetime
    heal: Annotated[
        str, Meta(description="What becomes of it: empty (only shown), due, waits (for approval), healing, or stuck")
    ]


class DriftCause(msgspec.Struct, frozen=True, kw_only=True):
    """How much differs for one reason."""

    cause: str
    rows: int
    risk: str | None
    risk_currency: str


class RunRead(msgspec.Struct, frozen=True, kw_only=True):
    """One connection's part of a run."""

    connection: str
    state: Annotated[str, Meta(description="waiting, reading, comparing, healing, done or failed")]
    articles: int
    compared: int
    error: str | None
    finished_at: datetime | None


class RunDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A run: systems are read and compared."""

    id: str
    requested_by: str
    requested_at: datetime
    finished_at: Annotated[datetime | None, Meta(description="null while it is under way")]
    reads: tuple[RunRead, ...]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run in short."""

    id: str
    kind: str
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None
    reads: int
    failed: int
    articles: int


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """Runs, newest first."""

    items: tuple[Run, ...]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null on the last one")]


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """What differs, as the last look found it."""

    run: Annotated[RunDetail | None, Meta(description="The newest run; null when nobody ever looked")]
    total: Annotated[int, Meta(description="Differences, also those that are not among the items")]
    in_flight: Annotated[int, Meta(description="Being changed at the last look, and not counted")]
    causes: tuple[DriftCause, ...]
    items: Annotated[tuple[Difference, ...], Meta(description="Highest value at risk first")]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null on the last one")] = None


class RunDrift(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to compare."""

    connection: (
        Annotated[str, Meta(max_length=40, pattern="^[a-z][a-z0-9_]*$", description="Only this one; null: all")] | None
    ) = None


class RunRequested(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is under way."""

    run_id: str
    is_new: Annotated[bool, Meta(description="False: somebody asked before and it is not finished")]
    stopped: Annotated[dict[str, str], Meta(description="Connections that are not read now, and why")]


class HealDrift(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which differences are meant; at least one of `connection` and `skus`."""

    connection: Annotated[str, Meta(max_length=40, pattern="^[a-z][a-z0-9_]*$")] | None = None
    skus: Annotated[tuple[str, ...], Meta(description="Patterns with * and ?; none: every SKU", max_length=100)] = ()
    only_waiting: Annotated[bool, Meta(description="Only what waits for approval; false: also what is only shown")] = (
        True
    )


class DriftHealed(msgspec.Struct, frozen=True, kw_only=True):
    """What will be told anew."""

    told: int
    left: Annotated[int, Meta(description="Chosen, and left alone: on their way already, or their flow observes")]
    has_more: Annotated[bool, Meta(description="More were meant than one request heals: ask again under another key")]


_AT = datetime.fromisoformat("2026-11-27T10:00:00+00:00")
_ID = "run_c0_06c6vd1t9kfsm3k0b4xk9qk2zw"
_RUN = Run(
    id=_ID, kind="drift", requested_by="cli:kim", requested_at=_AT, finished_at=_AT, reads=2, failed=0, articles=40
)
_DETAIL = RunDetail(
    id=_ID,
    requested_by="cli:kim",
    requested_at=_AT,
    finished_at=_AT,
    reads=(RunRead(connection="shop", state="done", articles=40, compared=40, error=None, finished_at=_AT),),
)
_DRIFT = Drift(
    run=_DETAIL,
    total=1,
    in_flight=0,
    causes=(DriftCause(cause="changed_there", rows=1, risk="39.80", risk_currency="EUR"),),
    items=(
        Difference(
            connection="shop",
            external_id="77",
            sku="TS-RED-M",
            field="stock",
            location="main",
            owner="tidegate",
            other="shop",
            owner_value="9",
            other_value="11",
            currency="",
            risk="39.80",
            risk_currency="EUR",
            cause="changed_there",
            since=_AT,
            seen_at=_AT,
            heal="waits",
        ),
    ),
)


@get(
    "/drift",
    **needs("drift:read"),
    summary="Show drift",
    responses={200: answer(Drift, "What differs", _DRIFT), **problems(*READ_PROBLEMS)},
    tags=["drift"],
)
async def show_drift(
    desk: NamedDependency[Desk],
    top: Annotated[int, QueryParameter(ge=0, le=200, description="How many differences at most.")] = 20,
    field: Annotated[
        Literal["stock", "price", "on_hand"] | None, QueryParameter(description="Only of this field.")
    ] = None,
    connection: Connection = None,
    cursor: Cursor = None,
) -> Drift:
    """Where systems differ, field by field within what each owns, with value at risk, as the last look found it.

    Page by page all of it. A difference whose value at risk changes between two pages may be on both of them, or on none.
    """
    after = _place(cursor)
    async with desk.reading() as conn:
        await desk.find_connection(conn, connection)
        found = await drift_view.read_drift(
            conn, desk.tenant_id, top=top + 1, field=field, connection=connection, after=after
        )
    has_more = 0 < top < len(found.rows)
    return Drift(
        run=_run(found.run, desk.cell) if found.run is not None else None,
        total=found.total,
        in_flight=found.in_flight,
        causes=tuple(
            DriftCause(cause=each.cause, rows=each.rows, risk=_exact(each.risk), risk_currency=each.risk_currency)
            for each in found.causes
        ),
        items=tuple(_difference(row) for row in found.rows[:top]),
        next_cursor=_cursor_behind(found.rows[top - 1]) if has_more else None,
    )


def _cursor_behind(row: DriftRow) -> str:
    return write_cursor(DIFFERENCES, msgspec.json.encode(drift_view.place_of(row)).decode())


def _place(cursor: str | None) -> DriftPlace | None:
    """Return where the page before ended. Raises ProblemError 404 for anybody's invention."""
    text = read_cursor(DIFFERENCES, cursor)
    try:
        return None if text is None else msgspec.json.decode(text, type=DriftPlace)
    except (ValueError, msgspec.DecodeError):
        raise ProblemError(404, "cursor_unknown", "no list has this position") from None


@post(
    "/drift/runs",
    **needs("drift:run"),
    status_code=202,
    summary="Compare systems",
    responses={
        202: answer(RunRequested, "It is under way", RunRequested(run_id=_ID, is_new=True, stopped={})),
        **problems(*WRITE_PROBLEMS),
    },
    tags=["drift"],
)
async def run_drift(
    desk: NamedDependency[Desk],
    data: Annotated[RunDrift, body("All connections", RunDrift())],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Read systems afresh and compare them. Nothing is written at the other side; look at the run for how far it is."""

    async def effect(conn: Conn) -> RunRequested:
        await desk.find_connection(conn, data.connection)
        names = compared_connections(await desk.read_config(conn), desk.world.connectors)
        if data.connection is not None:
            names = tuple(name for name in names if name == data.connection)
        found = await request_run(conn, tenant_id=desk.tenant_id, actor=desk.caller.actor, names=names)
        return RunRequested(run_id=desk.public("run", found.run_id), is_new=found.is_new, stopped=dict(found.stopped))

    return await desk.once(idempotency_key, effect, status=202)


@post(
    "/drift/heal",
    **needs("drift:heal"),
    status_code=200,
    summary="Have numbers told anew",
    responses={
        200: answer(DriftHealed, "What will be told", DriftHealed(told=1, left=0, has_more=False)),
        **problems(*WRITE_PROBLEMS, 422),
    },
    tags=["drift"],
)
async def heal_drift(
    desk: NamedDependency[Desk],
    data: Annotated[HealDrift, body("What waits for approval in one channel", HealDrift(connection="shop"))],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Tell stock numbers that differ once more, in the usual way. The next look shows what became of it."""

    async def effect(conn: Conn) -> DriftHealed:
        if (data.connection is None and not data.skus) or "" in data.skus:
            raise ProblemError(422, "nothing_chosen", "say what is meant: a connection, or SKUs")
        await desk.find_connection(conn, data.connection)
        chosen = Chosen(connection=data.connection, skus=data.skus or None, only_waiting=data.only_waiting)
        meant = len(await choose(conn, desk.tenant_id, chosen))
        done = await heal(conn, tenant_id=desk.tenant_id, chosen=chosen, actor=desk.caller.actor, limit=HEALED_AT_ONCE)
        return DriftHealed(told=done.told, left=done.chosen - done.told, has_more=meant > HEALED_AT_ONCE)

    return await desk.once(idempotency_key, effect)


@get(
    "/runs",
    **needs("runs:read"),
    summary="List runs",
    responses={
        200: answer(RunPage, "Runs", RunPage(items=(_RUN,), next_cursor=EXAMPLE_CURSOR)),
        **problems(*READ_PROBLEMS),
    },
    tags=["runs"],
)
async def list_runs(desk: NamedDependency[Desk], limit: Limit = 50, cursor: Cursor = None) -> RunPage:
    """Runs that read and compared systems, newest first."""
    async with desk.reading() as conn:
        found = await drift_view.list_runs(conn, desk.tenant_id, before=read_id_cursor(LIST, cursor), limit=limit + 1)
    more = write_cursor(LIST, found[limit - 1].run_id) if len(found) > limit else None
    return RunPage(items=tuple(_line(each, desk.cell) for each in found[:limit]), next_cursor=more)


@get(
    "/runs/{run_id:str}",
    **needs("runs:read"),
    summary="Show a run",
    responses={200: answer(RunDetail, "One run", _DETAIL), **problems(*READ_PROBLEMS)},
    tags=["runs"],
)
async def show_run(desk: NamedDependency[Desk], run_id: RunId) -> RunDetail:
    """One run, and how far it is with each connection."""
    wanted = parse_id("run", run_id)
    async with desk.reading() as conn:
        found = await drift_view.read_run(conn, desk.tenant_id, wanted)
    if found is None:
        raise ConfigurationError("there is no such run", code="run_unknown")
    return _run(found, desk.cell)


def build_router() -> Router:
    """Return the routes of drift and runs."""
    return Router("/", route_handlers=[show_drift, run_drift, heal_drift, list_runs, show_run])


def _run(run: RunView, cell: str) -> RunDetail:
    return RunDetail(
        id=public_id("run", cell, run.run_id),
        requested_by=run.requested_by,
        requested_at=run.requested_at,
        finished_at=run.finished_at,
        reads=tuple(_read(each) for each in run.reads),
    )


def _line(run: RunLine, cell: str) -> Run:
    return Run(
        id=public_id("run", cell, run.run_id),
        **{name: getattr(run, name) for name in Run.__struct_fields__ if name != "id"},
    )


def _difference(row: DriftRow) -> Difference:
    exact = {"owner_value", "other_value", "risk"}
    return Difference(
        owner_value=_exact(row.owner_value),
        other_value=_exact(row.other_value),
        risk=_exact(row.risk),
        **{name: getattr(row, name) for name in Difference.__struct_fields__ if name not in exact},
    )


def _exact(value: Decimal | None) -> str | None:
    return None if value is None else f"{value.normalize():f}"


def _read(read: Any) -> RunRead:
    told = {name: getattr(read, name) for name in RunRead.__struct_fields__ if name != "error"}
    return RunRead(error=masked(read.error), **told)
