"""Which changes of a stock number must not wait for company. Pure.

What matters is the difference between what can be sold now and what could be sold when the channel was last told. So ten
small sales that were bundled come to count together, and a unit that came and went again counts for nothing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

Reason = Literal["zero", "safety", "low", "fast", "percent", "units"]
"""Which rule says that a change cannot wait."""
NUMBER_MIN, NUMBER_MAX = -2_000_000_000, 2_000_000_000
"""Bounds that no number of units reaches."""
BEYOND = 1_000_000_000
"""A bound as far away as this, units withheld taken off, is none."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What counts for one SKU in one channel. That a number crosses zero counts in any case."""

    low: int = 5
    """At this many units and fewer, each change counts; 0: never for that."""
    percent: int | None = 20
    """A change by this part of what the channel was told, and more; None: never for that."""
    units: int | None = None
    """A change by so many units, and more; None: never for that."""
    fast_seconds: float | None = 60
    """Each change of what is gone within this time at the pace at which it sells; None: never for that."""


DEFAULT_RULE = Rule()


class Quiet(NamedTuple):
    """The numbers, both included, up to which a change can wait for others."""

    lowest: int
    highest: int


def judge(rule: Rule, told: int, now: int, *, withheld: int = 0, lasts_seconds: float | None = None) -> Reason | None:
    """Return why a change from `told` to `now` units that can be sold must be told at once; None: it can wait.

    A channel shows nothing below 0. `withheld` units are there and not sold: to reach 0 is to reach them then.
    `lasts_seconds`: how long what was told lasts at the pace at which it sells; None: nobody knows.
    """
    before, after = max(0, told), max(0, now)
    if before == after:
        return None
    if not before or not after:
        return "safety" if withheld > 0 else "zero"
    if min(before, after) <= rule.low:
        return "low"
    if _is_fast(rule, lasts_seconds):
        return "fast"
    change = abs(after - before)
    if rule.percent is not None and change * 100 >= before * rule.percent:
        return "percent"
    return "units" if rule.units is not None and change >= rule.units else None


def quiet(rule: Rule, told: int, *, lasts_seconds: float | None = None) -> Quiet:
    """Return the numbers that `judge` lets wait after `told`: the same rules, ready to be compared by a database."""
    before = max(0, told)
    if not before:
        return Quiet(NUMBER_MIN, 0)
    if before <= rule.low or _is_fast(rule, lasts_seconds):
        return Quiet(before, before)
    steps = [step for step in (_percent_step(rule, before), rule.units) if step is not None]
    reach = min(steps) - 1 if steps else NUMBER_MAX
    return Quiet(max(rule.low + 1, before - reach), min(NUMBER_MAX, before + reach))


def is_significant(before: int, after: int, bounds: Quiet | None) -> bool:
    """Return whether a change of what is available must be told at once.

    `bounds` hold for what the channel was told, in the same units. None: it was told nothing that is known to have arrived;
    then it is what was there before that counts, and only fewer units cannot wait.
    """
    if bounds is None:
        return after < before and judge(DEFAULT_RULE, before, after) is not None
    return not bounds.lowest <= after <= bounds.highest


def describe(reason: str) -> str:
    """Return the end of "sent at once because ..."."""
    return _WORDS.get(reason, reason)


def describe_rule(rule: Rule) -> str:
    """Return which changes a rule lets go at once, in words."""
    parts = ["what crosses zero or the units withheld"]
    parts += [f"each change at {rule.low} units and fewer"] if rule.low else []
    parts += [f"changes of {rule.percent} % and more"] if rule.percent is not None else []
    parts += [f"changes of {rule.units} units and more"] if rule.units is not None else []
    parts += [f"what lasts {rule.fast_seconds / 60:g} min or less as it sells"] if rule.fast_seconds is not None else []
    return ", ".join(parts)


_WORDS = {
    "zero": "it crosses zero",
    "safety": "it crosses the safety line: what is withheld is all that is left, or was",
    "low": "little is left, or was",
    "fast": "it sells fast: what was told would not last",
    "percent": "a large part of what the channel was told changed",
    "units": "many units changed since the channel was told",
}


def _percent_step(rule: Rule, before: int) -> int | None:
    """Return the smallest change that is so many percent of what was told."""
    return None if rule.percent is None else max(1, -(-before * rule.percent // 100))


def _is_fast(rule: Rule, lasts_seconds: float | None) -> bool:
    return rule.fast_seconds is not None and lasts_seconds is not None and lasts_seconds <= rule.fast_seconds
