"""Modes where they count: the rows that T2s looks at, and the items' own. Run under the tenant's configuration lock.

Everything is set-based and touches only what changes, so that it costs little to ask again. Locks are taken in the one
order: modes, marks, commands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from asyncpg import Record

from tidegate.config import Config
from tidegate.config.stock_modes import FlowName, StockModes, modes_of
from tidegate.store.connections import Connection
from tidegate.store.sql import query

CONNECTIONS = "SELECT connection_id, name FROM connection WHERE tenant_id = $1 ORDER BY connection_id"
FLOW_MODES = """
SELECT connection_id, flow, mode, rules, live_from, revision FROM flow_mode WHERE tenant_id = $1
"""
_SAVE_MODES = query("flow_modes_save")
_SETTLE_MARKS = query("marks_settle")
_ITEMS = "SELECT item_id, sku FROM inventory_item WHERE tenant_id = $1"


class FlowMode(msgspec.Struct, frozen=True, kw_only=True):
    """What a flow may do at a connection."""

    connection_id: UUID
    flow: FlowName
    mode: str
    rules: str = ""
    """stock: what decides of single SKUs."""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What putting modes to work changed."""

    changed: tuple[FlowMode, ...] = ()
    marks: int = 0
    """Items whose mode in a channel is another one now."""


def wanted_modes(config: Config, connections: Mapping[UUID, str]) -> list[FlowMode]:
    """Return the mode of every flow at every connection, sorted. Pure."""
    rules = StockModes(config).rules
    return [
        FlowMode(
            connection_id=connection_id,
            flow=flow,
            mode=mode,
            rules=rules if flow == "stock" else "",
        )
        for connection_id, name in sorted(connections.items())
        for flow, mode in modes_of(config, name).items()
    ]


def changed_modes(wanted: Sequence[FlowMode], known: Sequence[Record]) -> list[FlowMode]:
    """Return those of `wanted` that differ from the rows that are stored. Pure."""
    stored = {(row["connection_id"], row["flow"]): (row["mode"], row["rules"]) for row in known}
    return [each for each in wanted if stored.get((each.connection_id, each.flow)) != (each.mode, each.rules)]


async def settle_modes(
    conn: Connection, tenant_id: UUID, config: Config, *, include_since: datetime | None = None
) -> Settled:
    """Make the modes of `config` the ones that count; return what changed. The caller holds the configuration lock.

    An item that stops observing is marked when it was ever counted; one that observes is not told any more.
    """
    connections = {row["connection_id"]: row["name"] for row in await conn.fetch(CONNECTIONS, tenant_id)}
    wanted = wanted_modes(config, connections)
    changed = changed_modes(wanted, await conn.fetch(FLOW_MODES, tenant_id))
    if changed:
        columns = [
            [each.connection_id for each in changed],
            [each.flow for each in changed],
            [each.mode for each in changed],
            [each.rules for each in changed],
        ]
        await conn.execute(_SAVE_MODES, tenant_id, *columns, include_since)
    marks = await settle_marks(conn, tenant_id, config, connections)
    return Settled(changed=tuple(changed), marks=marks)


async def settle_marks(conn: Connection, tenant_id: UUID, config: Config, connections: Mapping[UUID, str]) -> int:
    """Give every item the mode that it has in each channel; return how many changed."""
    modes = StockModes(config)
    targets = config.flows.stock.targets if config.flows.stock is not None else ()
    items: list[UUID] = []
    item_modes: list[str] = []
    if modes.has_exceptions:
        for item_id, sku in await conn.fetch(_ITEMS, tenant_id):
            mode = modes.mode_of(sku)
            if mode != modes.base:
                items.append(item_id)
                item_modes.append(mode)
    ids = sorted(connections)
    is_target = [connections[connection_id] in targets for connection_id in ids]
    return int(await conn.fetchval(_SETTLE_MARKS, tenant_id, ids, is_target, modes.base, items, item_modes))
