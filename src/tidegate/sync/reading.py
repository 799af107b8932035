"""Read configuration and connections of the tenants into policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from asyncpg import Record

from tidegate.config import Config
from tidegate.config.lanes import DEFAULT_RULES, lane_rules
from tidegate.config.reconcile import look_rules
from tidegate.config.records import Mode
from tidegate.config.schedule import seconds_of
from tidegate.config.snapshots import Snapshots
from tidegate.config.stock_modes import FlowName, StockModes, modes_of
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.sync.flow_modes import changed_modes, wanted_modes
from tidegate.sync.policy import EMPTY_POLICY, Listener, Policy

CONNECTIONS = "SELECT tenant_id, connection_id, name, connector FROM connection"
FLOW_MODES = "SELECT tenant_id, connection_id, flow, mode, rules, live_from, revision FROM flow_mode"


@dataclass(frozen=True)
class TenantView:
    """What a worker knows of one tenant."""

    policy: Policy
    connectors: Mapping[UUID, str]
    """connection_id -> connector name"""
    until: datetime | None = None
    """When the configuration may say something else by itself."""
    is_settled: bool = True
    """Whether the modes that count are those of the configuration."""


class TenantReader:
    """Reads views of all tenants, and parses a configuration only when it is a new version."""

    def __init__(self, connectors: Mapping[str, Connector]) -> None:
        """Start knowing nothing but the connectors."""
        self._connectors = connectors
        self._snapshots = Snapshots()

    async def read(self, conn: Connection, now: datetime) -> dict[UUID, TenantView]:
        """Return a view of every tenant that has a connection, as its configuration is at `now`."""
        await self._snapshots.read(conn)
        names: dict[UUID, dict[str, UUID]] = {}
        connectors: dict[UUID, dict[UUID, str]] = {}
        for tenant_id, connection_id, name, connector in await conn.fetch(CONNECTIONS):
            names.setdefault(tenant_id, {})[name] = connection_id
            connectors.setdefault(tenant_id, {})[connection_id] = connector
        modes: dict[UUID, dict[tuple[UUID, str], Record]] = {}
        for row in await conn.fetch(FLOW_MODES):
            modes.setdefault(row["tenant_id"], {})[row["connection_id"], row["flow"]] = row
        views = {}
        for tenant_id, ids in names.items():
            effective = self._snapshots.at(tenant_id, now)
            policy, is_settled = EMPTY_POLICY, True
            if effective is not None:
                stored = modes.get(tenant_id, {})
                version = self._snapshots.versions[tenant_id].version
                policy = build_policy(effective.planned, version, ids, stored, self._connectors)
                wanted = wanted_modes(effective.planned, {connection_id: name for name, connection_id in ids.items()})
                is_settled = not changed_modes(wanted, stored.values())
            policy = replace(policy, newest_version=self._snapshots.newest.get(tenant_id, 0))
            until = effective.next_change if effective is not None else None
            views[tenant_id] = TenantView(policy, connectors[tenant_id], until, is_settled)
        return views


def build_policy(
    config: Config,
    version: int,
    ids: Mapping[str, UUID],
    modes: Mapping[tuple[UUID, str], Record] | None = None,
    connectors: Mapping[str, Connector] | None = None,
) -> Policy:
    """Return the policy of a configuration, given the ids of the connections that exist, and the connectors. Pure.

    `modes` are the rows of `flow_mode` by connection and flow: they count, so that T2 and T2s never differ. Where there is
    none yet, the configuration's own mode does.
    """
    orders, shipments, stock = config.flows.orders, config.flows.shipments, config.flows.stock
    payments = config.flows.payments
    stored = modes or {}
    owner = config.owns.on_hand
    erp = ids.get(orders.target) if orders else None
    erp_row = stored.get((erp, "orders")) if erp is not None else None

    def mode(connection_id: UUID, name: str, flow: FlowName) -> Mode:
        row = stored.get((connection_id, flow))
        found: Mode = row["mode"] if row is not None else modes_of(config, name)[flow]
        return found

    return Policy(
        config_version=version,
        cell=config.cell,
        order_channels=frozenset(ids[name] for name in orders.sources if name in ids) if orders else frozenset(),
        erp=erp,
        orders_since=orders.since if orders else None,
        orders_mode=mode(erp, orders.target, "orders") if orders is not None and erp is not None else "observe",
        orders_live_from=erp_row["live_from"] if erp_row is not None else None,
        shipments_since=shipments.since if shipments else None,
        shipments_modes={connection_id: mode(connection_id, name, "shipments") for name, connection_id in ids.items()}
        if shipments
        else {},
        provider=ids.get(payments.source) if payments else None,
        payments_modes={connection_id: mode(connection_id, name, "payments") for name, connection_id in ids.items()}
        if payments
        else {},
        payments_since=payments.since if payments else None,
        captures=bool(payments and shipments and shipments.capture == payments.source),
        captures_per_shipment=bool(payments and payments.partial == "per_shipment"),
        refunds_to_provider=bool(payments and payments.refunds in ("both", "to_provider")),
        refunds_to_channel=bool(payments and payments.refunds in ("both", "to_channel")),
        refund_wait=timedelta(seconds=seconds_of(payments.refund_wait)) if payments else EMPTY_POLICY.refund_wait,
        stock_channels=tuple(sorted(ids[name] for name in stock.targets if name in ids))
        if stock and StockModes(config).may_write
        else (),
        stock_owner=ids.get(owner) if owner else None,
        oversell=stock.oversell if stock is not None else (),
        cancels_modes={ids[name]: mode(ids[name], name, "orders") for name in orders.sources if name in ids}
        if orders is not None
        else {},
        pays_back=frozenset(
            connection_id
            for name, connection_id in ids.items()
            if name in config.connections
            and (connector := (connectors or {}).get(config.connections[name].use)) is not None
            and connector.cancel_pays_back
        ),
        shipment_owner=ids.get(config.owns.shipment) if config.owns.shipment else None,
        listeners=tuple(
            Listener(connection_id, mode(connection_id, name, "events"), events.types or ("*",))
            for name, connection_id in sorted(ids.items(), key=lambda pair: pair[1])
            if name in events.targets and mode(connection_id, name, "events") != "observe"
        )
        if (events := config.flows.events) is not None
        else (),
        lanes={
            connection_id: rules
            for name, connection_id in ids.items()
            if (rules := lane_rules(config.lanes, name)) != DEFAULT_RULES
        },
        relink_by_hand=frozenset(
            connection_id for name, connection_id in ids.items() if look_rules(config, name).relink == "approve"
        ),
        stock_mode_of=StockModes(config).mode_of,
        modes_revision=max((row["revision"] for row in stored.values()), default=0),
        is_erp_missing=bool(orders and orders.target not in ids),
    )
