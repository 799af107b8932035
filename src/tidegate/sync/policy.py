"""What the configuration asks of T2, with connection names resolved to ids. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True)
class Policy:
    """Flows of one tenant under one configuration version."""

    config_version: int
    cell: str
    order_channels: frozenset[UUID]
    """Connections whose orders go to `erp`."""
    erp: UUID | None
    orders_since: datetime | None
    orders_live: bool
    shipments_live: bool
    stock_channels: tuple[UUID, ...]
    """Connections that may be told stock numbers, sorted; each of their items has a mode of its own."""
    stock_owner: UUID | None
    """The connection whose movements move on_hand."""
    is_erp_missing: bool = False
    """The orders flow names an ERP that is not connected yet: orders wait for it."""
    newest_version: int = 0
    """The newest stored configuration when this was read; above `config_version` while it cannot be used here."""

    @property
    def known_version(self) -> int:
        """The newest configuration that this takes into account: used, or found unusable."""
        return max(self.config_version, self.newest_version)


EMPTY_POLICY = Policy(
    config_version=0,
    cell="c0",
    order_channels=frozenset(),
    erp=None,
    orders_since=None,
    orders_live=False,
    shipments_live=False,
    stock_channels=(),
    stock_owner=None,
)
