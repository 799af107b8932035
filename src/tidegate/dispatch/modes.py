"""What the configuration lets a lane write, pure. The last door before the wire: a flow that observes writes nothing."""

from __future__ import annotations

from tidegate.commerce.commands import CommandKind
from tidegate.config import Config


def sendable_kinds(config: Config | None, connection_name: str) -> frozenset[CommandKind]:
    """Return the kinds of commands that may leave for a connection; none without a configuration.

    Commands that were planned while a flow was live wait while it observes, and go on when it is live again.
    """
    if config is None:
        return frozenset()
    orders, shipments, stock = config.flows.orders, config.flows.shipments, config.flows.stock
    kinds: set[CommandKind] = set()
    if orders is not None and orders.mode == "live" and connection_name == orders.target:
        kinds |= {CommandKind.ORDER_CREATE, CommandKind.ORDER_CANCEL}
    if shipments is not None and shipments.mode == "live":
        kinds.add(CommandKind.FULFILLMENT_CREATE)
    if stock is not None and stock.mode == "live" and connection_name in stock.targets:
        kinds.add(CommandKind.INVENTORY_SET)
    return frozenset(kinds)
