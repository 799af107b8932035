"""What a person does to commands: retry, cancel, stop all writes. Each action leaves a row in the audit log.

Every function is one transaction; run it on a connection without an open one.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import msgspec
from asyncpg import Record

from tidegate.commerce.commands import DEADLINE_SECONDS, CommandKind
from tidegate.commerce.states import CommandState
from tidegate.dispatch.modes import flow_of
from tidegate.dispatch.statements import COMMAND_CHANNEL, FLOW_MODE, LOCK_MARKS
from tidegate.kernel.errors import ConfigurationError, ConflictError
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query

FIND_COMMAND = """
SELECT connection_id, kind, target_key, entity_id, state, version FROM command WHERE tenant_id = $1 AND command_id = $2
"""
# A later command of the same target is one of the same order: looked for by entity, for which there is an index.
OVERTAKEN = """
SELECT EXISTS (
  SELECT FROM (SELECT $5::uuid AS id
               UNION ALL SELECT t.order_id
               UNION ALL SELECT f.fulfillment_id FROM fulfillment f WHERE f.tenant_id = $1 AND f.order_id = t.order_id) e
  CROSS JOIN LATERAL (SELECT FROM command later
                      WHERE later.tenant_id = $1 AND later.entity_id = e.id AND later.connection_id = $2
                        AND later.target_key = $3 AND later.command_id > $4
                        AND later.state IN ('sending', 'in_doubt', 'succeeded') LIMIT 1) l)
FROM (SELECT CASE WHEN $3::text ~ '^order:[0-9a-f-]{36}$' THEN substr($3, 7)::uuid END AS order_id) t
"""
RETRY_COMMAND = """
UPDATE command
SET state = 'pending', code = 'retried_by_operator', reason = NULL, not_before = NULL, settles_at = NULL, negatives = 0,
    attempt_number = 0, finished_at = NULL, deadline_at = clock_timestamp() + $3,
    call_id = CASE WHEN $4 THEN NULL ELSE call_id END, approved_by = $5, approved_at = clock_timestamp()
WHERE tenant_id = $1 AND command_id = $2 AND state IN ('failed', 'in_doubt') RETURNING state
"""
CANCEL_COMMAND = """
UPDATE command SET state = 'cancelled', code = 'cancelled_by_operator', reason = $3, finished_at = clock_timestamp(),
       not_before = NULL, settles_at = NULL
WHERE tenant_id = $1 AND command_id = $2 AND state IN ('proposed', 'pending', 'failed', 'in_doubt') RETURNING state
"""
SUPERSEDE_COMMAND = """
UPDATE command SET state = 'superseded', code = 'retried_by_operator', finished_at = clock_timestamp(), not_before = NULL,
       settles_at = NULL
WHERE tenant_id = $1 AND command_id = $2 AND state IN ('failed', 'in_doubt') RETURNING state
"""
# What the channel shows is not known after a push in doubt; $5: tell it anew, $6 approved it.
FREE_MARK = """
UPDATE channel_stock
SET blocked_by = CASE WHEN blocked_by = $4 THEN NULL ELSE blocked_by END, not_before = NULL, tries = 0,
    acked_quantity = CASE WHEN blocked_by = $4 THEN NULL ELSE acked_quantity END,
    dirty = mode <> 'observe' AND (dirty OR $5),
    dirty_at = CASE WHEN mode = 'observe' THEN NULL WHEN $5 THEN coalesce(dirty_at, clock_timestamp()) ELSE dirty_at END,
    approved_by = CASE WHEN $5 AND mode = 'propose' THEN $6 ELSE approved_by END,
    approved_at = CASE WHEN $5 AND mode = 'propose' THEN clock_timestamp() ELSE approved_at END
WHERE tenant_id = $1 AND connection_id = $2 AND item_id = $3
"""
MARK_MODE = "SELECT mode FROM channel_stock WHERE tenant_id = $1 AND connection_id = $2 AND item_id = $3"
SET_SWITCH = """
UPDATE switch SET is_on = $2, reason = $3, changed_by = $4, changed_at = clock_timestamp() WHERE name = $1
"""
_ADD_AUDIT = query("audit_add")
STOP_SWITCH = "stop_all_writes"


async def retry_command(
    conn: Connection, *, tenant_id: UUID, command_id: UUID, actor: str, rebuild: bool = False
) -> CommandState:
    """Let a failed command, or one in doubt, be sent again; return its new state.

    The frozen call is kept, so the other side sees the same key; `rebuild` makes a new one from what is known now: use it
    when the first was refused for its content. A stock number is never sent again: its item is marked, and the command
    ends superseded. Where a person must approve what is sent, this is the approval. Raises ConfigurationError (no such
    command) or ConflictError (another state, its flow observes, or a later command of the same target went out meanwhile).
    """
    async with conn.transaction():
        row = await _find(conn, tenant_id, command_id)
        kind = CommandKind(row["kind"])
        if kind is CommandKind.INVENTORY_SET:
            state = await _end_push(conn, tenant_id, command_id, row, actor, statement=SUPERSEDE_COMMAND, remark=True)
        else:
            target = (row["connection_id"], row["target_key"], command_id, row["entity_id"])
            if await conn.fetchval(OVERTAKEN, tenant_id, *target):
                raise ConflictError("a later command of the same target went out already", code="overtaken")
            deadline = timedelta(seconds=DEADLINE_SECONDS[kind])
            if await conn.fetchval(FLOW_MODE, tenant_id, row["connection_id"], flow_of(kind)) == "observe":
                raise ConflictError(
                    "its flow observes: nothing of it is sent", code="flow_observes", hint="let the flow go live first"
                )
            state = await conn.fetchval(RETRY_COMMAND, tenant_id, command_id, deadline, rebuild, actor)
        changed = _changed(state, row)
        detail = {"kind": kind, "from": row["state"], "rebuild": rebuild}
        await _record(conn, tenant_id, actor, "command.retried", str(command_id), detail)
        await _wake(conn, row["connection_id"])
    return changed


async def cancel_command(
    conn: Connection, *, tenant_id: UUID, command_id: UUID, actor: str, reason: str
) -> CommandState:
    """Give a command up that is proposed, pending, failed or in doubt; return its new state. What was sent is not undone.

    Raises ConfigurationError (no such command) or ConflictError (it is being sent, or over).
    """
    async with conn.transaction():
        row = await _find(conn, tenant_id, command_id)
        if row["kind"] == CommandKind.INVENTORY_SET:
            state = await _end_push(
                conn, tenant_id, command_id, row, actor, statement=CANCEL_COMMAND, remark=False, reason=reason
            )
        else:
            state = await conn.fetchval(CANCEL_COMMAND, tenant_id, command_id, reason)
        changed = _changed(state, row)
        detail = {"kind": row["kind"], "from": row["state"], "reason": reason}
        await _record(conn, tenant_id, actor, "command.cancelled", str(command_id), detail)
        await _wake(conn, row["connection_id"])
    return changed


async def stop_writes(conn: Connection, *, tenant_id: UUID, actor: str, reason: str) -> None:
    """Stop all writes of all connections. When it returns, nothing new leaves; calls already decided finish."""
    await _switch(conn, tenant_id, actor, is_on=True, reason=reason)


async def allow_writes(conn: Connection, *, tenant_id: UUID, actor: str) -> None:
    """Take the stop back; the lanes go on at once."""
    await _switch(conn, tenant_id, actor, is_on=False, reason=None)


async def _switch(conn: Connection, tenant_id: UUID, actor: str, *, is_on: bool, reason: str | None) -> None:
    async with conn.transaction():
        await conn.execute(SET_SWITCH, STOP_SWITCH, is_on, reason, actor)
        action = "writes.stopped" if is_on else "writes.allowed"
        await _record(conn, tenant_id, actor, action, STOP_SWITCH, {"reason": reason})
        await conn.execute("SELECT pg_notify($1, '')", COMMAND_CHANNEL)


async def _find(conn: Connection, tenant_id: UUID, command_id: UUID) -> Record:
    row = await conn.fetchrow(FIND_COMMAND, tenant_id, command_id)
    if row is None:
        raise ConfigurationError("there is no such command", code="command_unknown", hint="tidegate commands list")
    return row


async def _end_push(
    conn: Connection,
    tenant_id: UUID,
    command_id: UUID,
    row: Record,
    actor: str,
    *,
    statement: str,
    remark: bool,
    reason: str | None = None,
) -> str | None:
    """End a stock push and set its item free. The mark is locked first, as everywhere."""
    item = (tenant_id, row["connection_id"], row["entity_id"])
    await conn.fetch(LOCK_MARKS, tenant_id, row["connection_id"], [row["entity_id"]])
    if remark and await conn.fetchval(MARK_MODE, *item) == "observe":
        raise ConflictError(
            "its item observes: no number is told", code="flow_observes", hint="let the item go live first"
        )
    values = (reason,) if reason is not None else ()
    state: str | None = await conn.fetchval(statement, tenant_id, command_id, *values)
    if state is not None:
        await conn.execute(FREE_MARK, *item, command_id, remark, actor)
    return state


def _changed(state: str | None, row: Record) -> CommandState:
    if state is None:
        raise ConflictError(f"the command is {row['state']}: there is nothing to change", code="wrong_state")
    return CommandState(state)


async def _record(
    conn: Connection, tenant_id: UUID, actor: str, action: str, subject: str, detail: dict[str, object]
) -> None:
    await conn.execute(_ADD_AUDIT, tenant_id, new_id(), actor, action, subject, msgspec.json.encode(detail).decode())


async def _wake(conn: Connection, connection_id: UUID) -> None:
    await conn.execute("SELECT pg_notify($1, $2)", COMMAND_CHANNEL, str(connection_id))
