"""Which part a connection plays. Pure."""

from __future__ import annotations

from tidegate.config.records import Config
from tidegate.sdk.connector import Connector


def is_channel(config: Config, name: str, connector: Connector) -> bool:
    """Return True when the connection sells, False when it counts goods and ships.

    A connector that can play both parts plays the one that flows and owners give to this connection.
    """
    if len(connector.roles) == 1:
        return "channel" in connector.roles
    flows, owns = config.flows, config.owns
    counts = {owns.on_hand, owns.shipment}
    counts.add(flows.orders.target if flows.orders else None)
    counts.add(flows.shipments.source if flows.shipments else None)
    counts.add(flows.stock.source if flows.stock else None)
    return name not in counts
