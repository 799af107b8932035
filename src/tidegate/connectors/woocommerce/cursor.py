"""Where a poll by `date_modified_gmt` stands and which entities to ask for next. Pure.

A round reads everything that changed since a bound, oldest change first, always its first page: pages by number shift when
an entity that was read changes and moves to the end. `modified_after` leaves its own second out, so bounds lie a second
earlier. Each round begins a little before the newest change that was seen, because the time is set before the shop's
request commits. The rounds that reach further back begin where the one before them stood.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from tidegate.connectors.woocommerce.wire import PAGE_MAX
from tidegate.kernel.clock import EPOCH

OVERLAP = timedelta(seconds=60)
"""How far a round reaches back: PHP requests end after 30 s by default, and several servers have several clocks."""
DEEP_EVERY = timedelta(minutes=5)
"""After this much progress a round reaches `DEEP_BACK` behind the last deep one."""
DEEP_BACK = timedelta(minutes=10)
TICK = timedelta(seconds=1)
"""The grain of the shop's times."""
REREAD = 10
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
    """Set inside of a crowd, more entities of one second than a page holds: how many of them were read."""


def parse(text: str) -> Cursor:
    """Return the cursor of a stored text; '' is the very beginning."""
    return msgspec.json.decode(text, type=Cursor) if text else Cursor()


def query_of(state: Cursor) -> dict[str, str]:
    """Return the query of the next page."""
    after = state.page_after if state.page_after is not None else _round_start(state)
    query = {"per_page": str(PAGE_MAX), "orderby": "modified", "order": "asc", "dates_are_gmt": "true"}
    if after > EPOCH:
        query["modified_after"] = _instant(after)
    if state.skip is not None:
        query |= {"orderby": "id", "modified_before": _instant(after + 2 * TICK), "offset": str(state.skip)}
    return query


def following(state: Cursor, changed: Sequence[datetime]) -> tuple[Cursor, bool]:
    """Return the cursor after a page with these times of change, and whether the round goes on."""
    after = state.page_after if state.page_after is not None else _round_start(state)
    begins_deep = state.page_after is None and _is_deep_due(state)
    reached = Cursor(newest=max([state.newest, *changed]), deep_at=state.newest if begins_deep else state.deep_at)
    is_full = len(changed) >= PAGE_MAX
    if state.skip is not None:
        if is_full:
            return msgspec.structs.replace(reached, page_after=after, skip=state.skip + len(changed) - REREAD), True
        return msgspec.structs.replace(reached, page_after=after + TICK), True
    if not is_full:
        return reached, False
    bound = changed[-1] - TICK  # others of the same second may be on the next page
    if bound > after:
        return msgspec.structs.replace(reached, page_after=bound), True
    return msgspec.structs.replace(reached, page_after=max(after, bound), skip=0), True


def _round_start(state: Cursor) -> datetime:
    if state.newest == EPOCH:
        return EPOCH
    if not _is_deep_due(state):
        return state.newest - OVERLAP
    last = state.deep_at if state.deep_at != EPOCH else state.newest - DEEP_EVERY
    return last - DEEP_BACK


def _is_deep_due(state: Cursor) -> bool:
    return state.newest - state.deep_at >= DEEP_EVERY


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z").removesuffix("Z")
