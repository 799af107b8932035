"""How the units of one item are shared out among channels so that together they can never sell more than there is. Pure.

What a channel may at worst still sell, and no order of ours tells of yet, is its *lot*. The lots of all channels together
never exceed what can be sold: a channel gets more only out of the free pool, and units come into the pool only when it is
certain that the channel that had them cannot sell them any more. A number in flight, or in doubt, counts at its worst.

When that is certain depends on how the channel counts, see `Counting`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal
from uuid import UUID

import msgspec

from tidegate.commerce.stock import StockNumber


class Counting(StrEnum):
    """How a channel's number follows its own sales."""

    COMPARED = "compared"
    """A number is set only where the channel shows what is expected: whoever set it knew of every sale before."""
    BOOKED = "booked"
    """It keeps its open orders apart and may sell up to the number less these: a sale that nobody told is inside of it. A
    lower number holds back what was not sold yet; what was, is known when the orders up to then are read."""
    BLIND = "blind"
    """A number replaces whatever is there: a sale that nobody told yet is offered again. So it goes through zero: 0 is
    told, its orders up to then are read, and only then the next number."""


def counting_of(*, conditional_set: bool, deducts_own_orders: bool, stock_number: StockNumber) -> Counting:
    """Return how a channel counts, from its connector's declarations."""
    if stock_number == "on_hand":
        return Counting.BOOKED if deducts_own_orders and not conditional_set else Counting.BLIND
    return Counting.COMPARED if conditional_set and deducts_own_orders else Counting.BLIND


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """What one channel may at worst still sell of an item, in units, and how far it is with the number on its way.

    At each moment: what the channel lets itself sell, and what it sold and no order told of yet, less what counts as sold
    unexplained already, is at most `worst`.
    """

    counting: Counting
    settled: int | None
    """At worst, if the number that is on its way never arrives. None: it is not known, and so not bounded."""
    asked: int | None = None
    """At worst, if the number that is on its way arrives; None: none is."""
    cap: int | None = None
    """It was seen, or told, to show so little that this bounds it once all orders up to then are read; None: nothing of the
    kind is waited for."""

    @property
    def worst(self) -> int | None:
        """What it may at worst still sell; None: not bounded."""
        return None if self.settled is None else max(self.settled, self.asked or 0)

    @property
    def is_draining(self) -> bool:
        """Whether orders are waited for that may tell that it sold what it had."""
        return self.cap is not None

    def slack(self, shown: int | None) -> int:
        """Return how many units it may have sold untold, where it compares and shows `shown` as believed."""
        if self.counting is not Counting.COMPARED or self.settled is None or shown is None:
            return 0
        return max(0, self.settled - shown)


Fate = Literal["arrived", "refused", "unsure"]
"""Of a number: the channel has it; it certainly never will; or it may have it, or get it later."""


def begin(lot: Lot, units: int, *, shown: int | None) -> Lot:
    """Return the lot when a number is put on its way that lets the channel, believed to show `shown`, sell `units`."""
    return msgspec.structs.replace(lot, asked=units + lot.slack(shown))


def sell(lot: Lot, units: int) -> Lot:
    """Return the lot when an order told that the channel sold `units`; negative: they came back.

    What bounds it no more is not waited for: it may be lowered, or looked at, again at once.
    """
    settled = None if lot.settled is None else max(0, lot.settled - units)
    cap = None if lot.cap is None else lot.cap - min(0, units)
    if lot.counting is not Counting.BOOKED and settled is not None and cap is not None and settled <= cap:
        cap = None
    asked = None if lot.asked is None else max(0, lot.asked - units)
    return msgspec.structs.replace(lot, settled=settled, asked=asked, cap=cap)


def answer(
    lot: Lot,
    fate: Fate,
    *,
    before: int | None,
    shows: int | None,
    seen: int | None = None,
    gone: int = 0,
    is_late: bool = False,
    is_compared: bool = True,
) -> Lot:
    """Return the lot when the number that was on its way is settled.

    `before` and `shows`: what the channel was believed to let itself sell until now, and is from now on; sales that are told
    are taken off; None: not known. `seen`: what it certainly showed at some moment of the call, no sale taken off. `gone`: units that lack there unexplained, and count as sold from now on. `is_late`: a
    number that was given up may still arrive, this one or one before it. `is_compared`: the number was set only as expected;
    where it was not, a channel that compares is as blind as any other.
    """
    done = msgspec.structs.replace(lot, asked=None)
    if lot.settled is None:
        is_closed = fate == "arrived" and lot.asked == 0 and not is_late
        return msgspec.structs.replace(done, cap=0) if is_closed else done
    if fate == "unsure" or is_late:
        return msgspec.structs.replace(done, settled=max(lot.worst or 0, shows or 0), cap=None)
    if lot.counting is Counting.COMPARED and is_compared:
        return done if before is None or shows is None else _compared(done, fate, before, shows, seen, gone)
    if fate == "refused":
        return done
    asked = lot.asked or 0
    if asked < lot.settled:
        return msgspec.structs.replace(done, cap=asked)
    return msgspec.structs.replace(done, settled=asked, cap=None)


def _compared(lot: Lot, fate: Fate, before: int, shows: int, seen: int | None, gone: int) -> Lot:
    """What it sold untold is what its lot had over what it showed; that stays, whatever number is set over it."""
    settled, cap = lot.settled or 0, lot.cap
    slack = max(0, settled - before)
    if fate == "arrived":
        settled, cap = max(0, shows + slack), None if cap is None else cap + shows - before
    else:
        settled, cap = max(shows, settled - gone, 0), None if cap is None else cap - gone
    if settled <= max(0, shows):
        cap = None
    elif cap is None and seen is not None:
        cap = seen
    return msgspec.structs.replace(lot, settled=settled, cap=None if cap is None else max(0, cap))


def drain(lot: Lot, *, shows: int | None) -> Lot:
    """Return the lot when every order is read and counted that the channel took before it was lowered or looked at.

    `shows`: as for `answer`.
    """
    if lot.cap is None:
        return lot
    if lot.counting is Counting.BOOKED and lot.settled is not None:
        return msgspec.structs.replace(lot, settled=max(0, shows or 0), cap=None)
    settled = lot.cap if lot.settled is None else min(lot.settled, lot.cap)
    return msgspec.structs.replace(lot, settled=settled, cap=None)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One channel that wants a part of an item."""

    channel: UUID
    lot: Lot
    weight: float = 1.0
    minimum: int = 0
    """Units that it gets before anything is shared out, as far as there are so many."""
    velocity: float = 1.0
    """Units a second, as `velocity_of` tells it. Equal for all where nothing is known: then weights alone count."""
    shown: int | None
    """What it is believed to let itself sell; None: that is not known any more."""
    is_late: bool = False
    """A number that was given up may still arrive there. It is told no more meanwhile: a number that is compared is refused
    unless the channel shows just what it showed then, and it could come there again only by selling what it got since."""
    is_held: bool = False
    """Nothing can be told to it just now: a number is on its way, it is parked, or it needs an approval."""

    @property
    def is_open_for(self) -> bool:
        """Whether it can be told another number now."""
        waits = self.lot.is_draining and (self.lot.counting is not Counting.COMPARED or self.lot.settled is None)
        return not self.is_held and self.lot.asked is None and not waits


class Move(msgspec.Struct, frozen=True):
    """A channel is to be told a number that lets it sell `units`."""

    units: int
    kind: Literal["raise", "withdraw", "close", "check"]
    """close: to 0, so that it is known again what it has, or so that a blind channel can be given another number. check: what
    it is believed to show already, because it may have sold units of which no order told."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to happen with an item."""

    aims: Mapping[UUID, int]
    """What each channel would have, could units be moved at once. They add up to what can be sold."""
    pool: int | None
    """Units that no channel can sell now; negative: too many are out. None: not known, because a lot is not bounded."""
    moves: Mapping[UUID, Move]


PRIOR_SECONDS = 60.0
"""A channel that never had anything to sell counts as one that sells a unit in this time: it is worth a try."""
MEMORY_SECONDS = 3600.0
"""What was sold so long ago counts about a third."""
LARGE_PART = 8
"""Fewer free units than one in so many of what a channel has are not worth a call."""


def fade(value: float, seconds: float) -> float:
    """Return what is left of something that is remembered after so many seconds."""
    return value * math.exp(-max(0.0, seconds) / MEMORY_SECONDS)


def velocity_of(sales: float, exposure_seconds: float) -> float:
    """Return the units a second that a channel sells while it has something to sell, as a power of two.

    Whoever has nothing to sell sells nothing, and that says nothing about who would buy: only the time in which it had units
    counts. A channel that holds units which nobody buys gets slower until they are worth a try elsewhere. Powers of two:
    small differences move nothing.
    """
    return 2.0 ** math.floor(math.log2((max(0.0, sales) + 1.0) / (max(0.0, exposure_seconds) + PRIOR_SECONDS)))


def aim(sellable: int, claims: Sequence[Claim]) -> dict[UUID, int]:
    """Return the parts of `sellable` (0 where it is negative), which add up to it: minimums first, the rest by demand.

    Demand is weight times velocity. Of what cannot be divided, a channel gets a unit by the largest remainder, and where that
    is equal the one that has more already: so nothing moves for nothing.
    """
    left = max(0, sellable)
    parts: dict[UUID, int] = {}
    ranked = sorted(claims, key=lambda claim: (-claim.weight, claim.channel))
    for claim in ranked:
        parts[claim.channel] = min(left, claim.minimum) if claim.weight > 0 else 0
        left -= parts[claim.channel]
    demands = {claim.channel: round(max(0.0, claim.weight * claim.velocity) * _DEMAND_SCALE) for claim in claims}
    total = sum(demands.values())
    if not left or not total:
        return parts
    for channel, demand in demands.items():
        parts[channel] += left * demand // total
    rest = left - sum(left * demand // total for demand in demands.values())
    has = {claim.channel: claim.lot.worst or 0 for claim in claims}
    order = sorted(demands, key=lambda channel: (-(left * demands[channel] % total), -has[channel], channel))
    for channel in order[:rest]:
        parts[channel] += 1
    return parts


_DEMAND_SCALE = 1 << 40
"""Demands are compared as whole numbers, so that parts add up exactly."""


def plan(sellable: int, claims: Sequence[Claim]) -> Plan:
    """Return what each channel is to be told now.

    Raises come out of the pool alone, and never exceed it. Units are withdrawn when a channel that is short cannot get them
    out of the pool, or when too many are out; from channels that can do it without closing first.
    """
    if not claims:
        return Plan(aims={}, pool=max(0, sellable), moves={})
    aims = aim(sellable, claims)
    lots = [claim.lot.worst for claim in claims]
    pool = None if None in lots else sellable - sum(worst for worst in lots if worst is not None)
    moves = {claim.channel: Move(0, "close") for claim in claims if claim.is_open_for and _must_close(claim)}
    able = [claim for claim in claims if claim.is_open_for and claim.channel not in moves]
    moves |= _withdrawals(claims, able, aims, pool)
    moves |= _raises([claim for claim in able if claim.channel not in moves], aims, pool)
    moves |= {
        claim.channel: Move(max(0, claim.shown or 0), "check")
        for claim in able
        if claim.channel not in moves
        and claim.lot.slack(claim.shown)
        and not claim.is_late
        and not claim.lot.is_draining
    }
    return Plan(aims=aims, pool=pool, moves=moves)


def _must_close(claim: Claim) -> bool:
    """Whether it is not known what it shows: it is told 0 until that is known."""
    is_unclear = claim.shown is None or (claim.is_late and claim.lot.counting is not Counting.COMPARED)
    return claim.lot.settled is None or is_unclear


def _is_short(claim: Claim, aims: Mapping[UUID, int]) -> bool:
    has = claim.lot.worst or 0
    return has < aims[claim.channel] and has * 2 <= aims[claim.channel]


def _withdrawals(
    claims: Sequence[Claim], able: Sequence[Claim], aims: Mapping[UUID, int], pool: int | None
) -> dict[UUID, Move]:
    wanted = sum(
        aims[claim.channel] - (claim.lot.worst or 0)
        for claim in claims
        if _is_short(claim, aims) and (claim.lot.counting is not Counting.BLIND or not claim.lot.worst)
    )
    coming = sum((claim.lot.worst or 0) - aims[claim.channel] for claim in claims if _is_leaving(claim, aims))
    missing = wanted - (pool or 0) - coming
    moves: dict[UUID, Move] = {}
    rich = [claim for claim in able if (claim.lot.worst or 0) > aims[claim.channel]]
    for claim in sorted(rich, key=lambda claim: _cost_of_lowering(claim, aims)):
        if missing <= 0:
            break
        has, part = claim.lot.worst or 0, aims[claim.channel]
        if claim.lot.counting is Counting.BLIND:
            if (has - part) * 2 < has and (pool is None or pool >= 0):
                continue
            moves[claim.channel] = Move(0, "close")
            missing -= has - part
        elif (told := max(0, _lowered(has, part, pool) - claim.lot.slack(claim.shown))) < (claim.shown or 0):
            moves[claim.channel] = Move(told, "withdraw")
            missing -= (claim.shown or 0) - told
    return moves


def _lowered(has: int, part: int, pool: int | None) -> int:
    """Return what a channel is left with: half of what it has too many, as demand is a guess; when too many are out nothing."""
    return part if pool is not None and pool < 0 else part + (has - part) // 2


def _is_leaving(claim: Claim, aims: Mapping[UUID, int]) -> bool:
    """Whether units of it are on their way into the pool already."""
    is_lowered = claim.lot.asked is not None and claim.lot.settled is not None and claim.lot.asked < claim.lot.settled
    return (is_lowered or claim.lot.is_draining) and (claim.lot.worst or 0) > aims[claim.channel]


def _cost_of_lowering(claim: Claim, aims: Mapping[UUID, int]) -> tuple[int, int, UUID]:
    order = (Counting.COMPARED, Counting.BOOKED, Counting.BLIND).index(claim.lot.counting)
    return (order, aims[claim.channel] - (claim.lot.worst or 0), claim.channel)


def _raises(able: Sequence[Claim], aims: Mapping[UUID, int], pool: int | None) -> dict[UUID, Move]:
    moves: dict[UUID, Move] = {}
    left = max(0, pool or 0)
    poor = [claim for claim in able if (claim.lot.worst or 0) < aims[claim.channel] and not claim.is_late]
    for claim in sorted(poor, key=lambda claim: ((claim.lot.worst or 0) - aims[claim.channel], claim.channel)):
        has = claim.lot.worst or 0
        more = min(left, aims[claim.channel] - has)
        if more <= 0 or more * LARGE_PART < has or (claim.lot.counting is Counting.BLIND and has):
            continue
        moves[claim.channel] = Move(has + more - claim.lot.slack(claim.shown), "raise")
        left -= more
    return moves


def units_within(velocity: float, seconds: float) -> int:
    """Return the units that are sold within so many seconds at most, when nothing was sold lately none."""
    return math.ceil(max(0.0, velocity) * max(0.0, seconds))


class Pace(msgspec.Struct, frozen=True):
    """How fast an item sells, and how fast channels hear of it."""

    velocity: float
    """Units a second, over all channels."""
    lag_seconds: float
    """From a change to the moment at which a channel is told, at most times."""


PACE_SECONDS = 60.0
"""Over how long it is counted how fast an item sells."""
PACE_SECONDS_MIN = 5.0
"""A few sales right now are not many."""
LAG_SECONDS = 10.0
"""How long a number takes as long as none was told."""


def pace_of(units: float, seconds: float, lag_seconds: float | None) -> Pace:
    """Return the pace from units sold in so many seconds, and from how long numbers took (None: none was told)."""
    velocity = units / max(PACE_SECONDS_MIN, min(PACE_SECONDS, seconds)) if units > 0 else 0.0
    return Pace(velocity, max(0.0, lag_seconds) if lag_seconds is not None else LAG_SECONDS)


def at_peak(pace: Pace, peak: float) -> Pace:
    """Return the pace where `peak` units a second are expected at most; 0: nothing was said.

    Numbers are taken to need some time then: how long they took on a calm day says little.
    """
    return Pace(max(pace.velocity, peak), max(pace.lag_seconds, LAG_SECONDS)) if peak > 0 else pace


PLENTY_AT = 2.0
"""What is scarce stays so until there is this many times as much as would make it so."""


def is_scarce(sellable: int, pace: Pace, channels: int, *, was_scarce: bool) -> bool:
    """Return whether one number for all channels may oversell an item.

    While a number travels, each channel sells on by what it showed before; so units are shared out when no more is left than
    velocity x lag x channels.
    """
    bound = pace.velocity * pace.lag_seconds * max(1, channels) * (PLENTY_AT if was_scarce else 1.0)
    return bound > 0 and sellable <= bound
