"""Safety stock from the configuration, pure: how many units of an item no channel is told of.

Lanes keep by the rules that their channel was told under. When these change, by a new configuration or because a timed
override begins or ends, the items with another number are marked, and the lane tells them.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.config.skus import matches, patterns_of


class SafetyRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is withheld, in units of the item."""

    everywhere: int = 0
    skus: tuple[tuple[tuple[str, ...], int], ...] = ()
    """(patterns, units) in the order of the file; the last one that fits counts."""

    def of(self, sku: str) -> int:
        """Return the units of an item that are withheld."""
        return next((units for patterns, units in reversed(self.skus) if matches(sku, patterns)), self.everywhere)


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
    )


def changed_items(before: SafetyRules, after: SafetyRules, items: Iterable[tuple[UUID, str]]) -> list[UUID]:
    """Return the items (id, SKU) of which another number of units is withheld."""
    if before == after:
        return []
    return [item_id for item_id, sku in items if before.of(sku) != after.of(sku)]
