"""Where polling of orders stands and which orders to ask for next. Pure.

A round reads everything that changed since a bound, oldest change first. Each round begins a little before the newest
change that was seen, because `updatedAt` is set before the shop's transaction commits. The rounds that reach further back
begin where the one before them stood, so that together they leave no gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tidegate.kernel.clock import EPOCH

ORDERS_PER_PAGE = 50
OVERLAP = timedelta(seconds=30)
"""How far a round reaches back."""
DEEP_EVERY = timedelta(minutes=5)
"""After this much progress a round reaches this far behind the last deep one: a change may take so long to be visible."""
TICK = timedelta(milliseconds=1)
"""Vendure shows and takes times in milliseconds and keeps microseconds."""
CROWD = 2 * TICK
REREAD = 10
"""Orders of a crowd's page that are read again with the next one, for those that left the crowd in between."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where polling stands."""

    newest: datetime = EPOCH
    """Of all changes seen."""
    deep_at: datetime = EPOCH
    """Newest change at the beginning of the last deep round."""
    page_after: datetime | None = None
    """Set inside of a round: the next page's lower bound."""
    skip: int | None = None
    """Set inside of a crowd, more orders than a page holds within `CROWD` of `page_after`: how many of them were read."""


def list_options(state: Cursor) -> dict[str, Any]:
    """Return the `OrderListOptions` of the next page: placed orders only."""
    after = state.page_after if state.page_after is not None else _round_start(state)
    moment: dict[str, Any] = {"after": _instant(after)}
    options: dict[str, Any] = {"sort": {"updatedAt": "ASC"}, "take": ORDERS_PER_PAGE}
    if state.skip is not None:
        moment = {"between": {"start": _instant(after), "end": _instant(after + CROWD)}}
        options |= {"sort": {"id": "ASC"}, "skip": state.skip}
    return {"filter": {"updatedAt": moment, "active": {"eq": False}}, **options}


def following(state: Cursor, changed: Sequence[datetime]) -> tuple[Cursor, bool]:
    """Return the cursor after a page with these times of change, and whether the round goes on."""
    after = state.page_after if state.page_after is not None else _round_start(state)
    begins_deep = state.page_after is None and _is_deep_due(state)
    reached = Cursor(newest=max([state.newest, *changed]), deep_at=state.newest if begins_deep else state.deep_at)
    is_full = len(changed) >= ORDERS_PER_PAGE
    if state.skip is not None:
        if is_full:
            return msgspec.structs.replace(reached, page_after=after, skip=state.skip + len(changed) - REREAD), True
        return msgspec.structs.replace(reached, page_after=after + CROWD), True
    if not is_full:
        return reached, False
    bound = changed[-1] - TICK  # orders of the same tick may be on the next page
    if bound > after:
        return msgspec.structs.replace(reached, page_after=bound), True
    return msgspec.structs.replace(reached, page_after=after, skip=0), True


def _round_start(state: Cursor) -> datetime:
    if state.newest == EPOCH:
        return EPOCH
    if not _is_deep_due(state):
        return state.newest - OVERLAP
    last = state.deep_at if state.deep_at != EPOCH else state.newest - DEEP_EVERY
    return last - DEEP_EVERY


def _is_deep_due(state: Cursor) -> bool:
    return state.newest - state.deep_at >= DEEP_EVERY


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
