"""Where polling of orders stands and which orders to ask for next; the arithmetic is that of `sdk.rounds`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from tidegate.sdk import rounds
from tidegate.sdk.rounds import Cursor, Reach, Rounds, page_bound

ORDERS_PER_PAGE = 50
OVERLAP = timedelta(seconds=30)
DEEP_EVERY = timedelta(minutes=5)
TICK = timedelta(milliseconds=1)
"""Vendure shows and takes times in milliseconds and keeps microseconds."""
CROWD = 2 * TICK
ROUNDS = Rounds(
    reach=Reach(overlap=OVERLAP, deep_every=DEEP_EVERY, deep_back=DEEP_EVERY),
    page_max=ORDERS_PER_PAGE,
    tick=TICK,
    crowd=CROWD,
)


def list_options(state: Cursor) -> dict[str, Any]:
    """Return the `OrderListOptions` of the next page: placed orders only."""
    after = page_bound(state, ROUNDS)
    moment: dict[str, Any] = {"after": _instant(after)}
    options: dict[str, Any] = {"sort": {"updatedAt": "ASC"}, "take": ORDERS_PER_PAGE}
    if state.skip is not None:
        moment = {"between": {"start": _instant(after), "end": _instant(after + CROWD)}}
        options |= {"sort": {"id": "ASC"}, "skip": state.skip}
    return {"filter": {"updatedAt": moment, "active": {"eq": False}}, **options}


def following(state: Cursor, changed: Sequence[datetime], now: datetime | None) -> tuple[Cursor, bool]:
    """Return the cursor after a page with these times of change, answered at `now`, and whether the round goes on."""
    return rounds.following(state, changed, ROUNDS, now)


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
