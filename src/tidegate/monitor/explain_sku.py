"""Reads what the story of a SKU is made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tidegate.config import Config
from tidegate.config.effective import effective
from tidegate.config.stock_modes import StockModes
from tidegate.monitor.commands_view import describe_lane
from tidegate.monitor.promise import promise_of
from tidegate.monitor.reservations_view import read_holders
from tidegate.monitor.sku_story import SkuFacts, SkuModes, SkuStory, tell_sku
from tidegate.monitor.stock_view import find_item, read_channels
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query

ORDERS_MAX = 100
HOLDERS_MAX = 100
_LEVELS = query("stock_levels")
_ENTRIES = query("sku_entries")
_ORDERS = query("sku_orders")
_TOLD = query("sku_told")
_BINDINGS = query("sku_bindings")
_DRIFT = query("sku_drift")
_LANES = query("explain_lanes")


async def explain_sku(
    conn: Connection,
    tenant_id: UUID,
    sku: str,
    connectors: Mapping[str, Connector],
    config: Config,
    *,
    limit: int,
) -> SkuStory:
    """Return the story of one SKU, read from one snapshot: the last `limit` entries per location and numbers per channel.

    Raises ConfigurationError when there is no such item.
    """
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        item = await find_item(conn, tenant_id, sku)
        item_id: UUID = item["item_id"]
        entries = await conn.fetch(_ENTRIES, tenant_id, item_id, limit + 1)
        told = await conn.fetch(_TOLD, tenant_id, item_id, limit + 1)
        kept_entries, kept_told = _first(entries, "location", limit), _first(told, "connection", limit)
        facts = SkuFacts(
            sku=item["sku"],
            levels=await conn.fetch(_LEVELS, tenant_id, item_id),
            entries=kept_entries,
            orders=await conn.fetch(_ORDERS, tenant_id, item_id, ORDERS_MAX),
            holders=await read_holders(conn, tenant_id, item_id, HOLDERS_MAX),
            told=kept_told,
            marks=await read_channels(conn, tenant_id, item_id, connectors, config),
            drift=await conn.fetch(_DRIFT, tenant_id, item["sku"], limit),
            bindings=await conn.fetch(_BINDINGS, tenant_id, item_id),
            lanes={row["connection_id"]: describe_lane(row) for row in await conn.fetch(_LANES, tenant_id)},
            promise=await promise_of(conn, tenant_id, item_id, item["sku"], config, connectors),
            is_cut=len(kept_entries) < len(entries) or len(kept_told) < len(told),
        )
    return tell_sku(facts, modes_of(config, item["sku"]), cell=config.cell)


def modes_of(config: Config, sku: str) -> SkuModes:
    """Return what a configuration says about a SKU now."""
    planned = effective(config, datetime.now(UTC)).planned
    flow = planned.flows.stock
    if flow is None:
        return SkuModes(mode="none", owner=planned.owns.on_hand, targets=())
    return SkuModes(mode=StockModes(planned).mode_of(sku), owner=planned.owns.on_hand, targets=flow.targets)


def _first(rows: list[Any], column: str, limit: int) -> list[Any]:
    """Return the first `limit` rows of each value of a column, in their order."""
    seen: dict[Any, int] = {}
    kept = []
    for row in rows:
        seen[row[column]] = seen.get(row[column], 0) + 1
        if seen[row[column]] <= limit:
            kept.append(row)
    return kept
