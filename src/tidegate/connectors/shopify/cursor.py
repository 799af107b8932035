"""Where polling of orders stands and what to ask for next. Pure.

A round reads the ids of everything that changed since a bound, oldest change first. Each round begins a little before the
newest change that was seen, because the shop's search shows a change some seconds after it happened. Once per five minutes
of progress a round reaches back to where the last such round stood, so that together they leave no gap.

The shop gives at most 25,000 orders behind one question, so a round that is longer asks a new one from where it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tidegate.kernel.clock import EPOCH
from tidegate.sdk.rounds import Reach

ORDERS_PER_PAGE = 100
PAGES_PER_QUESTION = 200
REACH = Reach(overlap=timedelta(seconds=15), deep_every=timedelta(minutes=5), deep_back=timedelta(minutes=5))


class Cursor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where polling stands."""

    newest: datetime = EPOCH
    """Of all changes seen."""
    deep_at: datetime = EPOCH
    """Newest change at the beginning of the last deep round."""
    since: datetime | None = None
    """Set inside of a round: the bound of the present question."""
    after: str | None = None
    """Set inside of a round: the shop's own place inside of the question."""
    pages: int = 0
    """Read of the present question."""


def variables(state: Cursor) -> dict[str, Any]:
    """Return the variables of `CHANGED_ORDERS` for the next page."""
    bound = state.since if state.since is not None else REACH.start(state.newest, state.deep_at)
    query = "" if bound == EPOCH else f"updated_at:>='{bound.isoformat(timespec='seconds').replace('+00:00', 'Z')}'"
    return {"first": ORDERS_PER_PAGE, "after": state.after, "query": query}


def following(
    state: Cursor, changed: Sequence[datetime], now: datetime | None, *, end_cursor: str | None, has_more: bool
) -> tuple[Cursor, bool]:
    """Return the cursor after a page with these times of change, answered at `now`, and whether the round goes on."""
    if (anew := REACH.astray(state.newest, now)) is not None:
        return Cursor(newest=anew, deep_at=anew), True
    begins = state.since is None
    bound = REACH.start(state.newest, state.deep_at) if begins else state.since
    deep_at = state.newest if begins and REACH.is_deep_due(state.newest, state.deep_at) else state.deep_at
    newest = REACH.reached(state.newest, changed, now)
    if not has_more or end_cursor is None:
        return Cursor(newest=newest, deep_at=deep_at), False
    pages = state.pages + 1
    if pages >= PAGES_PER_QUESTION and changed and bound is not None and changed[-1] > bound:
        return Cursor(newest=newest, deep_at=deep_at, since=changed[-1]), True
    return Cursor(newest=newest, deep_at=deep_at, since=bound, after=end_cursor, pages=pages), True
