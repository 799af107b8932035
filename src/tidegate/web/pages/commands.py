"""Commands: what other systems are told; retry it, or give it up."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Response

from tidegate.commerce.commands import CommandKind
from tidegate.commerce.states import CommandState
from tidegate.dispatch.operator import cancel_command, retry_command
from tidegate.kernel.errors import ConflictError
from tidegate.kernel.ids import public_id, time_of
from tidegate.monitor.commands_view import list_commands, read_command, read_wait
from tidegate.monitor.search import list_connections
from tidegate.web.pages.lists import PAGE_ROWS, id_in_path, next_address, read_asked
from tidegate.web.pages.visit import Here
from tidegate.web.problems import ProblemError

RETRIED = ("failed", "in_doubt")
CANCELLED = ("pending", "failed", "in_doubt")
BULK_MAX = 200


async def show_list(here: Here) -> Response[Any]:
    """List commands, newest first."""
    rows: list[Any] = []
    async with here.reading() as conn:
        connections = await list_connections(conn, here.tenant_id)
        asked = await read_asked(here, conn, connections, sort_name="kind", id_kind="cmd")
        if asked.found is not None and asked.found.command_id is not None:
            return here.go(f"/commands/{public_id('cmd', here.cell, asked.found.command_id)}")
        if not asked.trouble:
            rows = await list_commands(
                conn,
                here.tenant_id,
                connection_id=asked.connection_id,
                state=asked.state or None,
                kind=asked.sort or None,
                since=asked.since_at,
                limit=PAGE_ROWS + 1,
                before=asked.before_id,
                entities=asked.entities if asked.q else None,
                code=asked.code or None,
            )
    return here.show(
        "commands.html",
        asked=asked,
        states=[str(state) for state in CommandState],
        kinds=[str(kind) for kind in CommandKind],
        rows=[{**dict(row), "planned_at": time_of(row["command_id"])} for row in rows[:PAGE_ROWS]],
        further=next_address(here, asked, rows, path="/commands", sort_name="kind", id_kind="cmd"),
        retried=RETRIED,
    )


async def show_one(here: Here) -> Response[Any]:
    """Show one command: its state, what it waits for, each attempt and its answer."""
    command_id = id_in_path(here, "cmd")
    async with here.reading() as conn:
        row, attempts = await read_command(conn, here.tenant_id, command_id)
        wait = await read_wait(conn, here.tenant_id, row, here.now)
    return here.show(
        "command.html",
        command=row,
        command_id=public_id("cmd", here.cell, command_id),
        planned_at=time_of(command_id),
        attempts=[attempt for attempt in attempts if attempt["attempt_id"] is not None],
        wait=wait,
        ledger=_counters(row["ledger"]),
        about=_about(here, row),
        may_retry=row["state"] in RETRIED,
        may_cancel=row["state"] in CANCELLED,
    )


async def retry_one(here: Here) -> Response[Any]:
    """Let a command be sent again."""
    command_id = id_in_path(here, "cmd")
    async with here.writing() as conn:
        state = await retry_command(
            conn,
            tenant_id=here.tenant_id,
            command_id=command_id,
            actor=here.actor,
            rebuild=here.field("rebuild") == "yes",
        )
    return here.go(f"/commands/{public_id('cmd', here.cell, command_id)}", f"It is {state} now.")


async def cancel_one(here: Here) -> Response[Any]:
    """Give a command up."""
    command_id = id_in_path(here, "cmd")
    place = f"/commands/{public_id('cmd', here.cell, command_id)}"
    reason = here.field("reason")
    if not reason:
        return here.go(place, "Nothing was changed: say why, it is kept with the command.")
    async with here.writing() as conn:
        await cancel_command(
            conn, tenant_id=here.tenant_id, command_id=command_id, actor=here.actor, reason=reason[:500]
        )
    return here.go(place, "It is given up. What was sent already is not undone at the other side.")


async def retry_many(here: Here) -> Response[Any]:
    """Let the chosen commands be sent again; those that have moved on meanwhile are left as they are."""
    chosen = [name.removeprefix("command_") for name in here.fields if name.startswith("command_")][:BULK_MAX]
    if not chosen:
        return here.go("/commands?state=failed", "Nothing was chosen.")
    try:
        command_ids = [UUID(hex=text) for text in chosen]
    except ValueError as error:
        raise ProblemError(400, "form_invalid", "the form names a command that cannot exist") from error
    await here.prove()
    done, left = 0, 0
    for command_id in command_ids:
        async with here.writing() as conn:
            try:
                await retry_command(conn, tenant_id=here.tenant_id, command_id=command_id, actor=here.actor)
                done += 1
            except ConflictError:
                left += 1
    words = f"{done} are sent again."
    return here.go("/commands", f"{words} {left} had moved on and stay as they are." if left else words)


def _counters(ledger: Any) -> dict[str, int]:
    if ledger is None:
        return {}
    found = msgspec.json.decode(ledger) if isinstance(ledger, str) else dict(ledger)
    return {name: value for name, value in found.items() if isinstance(value, int)}


def _about(here: Here, row: Any) -> str:
    """Return the id of what the command is about, for the page that tells its story; '' for an item."""
    kind = {
        "order.create": "ord",
        "order.cancel": "ord",
        "fulfillment.create": "ful",
        "payment.capture": "ord",
        "payment.void": "ord",
        "refund.create": "ord",
    }.get(row["kind"])
    return public_id(kind, here.cell, row["entity_id"]) if kind else ""
