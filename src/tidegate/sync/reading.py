"""Read configuration and connections of the tenants into policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from tidegate.config import Config
from tidegate.config.stock_modes import StockModes
from tidegate.config.versions import ConfigVersion, read_newest
from tidegate.store.connections import Connection
from tidegate.sync.policy import EMPTY_POLICY, Policy

CONNECTIONS = "SELECT tenant_id, connection_id, name, connector FROM connection"


@dataclass(frozen=True)
class TenantView:
    """What a worker knows of one tenant."""

    policy: Policy
    connectors: Mapping[UUID, str]
    """connection_id -> connector name"""


class TenantReader:
    """Reads views of all tenants, and parses a configuration only when it is a new version."""

    def __init__(self) -> None:
        """Start knowing nothing."""
        self._versions: dict[UUID, ConfigVersion] = {}

    async def read(self, conn: Connection) -> dict[UUID, TenantView]:
        """Return a view of every tenant that has a connection."""
        known = {tenant_id: version.version for tenant_id, version in self._versions.items()}
        for version in await read_newest(conn, after=known):
            self._versions[version.tenant_id] = version
        names: dict[UUID, dict[str, UUID]] = {}
        connectors: dict[UUID, dict[UUID, str]] = {}
        for tenant_id, connection_id, name, connector in await conn.fetch(CONNECTIONS):
            names.setdefault(tenant_id, {})[name] = connection_id
            connectors.setdefault(tenant_id, {})[connection_id] = connector
        views = {}
        for tenant_id, ids in names.items():
            found = self._versions.get(tenant_id)
            policy = build_policy(found.config, found.version, ids) if found else EMPTY_POLICY
            views[tenant_id] = TenantView(policy, connectors[tenant_id])
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
        orders_live=bool(orders and orders.mode == "live"),
        shipments_live=bool(shipments and shipments.mode == "live"),
        stock_channels=tuple(sorted(ids[name] for name in stock.targets if name in ids))
        if stock and StockModes(config).may_write
        else (),
        stock_owner=ids.get(owner) if owner else None,
        is_erp_missing=bool(orders and orders.target not in ids),
    )
