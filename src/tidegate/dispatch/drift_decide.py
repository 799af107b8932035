"""What differs between the owner of a field and what another system shows, pure.

A number that is being sent, or that changed while it was read, is no drift: nobody can tell yet.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

from tidegate.sdk.connector import ShownField

SELF = "tidegate"
"""Tidegate as the owner of a number, or as the one that is compared."""
_CENT = Decimal("0.01")


class Cause(StrEnum):
    """The likely cause of a difference."""

    OBSERVED = "observed"
    """The flow does not write there, so nobody told it."""
    PROPOSED = "proposed"
    """The number waits for a person."""
    NEVER_TOLD = "never_told"
    """The flow writes, and this number was not told yet."""
    NEVER_COUNTED = "never_counted"
    """The owner of the count never counted the article."""
    PUSH_FAILED = "push_failed"
    """Telling it failed."""
    CHANGED_SINCE = "changed_since"
    """Another number was told before; the new one was not."""
    CHANGED_THERE = "changed_there"
    """What was told is not what is shown: somebody changed it there."""
    MISSED_EVENT = "missed_event"
    """Units are gone there, and no order told of them: an event was missed, or is late."""
    LOST_PUSH = "lost_push"
    """It shows the number before the last one: what it confirmed did not stay."""
    OTHER_APP = "other_app"
    """It was told anew, and is another one again: something else writes there."""
    NOT_SHOWN = "not_shown"
    """It is bound, and the other side does not show it any more."""
    UNMATCHED = "unmatched"
    """The other side sells or counts an article that is bound to nothing of ours."""
    MOVES_UNSEEN = "moves_unseen"
    """The count is not the sum of the movements that were read."""
    FEED_BEHIND = "feed_behind"
    """Movements of this time were not read yet."""
    PRICE_UNSENT = "price_unsent"
    """Prices are compared, and nobody sends them."""


class Price(msgspec.Struct, frozen=True):
    """What one unit costs."""

    value: Decimal
    currency: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One difference."""

    field: ShownField
    place: str
    owner: str
    other: str
    owner_value: Decimal | None
    other_value: Decimal | None
    currency: str = ""
    risk: Decimal | None = None
    risk_currency: str = ""
    cause: Cause
    in_flight: bool = False


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A number as it was shown."""

    value: Decimal
    observed_at: datetime
    currency: str = ""


class StockFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A channel's number and everything that is known about telling it."""

    channel: str
    place: str
    seen: Seen | None
    is_bound: bool
    ours: int | None
    """In units of the channel's article; None when the item was never counted."""
    mode: str
    """Of the stock flow for this article: observe, propose or live."""
    is_dirty: bool = False
    is_blocked: bool = False
    """A number is on its way or in doubt, or a fulfillment of the item is."""
    is_failing: bool = False
    """It failed and waits for another try, or ended as a dead letter."""
    acked: int | None = None
    """What the channel is believed to show, in units of its article."""
    was_told: bool = False
    changed_at: datetime | None = None
    """When our number changed last, or the channel last confirmed one."""
    tolerance: int = 0
    """Units by which it may differ, unless one side says that there is none."""


def decide_stock(facts: StockFacts, price: Price | None) -> Finding | None:
    """Return how a channel's number differs from ours; None when it does not."""
    shown = facts.seen.value if facts.seen is not None else None
    ours = Decimal(facts.ours) if facts.ours is not None else None
    if facts.is_bound and (shown == ours or _is_tolerated(shown, ours, facts.tolerance)):
        return None
    if not facts.is_bound and not shown:
        return None  # it sells nothing that we could answer for
    if facts.is_bound and shown is None and not ours:
        return None
    is_being_sent = facts.is_blocked or (facts.is_dirty and facts.mode == "live" and not facts.is_failing)
    risk, currency = _risk(_distance(shown, ours), price)
    return Finding(
        field=ShownField.STOCK,
        place=facts.place,
        owner=SELF,
        other=facts.channel,
        owner_value=ours,
        other_value=shown,
        risk=risk,
        risk_currency=currency,
        cause=_stock_cause(facts, shown),
        in_flight=facts.is_bound and (is_being_sent or _changed_since_seen(facts.changed_at, facts.seen)),
    )


def _is_tolerated(shown: Decimal | None, ours: Decimal | None, tolerance: int) -> bool:
    return bool(shown and ours) and _distance(shown, ours) <= tolerance


def _stock_cause(facts: StockFacts, shown: Decimal | None) -> Cause:
    if not facts.is_bound:
        return Cause.UNMATCHED
    if shown is None:
        return Cause.NOT_SHOWN
    if facts.ours is None:
        return Cause.NEVER_COUNTED
    if facts.mode == "observe":
        return Cause.OBSERVED
    if facts.is_failing:
        return Cause.PUSH_FAILED
    if facts.mode == "propose":
        return Cause.PROPOSED
    if not facts.was_told:
        return Cause.NEVER_TOLD
    if facts.acked is not None and shown != facts.acked:
        return Cause.CHANGED_THERE
    return Cause.CHANGED_SINCE


class OnHandFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An ERP's count at one place, and ours."""

    erp: str
    place: str
    seen: Seen | None
    is_bound: bool
    ours: Decimal | None
    """None when no movement of it was ever read."""
    is_feed_behind: bool = False
    changed_at: datetime | None = None


def decide_on_hand(facts: OnHandFacts, price: Price | None) -> Finding | None:
    """Return how our count differs from the ERP's; None when it does not."""
    shown = facts.seen.value if facts.seen is not None else None
    if (shown or 0) == (facts.ours or 0):
        return None
    if not facts.is_bound:
        cause = Cause.UNMATCHED
    elif shown is None:
        cause = Cause.NOT_SHOWN
    elif facts.is_feed_behind:
        cause = Cause.FEED_BEHIND
    else:
        cause = Cause.NEVER_COUNTED if facts.ours is None else Cause.MOVES_UNSEEN
    risk, currency = _risk(_distance(shown, facts.ours), price)
    return Finding(
        field=ShownField.ON_HAND,
        place=facts.place,
        owner=facts.erp,
        other=SELF,
        owner_value=shown,
        other_value=facts.ours,
        risk=risk,
        risk_currency=currency,
        cause=cause,
        in_flight=_changed_since_seen(facts.changed_at, facts.seen),
    )


def decide_price(
    field: ShownField, *, owner: str, other: str, owned: Seen, seen: Seen | None, units: Decimal
) -> Finding | None:
    """Return how another system's price differs from the owner's. `units` are what it offers at that price."""
    if seen is not None and (seen.value, seen.currency) == (owned.value, owned.currency):
        return None
    if seen is None or seen.currency != owned.currency:
        return None  # there is no such price to compare: systems may sell in other currencies
    difference = abs(owned.value - seen.value)
    return Finding(
        field=field,
        place="",
        owner=owner,
        other=other,
        owner_value=owned.value,
        other_value=seen.value,
        currency=owned.currency,
        risk=(difference * max(units, Decimal(0))).quantize(_CENT),
        risk_currency=owned.currency,
        cause=Cause.PRICE_UNSENT,
    )


def _distance(one: Decimal | None, other: Decimal | None) -> Decimal:
    return abs((one or Decimal(0)) - (other or Decimal(0)))


def _risk(units: Decimal, price: Price | None) -> tuple[Decimal | None, str]:
    return (None, "") if price is None else ((units * price.value).quantize(_CENT), price.currency)


def _changed_since_seen(changed_at: datetime | None, seen: Seen | None) -> bool:
    return changed_at is not None and seen is not None and changed_at >= seen.observed_at
