"""SECURITY A4: keys that are presented together are looked up together, each after it was presented."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

import pytest

from tidegate.kernel.errors import TransientError
from tidegate.kernel.ids import new_id
from tidegate.web.key_finder import KeyFinder

pytestmark = pytest.mark.asyncio


class Table:
    """Rows that can be read when the test says so."""

    def __init__(self, *key_ids: UUID) -> None:
        self.rows = {key_id: f"row {number}" for number, key_id in enumerate(key_ids)}
        self.asked: list[list[UUID]] = []
        self.open = asyncio.Event()
        self.failure: Exception | None = None

    async def read(self, key_ids: Sequence[UUID]) -> Mapping[UUID, str]:
        self.asked.append(list(key_ids))
        found = {key_id: self.rows[key_id] for key_id in key_ids if key_id in self.rows}
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return found


async def begin(finder: KeyFinder, *key_ids: UUID) -> list[asyncio.Task[object]]:
    """Present keys, and let the finder begin."""
    tasks = [asyncio.create_task(finder.find(key_id)) for key_id in key_ids]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_what_comes_during_a_look_up_shares_the_next_one() -> None:
    one, two, nobody = new_id(), new_id(), new_id()
    table = Table(one, two)
    finder = KeyFinder(table.read)
    first = await begin(finder, one)
    later = await begin(finder, two, one, nobody, two)
    assert table.asked == [[one]]
    table.open.set()

    assert await asyncio.gather(*first, *later) == ["row 0", "row 1", "row 0", None, "row 1"]
    assert table.asked == [[one], sorted([one, two, nobody])]


async def test_a_key_that_is_revoked_during_a_look_up_is_read_anew_for_whoever_comes_then() -> None:
    one = new_id()
    table = Table(one)
    finder = KeyFinder(table.read)
    before = await begin(finder, one)
    table.rows[one] = "revoked"
    after = await begin(finder, one)
    table.open.set()

    assert await asyncio.gather(*before, *after) == ["row 0", "revoked"]


async def test_nothing_is_remembered() -> None:
    one = new_id()
    table = Table(one)
    table.open.set()
    finder = KeyFinder(table.read)
    assert await finder.find(one) == "row 0"
    del table.rows[one]
    assert await finder.find(one) is None


async def test_a_failure_is_told_to_those_who_waited_for_it_and_to_nobody_else() -> None:
    one = new_id()
    table = Table(one)
    table.failure = TransientError("away", code="database_away")
    finder = KeyFinder(table.read)
    waiting = await begin(finder, one, one)
    table.open.set()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    table.failure = None

    assert [str(each) for each in told] == ["away", "away"]
    assert await finder.find(one) == "row 0"


async def test_who_gives_up_holds_nobody_up() -> None:
    one, two = new_id(), new_id()
    table = Table(one, two)
    finder = KeyFinder(table.read)
    gone, stays = await begin(finder, one, two)
    gone.cancel()
    table.open.set()

    assert await stays == "row 1"
    assert gone.cancelled() or gone.cancelling()
