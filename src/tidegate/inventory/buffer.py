"""How many units of an item a channel is not told of where all channels are told the same. Pure.

A channel sells on by what it showed before until it hears of what the others sold. What all others can sell meanwhile is what
it must not be told of: its *buffer*. Then the last unit is sold once. Where that would leave a channel with nothing, it gets a
small part all the same, and these parts together are what may be sold too often: never more than `limit`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal
from uuid import UUID

import msgspec

from tidegate.inventory.allocate import Pace, units_within

Buffer = Literal["off", "auto"] | int
"""off: a channel is told of all. auto: worked out from sales and from how long numbers take. A number: so many units."""


class Seller(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that is told numbers of an item."""

    channel: UUID
    pace: Pace
    """How fast it sells the item, and how long it takes until it is told a number."""
    fades: bool = False
    """It is fast because of what it sold lately, not only because of what is expected."""
    shows: int | None = 0
    """Units that it is believed to let itself sell now; None: that is not known."""
    enforces: bool = True
    """It refuses to sell below zero."""
    is_told: bool = True
    """It is told this number. Else it only sells the same units under other SKUs: parts of a kit, or kits with the part."""
    sells_apart: bool = False
    """It sells the same units under other SKUs too, whatever it is told of this one."""

    @property
    def blind_units(self) -> int:
        """What it sells at most until it hears of anything."""
        return units_within(self.pace.velocity, self.pace.lag_seconds)


class Broadcast(msgspec.Struct, frozen=True, kw_only=True):
    """What each channel may be told of an item."""

    told: Mapping[UUID, int]
    """Units; never more than can be sold."""
    risks: Mapping[UUID, int]
    """Units that each channel may sell although others sold them already."""
    is_passing: bool = False
    """Some channel still shows more than it is to be told, and therefore another one is told less for a moment."""

    @property
    def bound(self) -> int:
        """Units that all channels together may at worst sell too often, as long as numbers take no longer than they did."""
        return sum(self.risks.values())


def broadcast(sellable: int, sellers: Sequence[Seller], buffer: Buffer, *, limit: int) -> Broadcast:
    """Return what each channel is told of `sellable` units (0 where it is negative), and what that risks.

    `limit`: how many units may be sold too often, over all channels; it counts where `buffer` is auto.
    """
    left = max(0, sellable)
    blind = {seller.channel: seller.blind_units for seller in sellers if seller.is_told}
    apart = {seller.channel for seller in sellers if seller.is_told and seller.sells_apart}
    # What goes under other SKUs lowers no channel's number of this one by itself, also not that of the channel that sells it.
    elsewhere = sum(seller.blind_units for seller in sellers if not seller.is_told)
    is_passing = False
    if buffer == "auto":
        shows = {each.channel: None if each.sells_apart else each.shows for each in sellers if each.is_told}
        elsewhere += max((blind[channel] for channel in apart), default=0)
        told, risks, is_passing = _automatic(left, elsewhere, blind, shows, apart, max(0, limit))
    else:
        kept = buffer if isinstance(buffer, int) else 0
        told = dict.fromkeys(blind, max(0, left - kept))
        risks = {
            channel: min(units, max(0, elsewhere + _others(blind, channel) + (units if channel in apart else 0) - kept))
            for channel, units in blind.items()
        }
    below_zero = {seller.channel: blind[seller.channel] for seller in sellers if seller.is_told and not seller.enforces}
    return Broadcast(told=told, risks=risks | below_zero, is_passing=is_passing)


def _automatic(
    left: int,
    elsewhere: int,
    blind: Mapping[UUID, int],
    shows: Mapping[UUID, int | None],
    apart: Collection[UUID],
    limit: int,
) -> tuple[dict[UUID, int], dict[UUID, int], bool]:
    """The channel that sells fastest sells what is left in the end; the others get what is over, or a part of the limit."""
    ranked = sorted(blind, key=lambda channel: (-blind[channel], channel))
    parts = _parts(limit, {channel: blind[channel] for channel in ranked[1:]})
    told: dict[UUID, int] = {}
    risks = dict.fromkeys(blind, 0)
    for channel in ranked[1:]:
        whole = left - elsewhere - _others(blind, channel)
        told[channel] = min(left, max(whole, parts[channel]))
        if whole < parts[channel]:
            risks[channel] = min(blind[channel], told[channel])
    soon = sum(blind[channel] if channel in apart else min(blind[channel], told[channel]) for channel in ranked[1:])
    now = sum(_sells(blind[channel], told[channel], shows[channel]) for channel in ranked[1:])
    if ranked:
        told[ranked[0]] = max(0, left - elsewhere - now)
    return told, risks, now > soon


def _sells(blind: int, told: int, shows: int | None) -> int:
    """What a channel sells until it hears of anything: it goes on by what it shows until it is told otherwise."""
    return min(blind, max(told, shows)) if shows is not None else blind


def _others(blind: Mapping[UUID, int], channel: UUID) -> int:
    return sum(blind.values()) - blind[channel]


def _parts(units: int, demands: Mapping[UUID, int]) -> dict[UUID, int]:
    """Share units out by demand, in whole units that add up to no more than there are; nobody gets more than it demands."""
    total = sum(demands.values())
    if total <= units:
        return dict(demands)
    parts = {channel: units * demand // total for channel, demand in demands.items()}
    order = sorted(demands, key=lambda channel: (-(units * demands[channel] % total), channel))
    for channel in order[: units - sum(parts.values())]:
        parts[channel] += 1
    return parts


def limit_of(oversell_max: str | int, sellable: int) -> int:
    """Return how many units may be sold too often: a number, or a share of what can be sold such as `10%`, rounded down."""
    if isinstance(oversell_max, int):
        return oversell_max
    return max(0, sellable) * int(oversell_max.removesuffix("%")) // 100
