"""What the configuration asks of T2, with connection names resolved to ids. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from tidegate.config.lanes import DEFAULT_RULES, LaneRules
from tidegate.config.records import Mode, OversellStep


def _observe(_sku: str) -> Mode:
    return "observe"


@dataclass(frozen=True)
class Listener:
    """A connection that is told of what happens."""

    connection_id: UUID
    mode: Mode
    types: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """Flows of one tenant under one configuration version."""

    config_version: int
    cell: str
    order_channels: frozenset[UUID]
    """Connections whose orders go to `erp`."""
    erp: UUID | None
    orders_since: datetime | None
    orders_mode: Mode
    shipments_modes: Mapping[UUID, Mode]
    """Channel -> whether it is told of shipments; a channel that is not here observes."""
    stock_channels: tuple[UUID, ...]
    """Connections that may be told stock numbers, sorted; each of their items has a mode of its own."""
    stock_owner: UUID | None
    """The connection whose movements move on_hand."""
    listeners: tuple[Listener, ...] = ()
    """Who is told of what happens, sorted; those that observe are not among them."""
    shipment_owner: UUID | None = None
    """The connection whose shipments count; None: nobody said whose."""
    orders_live_from: datetime | None = None
    """When the orders flow stopped observing, or what was asked for instead: nothing placed before is created."""
    shipments_since: datetime | None = None
    provider: UUID | None = None
    """The payment provider of the payments flow; None: payments are stored, and nothing follows from them."""
    payments_modes: Mapping[UUID, Mode] = field(default_factory=dict)
    """Connection -> what the payments flow may write there; a connection that is not here observes."""
    payments_since: datetime | None = None
    captures: bool = False
    """Whether money is captured when goods have left."""
    captures_per_shipment: bool = False
    refunds_to_provider: bool = False
    refunds_to_channel: bool = False
    refund_wait: timedelta = timedelta(seconds=60)
    lanes: Mapping[UUID, LaneRules] = field(default_factory=dict)
    """Connection -> how its lane goes."""
    oversell: tuple[OversellStep, ...] = ()
    """What is tried with orders that hold units which nobody has, in this order; then a person is asked."""
    cancels_modes: Mapping[UUID, Mode] = field(default_factory=dict)
    """Channel -> whether it may be asked to cancel orders; a channel that is not here observes."""
    pays_back: frozenset[UUID] = frozenset()
    """Channels that give the money back by themselves when they cancel an order."""
    relink_by_hand: frozenset[UUID] = frozenset()
    """Connections in which a person is asked before an article takes the place of a deleted one."""
    stock_mode_of: Callable[[str], Mode] = field(default=_observe, compare=False)
    """SKU -> mode of the stock flow, in a connection that is told stock numbers."""
    modes_revision: int = 0
    """Of the tenant's modes: nothing is planned under older ones."""
    is_erp_missing: bool = False
    """The orders flow names an ERP that is not connected yet: orders wait for it."""
    newest_version: int = 0
    """The newest stored configuration when this was read; above `config_version` while it cannot be used here."""

    @property
    def known_version(self) -> int:
        """The newest configuration that this takes into account: used, or found unusable."""
        return max(self.config_version, self.newest_version)

    @property
    def orders_from(self) -> datetime | None:
        """Orders placed before are none of ours to move or cancel: the ERP is told of them by somebody else, or not at all."""
        return max((at for at in (self.orders_since, self.orders_live_from) if at is not None), default=None)

    def lane(self, connection_id: UUID) -> LaneRules:
        """Return how the lane of a connection goes."""
        return self.lanes.get(connection_id, DEFAULT_RULES)

    def shipments_mode(self, connection_id: UUID) -> Mode:
        """Return whether a channel is told of shipments."""
        return self.shipments_modes.get(connection_id, "observe")

    def cancels_mode(self, connection_id: UUID) -> Mode:
        """Return whether a channel may be asked to cancel orders."""
        return self.cancels_modes.get(connection_id, "observe")

    def payments_mode(self, connection_id: UUID) -> Mode:
        """Return whether captures, releases and refunds may be written to a connection."""
        return self.payments_modes.get(connection_id, "observe")

    def asks_for_payments(self, connection_id: UUID) -> bool:
        """Return whether it matters by which payments a channel's orders are paid."""
        return self.provider is not None and connection_id in self.order_channels

    def drives_payment(self, placed_at: datetime) -> bool:
        """Return whether the provider's word counts for an order that was placed then: not while the flow observes."""
        if self.provider is None or (self.payments_since is not None and placed_at < self.payments_since):
            return False
        return self.payments_mode(self.provider) != "observe"


EMPTY_POLICY = Policy(
    config_version=0,
    cell="c0",
    order_channels=frozenset(),
    erp=None,
    orders_since=None,
    orders_mode="observe",
    shipments_modes={},
    stock_channels=(),
    stock_owner=None,
)
