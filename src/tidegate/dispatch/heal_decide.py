"""What becomes of a difference that a look found. Pure."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from tidegate.config.records import Healing
from tidegate.dispatch.drift_decide import Cause, Finding
from tidegate.sdk.connector import ShownField

HEALS_MAX = 3
"""A number that was told anew so often since it differs is left alone: somebody else keeps changing it."""
HealState = Literal["", "due", "waits", "healing", "stuck"]
HEALABLE = frozenset(
    {
        Cause.CHANGED_THERE,
        Cause.CHANGED_SINCE,
        Cause.NEVER_TOLD,
        Cause.MISSED_EVENT,
        Cause.LOST_PUSH,
        Cause.OTHER_APP,
    }
)
"""Telling the number once more may mend these. What failed, waits for a person or is not there needs something else."""
GROUP_OF = {
    ShownField.STOCK: "stock",
    ShownField.ON_HAND: "on_hand",
    ShownField.PRICE: "price",
    ShownField.PRICE_WITH_TAX: "price",
}
"""Field -> what its policy is called in `reconcile.NAME.heal`."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A difference as the look before this one left it."""

    owner_value: Decimal | None
    other_value: Decimal | None
    cause: str
    in_flight: bool
    heal: HealState
    heals: int
    healed_at: datetime | None = None


def can_heal(field: ShownField, cause: Cause) -> bool:
    """Return whether telling a number once more may mend a difference."""
    return field is ShownField.STOCK and cause in HEALABLE


def decide_heal(finding: Finding, before: Known | None, policy: Healing) -> HealState:
    """Return what becomes of a difference, by the policy of its field and what was tried already."""
    if finding.in_flight:
        return before.heal if before is not None and before.heal != "due" else ""
    if not can_heal(finding.field, finding.cause) or policy == "report":
        return ""
    if policy == "approve":
        return "waits"
    return "stuck" if before is not None and before.heals >= HEALS_MAX else "due"


def guess(finding: Finding, before: Known | None, *, told_before: int | None, follows_sales: bool) -> Finding:
    """Return a difference with a better guess at its cause, where what was told is not what is shown.

    `told_before` is the number that the channel was told before the last one, in units of its article. `follows_sales`: the
    channel lowers its number by itself when it sells.
    """
    if finding.cause is not Cause.CHANGED_THERE or finding.other_value is None:
        return finding
    cause = Cause.CHANGED_THERE
    if before is not None and before.heals > 1:
        cause = Cause.OTHER_APP
    elif told_before is not None and finding.other_value == told_before:
        cause = Cause.LOST_PUSH
    elif follows_sales and finding.owner_value is not None and finding.other_value < finding.owner_value:
        cause = Cause.MISSED_EVENT
    return msgspec.structs.replace(finding, cause=cause)


def entry_kind(finding: Finding, before: Known | None) -> Literal["found", "changed"] | None:
    """Return what the story of the SKU says of a difference; None when it says so already, or nobody can tell yet."""
    if finding.in_flight:
        return None
    if before is None or before.in_flight:
        return "found"
    same = (before.owner_value, before.other_value, before.cause) == (
        finding.owner_value,
        finding.other_value,
        finding.cause.value,
    )
    return None if same else "changed"


def is_too_much(due: int, missing: int, limit: int) -> bool:
    """Return whether a run found more than it may heal by itself: the read may be wrong, or we are."""
    return due > limit or missing > limit
