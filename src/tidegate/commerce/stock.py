"""Stock arithmetic, pure."""

from __future__ import annotations

from typing import Literal

import msgspec

StockNumber = Literal["on_hand", "available"]
"""What a channel's number means: `on_hand` channels subtract their own open orders themselves."""


class Level(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The counters of one item at the locations of one channel, added up."""

    on_hand: int
    unavailable: int = 0
    committed: int = 0
    reserved: int = 0
    safety_stock: int = 0
    unseen: int = 0
    """Units that are gone from channels unexplained: they count as sold until their orders come."""

    @property
    def available(self) -> int:
        """on_hand - unavailable - committed - reserved; a fact may make it negative."""
        return self.on_hand - self.unavailable - self.committed - self.reserved


class ChannelOpen(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one channel still carries of an item in its own books."""

    unfulfilled: int = 0
    """Units in the channel's orders that the channel does not know as fulfilled."""
    shipped_unconfirmed: int = 0
    """Of these, units that already left the warehouse."""


def channel_quantity(level: Level, channel: ChannelOpen, *, stock_number: StockNumber) -> int:
    """Return the number to set in a channel so that it can sell exactly `available - safety_stock` more units.

    An `on_hand` channel takes its own unfulfilled units off by itself, so they are added. The number never falls
    below what has left the warehouse and is not yet confirmed there (else the channel would refuse the
    fulfillment), nor below 0.
    """
    sellable = level.available - level.safety_stock - level.unseen
    if stock_number == "available":
        return max(0, sellable)
    return max(sellable + channel.unfulfilled, channel.shipped_unconfirmed, 0)
