"""Which override counts for a SKU. Pure. Patterns know `*` (any text) and `?` (one character); all else is itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar

from tidegate.config.records import Config, Override

T = TypeVar("T")
SKU_PREFIX = "sku:"
GROUP_PREFIX = "group:"


class SkuRules:
    """The overrides of a configuration that are for SKUs, ready to be asked often.

    Timed ones count as if they were on: ask `effective(config, at).config`, which holds only those that are.
    """

    def __init__(self, config: Config) -> None:
        """Compile the patterns."""
        self._rules = [(override, _matcher(config, override.match)) for override in config.overrides if override.match]

    def find(self, sku: str, value_of: Callable[[Override], T | None]) -> T | None:
        """Return the value of the last override that fits `sku` and has one; None when there is none."""
        for override, matches in reversed(self._rules):
            value = value_of(override)
            if value is not None and matches.fullmatch(sku):
                return value
        return None

    def has(self, value_of: Callable[[Override], object]) -> bool:
        """Return whether any override has a value."""
        return any(value_of(override) is not None for override, _ in self._rules)


def patterns_of(config: Config, match: str) -> tuple[str, ...]:
    """Return the SKU patterns that a `match` stands for; none when it names no group."""
    if match.startswith(GROUP_PREFIX):
        return config.groups.get(match.removeprefix(GROUP_PREFIX), ())
    return (match.removeprefix(SKU_PREFIX),)


def matches(sku: str, patterns: Iterable[str]) -> bool:
    """Return whether one of the patterns fits."""
    return _compiled(tuple(patterns)).fullmatch(sku) is not None


def _matcher(config: Config, match: str) -> re.Pattern[str]:
    return _compiled(patterns_of(config, match))


@lru_cache(maxsize=1024)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return one expression for all patterns. Runs of `*` are one, so that no pattern takes long to refuse a text."""
    if not patterns:
        return re.compile(r"(?!)")
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns), re.DOTALL)


def _expression(pattern: str) -> str:
    parts = re.split(r"(\*+|\?)", pattern)
    return "".join(".*" if part.startswith("*") else "." if part == "?" else re.escape(part) for part in parts)
