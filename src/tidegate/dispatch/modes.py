"""What the configuration lets a lane write, pure.

This only spares a lane the way to T2s, which looks at the modes that count, inside its transaction.
"""

from __future__ import annotations

from tidegate.commerce.commands import CommandKind
from tidegate.config import Config
from tidegate.config.stock_modes import FlowName, StockModes, modes_of

_FLOW_OF: dict[CommandKind, FlowName] = {
    CommandKind.ORDER_CREATE: "orders",
    CommandKind.ORDER_CANCEL: "orders",
    CommandKind.FULFILLMENT_CREATE: "shipments",
    CommandKind.INVENTORY_SET: "stock",
    CommandKind.PAYMENT_CAPTURE: "payments",
    CommandKind.PAYMENT_VOID: "payments",
    CommandKind.REFUND_CREATE: "payments",
    CommandKind.EVENT_SEND: "events",
}


def flow_of(kind: CommandKind) -> FlowName:
    """Return the flow that plans a kind of command."""
    return _FLOW_OF[kind]


def sendable_kinds(config: Config | None, connection_name: str) -> frozenset[CommandKind]:
    """Return the kinds of commands of which some may leave for a connection; none without a configuration.

    Ask with a configuration in which flows that are held back observe: what they planned waits until they are not.
    """
    if config is None:
        return frozenset()
    modes = modes_of(config, connection_name)
    stock = config.flows.stock
    is_told = stock is not None and connection_name in stock.targets and StockModes(config).may_write
    return frozenset(
        kind for kind, flow in _FLOW_OF.items() if (is_told if flow == "stock" else modes[flow] != "observe")
    )
