"""Commands as people look at them: lists, and one command with its attempts and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import first_id_at
from tidegate.monitor.waiting import CommandFacts, LaneFacts, Wait, explain_wait
from tidegate.store.connections import Connection
from tidegate.store.sql import query

LAST_ID = UUID(int=(1 << 128) - 1)
_LIST = query("commands_list")
_ONE = query("commands_one")
_ATTEMPTS = query("explain_attempts")
_LANES = query("explain_lanes")
_OLDER = query("explain_older")


async def list_commands(
    conn: Connection,
    tenant_id: UUID,
    *,
    connection_id: UUID | None,
    state: str | None,
    kind: str | None,
    since: datetime | None,
    limit: int,
    before: UUID | None = None,
    entities: Sequence[UUID] | None = None,
    code: str | None = None,
) -> list[Any]:
    """Return rows of `commands_list`, newest first; each argument that is None filters nothing.

    `before` keeps to commands with a smaller id: those of the pages behind it. `entities`: about one of these.
    """
    first = first_id_at(since) if since is not None else UUID(int=0)
    below = before or LAST_ID
    chosen = list(entities) if entities is not None else None
    return list(await conn.fetch(_LIST, tenant_id, connection_id, state, kind, first, below, limit, chosen, code))


async def read_command(conn: Connection, tenant_id: UUID, command_id: UUID) -> tuple[Any, list[Any]]:
    """Return a command's row and the rows of its attempts. Raises ConfigurationError when there is no such command."""
    row = await conn.fetchrow(_ONE, tenant_id, command_id)
    if row is None:
        raise ConfigurationError("there is no such command", code="command_unknown", hint="tidegate commands list")
    calls = [row["call_id"]] if row["call_id"] is not None else []
    return row, list(await conn.fetch(_ATTEMPTS, tenant_id, calls))


async def read_wait(conn: Connection, tenant_id: UUID, row: Any, now: datetime) -> Wait | None:
    """Return what holds the command of `read_command` back, None when it is finished."""
    lanes = {lane["connection_id"]: lane for lane in await conn.fetch(_LANES, tenant_id)}
    older = await conn.fetchrow(_OLDER, tenant_id, [row["connection_id"]], [row["target_key"]])
    if older is not None and older["command_id"] == row["command_id"]:
        older = None
    command = CommandFacts(
        command_id=row["command_id"],
        state=row["state"],
        code=row["code"],
        reason=row["reason"],
        not_before=row["not_before"],
        settles_at=row["settles_at"],
        older_id=older["command_id"] if older is not None else None,
        older_state=older["state"] if older is not None else None,
    )
    lane = lanes.get(row["connection_id"])
    return explain_wait(command, describe_lane(lane) if lane is not None else LaneFacts(state="active"), now)


def describe_lane(row: Any) -> LaneFacts:
    """Return the facts of a row of `explain_lanes`."""
    return LaneFacts(
        state=row["state"],
        state_reason=row["state_reason"],
        snoozed_until=row["snoozed_until"],
        snooze_reason=row["snooze_reason"],
        writes_stopped=bool(row["writes_stopped"]),
        hold_rule=row["hold_rule"],
        hold_until=row["hold_until"],
    )
