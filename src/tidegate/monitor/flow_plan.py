"""What would happen if every flow went live now, and how many calls that costs. Reads only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from tidegate.commerce.commands import CommandKind
from tidegate.commerce.significance import describe_rule
from tidegate.commerce.states import RELEASING_PAYMENTS
from tidegate.config import Config
from tidegate.config.effective import effective
from tidegate.dispatch.numbers import read_numbers
from tidegate.dispatch.payloads import quantity_of
from tidegate.dispatch.safety import safety_rules
from tidegate.kernel.clock import EPOCH
from tidegate.monitor.flows_view import FlowView, view_flows
from tidegate.sdk.budgets import speed_of
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_CONNECTIONS = query("plan_connections")
_WAITING = query("plan_waiting")
_DIRTY = query("plan_dirty")
_ITEMS = query("plan_items")
_SHOWN = query("plan_shown")
_LOCATION = query("plan_location")
_ARTICLES = query("plan_articles")
_COUNT_ORDERS = f"SELECT count(*) FROM ({query('orders_to_include')}) AS found"  # noqa: S608 - a named statement
_COUNT_FULFILLMENTS = f"SELECT count(*) FROM ({query('fulfillments_to_include')}) AS found"  # noqa: S608 - a named statement
CHUNK_ITEMS = 500
EXAMPLES = 5


class FlowPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One flow and what goes through it."""

    flow: FlowView
    waiting: Mapping[str, int]
    """State -> commands of the flow that are not finished; `numbers`: stock numbers that wait to be told."""
    would_send: int
    """What going live now sends by itself: stock numbers that differ. Orders and shipments of before are left alone."""
    would_include: int
    """What it would send besides with `--include-since` the flow's own `since`."""


class Differing(msgspec.Struct, frozen=True, kw_only=True):
    """A stock number that a channel would be told."""

    channel: str
    sku: str
    shows: int | None
    """None: not known; nobody looked, or it was never told."""
    told: int


class ChannelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one channel would be told."""

    channel: str
    articles: int
    """Bound ones."""
    open: int
    """Articles of it that match nothing."""
    differ: int
    unknown: int
    """Of these, numbers of which it is not known what the channel shows."""
    raised: int
    """Of those that are known: it would show more afterwards."""
    lowered: int
    seen_at: datetime | None
    """When the channel's numbers were looked at last; None when nobody ever did."""
    significant: str
    """Which changes go out at once, in words; SKUs of overrides may have another rule."""
    examples: tuple[Differing, ...]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Calls to one connection."""

    connection: str
    purpose: str
    """Kind of the command, or `look` for a fresh read of what it shows."""
    items: int
    calls: int
    charge: float
    """Tokens of its budget."""
    seconds: float
    """Time that the budget takes for it, from a full bucket and with nothing else to do."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The whole plan."""

    flows: tuple[FlowPlan, ...]
    channels: tuple[ChannelPlan, ...]
    costs: tuple[Cost, ...]
    unconnected: tuple[str, ...]
    """Connections of the file that were never connected."""


async def read_plan(
    conn: Connection, tenant_id: UUID, config: Config, connectors: Mapping[str, Connector], now: datetime
) -> Plan:
    """Return the plan of a configuration. Reads only, stock in chunks, from one snapshot."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        rows = {row["name"]: row for row in await conn.fetch(_CONNECTIONS, tenant_id)}
        ids = {name: row["connection_id"] for name, row in rows.items()}
        known = {name: connectors[row["connector"]] for name, row in rows.items() if row["connector"] in connectors}
        waiting = await conn.fetch(_WAITING, tenant_id)
        dirty = {row["connection_id"]: row["items"] for row in await conn.fetch(_DIRTY, tenant_id)}
        targets = config.flows.stock.targets if config.flows.stock is not None else ()
        channels = [
            await _read_channel(conn, tenant_id, name, ids[name], known[name], config, now)
            for name in targets
            if name in known
        ]
        orders, shipments = await _read_left_alone(conn, tenant_id, config, ids)
    flows = []
    for flow in view_flows(config, now).flows:
        counts = _waiting_of(flow, waiting, ids, dirty)
        sends = sum(channel.differ for channel in channels) if flow.name == "stock" else 0
        included = {"orders": orders, "shipments": sum(shipments.values())}.get(flow.name, 0)
        flows.append(FlowPlan(flow=flow, waiting=counts, would_send=sends, would_include=included))
    return Plan(
        flows=tuple(flows),
        channels=tuple(channels),
        costs=tuple(_costs(config, known, channels, orders, shipments)),
        unconnected=tuple(name for name in config.connections if name not in ids),
    )


_KINDS = {
    "orders": (CommandKind.ORDER_CREATE, CommandKind.ORDER_CANCEL),
    "shipments": (CommandKind.FULFILLMENT_CREATE,),
    "stock": (CommandKind.INVENTORY_SET,),
    "payments": (CommandKind.PAYMENT_CAPTURE, CommandKind.PAYMENT_VOID, CommandKind.REFUND_CREATE),
    "events": (CommandKind.EVENT_SEND,),
}


def _waiting_of(
    flow: FlowView, rows: Sequence[Any], ids: Mapping[str, UUID], dirty: Mapping[UUID, int]
) -> dict[str, int]:
    counts: dict[str, int] = {}
    kinds = {kind.value for kind in _KINDS[flow.name]}
    there = (
        {ids[name] for name in flow.targets if name in ids}
        if flow.name not in ("shipments", "payments")
        else set(ids.values())
    )
    for row in rows:
        if row["kind"] in kinds and row["connection_id"] in there:
            counts[row["state"]] = counts.get(row["state"], 0) + row["commands"]
    numbers = sum(dirty.get(connection_id, 0) for connection_id in there) if flow.name == "stock" else 0
    return {**counts, "numbers": numbers} if numbers else counts


async def _read_left_alone(
    conn: Connection, tenant_id: UUID, config: Config, ids: Mapping[str, UUID]
) -> tuple[int, dict[str, int]]:
    """Return the orders that the ERP does not have, and shipments by channel that it does not have, placed since `since`."""
    orders, shipments = config.flows.orders, config.flows.shipments
    count, by_channel = 0, {}
    if orders is not None and orders.target in ids:
        sources = [ids[name] for name in orders.sources if name in ids]
        since = orders.since or EPOCH
        count = await conn.fetchval(
            _COUNT_ORDERS, tenant_id, sources, ids[orders.target], since, sorted(RELEASING_PAYMENTS)
        )
    if shipments is not None:
        for name in orders.sources if orders is not None else ():
            if name in ids:
                found = await conn.fetchval(_COUNT_FULFILLMENTS, tenant_id, [ids[name]], shipments.since or EPOCH)
                by_channel[name] = found
    return int(count), by_channel


async def _read_channel(
    conn: Connection,
    tenant_id: UUID,
    name: str,
    connection_id: UUID,
    connector: Connector,
    config: Config,
    now: datetime,
) -> ChannelPlan:
    """Compare what a channel would be told with what it showed last, else with what it was told last."""
    rules = safety_rules(effective(config, now).planned, name)
    place = await conn.fetchval(_LOCATION, tenant_id, connection_id)
    articles = await conn.fetchrow(_ARTICLES, tenant_id, connection_id)
    differ = unknown = raised = lowered = 0
    seen_at: datetime | None = None
    examples: list[Differing] = []
    last: UUID | None = None
    while items := await conn.fetch(_ITEMS, tenant_id, connection_id, last, CHUNK_ITEMS):
        last = items[-1]["item_id"]
        marks = {row["item_id"]: row for row in items if row["is_counted"]}
        numbers = await read_numbers(
            conn, tenant_id, connection_id, sorted(marks), rules, stock_number=connector.stock_number
        )
        sold = [row for row in numbers if row["external_id"] is not None]
        shown = {
            row["external_id"]: row
            for row in await conn.fetch(_SHOWN, tenant_id, connection_id, [row["external_id"] for row in sold], place)
        }
        for row in sold:
            units = row["required_qty"] or 1
            told = quantity_of(row, connector.stock_number, rules) // units
            seen = shown.get(row["external_id"])
            acked = marks[row["item_id"]]["acked_quantity"]
            shows = _whole(seen["value"]) if seen is not None else acked // units if acked is not None else None
            seen_at = (
                seen["observed_at"]
                if seen is not None and (seen_at is None or seen["observed_at"] < seen_at)
                else seen_at
            )
            if shows == told:
                continue
            differ += 1
            unknown += shows is None
            raised += shows is not None and told > shows
            lowered += shows is not None and told < shows
            if len(examples) < EXAMPLES:
                examples.append(Differing(channel=name, sku=row["sku"], shows=shows, told=told))
    return ChannelPlan(
        channel=name,
        articles=articles["bound"] if articles is not None else 0,
        open=articles["open"] if articles is not None else 0,
        differ=differ,
        unknown=unknown,
        raised=raised,
        lowered=lowered,
        seen_at=seen_at,
        significant=describe_rule(rules.significant),
        examples=tuple(examples),
    )


def _whole(value: Decimal) -> int:
    return int(value)


def _costs(
    config: Config,
    known: Mapping[str, Connector],
    channels: Sequence[ChannelPlan],
    orders: int,
    shipments: Mapping[str, int],
) -> list[Cost]:
    """Return the calls per connection, sorted by name; what costs nothing is left out."""
    found: list[Cost | None] = []
    for channel in channels:
        connector = known[channel.channel]
        found.append(cost_of(channel.channel, connector, CommandKind.INVENTORY_SET, channel.differ))
        found.append(look_of(channel.channel, connector, channel.articles + channel.open))
    flow = config.flows.orders
    if flow is not None and flow.target in known:
        found.append(cost_of(flow.target, known[flow.target], CommandKind.ORDER_CREATE, orders))
    for name, count in shipments.items():
        if name in known:
            found.append(cost_of(name, known[name], CommandKind.FULFILLMENT_CREATE, count))
    return sorted((cost for cost in found if cost is not None), key=lambda cost: (cost.connection, cost.purpose))


def cost_of(name: str, connector: Connector, kind: CommandKind, items: int) -> Cost | None:
    """Return what telling so many items costs; None for nothing. Pure."""
    spec = connector.commands.get(kind)
    if spec is None or not items:
        return None
    calls = items if spec.charge_each else math.ceil(items / spec.bulk_max)
    return _cost(name, connector, kind.value, items, calls, calls * spec.charge, spec.operation)


def look_of(name: str, connector: Connector, articles: int) -> Cost | None:
    """Return what a fresh look at so many articles costs; None where there is no such look. Pure."""
    if connector.shown is None or not articles:
        return None
    calls = math.ceil(articles / connector.shown.articles_max)
    return _cost(name, connector, "look", articles, calls, calls * connector.shown.charge, connector.shown.operation)


def _cost(name: str, connector: Connector, purpose: str, items: int, calls: int, charge: float, operation: str) -> Cost:
    speed = speed_of(connector.budget).of(operation)
    seconds = max(0.0, charge - speed.burst) / speed.per_second if math.isfinite(speed.burst) else 0.0
    return Cost(connection=name, purpose=purpose, items=items, calls=calls, charge=charge, seconds=round(seconds, 1))


def draw_text(plan: Plan) -> list[str]:
    """Return the flow of data as lines of text, one arrow per line. Pure."""
    edges = _edges(plan)
    width = max((len(source) for source, _, _, _ in edges), default=0)
    labels = max((len(label) for _, _, label, _ in edges), default=0)
    return [
        f"  {source:<{width}}  {'==' if writes else '--'} {label:<{labels}} {'=>' if writes else '->'}  {target}"
        for source, target, label, writes in edges
    ]


def draw_mermaid(plan: Plan) -> list[str]:
    """Return the flow of data as a Mermaid flowchart: thick arrows write, dotted ones only look. Pure."""
    return [
        "flowchart LR",
        *(
            f'  {source} {"==>" if writes else "-.->"}|"{label}"| {target}'
            for source, target, label, writes in _edges(plan)
        ),
    ]


def _edges(plan: Plan) -> list[tuple[str, str, str, bool]]:
    """Return (from, to, label, whether it writes), by way of Tidegate."""
    edges: list[tuple[str, str, str, bool]] = []
    for each in plan.flows:
        flow = each.flow
        origin = next((other.flow.sources for other in plan.flows if other.flow.name == "orders"), ())
        targets = origin if flow.targets == ("origin",) else flow.targets
        edges += [(source, "tidegate", flow.name, False) for source in flow.sources]
        label = f"{flow.name}: {flow.mode_now}" + (" *" if flow.exceptions else "")
        edges += [("tidegate", target, label, flow.mode_now == "live") for target in targets]
    return list(dict.fromkeys(edges))
