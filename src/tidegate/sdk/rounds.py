"""Polling by time of change: where it stands, where a round begins, and what to ask for next. Pure.

A round reads everything that changed since a bound, oldest change first, always a first page from a bound that moves: pages by
number shift when an entity that was read changes and moves to the end. Each round begins a little before the newest change
that was seen, because a time of change is set before the platform's transaction commits. The rounds that reach further back
begin where the one before them stood, so that together they leave no gap.

Times of change are compared with the clock that set them: when the page was answered. What is of a time to come, by an import, a
plugin or a clock that was wrong, is read and moves nothing, because it would hide what changes until then. A cursor that stands
in a time to come all the same, because that clock was set back, begins anew a day ago.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from tidegate.kernel.clock import EPOCH

ASTRAY_BACK = timedelta(days=1)
"""How far back polling begins anew when its cursor stands in a time to come."""
_GRAIN = timedelta(seconds=1)
"""Of the time in an answer's head, which is cut off."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far back rounds reach."""

    overlap: timedelta
    """Of a usual round, behind the newest change that was seen."""
    deep_every: timedelta
    """After this much progress a round is a deep one."""
    deep_back: timedelta
    """How far a deep round reaches behind the beginning of the one before it: a change may take so long to be visible."""

    def is_deep_due(self, newest: datetime, deep_at: datetime) -> bool:
        """Return whether the next round is a deep one."""
        return newest - deep_at >= self.deep_every

    def start(self, newest: datetime, deep_at: datetime) -> datetime:
        """Return the bound of a round that begins now; EPOCH: everything."""
        if newest == EPOCH:
            return EPOCH
        if not self.is_deep_due(newest, deep_at):
            return newest - self.overlap
        last = deep_at if deep_at != EPOCH else newest - self.deep_every
        return last - self.deep_back

    def reached(self, newest: datetime, changed: Sequence[datetime], now: datetime | None) -> datetime:
        """Return the newest change that was seen and is past; `now` None: the answer does not say when it was made."""
        return max([newest, *(moment for moment in changed if now is None or moment < now + _GRAIN)])

    def astray(self, newest: datetime, now: datetime | None) -> datetime | None:
        """Return where to begin anew when the newest change is of a time to come, None when it is not."""
        return now - ASTRAY_BACK if now is not None and newest > now + _GRAIN + self.overlap else None


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How a platform is polled whose pages have numbers."""

    reach: Reach
    page_max: int
    """Entities of a page; a shorter one is the last."""
    tick: timedelta
    """The grain of the platform's times."""
    crowd: timedelta
    """How much time the page of a crowd spans: more entities of one moment than a page holds, read by id."""
    reread: int = 10
    """Entities of a crowd's page that are read again with the next one, for those that left the crowd in between."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where polling stands."""

    newest: datetime = EPOCH
    """Of all changes seen."""
    deep_at: datetime = EPOCH
    """Newest change at the beginning of the last deep round."""
    page_after: datetime | None = None
    """Set inside of a round: the next page's lower bound."""
    skip: int | None = None
    """Set inside of a crowd: how many of it were read."""


def parse(text: str) -> Cursor:
    """Return the cursor of a stored text; '' is the very beginning."""
    return msgspec.json.decode(text, type=Cursor) if text else Cursor()


def page_bound(state: Cursor, rounds: Rounds) -> datetime:
    """Return the lower bound of the next page; EPOCH: everything."""
    return state.page_after if state.page_after is not None else rounds.reach.start(state.newest, state.deep_at)


def following(state: Cursor, changed: Sequence[datetime], rounds: Rounds, now: datetime | None) -> tuple[Cursor, bool]:
    """Return the cursor after a page with these times of change, answered at `now`, and whether the round goes on."""
    if (anew := rounds.reach.astray(state.newest, now)) is not None:
        return Cursor(newest=anew, deep_at=anew), True
    after = page_bound(state, rounds)
    begins_deep = state.page_after is None and rounds.reach.is_deep_due(state.newest, state.deep_at)
    reached = Cursor(
        newest=rounds.reach.reached(state.newest, changed, now), deep_at=state.newest if begins_deep else state.deep_at
    )
    is_full = len(changed) >= rounds.page_max
    if state.skip is not None:
        if is_full:
            skip = state.skip + len(changed) - rounds.reread
            return msgspec.structs.replace(reached, page_after=after, skip=skip), True
        return msgspec.structs.replace(reached, page_after=after + rounds.crowd), True
    if not is_full:
        return reached, False
    bound = changed[-1] - rounds.tick  # others of the same moment may be on the next page
    if bound > after:
        return msgspec.structs.replace(reached, page_after=bound), True
    return msgspec.structs.replace(reached, page_after=after, skip=0), True
