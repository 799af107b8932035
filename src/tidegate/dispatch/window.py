"""Read what waits in a lane: its most urgent part, in small queries."""

from __future__ import annotations

from typing import Any, TypeVar, assert_never
from uuid import UUID

import msgspec
from asyncpg import Record

from tidegate.commerce.commands import CommandKind
from tidegate.dispatch import shown_statements, statements
from tidegate.dispatch.records import DirtyMark, DoubtfulCommand, FetchRequest, PendingCommand, ShownRead, Window
from tidegate.dispatch.scope import Scope
from tidegate.dispatch.select import (
    VERIFIED_CODES,
    FetchEntity,
    LookAfter,
    PushStock,
    ReadFeed,
    ReadShown,
    SendCommand,
    Task,
)
from tidegate.kernel.ids import time_of
from tidegate.store.connections import Connection

S = TypeVar("S", bound=msgspec.Struct)

DOUBTFUL_MAX = 256
FETCHES_MAX = 64


async def load_window(conn: Connection, scope: Scope) -> Window:
    """Return the lane's window. Reads only.

    One statement says what waits at all; only that is read.
    """
    row = await conn.fetchrow(statements.WAITING, *scope.ids, scope.connector.deducts_fulfilled)
    if row is None:
        return Window()
    held, blocked = frozenset(row["held"]), frozenset(row["blocked"])
    spec = scope.spec(CommandKind.INVENTORY_SET)
    marks_max = spec.bulk_max * scope.connector.concurrency_max if spec is not None else 0
    commands = await _load_commands(conn, scope, row["blocked"]) if row["has_commands"] else ()
    has_marks = marks_max and row["has_marks"]
    marks = await conn.fetch(statements.WINDOW_MARKS, *scope.ids, marks_max, row["held"]) if has_marks else []
    doubtful = await conn.fetch(statements.WINDOW_DOUBTFUL, *scope.ids, DOUBTFUL_MAX) if row["has_doubtful"] else []
    fetches = await conn.fetch(statements.WINDOW_FETCHES, *scope.ids, FETCHES_MAX) if row["has_fetches"] else []
    reads = await conn.fetch(shown_statements.WINDOW_READS, *scope.ids) if row["has_reads"] else []
    return Window(
        commands=commands,
        marks=tuple(_struct(row, DirtyMark) for row in marks),
        doubtful=tuple(_struct(row, DoubtfulCommand) for row in doubtful),
        fetches=tuple(_struct(row, FetchRequest) for row in fetches),
        reads=tuple(_struct(row, ShownRead) for row in reads),
        blocked_items=blocked,
        held_items=held,
        due_seconds=row["due_seconds"],
    )


async def load_urgent(conn: Connection, scope: Scope, window: Window) -> Window:
    """Return the window with its commands read anew, and nothing else: the most urgent come first. Reads only."""
    commands = await _load_commands(conn, scope, list(window.blocked_items))
    return msgspec.structs.replace(window, commands=commands)


async def _load_commands(conn: Connection, scope: Scope, blocked: list[UUID]) -> tuple[PendingCommand, ...]:
    limit = scope.settings.window_commands
    about = (scope.connector.deducts_fulfilled, list(VERIFIED_CODES))
    rows = await conn.fetch(statements.WINDOW_COMMANDS, *scope.ids, limit, blocked, *about)
    return tuple(_pending(row) for row in rows)


def without(window: Window, task: Task) -> Window:
    """Return the window without what `task` takes out of it. Pure."""
    replace = msgspec.structs.replace
    match task:
        case SendCommand():
            sent = {command.command_id for command in task.commands}
            return replace(window, commands=tuple(c for c in window.commands if c.command_id not in sent))
        case PushStock(marks):
            items = {mark.item_id for mark in marks}
            return replace(window, marks=tuple(mark for mark in window.marks if mark.item_id not in items))
        case LookAfter():
            looked_at = {command.command_id for command in task.commands}
            return replace(window, doubtful=tuple(c for c in window.doubtful if c.command_id not in looked_at))
        case FetchEntity(request):
            return replace(window, fetches=tuple(each for each in window.fetches if each != request))
        case ReadShown(read):
            return replace(window, reads=tuple(each for each in window.reads if each != read))
        case ReadFeed():
            return window
        case _:
            assert_never(task)


def _pending(row: Record) -> PendingCommand:
    values = dict(row)
    values["items"] = tuple(values["items"])
    return PendingCommand(planned_at=time_of(row["command_id"]), **_kind(values))


def _struct(row: Record, kind: type[S]) -> S:
    return kind(**_kind(dict(row)))


def _kind(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "kind": CommandKind(str(values["kind"]))} if "kind" in values else values
