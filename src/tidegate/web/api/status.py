"""`/v1/status`: how the tenant's data flows, in figures."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from msgspec import Meta

from tidegate import __version__
from tidegate.dispatch.operator import STOP_SWITCH
from tidegate.monitor.status import Status, read_status
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, answer, needs, problems


class EventFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Events that are not applied."""

    waiting: int
    oldest_at: datetime | None
    parked: Annotated[int, Meta(description="They wait for a parent, and are tried again by themselves")]
    quarantined: Annotated[int, Meta(description="They wait for a person")]


class StatusFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How it does."""

    version: Annotated[str, Meta(description="Of Tidegate")]
    config_version: Annotated[int | None, Meta(description="The configuration that works; null before the first one")]
    writes_stopped: Annotated[bool, Meta(description="Nothing leaves any more, by order of a person")]
    events: EventFigures
    commands: Annotated[dict[str, int], Meta(description="State to number, of commands that are open or failed")]
    connections: Annotated[dict[str, str], Meta(description="Name to state")]


_EXAMPLE = StatusFigures(
    version="0.1.0",
    config_version=3,
    writes_stopped=False,
    events=EventFigures(waiting=0, oldest_at=None, parked=0, quarantined=1),
    commands={"pending": 2, "failed": 1},
    connections={"erp": "active", "shop": "active"},
)


@get(
    "/",
    **needs("status:read"),
    summary="Show the status",
    responses={200: answer(StatusFigures, "How it does", _EXAMPLE), **problems(*READ_PROBLEMS)},
)
async def show_status(desk: NamedDependency[Desk]) -> StatusFigures:
    """How the tenant's data flows: what waits, what failed, which connections work. Cheap enough to ask often."""
    async with desk.reading() as conn:
        status = await read_status(conn, desk.tenant_id)
        version = await desk.read_version(conn)
    return _figures(status, version.version if version is not None else None)


def build_router() -> Router:
    """Return the route of the status."""
    return Router("/status", route_handlers=[show_status], tags=["status"])


def _figures(status: Status, config_version: int | None) -> StatusFigures:
    states: dict[str, int] = {}
    for each in status.commands:
        states[each.state] = states.get(each.state, 0) + each.commands
    return StatusFigures(
        version=__version__,
        config_version=config_version,
        writes_stopped=any(switch.is_on for switch in status.switches if switch.name == STOP_SWITCH),
        events=EventFigures(
            waiting=status.queue.waiting,
            oldest_at=status.queue.oldest_at,
            parked=status.queue.parked,
            quarantined=status.queue.quarantined,
        ),
        commands=states,
        connections={lane.connection: lane.state for lane in status.lanes},
    )
