"""Where a poll by `date_modified_gmt` stands and which entities to ask for next; the arithmetic is that of `sdk.rounds`. Pure.

`modified_after` leaves its own second out, so bounds lie a second earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tidegate.connectors.woocommerce.wire import PAGE_MAX
from tidegate.kernel.clock import EPOCH
from tidegate.sdk import rounds
from tidegate.sdk.rounds import Cursor, Reach, Rounds, page_bound

TICK = timedelta(seconds=1)
OVERLAP = timedelta(seconds=60)
"""PHP requests end after 30 s by default, and several servers have several clocks."""
ROUNDS = Rounds(
    reach=Reach(overlap=OVERLAP, deep_every=timedelta(minutes=5), deep_back=timedelta(minutes=10)),
    page_max=PAGE_MAX,
    tick=TICK,
    crowd=TICK,
)


def query_of(state: Cursor) -> dict[str, str]:
    """Return the query of the next page."""
    after = page_bound(state, ROUNDS)
    query = {"per_page": str(PAGE_MAX), "orderby": "modified", "order": "asc", "dates_are_gmt": "true"}
    if after > EPOCH:
        query["modified_after"] = _instant(after)
    if state.skip is not None:
        query |= {"orderby": "id", "modified_before": _instant(after + 2 * TICK), "offset": str(state.skip)}
    return query


def following(state: Cursor, changed: Sequence[datetime], now: datetime | None) -> tuple[Cursor, bool]:
    """Return the cursor after a page with these times of change, answered at `now`, and whether the round goes on."""
    return rounds.following(state, changed, ROUNDS, now)


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z").removesuffix("Z")
