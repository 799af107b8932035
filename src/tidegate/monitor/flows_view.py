"""The flows as people look at them: what moves where, under which mode, and which proposals wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.config.effective import effective
from tidegate.config.stock_modes import StockModes
from tidegate.dispatch.numbers import read_numbers
from tidegate.dispatch.payloads import quantity_of
from tidegate.dispatch.safety import safety_rules
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query

PROPOSALS_SHOWN = 200
_COMMANDS = query("flows_proposed_commands")
_MARKS = query("flows_proposed_marks")
_COUNT = query("flows_proposed_count")


class FlowView(msgspec.Struct, frozen=True, kw_only=True):
    """One flow."""

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    mode: str
    """What the file says."""
    mode_now: str
    """What counts now: a blackout or a profile may hold the flow back, or let it go on."""
    held_by: str | None
    """`blackout`, or the profile that holds it back."""
    since: datetime | None
    exceptions: tuple[str, ...] = ()
    """stock: overrides that give single SKUs another mode, in words."""


class FlowsView(msgspec.Struct, frozen=True, kw_only=True):
    """All flows at one moment."""

    flows: tuple[FlowView, ...]
    profiles: tuple[str, ...]
    next_change: datetime | None


class Proposals(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for an approval."""

    commands: tuple[Mapping[str, Any], ...]
    marks: tuple[Mapping[str, Any], ...]
    total: int
    """All of them, those that are not shown too."""


def view_flows(config: Config, now: datetime) -> FlowsView:
    """Return the flows of a configuration as they are at a moment. Pure."""
    found = effective(config, now)
    flows = []
    for name in ("orders", "shipments", "payments", "stock", "events"):
        flow = getattr(config.flows, name)
        if flow is None:
            continue
        counted = getattr(found.config.flows, name)
        flows.append(
            FlowView(
                name=name,
                sources=tuple(flow.sources) if name == "orders" else (flow.source,),
                targets=tuple(flow.targets) if name in ("stock", "events") else (flow.target,),
                mode=flow.mode,
                mode_now=counted.mode if counted is not None else "observe",
                held_by=found.held.get(name),
                since=flow.since,
                exceptions=_exceptions(config) if name == "stock" else (),
            )
        )
    return FlowsView(flows=tuple(flows), profiles=found.profiles, next_change=found.next_change)


async def read_proposals(conn: Connection, tenant_id: UUID, *, limit: int = PROPOSALS_SHOWN) -> Proposals:
    """Return the proposals, the oldest commands first, cut at a limit. Reads only."""
    return Proposals(
        commands=tuple(dict(row) for row in await conn.fetch(_COMMANDS, tenant_id, limit)),
        marks=tuple(dict(row) for row in await conn.fetch(_MARKS, tenant_id, limit)),
        total=int(await conn.fetchval(_COUNT, tenant_id)),
    )


async def tell_quantities(
    conn: Connection,
    tenant_id: UUID,
    marks: Sequence[Mapping[str, Any]],
    connectors: Mapping[str, Connector],
    config: Config,
    now: datetime,
) -> list[int | None]:
    """Return the number that each mark's channel would be told now, less what `config` keeps back. Reads only.

    None where its connector is not here.
    """
    planned = effective(config, now).planned
    by_channel: dict[UUID, list[Mapping[str, Any]]] = {}
    for mark in marks:
        by_channel.setdefault(mark["connection_id"], []).append(mark)
    found: dict[tuple[UUID, UUID], int] = {}
    for connection_id, of_channel in by_channel.items():
        connector = connectors.get(of_channel[0]["connector"])
        if connector is None:
            continue
        rules, means = safety_rules(planned, of_channel[0]["connection"]), connector.stock_number
        items = [mark["item_id"] for mark in of_channel]
        for row in await read_numbers(conn, tenant_id, connection_id, items, rules, stock_number=means):
            found[connection_id, row["item_id"]] = quantity_of(row, means, rules)
    return [found.get((mark["connection_id"], mark["item_id"])) for mark in marks]


def _exceptions(config: Config) -> tuple[str, ...]:
    if not StockModes(config).has_exceptions:
        return ()
    return tuple(
        f"{override.match}: {override.stock_mode}"
        for override in config.overrides
        if override.match is not None and override.stock_mode is not None
    )
