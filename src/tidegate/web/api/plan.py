"""`/v1/plan`: what would happen if every flow went live now, and what it costs in calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from msgspec import Meta

from tidegate.monitor import flow_plan
from tidegate.monitor.flow_plan import read_plan
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, answer, needs, problems


class FlowPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One flow and what goes through it."""

    flow: str
    mode: str
    waiting: Annotated[
        dict[str, int], Meta(description="State to unfinished commands; `numbers`: stock numbers that wait")
    ]
    would_send: Annotated[int, Meta(description="What going live now sends by itself: stock numbers that differ")]
    would_include: Annotated[int, Meta(description="What it would send besides, with what was placed before")]


class Differing(msgspec.Struct, frozen=True, kw_only=True):
    """A stock number that a channel would be told."""

    sku: str
    shows: Annotated[int | None, Meta(description="null: not known")]
    told: int


class ChannelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one channel would be told."""

    channel: str
    articles: int
    open: Annotated[int, Meta(description="Articles that match nothing")]
    differ: int
    unknown: Annotated[int, Meta(description="Of these, numbers of which it is not known what the channel shows")]
    raised: int
    lowered: int
    seen_at: Annotated[datetime | None, Meta(description="When it was looked at last")]
    examples: tuple[Differing, ...]


class PlanCost(msgspec.Struct, frozen=True, kw_only=True):
    """Calls to one connection."""

    connection: str
    purpose: Annotated[str, Meta(description="Kind of the command, or `look`")]
    items: int
    calls: int
    seconds: Annotated[float, Meta(description="Time that its budget takes for it")]


class PlanDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The whole plan."""

    flows: tuple[FlowPlan, ...]
    channels: tuple[ChannelPlan, ...]
    costs: tuple[PlanCost, ...]
    unconnected: Annotated[tuple[str, ...], Meta(description="Connections of the file that were never connected")]


_AT = datetime.fromisoformat("2026-11-27T10:00:00+00:00")
_EXAMPLE = PlanDocument(
    flows=(FlowPlan(flow="stock", mode="observe", waiting={"numbers": 3}, would_send=2, would_include=0),),
    channels=(
        ChannelPlan(
            channel="shop",
            articles=40,
            open=6,
            differ=2,
            unknown=0,
            raised=1,
            lowered=1,
            seen_at=_AT,
            examples=(Differing(sku="TS-RED-M", shows=11, told=9),),
        ),
    ),
    costs=(PlanCost(connection="shop", purpose="inventory.set", items=2, calls=1, seconds=0.0),),
    unconnected=(),
)


@get(
    "/",
    **needs("plan:read"),
    summary="Show the plan",
    responses={200: answer(PlanDocument, "The plan", _EXAMPLE), **problems(*READ_PROBLEMS)},
)
async def show_plan(desk: NamedDependency[Desk]) -> PlanDocument:
    """What would happen if every flow went live now, and what it costs in calls. Reads only; asks no other system."""
    async with desk.reading() as conn:
        config = await desk.read_config(conn)
        found = await read_plan(conn, desk.tenant_id, config, desk.world.connectors, desk.now)
    return PlanDocument(
        flows=tuple(_flow(each) for each in found.flows),
        channels=tuple(_channel(each) for each in found.channels),
        costs=tuple(
            PlanCost(**{name: getattr(each, name) for name in PlanCost.__struct_fields__}) for each in found.costs
        ),
        unconnected=found.unconnected,
    )


def build_router() -> Router:
    """Return the route of the plan."""
    return Router("/plan", route_handlers=[show_plan], tags=["plan"])


def _flow(plan: flow_plan.FlowPlan) -> FlowPlan:
    return FlowPlan(
        flow=plan.flow.name,
        mode=plan.flow.mode,
        waiting=dict(plan.waiting),
        would_send=plan.would_send,
        would_include=plan.would_include,
    )


def _channel(plan: flow_plan.ChannelPlan) -> ChannelPlan:
    counted = {name: getattr(plan, name) for name in ChannelPlan.__struct_fields__ if name != "examples"}
    examples = tuple(Differing(sku=each.sku, shows=each.shows, told=each.told) for each in plan.examples)
    return ChannelPlan(examples=examples, **counted)
