"""What the configuration says of numbers, pure: how many units of an item no channel is told of, and which are shared out.

Lanes keep by the rules that their channel was told under. When these change, by a new configuration or because a timed
override begins or ends, the items with another number are marked, and the lane tells them.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.config.records import Allocation, AllocationMode
from tidegate.config.skus import matches, patterns_of


class SafetyRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is withheld, in units of the item, and of which items the units are shared out among the channels."""

    everywhere: int = 0
    skus: tuple[tuple[tuple[str, ...], int], ...] = ()
    """(patterns, units) in the order of the file; the last one that fits counts."""
    allocation: Allocation = Allocation()
    shared_skus: tuple[tuple[tuple[str, ...], AllocationMode], ...] = ()
    """(patterns, mode) in the order of the file; the last one that fits counts, before the mode of `allocation`."""

    def of(self, sku: str) -> int:
        """Return the units of an item that are withheld."""
        return next((units for patterns, units in reversed(self.skus) if matches(sku, patterns)), self.everywhere)

    def shares(self, sku: str) -> AllocationMode:
        """Return whether the units of an item are shared out."""
        modes = (mode for patterns, mode in reversed(self.shared_skus) if matches(sku, patterns))
        return next(modes, self.allocation.mode)

    @property
    def may_share(self) -> bool:
        """Whether any item may be shared out."""
        return self.allocation.mode != "off" or any(mode != "off" for _, mode in self.shared_skus)

    def numbers_of(self, sku: str) -> tuple[object, ...]:
        """Return all that decides about the numbers of an item; equal where nothing changes for it."""
        mode = self.shares(sku)
        return (self.of(sku), mode, *((self.allocation.weights, self.allocation.minimum) if mode != "off" else ()))


NO_RULES = SafetyRules()


class Safety:
    """The rules of one lane now. A holder: what builds numbers looks at it after the marks are locked."""

    def __init__(self) -> None:
        """Withhold nothing."""
        self.rules = NO_RULES


def safety_rules(config: Config) -> SafetyRules:
    """Return the rules of an effective configuration."""
    stock = config.flows.stock
    if stock is None:
        return NO_RULES
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
    )


def changed_items(before: SafetyRules, after: SafetyRules, items: Iterable[tuple[UUID, str]]) -> list[UUID]:
    """Return the items (id, SKU) whose numbers come to be otherwise."""
    if before == after:
        return []
    return [item_id for item_id, sku in items if before.numbers_of(sku) != after.numbers_of(sku)]
