"""`/v1/connections`: the systems that are connected, with their lanes and feeds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from msgspec import Meta

from tidegate.monitor.status import FeedStatus, LaneStatus, Status, read_status
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, answer, needs, problems
from tidegate.web.api.words import masked


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """A feed that is read at an interval."""

    feed: str
    last_ok_at: datetime | None
    last_error: str | None


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """Commands of one kind and state that are not over, or failed."""

    kind: str
    state: str
    commands: int
    oldest_at: datetime


class ConnectionState(msgspec.Struct, frozen=True, kw_only=True):
    """A system that is connected. Its address, settings and credentials are not given out."""

    name: str
    connector: str
    state: Annotated[str, Meta(description="active, paused, waiting_auth or disabled")]
    state_reason: str | None
    tokens: Annotated[float | None, Meta(description="Calls left when the budget was last charged")]
    snoozed_until: Annotated[datetime | None, Meta(description="The other side told us to wait until then")]
    snooze_reason: str | None
    dirty: Annotated[int, Meta(description="Items whose number it must be told")]
    dirty_since: datetime | None
    commands: tuple[Open, ...]
    feeds: tuple[Feed, ...]


class ConnectionList(msgspec.Struct, frozen=True, kw_only=True):
    """All connections, by name."""

    items: tuple[ConnectionState, ...]


_SHOP = ConnectionState(
    name="shop",
    connector="vendure",
    state="active",
    state_reason=None,
    tokens=38.5,
    snoozed_until=None,
    snooze_reason=None,
    dirty=0,
    dirty_since=None,
    commands=(),
    feeds=(Feed(feed="orders", last_ok_at=datetime.fromisoformat("2026-11-27T10:00:00+00:00"), last_error=None),),
)


@get(
    "/",
    **needs("connections:read"),
    summary="List connections",
    responses={
        200: answer(ConnectionList, "All connections, by name", ConnectionList(items=(_SHOP,))),
        **problems(*READ_PROBLEMS),
    },
)
async def list_connections(desk: NamedDependency[Desk]) -> ConnectionList:
    """The systems that are connected, by name, each with its lane, its feeds and what is open there. All in one answer."""
    async with desk.reading() as conn:
        status = await read_status(conn, desk.tenant_id)
    return ConnectionList(items=tuple(_connection(lane, status) for lane in status.lanes))


def build_router() -> Router:
    """Return the routes of connections."""
    return Router("/connections", route_handlers=[list_connections], tags=["connections"])


def _connection(lane: LaneStatus, status: Status) -> ConnectionState:
    return ConnectionState(
        name=lane.connection,
        connector=lane.connector,
        state=lane.state,
        state_reason=masked(lane.state_reason),
        tokens=lane.tokens,
        snoozed_until=lane.snoozed_until,
        snooze_reason=masked(lane.snooze_reason),
        dirty=lane.dirty,
        dirty_since=lane.dirty_since,
        commands=tuple(
            Open(kind=each.kind, state=each.state, commands=each.commands, oldest_at=each.oldest_at)
            for each in status.commands
            if each.connection == lane.connection
        ),
        feeds=tuple(_feed(feed) for feed in status.feeds if feed.connection == lane.connection),
    )


def _feed(feed: FeedStatus) -> Feed:
    return Feed(feed=feed.feed, last_ok_at=feed.last_ok_at, last_error=masked(feed.last_error))
