"""`/v1/flows`: what moves where, and in which mode."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter
from msgspec import Meta

from tidegate.config import Config
from tidegate.config.compare import meanings
from tidegate.config.effective import effective
from tidegate.config.records import Mode
from tidegate.store.connections import Connection as Conn
from tidegate.sync.moving import Move, move_mode
from tidegate.web.api.consent import require_consent
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, body, needs, problems
from tidegate.web.api.identifiers import IdempotencyKey


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """What moves where."""

    name: Annotated[str, Meta(description="orders, shipments, payments, stock or events")]
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


class MoveFlow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Into which mode, and what of the flow."""

    mode: Mode
    skus: Annotated[
        tuple[str, ...], Meta(max_length=100, description="Only these SKUs of the stock flow; `*` and `?` as usual")
    ] = ()
    groups: Annotated[tuple[str, ...], Meta(max_length=20, description="Only these groups of SKUs")] = ()
    consent: Annotated[bool, Meta(description="Say yes to what begins to write")] = False
    dry_run: Annotated[bool, Meta(description="Only say what would follow")] = False


class FlowMoved(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it, or would."""

    config_version: int
    dry_run: bool
    meanings: tuple[str, ...]
    numbers: Annotated[int, Meta(description="Items whose number a channel is told now")]
    proposed_numbers: int
    commands: Annotated[int, Meta(description="Commands that go out now")]
    proposed_commands: int


_MOVED = FlowMoved(
    config_version=4,
    dry_run=False,
    meanings=("stock numbers are told to shop",),
    numbers=40,
    proposed_numbers=0,
    commands=0,
    proposed_commands=0,
)
FlowName = Annotated[
    Literal["orders", "shipments", "payments", "stock", "events"], PathParameter(description="Name of a flow.")
]


@post(
    "/{flow:str}/mode",
    **needs("flows:write"),
    status_code=200,
    summary="Change the mode of a flow",
    responses={200: answer(FlowMoved, "It counts now", _MOVED), **problems(*WRITE_PROBLEMS)},
)
async def move_flow(
    desk: NamedDependency[Desk],
    flow: FlowName,
    data: Annotated[MoveFlow, body("Only say what would follow", MoveFlow(mode="live", dry_run=True))],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Let a flow, or some SKUs of the stock flow, observe, propose or go live.

    The configuration is edited in place and becomes a new version; a file in a project folder is behind then. Where
    something begins to write, `consent` is asked for: without it the answer is 422 `consent_needed`. When it is answered,
    nothing new leaves under the mode that was before.
    """

    async def effect(conn: Conn) -> FlowMoved:
        matches = (*(f"sku:{pattern}" for pattern in data.skus), *(f"group:{name}" for name in data.groups))
        who: Any = {
            "tenant_id": desk.tenant_id,
            "actor": desk.caller.actor,
            "connectors": desk.world.connectors or None,
        }
        move = Move(flow=flow, mode=data.mode, matches=matches)
        before = await desk.read_config(conn)
        moved = await move_mode(conn, move=move, is_trial=True, **who)
        told = meanings(before, moved.version.config)
        require_consent(told, is_given=data.consent or data.dry_run)
        if not data.dry_run:
            moved = await move_mode(conn, move=move, **who)
        return FlowMoved(
            config_version=moved.version.version,
            dry_run=data.dry_run,
            meanings=tuple(each.words for each in told),
            **msgspec.structs.asdict(moved.after),
        )

    return await desk.once(idempotency_key, effect)


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
    return Router("/flows", route_handlers=[list_flows, move_flow], tags=["flows"])


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
    if file.flows.payments is not None and now.flows.payments is not None:
        payments = file.flows.payments
        found.append(
            Flow(
                name="payments",
                sources=(payments.source,),
                targets=(payments.target,),
                mode=now.flows.payments.mode,
                configured_mode=payments.mode,
                held=why.get("payments"),
                since=payments.since,
            )
        )
    if file.flows.events is not None and now.flows.events is not None:
        events = file.flows.events
        found.append(
            Flow(
                name="events",
                sources=(events.source,),
                targets=events.targets,
                mode=now.flows.events.mode,
                configured_mode=events.mode,
                held=why.get("events"),
                since=events.since,
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
