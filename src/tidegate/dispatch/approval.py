"""What a person does to proposals: approve or reject them, singly or in bulk. Every batch leaves a row in the audit log.

A proposal is a command in state `proposed`, or an item whose stock number changed in a channel where its mode is `propose`.
Approving releases it: the command is sent as the order stands then, the item's number as it is then. Everything here is
safe to repeat, and safe against another person, against T2 and against the lanes: who changes a row first wins, and the
other one finds nothing to change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar
from uuid import UUID

import msgspec

from tidegate.commerce.commands import DEADLINE_SECONDS, CommandKind, Priority
from tidegate.config.skus import matches
from tidegate.dispatch.statements import COMMAND_CHANNEL
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query

T = TypeVar("T")
BATCH_MAX = 500
"""Proposals per transaction."""
WITHIN_ONE_MAX = 1_000
"""Proposals that somebody may decide inside of one open transaction: their marks stay locked until its end."""
FLOW_KINDS = {
    "orders": (CommandKind.ORDER_CREATE, CommandKind.ORDER_CANCEL),
    "shipments": (CommandKind.FULFILLMENT_CREATE,),
    "stock": (CommandKind.INVENTORY_SET,),
    "payments": (CommandKind.PAYMENT_CAPTURE, CommandKind.PAYMENT_VOID, CommandKind.REFUND_CREATE),
    "events": (CommandKind.EVENT_SEND,),
}
"""Flow -> the kinds of commands that it plans."""
APPROVED_CODE = "approved"
REJECTED_CODE = "rejected_by_operator"

CHOSEN_COMMANDS = query("proposals_chosen_commands")
CHOSEN_MARKS = query("proposals_chosen_marks")
APPROVE_COMMANDS = """
WITH chosen AS (
  SELECT tenant_id, command_id FROM command
  WHERE tenant_id = $1 AND command_id = ANY($2::uuid[]) AND state = 'proposed' ORDER BY command_id FOR NO KEY UPDATE
)
UPDATE command c
SET state = 'pending', code = $4, reason = NULL, not_before = NULL, approved_by = $3, approved_at = clock_timestamp(),
    deadline_at = clock_timestamp() + make_interval(secs => d.seconds)
FROM chosen, unnest($5::text[], $6::float8[]) AS d(kind, seconds)
WHERE c.tenant_id = chosen.tenant_id AND c.command_id = chosen.command_id AND c.state = 'proposed' AND d.kind = c.kind
RETURNING c.command_id, c.connection_id
"""
REJECT_COMMANDS = """
WITH chosen AS (
  SELECT tenant_id, command_id FROM command
  WHERE tenant_id = $1 AND command_id = ANY($2::uuid[]) AND state = 'proposed' ORDER BY command_id FOR NO KEY UPDATE
)
UPDATE command c
SET state = 'cancelled', code = $4, reason = $3, not_before = NULL, finished_at = clock_timestamp()
FROM chosen
WHERE c.tenant_id = chosen.tenant_id AND c.command_id = chosen.command_id AND c.state = 'proposed'
RETURNING c.command_id, c.connection_id
"""
APPROVE_MARKS = """
WITH chosen AS (
  SELECT m.tenant_id, m.connection_id, m.item_id
  FROM unnest($2::uuid[], $3::uuid[]) AS want(connection_id, item_id)
  JOIN channel_stock m ON m.tenant_id = $1 AND m.connection_id = want.connection_id AND m.item_id = want.item_id
  WHERE m.dirty AND m.mode = 'propose' AND m.approved_at IS NULL
  ORDER BY m.connection_id, m.item_id FOR NO KEY UPDATE OF m
)
UPDATE channel_stock m SET approved_by = $4, approved_at = clock_timestamp()
FROM chosen
WHERE m.tenant_id = chosen.tenant_id AND m.connection_id = chosen.connection_id AND m.item_id = chosen.item_id
  AND m.dirty AND m.mode = 'propose' AND m.approved_at IS NULL
RETURNING m.connection_id, m.item_id
"""
# What was rejected is kept as a command that ended unsent: the item's story tells who said no, and why.
REJECT_MARKS = """
WITH want AS (
  SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::uuid[]) AS n(connection_id, item_id, command_id)
), chosen AS (
  SELECT m.tenant_id, m.connection_id, m.item_id, want.command_id
  FROM want
  JOIN channel_stock m ON m.tenant_id = $1 AND m.connection_id = want.connection_id AND m.item_id = want.item_id
  WHERE m.dirty AND m.mode = 'propose' AND m.approved_at IS NULL AND m.blocked_by IS NULL
  ORDER BY m.connection_id, m.item_id FOR NO KEY UPDATE OF m
), ended AS (
  UPDATE channel_stock m
  SET dirty = false, dirty_at = NULL, not_before = NULL, tries = 0, push_version = m.push_version + 1
  FROM chosen
  WHERE m.tenant_id = chosen.tenant_id AND m.connection_id = chosen.connection_id AND m.item_id = chosen.item_id
    AND m.dirty AND m.mode = 'propose' AND m.approved_at IS NULL AND m.blocked_by IS NULL
  RETURNING m.connection_id, m.item_id, m.push_version, chosen.command_id
), keyed AS (
  INSERT INTO command_key (tenant_id, connection_id, kind, entity_id, version, command_id)
  SELECT $1, connection_id, 'inventory.set', item_id, push_version, command_id FROM ended
)
INSERT INTO command (tenant_id, command_id, connection_id, kind, target_key, entity_id, version, priority, state, code,
                     reason, deadline_at, finished_at)
SELECT $1, command_id, connection_id, 'inventory.set', 'item:' || item_id, item_id, push_version, $7, 'cancelled', $6, $5,
       clock_timestamp(), clock_timestamp()
FROM ended
RETURNING connection_id, entity_id AS item_id
"""
_ADD_AUDIT = query("audit_add")


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which proposals are meant. What is None narrows nothing down; what is given must all fit."""

    commands: tuple[UUID, ...] | None = None
    """These commands. With `marks`: these and those, and nothing else."""
    marks: tuple[tuple[UUID, UUID], ...] | None = None
    """These numbers: (connection, item)."""
    flows: tuple[str, ...] | None = None
    """orders, shipments, stock."""
    connection_id: UUID | None = None
    """Only what this connection would be told."""
    skus: tuple[str, ...] | None = None
    """Patterns with `*` and `?`: only stock numbers of these SKUs, and no commands."""

    @property
    def is_named(self) -> bool:
        """Whether single proposals are named."""
        return self.commands is not None or self.marks is not None

    def kinds(self) -> list[str]:
        """Return the kinds of commands that are meant; none when only numbers are."""
        if self.skus is not None or (self.is_named and not self.commands):
            return []
        flows = self.flows if self.flows is not None else tuple(FLOW_KINDS)
        return [str(kind) for flow in flows for kind in FLOW_KINDS[flow]]

    @property
    def has_numbers(self) -> bool:
        """Whether stock numbers are meant."""
        if self.is_named and not self.marks:
            return False
        return self.flows is None or "stock" in self.flows


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an approval or a rejection changed. What was chosen and is not in it was no proposal any more."""

    commands: tuple[UUID, ...] = ()
    marks: tuple[tuple[UUID, UUID], ...] = ()
    """(connection, item)"""

    @property
    def count(self) -> int:
        """How many proposals were decided."""
        return len(self.commands) + len(self.marks)


async def approve(conn: Connection, *, tenant_id: UUID, selection: Selection, actor: str) -> Verdict:
    """Release the chosen proposals; return those that this call released.

    A command is sent as its order stands when it is sent; a stock number is the one that is true then, and the item waits
    for a person again at its next change. Runs in batches, each a transaction of its own: call it on a connection without
    an open one. Safe to repeat and to run twice at once.
    """
    kinds = [str(kind) for kind in DEADLINE_SECONDS]
    seconds = list(DEADLINE_SECONDS.values())
    marks: list[tuple[UUID, UUID]] = []
    commands: list[UUID] = []
    for batch in _batches(await choose_marks(conn, tenant_id, selection)):
        async with conn.transaction():
            rows = await conn.fetch(APPROVE_MARKS, tenant_id, *_columns(batch), actor)
            done = [(row["connection_id"], row["item_id"]) for row in rows]
            await _record(conn, tenant_id, actor, "proposals.approved", marks=done)
        marks += done
    for chosen in _batches(await choose_commands(conn, tenant_id, selection)):
        async with conn.transaction():
            rows = await conn.fetch(APPROVE_COMMANDS, tenant_id, chosen, actor, APPROVED_CODE, kinds, seconds)
            ids = [row["command_id"] for row in rows]
            await _record(conn, tenant_id, actor, "proposals.approved", commands=ids)
        commands += ids
    return Verdict(commands=tuple(commands), marks=tuple(marks))


async def reject(conn: Connection, *, tenant_id: UUID, selection: Selection, actor: str, reason: str) -> Verdict:
    """Turn the chosen proposals down; return those that this call turned down.

    A command ends cancelled with code `rejected_by_operator` and is not planned again. A stock number is dropped, and
    proposed again at the item's next change. Runs like `approve`.
    """
    marks: list[tuple[UUID, UUID]] = []
    commands: list[UUID] = []
    for batch in _batches(await choose_marks(conn, tenant_id, selection)):
        async with conn.transaction():
            made = [new_id() for _ in batch]
            rows = await conn.fetch(
                REJECT_MARKS, tenant_id, *_columns(batch), made, reason, REJECTED_CODE, int(Priority.INVENTORY)
            )
            done = [(row["connection_id"], row["item_id"]) for row in rows]
            await _record(conn, tenant_id, actor, "proposals.rejected", marks=done, reason=reason)
        marks += done
    for chosen in _batches(await choose_commands(conn, tenant_id, selection)):
        async with conn.transaction():
            rows = await conn.fetch(REJECT_COMMANDS, tenant_id, chosen, reason, REJECTED_CODE)
            ids = [row["command_id"] for row in rows]
            await _record(conn, tenant_id, actor, "proposals.rejected", commands=ids, reason=reason)
        commands += ids
    return Verdict(commands=tuple(commands), marks=tuple(marks))


async def choose_commands(conn: Connection, tenant_id: UUID, selection: Selection) -> list[UUID]:
    """Return the proposed commands that are meant, oldest first. Reads only."""
    kinds = selection.kinds()
    if not kinds:
        return []
    named = list(selection.commands) if selection.commands is not None else None
    rows = await conn.fetch(CHOSEN_COMMANDS, tenant_id, named, kinds, selection.connection_id)
    return [row["command_id"] for row in rows]


async def choose_marks(conn: Connection, tenant_id: UUID, selection: Selection) -> list[tuple[UUID, UUID]]:
    """Return the numbers that wait for a person and are meant, as (connection, item), sorted. Reads only."""
    if not selection.has_numbers:
        return []
    rows = await conn.fetch(CHOSEN_MARKS, tenant_id, selection.connection_id)
    named = frozenset(selection.marks) if selection.marks is not None else None
    return [
        (row["connection_id"], row["item_id"])
        for row in rows
        if (named is None or (row["connection_id"], row["item_id"]) in named)
        and (selection.skus is None or matches(row["sku"], selection.skus))
    ]


async def count_chosen(conn: Connection, tenant_id: UUID, selection: Selection) -> int:
    """Return how many proposals are meant. Reads only."""
    commands = await choose_commands(conn, tenant_id, selection)
    return len(commands) + len(await choose_marks(conn, tenant_id, selection))


def _batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), BATCH_MAX):
        yield values[start : start + BATCH_MAX]


def _columns(marks: Sequence[tuple[UUID, UUID]]) -> tuple[list[UUID], list[UUID]]:
    return [mark[0] for mark in marks], [mark[1] for mark in marks]


async def _record(
    conn: Connection,
    tenant_id: UUID,
    actor: str,
    action: str,
    *,
    commands: Sequence[UUID] = (),
    marks: Sequence[tuple[UUID, UUID]] = (),
    reason: str | None = None,
) -> None:
    """Write down who decided what, and wake the lanes; nothing where nothing was changed."""
    count = len(commands) + len(marks)
    if not count:
        return
    detail = {"commands": commands, "numbers": [{"connection": c, "item": i} for c, i in marks], "reason": reason}
    subject = "1 proposal" if count == 1 else f"{count} proposals"
    await conn.execute(_ADD_AUDIT, tenant_id, new_id(), actor, action, subject, msgspec.json.encode(detail).decode())
    await conn.execute("SELECT pg_notify($1, '')", COMMAND_CHANNEL)
