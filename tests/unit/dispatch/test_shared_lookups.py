"""What is asked of the database about units that are shared out, where none are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from tidegate.config.records import Allocation
from tidegate.dispatch import allocation_statements as sql
from tidegate.dispatch.allocation import Shared, lock_shared, read_lots, shared_items
from tidegate.dispatch.safety import Safety, SafetyRules

ITEM = UUID(int=7)


class Conn:
    """Notes what it is asked."""

    def __init__(self, *, has_lots: bool) -> None:
        self.has_lots = has_lots
        self.asked: list[str] = []

    async def fetchval(self, statement: str, *_values: object) -> bool:
        """Answer."""
        self.asked.append(statement)
        return self.has_lots

    async def fetch(self, statement: str, *_values: object) -> list[Any]:
        """Answer."""
        self.asked.append(statement)
        return []


async def call(conn: Any, scope: Any) -> None:
    assert await lock_shared(conn, scope, [SimpleNamespace(item_id=ITEM)]) == Shared()  # type: ignore[list-item]
    assert await shared_items(conn, scope, [ITEM]) == []
    assert await read_lots(conn, scope, [ITEM]) == {}


@pytest.mark.asyncio
async def test_where_nothing_is_shared_out_that_is_asked_once() -> None:
    conn, scope = Conn(has_lots=False), SimpleNamespace(safety=Safety(), ids=(UUID(int=1), UUID(int=2)))
    for _ in range(3):
        await call(conn, scope)

    assert conn.asked == [sql.HAS_LOTS]


@pytest.mark.asyncio
async def test_what_was_shared_out_before_is_looked_at_until_it_is_gone() -> None:
    conn, scope = Conn(has_lots=True), SimpleNamespace(safety=Safety(), ids=(UUID(int=1), UUID(int=2)))
    await call(conn, scope)

    assert conn.asked == [sql.HAS_LOTS, sql.SHARED_ITEMS, sql.SHARED_ITEMS, sql.OWN_LOTS]


@pytest.mark.asyncio
async def test_other_rules_are_looked_at_anew() -> None:
    conn, scope = Conn(has_lots=False), SimpleNamespace(safety=Safety(), ids=(UUID(int=1), UUID(int=2)))
    await call(conn, scope)
    scope.safety.rules = SafetyRules(allocation=Allocation(mode="always"))
    await call(conn, scope)

    assert conn.asked == [sql.HAS_LOTS, sql.SHARED_ITEMS, sql.SKUS, sql.SHARED_ITEMS, sql.OWN_LOTS]
