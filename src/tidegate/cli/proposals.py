"""`tidegate proposals|approve|reject`: what waits for a person before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tidegate.cli.output import print_json, print_table, safe_line, show_age
from tidegate.cli.session import (
    Session,
    json_option,
    known_connectors,
    newest_config,
    operator,
    project_option,
    run_session,
)
from tidegate.commerce.money import Money
from tidegate.config.skus import patterns_of
from tidegate.dispatch.approval import Selection, Verdict, choose_commands, choose_marks
from tidegate.dispatch.approval import approve as release
from tidegate.dispatch.approval import reject as refuse
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import parse_public_id, public_id, time_of
from tidegate.monitor.events_view import find_connection
from tidegate.monitor.flows_view import Proposals, read_proposals, tell_quantities
from tidegate.store.sql import query

_MARKS_NAMED = query("proposals_marks_named")
_COMMANDS_OF_ORDER = query("proposals_of_order")
_NAMES = click.argument("names", nargs=-1, metavar="[NAME]...")
_FLOW = click.option(
    "--flow", "flows", multiple=True, type=click.Choice(["orders", "shipments", "payments", "stock", "events"])
)
_SKU = click.option(
    "--sku", "skus", multiple=True, metavar="SKU", help="Stock numbers of it; `*` and `?` may stand in it."
)
_GROUP = click.option("--group", "groups", multiple=True, metavar="NAME", help="Stock numbers of a group of the file.")
_CONNECTION = click.option("--connection", metavar="NAME", help="Only what this connection would be told.")
_ALL = click.option("--all", "everything", is_flag=True, help="Everything that waits.")
_TRIAL = click.option("--dry-run", is_flag=True, help="Only count.")


def _options(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=200, show_default=True)
@project_option
@json_option
def proposals(limit: int, project_dir: Path | None, *, as_json: bool) -> None:
    """List what waits for an approval, and what would be sent.

    Orders and shipments are built anew when they are sent; a stock number is the one that is true then. Nothing expires.

    \b
    Examples:
      tidegate proposals
      tidegate approve cmd_c0_06c6v... shop/SKU-1
    """
    connectors = known_connectors()

    async def body(session: Session) -> tuple[Proposals, list[int | None], str]:
        found = await read_proposals(session.conn, session.tenant_id, limit=limit)
        config = await newest_config(session)
        told = await tell_quantities(
            session.conn, session.tenant_id, found.marks, connectors, config, datetime.now(UTC)
        )
        return found, told, session.config.cell

    found, told, cell = run_session(project_dir, body)
    rows = [_command(row, cell) for row in found.commands]
    rows += [_mark(row, quantity) for row, quantity in zip(found.marks, told, strict=True)]
    if as_json:
        print_json({"total": found.total, "proposals": rows})
        return
    columns = ("name", "connection", "what", "age")
    print_table(
        columns,
        [[row["name"], row["connection"], row["what"], show_age(row["since"])] for row in rows],
        empty="nothing waits for an approval",
    )
    if found.total > len(rows):
        click.echo(f"... and {found.total - len(rows)} more: --limit {found.total}")


@click.command()
@_options(_NAMES, _FLOW, _SKU, _GROUP, _CONNECTION, _ALL, _TRIAL, project_option, json_option)
def approve(**given: Any) -> None:
    """Release proposals: they are sent at once, as things stand then.

    NAME is a command (cmd_...), CONNECTION/SKU, or the number of an order. Options choose in bulk; together they must all
    fit. Repeating it changes nothing.

    \b
    Examples:
      tidegate approve cmd_c0_06c6v...
      tidegate approve 1001 shop/SKU-1
      tidegate approve --flow orders
      tidegate approve --sku 'LAUNCH-*' --dry-run
      tidegate approve --all
    """
    _decide("approved", release, **given)


@click.command()
@_options(_NAMES, _FLOW, _SKU, _GROUP, _CONNECTION, _ALL, _TRIAL, project_option, json_option)
@click.option("--reason", required=True, help="Why; it is kept with them.")
def reject(reason: str, **given: Any) -> None:
    """Turn proposals down. A command is not planned again; a number is proposed again at the item's next change.

    \b
    Example:
      tidegate reject 1001 --reason "entered by hand"
    """

    async def act(*args: Any, **kwargs: Any) -> Verdict:
        return await refuse(*args, reason=reason, **kwargs)

    _decide("rejected", act, **given)


def _decide(
    word: str,
    act: Callable[..., Any],
    *,
    names: tuple[str, ...],
    flows: tuple[str, ...],
    skus: tuple[str, ...],
    groups: tuple[str, ...],
    connection: str | None,
    everything: bool,
    dry_run: bool,
    project_dir: Path | None,
    as_json: bool,
) -> None:
    if not (names or flows or skus or groups or connection or everything):
        raise click.UsageError("say which: names, --flow, --sku, --group, --connection, or --all")
    if names and (flows or skus or groups or everything):
        raise click.UsageError("give names or options, not both")

    async def body(session: Session) -> tuple[int, int]:
        selection = await _select(session, names, flows, skus, groups, connection)
        if dry_run:
            chosen = await choose_commands(session.conn, session.tenant_id, selection)
            marks = await choose_marks(session.conn, session.tenant_id, selection)
            return len(chosen), len(marks)
        verdict = await act(session.conn, tenant_id=session.tenant_id, selection=selection, actor=operator())
        return len(verdict.commands), len(verdict.marks)

    commands, numbers = run_session(project_dir, body)
    if as_json:
        print_json({"commands": commands, "numbers": numbers, "dry_run": dry_run})
    else:
        lead = "would be " if dry_run else ""
        click.echo(f"{lead}{word}: {commands} commands, {numbers} stock numbers")


async def _select(
    session: Session,
    names: tuple[str, ...],
    flows: tuple[str, ...],
    skus: tuple[str, ...],
    groups: tuple[str, ...],
    connection: str | None,
) -> Selection:
    """Return the selection that the words stand for. Raises ConfigurationError for a name that is none."""
    conn, tenant_id = session.conn, session.tenant_id
    connection_id = await find_connection(conn, tenant_id, connection) if connection is not None else None
    patterns: tuple[str, ...] | None = None
    if skus or groups:
        config = await newest_config(session)
        unknown = [name for name in groups if name not in config.groups]
        if unknown:
            raise ConfigurationError(f"there is no group {unknown[0]!r}", code="group_unknown")
        patterns = (*skus, *(pattern for name in groups for pattern in patterns_of(config, f"group:{name}")))
    if not names:
        return Selection(flows=flows or None, connection_id=connection_id, skus=patterns)
    commands: list[Any] = []
    marks: list[Any] = []
    for name in names:
        if name.startswith("cmd_"):
            try:
                commands.append(parse_public_id(name, kind="cmd"))
            except ValueError as error:
                raise click.UsageError(f"{name!r} is no command id; they look like cmd_c0_06c6v...") from error
        elif "/" in name:
            channel, _, sku = name.partition("/")
            row = await conn.fetchrow(_MARKS_NAMED, tenant_id, channel, sku)
            if row is None:
                raise _unknown(name)
            marks.append((row["connection_id"], row["item_id"]))
        else:
            rows = await conn.fetch(_COMMANDS_OF_ORDER, tenant_id, name)
            if not rows:
                raise _unknown(name)
            commands += [row["command_id"] for row in rows]
    return Selection(commands=tuple(commands), marks=tuple(marks), connection_id=connection_id)


def _unknown(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"nothing called {name!r} waits for an approval", code="proposal_unknown", hint="look with: tidegate proposals"
    )


def _command(row: Any, cell: str) -> dict[str, Any]:
    total = ""
    if row["total_minor"] is not None:
        total = f", {Money(row['total_minor'], row['currency']).to_decimal()} {row['currency']}"
    lines = f": {row['lines']}" if row["lines"] else ""
    why = f" ({row['reason']})" if row["reason"] else ""
    return {
        "name": public_id("cmd", cell, row["command_id"]),
        "connection": row["connection"],
        "kind": row["kind"],
        "order": row["number"],
        "what": safe_line(f"{row['kind']} {row['number'] or ''}{total}{lines}{why}"),
        "since": time_of(row["command_id"]),
    }


def _mark(row: Any, quantity: int | None) -> dict[str, Any]:
    shown = "?" if row["acked_quantity"] is None else str(row["acked_quantity"])
    told = "?" if quantity is None else str(quantity)
    return {
        "name": safe_line(f"{row['connection']}/{row['sku']}"),
        "connection": row["connection"],
        "kind": "inventory.set",
        "sku": row["sku"],
        "shows": row["acked_quantity"],
        "would_be_told": quantity,
        "what": f"stock: shows {shown}, would be told {told}",
        "since": row["dirty_at"],
    }
