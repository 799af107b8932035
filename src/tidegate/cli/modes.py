"""`tidegate live|propose|observe`: what a flow, a group or single SKUs may do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from tidegate.cli.config_file import keep_in_step, read_file, read_step
from tidegate.cli.config_view import refuse_without_consent
from tidegate.cli.moments import MOMENT
from tidegate.cli.output import plain, print_json, safe_line
from tidegate.cli.session import Session, json_option, known_connectors, operator, project_option, run_session
from tidegate.config.history import History, version_of_text
from tidegate.config.records import Mode
from tidegate.config.skus import GROUP_PREFIX, SKU_PREFIX
from tidegate.config.steps import compare
from tidegate.kernel.errors import ConfigurationError
from tidegate.sync.moving import Move, Moved, move_mode

_FLOW = click.argument("flow", type=click.Choice(["stock", "orders", "shipments", "payments", "events"]))
_SKUS = click.option("--sku", "skus", multiple=True, metavar="SKU", help="Only this SKU; `*` and `?` may stand in it.")
_GROUPS = click.option("--group", "groups", multiple=True, metavar="NAME", help="Only the SKUs of this group.")
_INCLUDE = click.option(
    "--include-since",
    type=MOMENT,
    metavar="DATE",
    help="orders, shipments: also send what was placed since then and is not there yet, each once.",
)
_TRIAL = click.option("--dry-run", is_flag=True, help="Only say what would follow.")
_YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def _options(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.command()
@_options(_FLOW, _SKUS, _GROUPS, _INCLUDE, _TRIAL, _YES, project_option, json_option)
def live(**given: Any) -> None:
    """Let a flow write, or single SKUs of the stock flow.

    The line in tidegate.yaml is changed in place and put to work as a new version. Channels are told the numbers that
    are true then. No order placed before is sent, unless --include-since asks for it.

    \b
    Examples:
      tidegate live stock --sku TEST-1
      tidegate live stock --group toys --dry-run
      tidegate live orders
      tidegate live orders --include-since 2026-11-20
    """
    _move("live", **given)


@click.command()
@_options(_FLOW, _SKUS, _GROUPS, _INCLUDE, _TRIAL, _YES, project_option, json_option)
def propose(**given: Any) -> None:
    """Have a person approve each write of a flow, or of single SKUs.

    What was planned and not sent yet waits for an approval too.

    \b
    Examples:
      tidegate propose orders
      tidegate proposals
      tidegate approve --flow orders
    """
    _move("propose", **given)


@click.command()
@_options(_FLOW, _SKUS, _GROUPS, _TRIAL, _YES, project_option, json_option)
def observe(**given: Any) -> None:
    """Stop a flow from writing, or single SKUs of the stock flow; reading and planning go on.

    When it returns nothing new leaves. What is on its way settles; what was not sent ends as `observed`.

    \b
    Examples:
      tidegate observe stock
      tidegate observe stock --sku TEST-1
    """
    _move("observe", include_since=None, **given)


def _move(
    mode: Mode,
    *,
    flow: Any,
    skus: tuple[str, ...],
    groups: tuple[str, ...],
    include_since: datetime | None,
    dry_run: bool,
    yes: bool,
    project_dir: Path | None,
    as_json: bool,
) -> None:
    matches = (*(SKU_PREFIX + sku for sku in skus), *(GROUP_PREFIX + name for name in groups))
    move = Move(flow=flow, mode=mode, matches=matches, include_since=include_since)
    connectors = known_connectors()

    async def body(session: Session) -> Moved:
        seen = await _require_file_in_step(session)

        async def do(*, is_trial: bool) -> Moved:
            return await move_mode(
                session.conn,
                tenant_id=session.tenant_id,
                actor=operator(),
                move=move,
                connectors=connectors,
                is_trial=is_trial,
            )

        trial = await do(is_trial=True)
        if not as_json:
            _print(move, trial)
        if dry_run:
            return trial
        if mode != "observe" and trial.version.is_new:
            refuse_without_consent([], yes=yes)
        moved = await do(is_trial=False)
        keep_in_step(session.project, moved.version, seen=seen)
        return moved

    moved = run_session(project_dir, body)
    if as_json:
        print_json(
            {
                "version": moved.version.version,
                "is_new": moved.version.is_new,
                "dry_run": dry_run,
                "before": plain(moved.before),
                "after": plain(moved.after),
            }
        )
    elif dry_run:
        click.echo("nothing was changed (--dry-run)")
    elif moved.version.is_new:
        click.echo(f"version {moved.version.version} is at work, and tidegate.yaml says so")
    else:
        click.echo(f"nothing to change: version {moved.version.version} says so already")


def _print(move: Move, moved: Moved) -> None:
    what = ", ".join(move.matches) or "the whole flow"
    click.echo(f"{move.flow} ({safe_line(what)}): {move.mode}")
    for words, before, after in (
        ("numbers to tell", moved.before.numbers, moved.after.numbers),
        ("numbers that wait for an approval", moved.before.proposed_numbers, moved.after.proposed_numbers),
        ("commands to send", moved.before.commands, moved.after.commands),
        ("commands that wait for an approval", moved.before.proposed_commands, moved.after.proposed_commands),
    ):
        if before or after:
            click.echo(f"  {words}: {before} -> {after}")


async def _require_file_in_step(session: Session) -> str:
    """Refuse to write over changes of the file that were never put to work; return its text. Raises ConfigurationError."""
    newest = await History(session.conn, session.tenant_id).newest()
    text = read_file(session.project)
    if newest is None:
        return text
    verdict = compare(
        text,
        tenant=newest.config.tenant,
        step=read_step(session.project),
        newest=(newest.version, newest.document),
        file_version=await version_of_text(session.conn, session.tenant_id, text),
    )
    if verdict in ("file", "both"):
        raise ConfigurationError(
            "tidegate.yaml has changes that were never put to work",
            code="file_ahead",
            hint="look with `tidegate config diff`, then `tidegate config apply` or undo them",
        )
    return text
