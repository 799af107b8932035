"""`tidegate commands`: what other systems are told, and what a person may do about it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from tidegate.cli.moments import MOMENT
from tidegate.cli.output import plain, print_json, print_table, safe_line, show_time
from tidegate.cli.output import show as show_cell
from tidegate.cli.session import Session, json_option, operator, project_option, run_session
from tidegate.commerce.commands import CommandKind
from tidegate.commerce.states import CommandState
from tidegate.dispatch.operator import cancel_command, retry_command
from tidegate.kernel.ids import parse_public_id, public_id, time_of
from tidegate.monitor.commands_view import list_commands, read_command, read_wait
from tidegate.monitor.events_view import find_connection

_COLUMNS = ("planned", "command", "connection", "kind", "state", "tries", "why")


@click.group()
def commands() -> None:
    """Look at what other systems are told; retry or cancel it."""


@commands.command("list")
@project_option
@click.option("--connection", help="Only to this connection.")
@click.option("--state", type=click.Choice([str(state) for state in CommandState]), help="Only in this state.")
@click.option("--kind", type=click.Choice([str(kind) for kind in CommandKind]), help="Only of this kind.")
@click.option("--since", type=MOMENT, help="Planned since: 2026-11-01, 2026-11-01T12:30, or 2h.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def list_(
    project_dir: Path | None,
    connection: str | None,
    state: str | None,
    kind: str | None,
    since: datetime | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """List commands, newest first.

    \b
    Examples:
      tidegate commands list --state failed
      tidegate commands list --connection erp --kind order.create --since 1d
    """

    async def body(session: Session) -> list[dict[str, Any]]:
        connection_id = None
        if connection is not None:
            connection_id = await find_connection(session.conn, session.tenant_id, connection)
        rows = await list_commands(
            session.conn,
            session.tenant_id,
            connection_id=connection_id,
            state=state,
            kind=kind,
            since=since,
            limit=limit,
        )
        return [_summary(row, session.config.cell) for row in rows]

    found = run_session(project_dir, body)
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, [_row(command) for command in found], empty="no commands")


@commands.command()
@click.argument("command")
@project_option
@json_option
def show(command: str, project_dir: Path | None, *, as_json: bool) -> None:
    """Show one command (cmd_...): its state, what it waits for, each attempt and its answer."""
    command_id = _command_id(command)

    async def body(session: Session) -> dict[str, Any]:
        row, attempts = await read_command(session.conn, session.tenant_id, command_id)
        wait = await read_wait(session.conn, session.tenant_id, row, datetime.now(UTC))
        return _details(row, attempts, wait, session.config.cell)

    document = run_session(project_dir, body)
    if as_json:
        print_json(document)
        return
    attempts, wait = document.pop("attempts"), document.pop("wait")
    for name, value in document.items():
        click.echo(f"{name:<15} {show_cell(value)}")
    if wait is not None:
        until = f", until {wait['until']}" if wait["until"] is not None else ""
        click.echo(f"{'waits':<15} {safe_line(wait['words'])}{until}")
    columns = ("started_at", "purpose", "attempt_number", "outcome", "code", "http_status", "duration_ms", "late")
    print_table(columns, [[each[name] for name in columns] for each in attempts], empty="nothing was sent yet")


@commands.command()
@click.argument("command_names", nargs=-1, required=True, metavar="COMMAND...")
@project_option
@click.option("--rebuild", is_flag=True, help="Make the request anew from what is known now, under a new key.")
def retry(command_names: tuple[str, ...], project_dir: Path | None, *, rebuild: bool) -> None:
    """Send a failed command again, or one in doubt that you have looked up at the other side.

    The request stays as it was, under the same key, so that a side that knows the key does not do it twice. With
    --rebuild it is made anew: use that when the first was refused for its content and you have mended the cause.
    """

    async def act(session: Session, command_id: UUID) -> str:
        return await retry_command(
            session.conn, tenant_id=session.tenant_id, command_id=command_id, actor=operator(), rebuild=rebuild
        )

    _act(project_dir, command_names, act)


@commands.command()
@click.argument("command_names", nargs=-1, required=True, metavar="COMMAND...")
@project_option
@click.option("--reason", required=True, help="Why; it is kept with the command.")
def cancel(command_names: tuple[str, ...], project_dir: Path | None, reason: str) -> None:
    """Give a command up. What was sent already is not undone at the other side.

    \b
    Example:
      tidegate commands cancel cmd_c0_06c6v... --reason "entered by hand"
    """

    async def act(session: Session, command_id: UUID) -> str:
        return await cancel_command(
            session.conn, tenant_id=session.tenant_id, command_id=command_id, actor=operator(), reason=reason
        )

    _act(project_dir, command_names, act)


def _act(
    project_dir: Path | None,
    names: tuple[str, ...],
    act: Callable[[Session, UUID], Coroutine[Any, Any, str]],
) -> None:
    """Do the same to each command, one transaction each; stops at the first that is refused."""
    command_ids = [_command_id(name) for name in names]

    async def body(session: Session) -> None:
        for name, command_id in zip(names, command_ids, strict=True):
            click.echo(f"{name}: {await act(session, command_id)}")

    run_session(project_dir, body)


def _summary(row: Any, cell: str) -> dict[str, Any]:
    return {
        "command_id": public_id("cmd", cell, row["command_id"]),
        "planned_at": time_of(row["command_id"]),
        "connection": row["connection"],
        "kind": row["kind"],
        "state": row["state"],
        "code": row["code"],
        "reason": row["reason"],
        "attempt_number": row["attempt_number"],
        "not_before": row["not_before"],
        "entity": _entity(row, cell),
        "version": row["version"],
        "quantity": row["quantity"],
        "finished_at": row["finished_at"],
    }


def _row(command: dict[str, Any]) -> list[object]:
    words = ": ".join(word for word in (command["code"], command["reason"]) if word)
    if command["quantity"] is not None:
        words = f"= {command['quantity']} {words}"
    names = ("command_id", "connection", "kind", "state", "attempt_number")
    return [show_time(command["planned_at"]), *(command[name] for name in names), words]


def _details(row: Any, attempts: list[Any], wait: Any, cell: str) -> dict[str, Any]:
    cause = public_id("evt", cell, row["cause_event_id"]) if row["cause_event_id"] is not None else None
    return {
        **_summary(row, cell),
        "target_key": row["target_key"],
        "priority": row["priority"],
        "deadline_at": row["deadline_at"],
        "cause": cause,
        "ledger": row["ledger"],
        "idempotency_key": attempts[0]["idempotency_key"] if attempts else None,
        "config_version": attempts[0]["config_version"] if attempts else None,
        "map_digest": attempts[0]["map_digest"] if attempts else None,
        "wait": plain(wait),
        "attempts": [
            {
                "attempt_id": public_id("att", cell, each["attempt_id"]),
                **{name: each[name] for name in _ATTEMPT_FIELDS},
            }
            for each in attempts
            if each["attempt_id"] is not None
        ],
    }


_ATTEMPT_FIELDS = (
    "purpose", "attempt_number", "started_at", "outcome", "code", "http_status", "duration_ms", "late", "answered_at"
)  # fmt: skip
_ENTITY_PREFIX = {
    "order.create": "ord",
    "order.cancel": "ord",
    "fulfillment.create": "ful",
    "payment.capture": "ord",
    "payment.void": "ord",
    "refund.create": "ord",
}


def _entity(row: Any, cell: str) -> str:
    prefix = _ENTITY_PREFIX.get(row["kind"])
    return public_id(prefix, cell, row["entity_id"]) if prefix else str(row["entity_id"])


def _command_id(text: str) -> UUID:
    try:
        return parse_public_id(text, kind="cmd")
    except ValueError as error:
        raise click.UsageError(f"{text!r} is no command id; they look like cmd_c0_06c6v...") from error
