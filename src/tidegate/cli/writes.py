"""`tidegate writes`: the switch that stops everything that would change another system."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.output import plain, print_json, safe_line, show_time
from tidegate.cli.session import Session, json_option, operator, project_option, run_session
from tidegate.dispatch.operator import STOP_SWITCH, allow_writes, stop_writes
from tidegate.monitor.status import SwitchStatus, read_status


@click.group()
def writes() -> None:
    """Stop all writes to other systems at once, and let them go on."""


@writes.command()
@project_option
@click.option("--reason", required=True, help="Why; everybody sees it.")
def stop(project_dir: Path | None, reason: str) -> None:
    """Stop all writes. Events are still taken in and applied; what would be sent waits.

    \b
    Example:
      tidegate writes stop --reason "wrong prices in the ERP"
    """
    words = reason.encode("utf-8", "replace").decode().replace("\0", "?")  # whatever the terminal sent: it must work

    async def body(session: Session) -> None:
        await stop_writes(session.conn, tenant_id=session.tenant_id, actor=operator(), reason=words)

    run_session(project_dir, body)
    click.echo("all writes are stopped; calls that were on their way may still finish")


@writes.command()
@project_option
def resume(project_dir: Path | None) -> None:
    """Let writes go on. Stock numbers are computed from what is true then, not from what was true before."""

    async def body(session: Session) -> None:
        await allow_writes(session.conn, tenant_id=session.tenant_id, actor=operator())

    run_session(project_dir, body)
    click.echo("writes go on")


@writes.command()
@project_option
@json_option
def status(project_dir: Path | None, *, as_json: bool) -> None:
    """Say whether writes are stopped, by whom and why."""

    async def body(session: Session) -> SwitchStatus | None:
        found = await read_status(session.conn, session.tenant_id)
        return next((switch for switch in found.switches if switch.name == STOP_SWITCH), None)

    switch = run_session(project_dir, body)
    if as_json:
        print_json(plain(switch))
    elif switch is None or not switch.is_on:
        click.echo("writes are allowed")
    else:
        click.echo(
            f"stopped by {switch.changed_by} since {show_time(switch.changed_at)}: {safe_line(switch.reason or '')}"
        )
