"""Every statement of the room fits the schema, and its role may run it."""

from __future__ import annotations

import pytest

from tidegate.dispatch import allocation_statements, operator, payloads, shown_statements, statements
from tidegate.store.database import Database
from tidegate.store.roles import Role

pytestmark = pytest.mark.asyncio
NO_SQL = {"_CHARGE", "_HEADS", "_KIN", "COMMAND_CHANNEL", "STOP_SWITCH"}
OPERATORS = {name for name in vars(operator) if name.isupper()}


@pytest.mark.parametrize("role", [Role.DISPATCH, Role.MIGRATOR])
async def test_statements_can_be_prepared(database: Database, role: Role) -> None:
    """The role of dispatch runs everything but what an operator does."""
    pool = await database.pool(role, application_name="test")
    texts = {
        name: text
        for module in (statements, payloads, allocation_statements, shown_statements)
        for name, text in vars(module).items()
        if name.isupper()
    }
    if role is Role.MIGRATOR:
        texts |= {name: text for name, text in vars(operator).items() if name.isupper()}
    async with pool.acquire() as conn:
        for name, text in texts.items():
            if isinstance(text, str) and name not in NO_SQL:
                async with conn.transaction():
                    try:
                        statement = await conn.prepare(text)
                        await conn.execute("EXPLAIN " + text.strip(), *([None] * len(statement.get_parameters())))
                    except Exception as error:
                        raise AssertionError(f"{name}: {error}") from error
    await pool.close()


async def test_whole_transactions_are_bounded(database: Database, postgres_version: int) -> None:
    """A process that freezes inside a transaction loses its locks, so that another can take its slots over."""
    pool = await database.pool(Role.DISPATCH, application_name="test")
    if postgres_version >= 17:
        assert await pool.fetchval("SHOW transaction_timeout") == "30s"
    assert await pool.fetchval("SHOW idle_in_transaction_session_timeout") == "5s"
    await pool.close()
