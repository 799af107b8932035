"""`/v1/commands`: what other systems are told; retry it or give it up."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Meta

from tidegate.commerce.commands import CommandKind
from tidegate.commerce.states import CommandState
from tidegate.dispatch import operator
from tidegate.kernel.ids import public_id, time_of
from tidegate.kernel.text import mask_people
from tidegate.monitor.commands_view import list_commands as read_commands
from tidegate.monitor.commands_view import read_command, read_wait
from tidegate.store.connections import Connection as Conn
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, body, needs, problems
from tidegate.web.api.identifiers import TEXT, CommandId, Connection, IdempotencyKey, parse_id
from tidegate.web.api.lists import EXAMPLE_CURSOR, Cursor, Limit, read_id_cursor, write_cursor
from tidegate.web.api.words import masked

LIST = "commands"
_ENTITIES = {
    "order.create": "ord",
    "order.cancel": "ord",
    "fulfillment.create": "ful",
    "inventory.set": "itm",
    "payment.capture": "ord",
    "payment.void": "ord",
    "refund.create": "ord",
}


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Something that another system shall do."""

    id: str
    planned_at: datetime
    connection: str
    kind: str
    state: str
    code: Annotated[str | None, Meta(description="Why it is in that state")]
    reason: str | None
    attempt_number: int
    not_before: Annotated[datetime | None, Meta(description="Parked until")]
    entity_id: Annotated[str, Meta(description="What it is about: an order, a fulfillment, an item")]
    version: int
    quantity: Annotated[int | None, Meta(description="inventory.set: the number that was sent")]
    finished_at: datetime | None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try, or one look whether it was carried out."""

    id: str
    purpose: Annotated[str, Meta(description="send or verify")]
    attempt_number: int
    started_at: datetime
    outcome: str | None
    code: str | None
    http_status: int | None
    duration_ms: int | None
    late: bool | None
    answered_at: datetime | None


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """What holds a command back."""

    rule: str
    words: str
    until: datetime | None


class CommandDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One command with its attempts. Payloads are not given out."""

    id: str
    planned_at: datetime
    connection: str
    kind: str
    state: str
    code: str | None
    reason: str | None
    attempt_number: int
    not_before: datetime | None
    entity_id: str
    version: int
    quantity: int | None
    finished_at: datetime | None
    target_key: Annotated[str, Meta(description="Commands of one target go in order")]
    priority: int
    deadline_at: datetime
    cause_id: Annotated[str | None, Meta(description="The event that it follows from")]
    idempotency_key: Annotated[str | None, Meta(description="What the other side knows the request by")]
    waits: Annotated[Waits | None, Meta(description="null when it is finished")]
    attempts: tuple[Attempt, ...]


class CommandPage(msgspec.Struct, frozen=True, kw_only=True):
    """Commands, newest first."""

    items: tuple[Command, ...]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null on the last one")]


class CommandChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a command is after the action."""

    command_id: str
    state: str


class RetryCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to send it again."""

    rebuild: Annotated[
        bool,
        Meta(
            description="Make the request anew from what is known now, under a new key, instead of sending the frozen one"
        ),
    ] = False


Reason = Annotated[
    str, Meta(min_length=1, max_length=500, pattern=TEXT, description="Why; it is kept with the command")
]


class CancelCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why it is given up."""

    reason: Reason


_COMMAND = Command(
    id="cmd_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
    planned_at=datetime.fromisoformat("2026-11-27T10:00:00.150+00:00"),
    connection="erp",
    kind="order.create",
    state="failed",
    code="rejected",
    reason="no such article",
    attempt_number=1,
    not_before=None,
    entity_id="ord_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
    version=1,
    quantity=None,
    finished_at=datetime.fromisoformat("2026-11-27T10:00:01+00:00"),
)
_DETAIL = CommandDetail(
    **{name: getattr(_COMMAND, name) for name in Command.__struct_fields__},
    target_key="order:1001",
    priority=20,
    deadline_at=datetime.fromisoformat("2026-11-28T10:00:00+00:00"),
    cause_id="evt_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
    idempotency_key="tdg-06c6vd1t9kfsm3k0b4xk9qk2zw",
    waits=None,
    attempts=(),
)
_CHANGE = CommandChange(command_id=_COMMAND.id, state="pending")


@get(
    "/",
    **needs("commands:read"),
    summary="List commands",
    responses={
        200: answer(CommandPage, "Commands, newest first", CommandPage(items=(_COMMAND,), next_cursor=EXAMPLE_CURSOR)),
        **problems(*READ_PROBLEMS),
    },
)
async def list_commands(
    desk: NamedDependency[Desk],
    limit: Limit = 50,
    cursor: Cursor = None,
    connection: Connection = None,
    in_state: Annotated[CommandState | None, QueryParameter(name="state", description="Only in this state.")] = None,
    kind: Annotated[CommandKind | None, QueryParameter(description="Only of this kind.")] = None,
    since: Annotated[datetime | None, QueryParameter(description="Planned since.")] = None,
) -> CommandPage:
    """What other systems are told, newest first."""
    async with desk.reading() as conn:
        rows = await read_commands(
            conn,
            desk.tenant_id,
            connection_id=await desk.find_connection(conn, connection),
            state=in_state,
            kind=kind,
            since=since,
            limit=limit + 1,
            before=read_id_cursor(LIST, cursor),
        )
    items = tuple(Command(**_fields(row, desk.cell)) for row in rows[:limit])
    more = write_cursor(LIST, rows[limit - 1]["command_id"]) if len(rows) > limit else None
    return CommandPage(items=items, next_cursor=more)


@get(
    "/{command_id:str}",
    **needs("commands:read"),
    summary="Show a command",
    responses={200: answer(CommandDetail, "One command", _DETAIL), **problems(*READ_PROBLEMS)},
)
async def show_command(desk: NamedDependency[Desk], command_id: CommandId) -> CommandDetail:
    """One command with its attempts, their answers in short, and what it waits for."""
    wanted = parse_id("cmd", command_id)
    async with desk.reading() as conn:
        row, attempts = await read_command(conn, desk.tenant_id, wanted)
        wait = await read_wait(conn, desk.tenant_id, row, desk.now)
    cause = row["cause_event_id"]
    return CommandDetail(
        **_fields(row, desk.cell),
        target_key=row["target_key"],
        priority=row["priority"],
        deadline_at=row["deadline_at"],
        cause_id=desk.public("evt", cause) if cause is not None else None,
        idempotency_key=attempts[0]["idempotency_key"] if attempts else None,
        waits=Waits(rule=wait.rule, words=mask_people(wait.words), until=wait.until) if wait is not None else None,
        attempts=tuple(_attempt(each, desk.cell) for each in attempts if each["attempt_id"] is not None),
    )


@post(
    "/{command_id:str}/retry",
    **needs("commands:write"),
    status_code=200,
    summary="Retry a command",
    responses={200: answer(CommandChange, "It is sent again", _CHANGE), **problems(*WRITE_PROBLEMS)},
)
async def retry_command(
    desk: NamedDependency[Desk],
    command_id: CommandId,
    data: Annotated[RetryCommand, body("Send the frozen request again", RetryCommand())],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Send a failed command again, or one in doubt that you have looked up at the other side.

    The request stays as it was, under the same key, so that a side that knows the key does not do it twice; with `rebuild`
    it is made anew. A stock number is never sent again: the item gets a new one, and the command ends superseded.
    """
    wanted = parse_id("cmd", command_id)

    async def effect(conn: Conn) -> CommandChange:
        state = await operator.retry_command(
            conn, tenant_id=desk.tenant_id, command_id=wanted, actor=desk.caller.actor, rebuild=data.rebuild
        )
        return CommandChange(command_id=desk.public("cmd", wanted), state=state)

    return await desk.once(idempotency_key, effect)


@post(
    "/{command_id:str}/cancel",
    **needs("commands:write"),
    status_code=200,
    summary="Cancel a command",
    responses={
        200: answer(CommandChange, "It is given up", CommandChange(command_id=_COMMAND.id, state="cancelled")),
        **problems(*WRITE_PROBLEMS),
    },
)
async def cancel_command(
    desk: NamedDependency[Desk],
    command_id: CommandId,
    data: Annotated[CancelCommand, body("Entered by hand", CancelCommand(reason="entered by hand"))],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Give a command up that is pending, failed or in doubt. What was sent already is not undone at the other side."""
    wanted = parse_id("cmd", command_id)

    async def effect(conn: Conn) -> CommandChange:
        state = await operator.cancel_command(
            conn, tenant_id=desk.tenant_id, command_id=wanted, actor=desk.caller.actor, reason=data.reason
        )
        return CommandChange(command_id=desk.public("cmd", wanted), state=state)

    return await desk.once(idempotency_key, effect)


def build_router() -> Router:
    """Return the routes of commands."""
    return Router(
        "/commands", route_handlers=[list_commands, show_command, retry_command, cancel_command], tags=["commands"]
    )


def _fields(row: Any, cell: str) -> dict[str, Any]:
    return {
        "id": public_id("cmd", cell, row["command_id"]),
        "planned_at": time_of(row["command_id"]),
        "entity_id": public_id(_ENTITIES.get(row["kind"], "ent"), cell, row["entity_id"]),
        "reason": masked(row["reason"]),
        **{name: row[name] for name in _COLUMNS},
    }


_COLUMNS = (
    "connection", "kind", "state", "code", "attempt_number", "not_before", "version", "quantity", "finished_at"
)  # fmt: skip


def _attempt(row: Any, cell: str) -> Attempt:
    return Attempt(
        id=public_id("att", cell, row["attempt_id"]),
        **{name: row[name] for name in Attempt.__struct_fields__ if name != "id"},
    )
