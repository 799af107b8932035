"""`/v1/flows`: what moves where, and in which mode."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from msgspec import Meta

from tidegate.config import Config
from tidegate.config.effective import effective
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, answer, needs, problems


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """What moves where."""

    name: Annotated[str, Meta(description="orders, shipments or stock")]
    sources: tuple[str, ...]
    targets: Annotated[tuple[str, ...], Meta(description="Connections; origin is the one that the order came from")]
    mode: Annotated[str, Meta(description="As it counts now, timed overrides applied")]
    configured_mode: Annotated[str, Meta(description="As the file says")]
    held: Annotated[str | None, Meta(description="Why it writes nothing now: blackout, or the name of a profile")]
    since: Annotated[datetime | None, Meta(description="Orders placed before are left alone")]


class FlowList(msgspec.Struct, frozen=True, kw_only=True):
    """The flows that exist."""

    items: tuple[Flow, ...]
    config_version: int
    profiles: Annotated[tuple[str, ...], Meta(description="Profiles that are on")]
    next_change: Annotated[datetime | None, Meta(description="Nothing of this changes by itself before then")]


_EXAMPLE = FlowList(
    items=(
        Flow(
            name="orders",
            sources=("shop",),
            targets=("erp",),
            mode="live",
            configured_mode="live",
            held=None,
            since=datetime.fromisoformat("2026-11-01T00:00:00+00:00"),
        ),
    ),
    config_version=3,
    profiles=(),
    next_change=None,
)


@get(
    "/",
    **needs("flows:read"),
    summary="List flows",
    responses={200: answer(FlowList, "The flows", _EXAMPLE), **problems(*READ_PROBLEMS)},
)
async def list_flows(desk: NamedDependency[Desk]) -> FlowList:
    """The flows with the modes that count now. Single SKUs may have another mode: see the item."""
    async with desk.reading() as conn:
        config = await desk.read_config(conn)
        version = await desk.read_version(conn)
    found = effective(config, desk.now)
    return FlowList(
        items=_flows(config, found.config, found.held),
        config_version=version.version if version is not None else 0,
        profiles=found.profiles,
        next_change=found.next_change,
    )


def build_router() -> Router:
    """Return the routes of flows."""
    return Router("/flows", route_handlers=[list_flows], tags=["flows"])


def _flows(file: Config, now: Config, why: Mapping[str, str]) -> tuple[Flow, ...]:
    found = []
    if file.flows.orders is not None and now.flows.orders is not None:
        flow = file.flows.orders
        found.append(
            Flow(
                name="orders",
                sources=flow.sources,
                targets=(flow.target,),
                mode=now.flows.orders.mode,
                configured_mode=flow.mode,
                held=why.get("orders"),
                since=flow.since,
            )
        )
    if file.flows.shipments is not None and now.flows.shipments is not None:
        shipments = file.flows.shipments
        found.append(
            Flow(
                name="shipments",
                sources=(shipments.source,),
                targets=(shipments.target,),
                mode=now.flows.shipments.mode,
                configured_mode=shipments.mode,
                held=why.get("shipments"),
                since=shipments.since,
            )
        )
    if file.flows.stock is not None and now.flows.stock is not None:
        stock = file.flows.stock
        found.append(
            Flow(
                name="stock",
                sources=(stock.source,),
                targets=stock.targets,
                mode=now.flows.stock.mode,
                configured_mode=stock.mode,
                held=why.get("stock"),
                since=stock.since,
            )
        )
    return tuple(found)
