"""Which mode each flow has at a connection, and each SKU in the stock flow. Pure.

Ask with a configuration as it counts at a moment (`effective(config, at).planned`): timed overrides are on or off already.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tidegate.config.records import Config, Mode, Override
from tidegate.config.skus import SkuRules, patterns_of

FlowName = Literal["orders", "shipments", "payments", "stock", "events"]


def modes_of(config: Config, connection_name: str) -> dict[FlowName, Mode]:
    """Return what each flow may do at a connection. A flow that writes nothing there observes.

    So do orders while nobody said since when they count; to their channels they write only what is called off. For stock it is the flow's own mode: single SKUs may have another one, see `StockModes`.
    """
    orders, shipments, stock = config.flows.orders, config.flows.shipments, config.flows.stock
    payments, events = config.flows.payments, config.flows.events
    return {
        "orders": orders.mode
        if orders is not None
        and orders.since
        and (orders.target == connection_name or connection_name in orders.sources)
        else "observe",
        "shipments": shipments.mode if shipments is not None else "observe",
        "payments": payments.mode if payments is not None else "observe",
        "stock": stock.mode if stock is not None and connection_name in stock.targets else "observe",
        "events": events.mode if events is not None and connection_name in events.targets else "observe",
    }


class StockModes:
    """The modes of the SKUs of the stock flow, ready to be asked often."""

    def __init__(self, config: Config) -> None:
        """Read flow and overrides."""
        stock = config.flows.stock
        self.base: Mode = stock.mode if stock is not None else "observe"
        """The mode of every SKU that no override names."""
        self._rules = SkuRules(config)
        ruled = [each for each in config.overrides if each.match is not None and each.stock_mode is not None]
        self._spec = [(patterns_of(config, each.match or ""), each.stock_mode) for each in ruled] if stock else []

    def mode_of(self, sku: str) -> Mode:
        """Return the mode of a SKU: of the last override that fits and has one, else of the flow."""
        found: Mode | None = self._rules.find(sku, _mode_of) if self._spec else None
        return found if found is not None else self.base

    @property
    def has_exceptions(self) -> bool:
        """Whether any SKU may have another mode than the flow."""
        return any(mode != self.base for _, mode in self._spec)

    @property
    def may_write(self) -> bool:
        """Whether any SKU does not observe."""
        return self.base != "observe" or self.has_exceptions

    @property
    def rules(self) -> str:
        """What decides of single SKUs, as a text: while it stays the same, so does the mode of every SKU."""
        return msgspec.json.encode([self.base, *self._spec]).decode()


def _mode_of(override: Override) -> Mode | None:
    return override.stock_mode
