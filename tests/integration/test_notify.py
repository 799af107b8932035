"""Wake-ups go out after their transaction, together where they can, and again when the database was away."""

from __future__ import annotations

import asyncio
from functools import partial

import asyncpg
import pytest

from tidegate.store.connections import DirectConnection
from tidegate.store.database import Database
from tidegate.store.notify import Notifier
from tidegate.store.pool import direct_connection
from tidegate.store.roles import Role

pytestmark = pytest.mark.asyncio


async def heard_by(database: Database) -> tuple[DirectConnection, list[tuple[str, str]]]:
    """Return a session that listens, and what it hears: channel and payload."""
    heard: list[tuple[str, str]] = []
    listener = await direct_connection(database.accesses[Role.APPLY], application_name="listener")
    for channel in ("tidegate_event", "tidegate_command"):
        await listener.add_listener(channel, lambda *args: heard.append((str(args[2]), str(args[3]))))
    return listener, heard


async def until(heard: list[tuple[str, str]], wanted: set[tuple[str, str]]) -> None:
    async with asyncio.timeout(200):
        while not wanted <= set(heard):  # noqa: ASYNC110 - what arrives from outside gives no event
            await asyncio.sleep(0.01)


async def test_what_is_said_arrives_once_and_a_lost_session_loses_nothing(database: Database) -> None:
    connect = partial(direct_connection, database.accesses[Role.APPLY], application_name="says")
    opened: list[DirectConnection] = []

    async def connect_noted() -> DirectConnection:
        if len(opened) == 1:
            opened.append(opened[0])
            raise asyncpg.ConnectionDoesNotExistError("the database is away")
        opened.append(await connect())
        return opened[-1]

    listener, heard = await heard_by(database)
    try:
        async with Notifier(connect_noted) as notifier:
            for _ in range(3):
                notifier.say("tidegate_event", "a;1")
            notifier.say("tidegate_command", "!b")
            await until(heard, {("tidegate_event", "a;1"), ("tidegate_command", "!b")})
            assert await opened[0].fetchval("SHOW synchronous_commit") == "off", "it waits for no disk"

            opened[0].terminate()
            notifier.say("tidegate_event", "c;2")
            await until(heard, {("tidegate_event", "c;2")})
            notifier.say("tidegate_command", "last")
        await until(heard, {("tidegate_command", "last")})
    finally:
        listener.terminate()
    assert len(opened) == 3, "opened anew after a try that failed"
    assert heard.count(("tidegate_event", "a;1")) == 1
