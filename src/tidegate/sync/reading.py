"""Read configuration and connections of the tenants into policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from tidegate.config import Config
from tidegate.config.snapshots import Snapshots
from tidegate.config.stock_modes import StockModes
from tidegate.store.connections import Connection
from tidegate.sync.policy import EMPTY_POLICY, Policy

CONNECTIONS = "SELECT tenant_id, connection_id, name, connector FROM connection"


@dataclass(frozen=True)
class TenantView:
    """What a worker knows of one tenant."""

    policy: Policy
    connectors: Mapping[UUID, str]
    """connection_id -> connector name"""
    until: datetime | None = None
    """When the configuration may say something else by itself."""


class TenantReader:
    """Reads views of all tenants, and parses a configuration only when it is a new version."""

    def __init__(self) -> None:
        """Start knowing nothing."""
        self._snapshots = Snapshots()

    async def read(self, conn: Connection, now: datetime) -> dict[UUID, TenantView]:
        """Return a view of every tenant that has a connection, as its configuration is at `now`."""
        await self._snapshots.read(conn)
        names: dict[UUID, dict[str, UUID]] = {}
        connectors: dict[UUID, dict[UUID, str]] = {}
        for tenant_id, connection_id, name, connector in await conn.fetch(CONNECTIONS):
            names.setdefault(tenant_id, {})[name] = connection_id
            connectors.setdefault(tenant_id, {})[connection_id] = connector
        views = {}
        for tenant_id, ids in names.items():
            effective = self._snapshots.at(tenant_id, now)
            policy = EMPTY_POLICY
            if effective is not None:
                version = self._snapshots.versions[tenant_id].version
                policy = build_policy(effective.planned, version, ids)
            policy = replace(policy, newest_version=self._snapshots.newest.get(tenant_id, 0))
            until = effective.next_change if effective is not None else None
            views[tenant_id] = TenantView(policy, connectors[tenant_id], until)
        return views


def build_policy(config: Config, version: int, ids: Mapping[str, UUID]) -> Policy:
    """Return the policy of a configuration, given the ids of the connections that exist. Pure."""
    orders, shipments, stock = config.flows.orders, config.flows.shipments, config.flows.stock
    owner = config.owns.on_hand
    return Policy(
        config_version=version,
        cell=config.cell,
        order_channels=frozenset(ids[name] for name in orders.sources if name in ids) if orders else frozenset(),
        erp=ids.get(orders.target) if orders else None,
        orders_since=orders.since if orders else None,
        orders_live=bool(orders and orders.mode == "live" and orders.since is not None),
        shipments_live=bool(shipments and shipments.mode == "live"),
        stock_channels=tuple(sorted(ids[name] for name in stock.targets if name in ids))
        if stock and StockModes(config).may_write
        else (),
        stock_owner=ids.get(owner) if owner else None,
        is_erp_missing=bool(orders and orders.target not in ids),
    )
