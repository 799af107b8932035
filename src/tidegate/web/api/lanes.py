"""`/v1/lanes`: what waits for each system, what is under way, what is left of its budget, and what holds it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from msgspec import Meta

from tidegate.monitor.lanes import LaneView, read_lanes
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, answer, needs, problems
from tidegate.web.api.words import masked


class WaitingClass(msgspec.Struct, frozen=True, kw_only=True):
    """What waits of one class."""

    name: Annotated[
        str,
        Meta(
            description="payment, order, fulfillment, inventory_critical, inventory, catalog, customer, analytics; or reads"
        ),
    ]
    waiting: int
    oldest_seconds: Annotated[float, Meta(description="How long the oldest has waited; 0 for what is not due yet")]


class LaneBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What may still be spent, of the part of the budget that has the smallest share left."""

    rule: Annotated[str, Meta(description="This part in words")]
    left: Annotated[float, Meta(description="Calls or points that may be spent now")]
    limit: Annotated[float, Meta(description="All that it allows at once")]
    used_last_minute: Annotated[float, Meta(description="What was spent in the last minute")]
    counted_at: Annotated[datetime, Meta(description="When it was last stored; what has come back since is counted in")]


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """The lane of one connection."""

    connection: str
    connector: str
    state: Annotated[str, Meta(description="active, paused, waiting_auth or disabled; open: it counts as down")]
    held_by: Annotated[
        str,
        Meta(
            description="The rule that holds the head of the lane: budget, snoozed, breaker, retry_budget, merging, lease,"
            " writes_stopped, connection, parked; empty when nothing does"
        ),
    ]
    held_until: Annotated[datetime | None, Meta(description="null: not known beforehand")]
    words: Annotated[str, Meta(description="The same for people")]
    snoozed_until: Annotated[datetime | None, Meta(description="The other side told us to wait until then")]
    open_since: Annotated[datetime | None, Meta(description="Since when it counts as down: its breaker is open")]
    budget: Annotated[LaneBudget | None, Meta(description="null before the first call")]
    share: Annotated[
        float | None, Meta(description="How much of the platform's budget is ours; null before the first configuration")
    ]
    waiting: Annotated[tuple[WaitingClass, ...], Meta(description="The most urgent class first")]
    in_flight: Annotated[int, Meta(description="Calls that are not answered yet")]
    in_doubt: Annotated[int, Meta(description="Commands that were sent without an answer and are looked after")]
    parked: Annotated[int, Meta(description="Commands that wait after a failed attempt")]
    calls_saved: Annotated[int, Meta(description="In 24 hours, because one call carried several commands")]
    reads_saved: Annotated[int, Meta(description="Since the lane exists, because one read served several hints")]


class LaneList(msgspec.Struct, frozen=True, kw_only=True):
    """All lanes, by the name of their connection."""

    items: tuple[Lane, ...]


_AT = datetime.fromisoformat("2026-11-27T10:00:00+00:00")
_SHOP = Lane(
    connection="shop",
    connector="shopify",
    state="active",
    held_by="budget",
    held_until=_AT,
    words="the connection's budget is spent: it waits until there is enough of it again",
    snoozed_until=None,
    open_since=None,
    budget=LaneBudget(
        rule="1000 at once, 100 per second", left=8.0, limit=1000.0, used_last_minute=5_940.0, counted_at=_AT
    ),
    share=1.0,
    waiting=(WaitingClass(name="fulfillment", waiting=12, oldest_seconds=3.5),),
    in_flight=4,
    in_doubt=0,
    parked=0,
    calls_saved=310,
    reads_saved=19,
)


@get(
    "/",
    **needs("connections:read"),
    summary="List lanes",
    responses={
        200: answer(LaneList, "All lanes, by the name of their connection", LaneList(items=(_SHOP,))),
        **problems(*READ_PROBLEMS),
    },
)
async def list_lanes(desk: NamedDependency[Desk]) -> LaneList:
    """What waits for each system by class, what is left of its budget, and which rule holds its lane until when."""
    async with desk.reading() as conn:
        version = await desk.read_version(conn)
        config = version.config if version is not None else None
        lanes = await read_lanes(conn, desk.tenant_id, desk.now, config)
    return LaneList(items=tuple(_lane(lane) for lane in lanes))


def build_router() -> Router:
    """Return the route of lanes."""
    return Router("/lanes", route_handlers=[list_lanes], tags=["lanes"])


def _lane(lane: LaneView) -> Lane:
    return Lane(
        connection=lane.connection,
        connector=lane.connector,
        state=lane.state,
        held_by=lane.held_by,
        held_until=lane.held_until,
        words=masked(lane.words) or "",
        snoozed_until=lane.snoozed_until,
        open_since=lane.open_since,
        budget=_budget(lane),
        share=lane.share,
        waiting=tuple(
            WaitingClass(name=each.name, waiting=each.waiting, oldest_seconds=each.oldest_seconds)
            for each in lane.waiting
        ),
        in_flight=lane.in_flight,
        in_doubt=lane.in_doubt,
        parked=lane.parked,
        calls_saved=lane.calls_saved,
        reads_saved=lane.reads_saved,
    )


def _budget(lane: LaneView) -> LaneBudget | None:
    if lane.budget_left is None or lane.budget_limit is None or lane.budget_at is None:
        return None
    return LaneBudget(
        rule=lane.budget_rule,
        left=lane.budget_left,
        limit=lane.budget_limit,
        used_last_minute=lane.used_last_minute or 0.0,
        counted_at=lane.budget_at,
    )
