# ruff: noqa: ARG002 - every part of a budget is asked the same questions
"""Windows, pure: so many calls per stretch of time, and per day. Times are seconds of one monotonic clock.

A call counts from its charge; its window begins with its answer, because the platform counted it somewhere between the
two. Then no stretch of the platform's time, however it is aligned, holds more than the limit.
"""

from __future__ import annotations

import math
from bisect import insort
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from tidegate.dispatch.budget_buckets import EPSILON, NEVER, Look
from tidegate.sdk.budgets import DAY_SECONDS, BudgetReading, DailyQuota, FixedWindow, SlidingWindow

GUARD_SECONDS = 0.001
"""Windows of a platform may count both of their ends."""
ENTRIES_MAX = 160
"""More are put together, which lets them end later by less than a 64th of the window."""
GRAINS = 64
UNKNOWN_SECONDS_MAX = 300.0
"""A window that may be used up by somebody unknown is waited out when it is not longer than this; of a longer one the
part that has passed counts as used."""
SOON_SHARE = 0.25
"""What comes back within this share of a window need not be kept for urgent calls: it is theirs first when it does."""
CLOCK_MARGIN_SECONDS = 30.0
"""By how much the clock that begins their day may differ from ours."""
DAY_SECONDS_MAX = 25 * 3600.0
"""Of the longest day of a year; two days in a row are longer, however short they are."""
GRACE_SECONDS = 10.0
"""How long ended entries are remembered at most: an answer may tell of a moment before they ended."""


class Window(msgspec.Struct, frozen=True, kw_only=True, tag="window"):
    """At most `limit` in any stretch of `seconds`; of a fixed window, what is known to be over counts no more."""

    declared: tuple[float, float]
    """Limit (our share) and seconds as declared."""
    limit: float
    seconds: float
    share: float = 1.0
    is_fixed: bool = False
    spent: tuple[tuple[float, float], ...] = ()
    """(counts until, cost), the next to end first."""
    others: float = 0.0
    """What somebody else used, as far as answers tell."""
    others_until: float = 0.0
    taken: float = 0.0
    flying: float = 0.0
    reset_first: float = NEVER
    """Their present window ends not before this ..."""
    reset_last: float = NEVER
    """... and at the latest at this."""

    @classmethod
    def build(cls, rule: FixedWindow | SlidingWindow, share: float, now: float) -> Window:
        """Return a window of which it is not known what was used."""
        limit = max(1.0, rule.limit * share)
        window = cls(
            declared=(limit, rule.seconds),
            limit=limit,
            seconds=rule.seconds,
            share=share,
            is_fixed=isinstance(rule, FixedWindow),
        )
        if rule.seconds <= UNKNOWN_SECONDS_MAX:
            return replace(window, others=limit, others_until=now + rule.seconds + GUARD_SECONDS)
        return window

    def price(self, charge: float) -> float:
        """Return what is really taken for `charge`: a call dearer than the whole window costs the whole window."""
        return min(charge, self.limit)

    def free(self, now: float) -> float:
        """Return what may still be spent at `now`."""
        used = self.flying + (self.others if now < self.others_until else 0.0)
        return self.limit - used - sum(cost for ends, cost in self.spent if ends > now)

    def _ends(self, now: float) -> list[tuple[float, float]]:
        """Return what comes back, and when."""
        ends = [entry for entry in self.spent if entry[0] > now]
        if self.others > 0 and self.others_until > now:
            insort(ends, (self.others_until, self.others))
        return ends

    def wait(self, charge: float, now: float, floor_share: float) -> float:
        """Return how long until `charge` can be taken and the floor is left; infinite: until a call in flight ends.

        The floor shrinks with the time until what it keeps has come back: it is for urgent calls until then, and kept
        longer it would be wasted.
        """
        price = self.price(charge)
        ends = self._ends(now)
        free = self.limit - self.flying - sum(cost for _, cost in ends)
        if free - price >= -EPSILON and floor_share <= 0:
            return 0.0
        floor = min(floor_share * self.limit, self.limit - price)
        start = now
        for index in range(len(ends) + 1):
            next_end = ends[index][0] if index < len(ends) else math.inf
            if free - price >= -EPSILON:
                back_at = _back_at(ends, index, floor, start, self.seconds if self.flying > 0 else 0.0)
                at = _when_enough(free - price, floor, back_at, start, self.seconds)
                if at < next_end:
                    return max(0.0, at - now)
            if index < len(ends):
                start, free = next_end, free + ends[index][1]
        return math.inf

    def take(self, charge: float, now: float) -> Window:
        """Return the window after `charge`. Ask `wait` first."""
        price = self.price(charge)
        return replace(self, taken=self.taken + price, flying=self.flying + price)

    def end(self, charge: float, cost: float, now: float) -> Window:
        """Return the window after a call of `charge` came to an end that cost `cost`; 0: it was never sent."""
        flying = max(0.0, self.flying - self.price(charge))
        flying = flying if flying > EPSILON else 0.0
        if cost <= 0:
            return replace(self, flying=flying)
        until = now + self.seconds + GUARD_SECONDS
        if self.is_fixed and now <= self.reset_first:
            until = min(until, self.reset_last)
        return replace(self, flying=flying, spent=_with(self.spent, until, min(cost, self.limit), self.seconds, now))

    def read(self, reading: BudgetReading, unseen: float, since: float, now: float) -> Window:
        """Return the window as an answer corrects it; see `Bucket.read`. What we spent ourselves stays spent."""
        state = self._learnt(reading)
        if state.is_fixed and reading.reset_seconds is not None and reading.reset_seconds >= 0:
            state = state._reset(reading.reset_seconds, reading.reset_slack, since, now)
        if reading.left is None:
            return state
        at_least = reading.left - unseen
        came_back = sum(cost for ends, cost in state.spent if since < ends <= now)
        came_back += state.others if since < state.others_until <= now else 0.0
        free = state.free(now)
        others = state.others if now < state.others_until else 0.0
        until = state.reset_last if state.is_fixed and state.reset_last > now else now + state.seconds + GUARD_SECONDS
        if free > reading.left + came_back:
            return replace(state, others=others + free - at_least, others_until=max(until, state.others_until))
        if free < at_least and others > 0:
            return replace(state, others=max(0.0, others - (at_least - free)))
        return state

    def _learnt(self, reading: BudgetReading) -> Window:
        if reading.window_seconds is None or reading.window_seconds <= 0:
            return self
        limit = max(1.0, reading.limit * self.share) if reading.limit is not None and reading.limit >= 1 else self.limit
        longer = max(0.0, reading.window_seconds - self.seconds)
        spent = tuple((ends + longer, cost) for ends, cost in self.spent) if longer else self.spent
        return replace(self, limit=limit, seconds=reading.window_seconds, spent=spent)

    def _reset(self, seconds: float, slack: float, since: float, now: float) -> Window:
        first, last = since + seconds - slack, now + seconds + GUARD_SECONDS
        length = self.seconds + GUARD_SECONDS
        spent: tuple[tuple[float, float], ...] = ()
        for ends, cost in self.spent:
            is_over = ends - length <= first and ends > now
            spent = _with(spent, min(ends, last) if is_over else ends, cost, self.seconds, now)
        return replace(self, spent=spent, reset_first=first, reset_last=last)

    def drain(self, seconds: float, now: float) -> Window:
        """Return it with nothing left for `seconds`."""
        free = self.free(now)
        others = self.others if now < self.others_until else 0.0
        if free <= 0:
            return self
        return replace(self, others=others + free, others_until=max(self.others_until, now + seconds))

    def shifted(self, seconds: float) -> Window:
        """Return the same state on a clock that shows `seconds` more."""
        return replace(
            self,
            spent=tuple((ends + seconds, cost) for ends, cost in self.spent),
            others_until=self.others_until + seconds,
            reset_first=self.reset_first + seconds,
            reset_last=self.reset_last + seconds,
        )

    def adopted(self, fresh: Window, stray_seconds: float, now: float) -> Window:
        """Return this stored state under the rule of `fresh`; what was under way may arrive for `stray_seconds` more."""
        is_same = self.declared == fresh.declared and self.is_fixed == fresh.is_fixed
        rule = self if is_same else fresh
        longer = max(0.0, rule.seconds - self.seconds)
        spent = tuple((ends + longer, cost) for ends, cost in self.spent if ends + longer > now)
        if self.flying > 0:
            until = now + stray_seconds + rule.seconds + GUARD_SECONDS
            spent = _with(spent, until, self.flying, rule.seconds, now)
        return replace(
            fresh,
            limit=rule.limit,
            seconds=rule.seconds,
            spent=spent,
            others=self.others,
            others_until=self.others_until,
        )

    def look(self, now: float) -> Look:
        """Return what it shows."""
        ends = self._ends(now)
        full = max(ends[-1][0] - now if ends else 0.0, self.seconds if self.flying > 0 else 0.0)
        name = f"{self.limit:g} per {describe_seconds(self.seconds)}"
        return Look(rule=name, left=max(0.0, self.free(now)), limit=self.limit, full_seconds=full)


class Day(msgspec.Struct, frozen=True, kw_only=True, tag="day"):
    """A quota that begins anew at a time of day. What is spent close to that moment counts on both sides of it."""

    declared: tuple[float, str, str]
    """Limit (our share), time of day and zone."""
    limit: float
    share: float = 1.0
    wall: float = 0.0
    """Unix time minus the monotonic clock, as it was when the lane began."""
    ends: float = 0.0
    """When their day ends, by the monotonic clock."""
    spent: float = 0.0
    late: float = 0.0
    """Of it, what the next day may count too."""
    others: float = 0.0
    taken: float = 0.0
    flying: float = 0.0

    @classmethod
    def build(cls, rule: DailyQuota, share: float, now: float, wall: float) -> Day:
        """Return a day of which the part that has passed counts as used."""
        limit = max(1.0, rule.limit * share)
        day = cls(declared=(limit, rule.resets, rule.zone), limit=limit, share=share, wall=wall)
        ends = day._next(now)
        return replace(day, ends=ends, others=limit * max(0.0, 1.0 - (ends - now) / DAY_SECONDS))

    def _next(self, now: float) -> float:
        """Return the first end of a day after `now`."""
        _, resets, zone = self.declared
        return next_reset(now + self.wall, resets, zone) - self.wall

    def _begins(self) -> float:
        """Return when the day that ends at `ends` began: 23 to 25 hours before, where the clocks change."""
        return self._next(self.ends - DAY_SECONDS_MAX - 1.0)

    def rolled(self, now: float) -> Day:
        """Return the state at `now`: a day that is certainly over is forgotten."""
        if now < self.ends + CLOCK_MARGIN_SECONDS:
            return self
        ends = self._next(now)
        is_next_day = self._next(self.ends + 1.0) > ends - 1.0
        return replace(self, ends=ends, spent=self.late if is_next_day else 0.0, late=0.0, others=0.0)

    def price(self, charge: float) -> float:
        """Return what is really taken for `charge`."""
        return min(charge, self.limit)

    def wait(self, charge: float, now: float, floor_share: float) -> float:
        """Return how long until `charge` can be taken and the floor is left, which shrinks towards the end of the day."""
        day, price = self.rolled(now), self.price(charge)
        free = day.limit - day.flying - day.spent - day.others
        over = day.ends + CLOCK_MARGIN_SECONDS
        floor = min(floor_share * day.limit, day.limit - price)
        if free - price >= -EPSILON:
            at = _when_enough(free - price, floor, over, now, DAY_SECONDS)
            return max(0.0, min(at, over) - now)
        return math.inf if day.flying > 0 and day.flying + day.late + price > day.limit + EPSILON else over - now

    def take(self, charge: float, now: float) -> Day:
        """Return the day after `charge`. Ask `wait` first."""
        day, price = self.rolled(now), self.price(charge)
        return replace(day, taken=day.taken + price, flying=day.flying + price)

    def end(self, charge: float, cost: float, now: float) -> Day:
        """Return the day after a call of `charge` came to an end that cost `cost`; 0: it was never sent."""
        day = self.rolled(now)
        flying = max(0.0, day.flying - self.price(charge))
        flying = flying if flying > EPSILON else 0.0
        paid = min(cost, day.limit)
        is_late = now >= day.ends - CLOCK_MARGIN_SECONDS
        return replace(day, flying=flying, spent=day.spent + paid, late=day.late + (paid if is_late else 0.0))

    def read(self, reading: BudgetReading, unseen: float, since: float, now: float) -> Day:
        """Return the day as an answer corrects it; see `Bucket.read`."""
        day = self.rolled(now)
        if reading.limit is not None and reading.limit >= 1 and reading.window_seconds == DAY_SECONDS:
            day = replace(day, limit=max(1.0, reading.limit * self.share))
        if reading.left is None or since < day._begins() + CLOCK_MARGIN_SECONDS * 2:
            return day  # it may speak of the day before
        free = day.limit - day.flying - day.spent - day.others
        at_least = reading.left - unseen
        if free > reading.left:
            return replace(day, others=day.others + free - at_least)
        if free < at_least and day.others > 0:
            return replace(day, others=max(0.0, day.others - (at_least - free)))
        return day

    def drain(self, seconds: float, now: float) -> Day:
        """Return it unchanged: who is refused for a while has not used up the day."""
        return self

    def shifted(self, seconds: float) -> Day:
        """Return the same state on a clock that shows `seconds` more."""
        return replace(self, ends=self.ends + seconds, wall=self.wall - seconds)

    def adopted(self, fresh: Day, stray_seconds: float, now: float) -> Day:
        """Return this stored state under the rule of `fresh`."""
        if self.declared[1:] != fresh.declared[1:]:
            return fresh
        day = self.rolled(now)
        limit = day.limit if self.declared == fresh.declared else fresh.limit
        is_late = now + stray_seconds >= fresh.ends - CLOCK_MARGIN_SECONDS
        late = day.late + (day.flying if is_late else 0.0)
        return replace(fresh, limit=limit, ends=day.ends, spent=day.spent + day.flying, late=late, others=day.others)

    def look(self, now: float) -> Look:
        """Return what it shows."""
        day = self.rolled(now)
        left = max(0.0, day.limit - day.flying - day.spent - day.others)
        full = 0.0 if left >= day.limit else max(0.0, day.ends + CLOCK_MARGIN_SECONDS - now)
        return Look(rule=f"{day.limit:g} per day", left=left, limit=day.limit, full_seconds=full)


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def next_reset(unix: float, resets: str, zone: str) -> float:
    """Return the Unix time of the first `resets` (HH:MM in `zone`) after `unix`."""
    hours, _, minutes = resets.partition(":")
    there = datetime.fromtimestamp(unix, UTC).astimezone(_zone(zone))
    day = there.replace(hour=int(hours), minute=int(minutes), second=0, microsecond=0, fold=0)
    for days in range(-1, 4):
        moment = (day + timedelta(days=days)).timestamp()
        if moment > unix:
            return moment
    raise AssertionError("a day ends within four")


def describe_seconds(seconds: float) -> str:
    """Return a length of time in words."""
    for unit, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= unit and seconds % unit == 0:
            return name if seconds == unit else f"{seconds / unit:g} {name}"
    return "second" if seconds == 1 else f"{seconds:g} s"


def _back_at(ends: list[tuple[float, float]], index: int, floor: float, start: float, unknown_seconds: float) -> float:
    """Return when `floor` has come back after `start`."""
    total = 0.0
    for end, cost in ends[index:]:
        total += cost
        if total >= floor - EPSILON:
            return end
    last = ends[-1][0] if len(ends) > index else start
    return max(last, start + unknown_seconds)


def _when_enough(spare: float, floor: float, back_at: float, start: float, seconds: float) -> float:
    """Return the first moment from `start` on at which the floor, shrinking until `back_at`, leaves `spare`."""
    if floor <= 0 or spare >= floor:
        return start
    kept = max(0.0, spare) / floor
    return max(start, back_at - seconds * (SOON_SHARE + (1.0 - SOON_SHARE) * kept))


def _with(
    spent: tuple[tuple[float, float], ...], until: float, cost: float, seconds: float, now: float
) -> tuple[tuple[float, float], ...]:
    """Return the entries with another one, without those that ended long ago, put together where there are many."""
    start = 0
    old = now - min(GRACE_SECONDS, seconds)
    while start < len(spent) and spent[start][0] < old:
        start += 1
    if start:
        spent = spent[start:]
    if spent and spent[-1][0] == until:
        return (*spent[:-1], (until, spent[-1][1] + cost))
    if spent and spent[-1][0] > until:
        entries = list(spent)
        insort(entries, (until, cost))
        spent = tuple(entries)
    else:
        spent = (*spent, (until, cost))
    return spent if len(spent) <= ENTRIES_MAX else _merged(spent, seconds / GRAINS)


def _merged(spent: tuple[tuple[float, float], ...], grain: float) -> tuple[tuple[float, float], ...]:
    """Return one entry per grain of time. The grid stands still, so merging again changes nothing."""
    merged: list[tuple[float, float]] = []
    newest = -math.inf
    for until, cost in spent:
        slot = until // grain
        if merged and slot == newest:
            merged[-1] = (until, merged[-1][1] + cost)
        else:
            merged.append((until, cost))
            newest = slot
    return tuple(merged)
