"""Whatever happens while Stripe is polled, every event is read, in whatever order it lists them, and each round ends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.connectors.stripe import client
from tidegate.sdk.http import Api, Response

START = 1_795_000_000
PAGE = 5


class Account:
    """Lists its events newest first, those of one second in any order, and shows what was made while it is asked."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str]] = []
        self.now = START
        self.asked = 0

    def make(self, *moments: int) -> None:
        for moment in moments:
            self.events.append((moment, f"evt_{len(self.events)}"))

    async def request(self, _method: str, _path: str, *, params: dict[str, str], **_options: Any) -> Response:
        self.asked += 1
        rows = sorted(self.events, key=lambda row: (-row[0], int(row[1][4:]) * 37 % 97))
        rows = [row for row in rows if row[0] >= int(params.get("created[gte]", "0"))]
        if (after := params.get("starting_after")) is not None:
            place = next(index for index, row in enumerate(rows) if row[1] == after)
            rows = rows[place + 1 :]
        limit = min(PAGE, int(params["limit"]))
        data = [
            {
                "id": name,
                "object": "event",
                "type": "payment_intent.succeeded",
                "created": moment,
                "data": {"object": {}},
            }
            for moment, name in rows[:limit]
        ]
        body = {"object": "list", "data": data, "has_more": len(rows) > limit}
        date = format_datetime(datetime.fromtimestamp(self.now, UTC), usegmt=True)
        return Response(status=200, headers={"date": date}, body=msgspec.json.encode(body))


def poll(account: Account, cursor: str, seen: list[str], between: list[int]) -> str:
    """Read a round; before each page but the first something happens, so many seconds ago, while there is any in `between`."""

    async def read() -> str:
        nonlocal cursor
        for number in range(300):
            if number and between:
                account.make(account.now - between.pop())
            page = await client.read_events(cast("Api", account), cursor)
            seen.extend(item.external_id for item in page.items)
            cursor = page.cursor
            if not page.has_more:
                return cursor
        raise AssertionError("a round does not end")

    return asyncio.run(read())


OVERLAP = int(client.OVERLAP.total_seconds())


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.sampled_from((0, 1, 4, 5, 6, 10, 23)), min_size=1, max_size=5),
    gaps=st.lists(st.integers(0, 4000), min_size=5, max_size=5),
    between=st.lists(st.integers(0, OVERLAP), max_size=6),
)
def test_every_event_is_read(counts: list[int], gaps: list[int], between: list[int]) -> None:
    """Crowds of one second, events that show while a round is read and were made up to an overlap before."""
    account, seen = Account(), list[str]()
    cursor = poll(account, "", seen, [])
    for count, gap in zip(counts, gaps, strict=False):
        account.now += gap
        account.make(*[account.now] * count)
        cursor = poll(account, cursor, seen, list(between))
        account.now += 1
    cursor = poll(account, cursor, seen, [])

    assert set(seen) == {name for _, name in account.events}
    before = account.asked
    assert poll(account, cursor, seen, []) == cursor
    assert (
        account.asked - before
        <= 1 + sum(moment >= int(cursor.partition("|")[0]) for moment, _ in account.events) // PAGE
    )


@pytest.mark.parametrize("ahead", [600, 10**9])
def test_an_event_of_a_day_to_come_hides_no_other(ahead: int) -> None:
    """Its time is what the account's clock was made to say; the next ones are made today."""
    account, seen = Account(), list[str]()
    cursor = poll(account, "", seen, [])
    account.make(account.now, account.now + ahead)
    cursor = poll(account, cursor, seen, [])
    account.now += 60
    account.make(account.now)
    poll(account, cursor, seen, [])

    assert set(seen) == {name for _, name in account.events}
