"""What the configuration says of numbers, pure: what no channel is told of, what is shared out, and which changes go at once.

Lanes keep by the rules that their channel was told under. When these change, by a new configuration or because a timed
override begins or ends, the items with another number are marked, and the lane tells them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

import msgspec

from tidegate.commerce.significance import DEFAULT_RULE, Rule
from tidegate.config import Config
from tidegate.config.records import Allocation, AllocationMode, Buffer, OversellMax, Significant, SignificantChange
from tidegate.config.schedule import seconds_of
from tidegate.config.skus import matches, patterns_of


class SafetyRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is withheld, in units of the item, and of which items the units are shared out among the channels."""

    everywhere: int = 0
    skus: tuple[tuple[tuple[str, ...], int], ...] = ()
    """(patterns, units) in the order of the file; the last one that fits counts."""
    allocation: Allocation = Allocation()
    shared_skus: tuple[tuple[tuple[str, ...], AllocationMode], ...] = ()
    """(patterns, mode) in the order of the file; the last one that fits counts, before the mode of `allocation`."""
    significant: Rule = DEFAULT_RULE
    """Which changes are told at once in this channel."""
    significant_skus: tuple[tuple[tuple[str, ...], SignificantChange, SignificantChange], ...] = ()
    """(patterns, what differs everywhere, what differs in this channel) in the order of the file; later ones win."""

    buffer: Buffer = "off"
    oversell_max: OversellMax = "10%"
    buffered_skus: tuple[tuple[tuple[str, ...], Buffer], ...] = ()
    """(patterns, buffer) in the order of the file; the last one that fits counts, before `buffer`."""
    peaks: tuple[tuple[tuple[str, ...], Mapping[str, float]], ...] = ()
    """(patterns, channel -> units a second expected at most) in the order of the file; the last one that fits counts."""

    def of(self, sku: str) -> int:
        """Return the units of an item that are withheld."""
        return next((units for patterns, units in reversed(self.skus) if matches(sku, patterns)), self.everywhere)

    def shares(self, sku: str) -> AllocationMode:
        """Return whether the units of an item are shared out."""
        modes = (mode for patterns, mode in reversed(self.shared_skus) if matches(sku, patterns))
        return next(modes, self.allocation.mode)

    def significance(self, sku: str) -> Rule:
        """Return which changes of an item are told at once."""
        rule = self.significant
        for patterns, everywhere, here in self.significant_skus:
            if matches(sku, patterns):
                rule = _laid_over(_laid_over(rule, everywhere), here)
        return rule

    @property
    def may_share(self) -> bool:
        """Whether any item may be shared out."""
        return self.allocation.mode != "off" or any(mode != "off" for _, mode in self.shared_skus)

    def buffer_of(self, sku: str) -> Buffer:
        """Return what channels are not told of an item because others may sell it meanwhile, as long as it is not shared out."""
        return next((kept for patterns, kept in reversed(self.buffered_skus) if matches(sku, patterns)), self.buffer)

    def fixed_buffer_of(self, sku: str) -> int:
        """Return the units of that where it is a number; 0 where it is worked out, or off."""
        kept = self.buffer_of(sku)
        return kept if isinstance(kept, int) else 0

    def peak_of(self, sku: str) -> Mapping[str, float]:
        """Return how many units of an item a second channels are expected to sell at most, by the channel's name."""
        return next((peak for patterns, peak in reversed(self.peaks) if matches(sku, patterns)), {})

    @property
    def may_buffer(self) -> bool:
        """Whether a buffer of any item is to be worked out."""
        return self.buffer == "auto" or any(kept == "auto" for _, kept in self.buffered_skus)

    def numbers_of(self, sku: str) -> tuple[object, ...]:
        """Return all that decides about the numbers of an item and when they are told; equal where nothing changes for it."""
        mode, kept = self.shares(sku), self.buffer_of(sku)
        return (
            self.of(sku),
            self.significance(sku),
            mode,
            *((self.allocation.weights, self.allocation.minimum) if mode != "off" else ()),
            kept,
            *((self.oversell_max,) if kept == "auto" else ()),
            *((self.peak_of(sku),) if "auto" in (kept, mode) else ()),
        )


NO_RULES = SafetyRules()


class Safety:
    """The rules of one lane now. A holder: what builds numbers looks at it after the marks are locked."""

    def __init__(self) -> None:
        """Withhold nothing."""
        self._rules = NO_RULES
        self.has_lots = True
        """Whether units that are shared out may stand in the channel's name. False only where that was looked up under these
        rules, which share nothing out: nobody but this lane gives the channel any."""

    @property
    def rules(self) -> SafetyRules:
        """The rules now."""
        return self._rules

    @rules.setter
    def rules(self, rules: SafetyRules) -> None:
        self._rules, self.has_lots = rules, True


def safety_rules(config: Config, channel: str | None = None) -> SafetyRules:
    """Return the rules of an effective configuration, with what differs for `channel`."""
    stock = config.flows.stock
    if stock is None:
        return NO_RULES
    flow = stock.significant
    return SafetyRules(
        everywhere=stock.safety,
        skus=tuple(
            (patterns_of(config, override.match), override.stock_safety)
            for override in config.overrides
            if override.match is not None and override.stock_safety is not None
        ),
        allocation=stock.allocation,
        shared_skus=tuple(
            (patterns_of(config, override.match), override.stock_allocation)
            for override in config.overrides
            if override.match is not None and override.stock_allocation is not None
        ),
        significant=_laid_over(_laid_over(DEFAULT_RULE, _plain(flow)), _of_channel(flow, channel)),
        significant_skus=tuple(
            (patterns_of(config, override.match), _plain(said), _of_channel(said, channel))
            for override in config.overrides
            if override.match is not None and (said := override.stock_significant) is not None
        ),
        buffer=stock.buffer,
        oversell_max=stock.oversell_max,
        buffered_skus=tuple(
            (patterns_of(config, override.match), override.stock_buffer)
            for override in config.overrides
            if override.match is not None and override.stock_buffer is not None
        ),
        peaks=tuple(
            (patterns_of(config, override.match), override.stock_peak)
            for override in config.overrides
            if override.match is not None and override.stock_peak is not None
        ),
    )


_NOTHING = SignificantChange()


def _plain(said: Significant) -> SignificantChange:
    """Return what is said for every channel."""
    return SignificantChange(low=said.low, percent=said.percent, units=said.units, fast=said.fast)


def _of_channel(said: Significant, channel: str | None) -> SignificantChange:
    return said.channels.get(channel, _NOTHING) if channel is not None else _NOTHING


def _laid_over(rule: Rule, said: SignificantChange) -> Rule:
    """Return the rule with what is said in place of what it says."""
    return Rule(
        low=rule.low if said.low is None else said.low,
        percent=rule.percent if said.percent is None else None if said.percent == "off" else said.percent,
        units=rule.units if said.units is None else None if said.units == "off" else said.units,
        fast_seconds=rule.fast_seconds if said.fast is None else None if said.fast == "off" else seconds_of(said.fast),
    )


def changed_items(before: SafetyRules, after: SafetyRules, items: Iterable[tuple[UUID, str]]) -> list[UUID]:
    """Return the items (id, SKU) whose numbers come to be otherwise."""
    if before == after:
        return []
    return [item_id for item_id, sku in items if before.numbers_of(sku) != after.numbers_of(sku)]
