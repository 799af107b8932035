"""Adjustments, pure: what a person says about stock becomes a posting of the ledger, or a reason why it cannot be.

A count is an observation, not an overwrite: whoever counted saw the ledger as it was then, so what is posted is the difference to
what the ledger had then. What moved since stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

import msgspec

from tidegate.inventory.decide import Refusal
from tidegate.inventory.ledger import Counters, Posting

UNITS_MAX = 100_000_000
"""Units that one adjustment moves at most, and that a level counts at most afterwards."""
NOTE_MAX = 500
KEY_MAX = 120
AsideState = Literal["damaged", "quality_hold", "reserved_other", "other"]
ASIDE: tuple[AsideState, ...] = ("damaged", "quality_hold", "reserved_other", "other")
"""Why units that are there are not sold. What was set aside before there were reasons is `other`."""
Reason = Literal["received", "returned", "found", "lost", "scrapped", "counted", "correction"]


class _Rule(msgspec.Struct, frozen=True):
    kind: str
    sign: int = 0
    """1: units come only, -1: units go only, 0: either."""


_RULES: Mapping[str, _Rule] = {
    "received": _Rule("receive", 1),
    "returned": _Rule("return_receive", 1),
    "found": _Rule("adjust", 1),
    "lost": _Rule("adjust", -1),
    "scrapped": _Rule("adjust", -1),
    "counted": _Rule("count"),
    "correction": _Rule("adjust"),
}
REASONS: tuple[str, ...] = tuple(_RULES)
"""Why on_hand moves when a person moves it."""


class Adjustment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a person wants of one level. `units` is what is to be posted: a count was made a difference before."""

    key: str
    """Unique for ever: asked for again under the same key, it is not posted again."""
    item_id: UUID
    location_id: UUID
    units: int
    reason: str
    """Of `REASONS`, or of `ASIDE` where units are set aside."""
    note: str | None = None
    is_aside: bool = False
    """Units are set aside, or taken back; on_hand stays."""

    @property
    def cause_key(self) -> str:
        """The key of its ledger entry."""
        return f"adjust:{self.key}"


class Aside(msgspec.Struct, frozen=True, gc=False):
    """A posting of a person, with what only people say."""

    posting: Posting
    reason: str
    note: str | None


def decide_adjustment(wanted: Adjustment, level: Counters, aside: Mapping[str, int]) -> Aside | Refusal:
    """Return what an adjustment posts, or why it cannot be. `aside`: units set aside at the level, by reason. Pure.

    Facts of other systems always post; what a person types is looked at first: nothing below zero, nothing set aside that is not
    there.
    """
    units = wanted.units
    if units == 0 or abs(units) > UNITS_MAX:
        return _refuse("units_invalid", f"{units} units cannot be moved", f"1 to {UNITS_MAX} units, either way")
    if wanted.is_aside:
        return _set_aside(wanted, level, aside)
    rule = _RULES.get(wanted.reason)
    if rule is None:
        return _refuse("reason_unknown", f"there is no reason {wanted.reason!r}", f"there are: {', '.join(REASONS)}")
    if rule.sign * units < 0:
        words = "adds units" if rule.sign > 0 else "takes units away"
        return _refuse(
            "reason_contradicts",
            f"`{wanted.reason}` {words}, and {units:+d} does not",
            "choose another reason, or sign",
        )
    after = level.on_hand + units
    if after < 0 and units < 0:
        return _refuse(
            "below_zero",
            f"the ledger has {level.on_hand} on hand there, {-units} cannot be taken away",
            "count the place anew: --to N --reason counted",
        )
    if after > UNITS_MAX:
        return _refuse("too_many", f"{after} units at one place are more than {UNITS_MAX}", "look at the number again")
    posting = Posting(wanted.item_id, wanted.location_id, rule.kind, wanted.cause_key, on_hand_delta=units)
    return Aside(posting, wanted.reason, wanted.note)


def _set_aside(wanted: Adjustment, level: Counters, aside: Mapping[str, int]) -> Aside | Refusal:
    units = wanted.units
    if wanted.reason not in ASIDE:
        return _refuse(
            "reason_unknown",
            f"nothing is set aside as {wanted.reason!r}",
            f"units are set aside as: {', '.join(ASIDE)}",
        )
    is_there = aside.get(wanted.reason, 0)
    if is_there + units < 0:
        return _refuse(
            "not_set_aside",
            f"{is_there} units are set aside as {wanted.reason} there, {-units} cannot be taken back",
            "tidegate stock show SKU says what is set aside",
        )
    if units > 0 and level.unavailable + units > level.on_hand:
        return _refuse(
            "not_on_hand",
            f"{level.on_hand} units are on hand there and {level.unavailable} set aside already, {units} more cannot be",
            "set fewer aside, or count the place first",
        )
    posting = Posting(wanted.item_id, wanted.location_id, "adjust", wanted.cause_key, unavailable_delta=units)
    return Aside(posting, wanted.reason, wanted.note)


def _refuse(code: str, words: str, hint: str) -> Refusal:
    return Refusal(code=code, words=words, hint=hint)
