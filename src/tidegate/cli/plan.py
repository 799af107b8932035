"""`tidegate plan`: what flows where, what would change if it went live, and how many calls that costs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from tidegate.cli.config_file import read_file
from tidegate.cli.output import plain, print_json, print_table, safe_line, show_age, show_seconds
from tidegate.cli.session import Session, json_option, known_connectors, project_option, run_session
from tidegate.config import Config
from tidegate.config.compare import Change, changes
from tidegate.config.parse import parse
from tidegate.config.snapshots import read_newest
from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.flow_plan import FlowPlan, Plan, draw_mermaid, draw_text, read_plan


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The plan, and how the file stands to what is at work."""

    plan: Plan
    file_changes: tuple[Change, ...]
    file_error: str | None


@click.command()
@click.option(
    "--diagram",
    type=click.Choice(("text", "mermaid")),
    help="Print the diagram alone: for a terminal, or for documents.",
)
@project_option
@json_option
def plan(project_dir: Path | None, diagram: str | None, *, as_json: bool) -> None:
    """Show what flows where, what would change if every flow went live now, and how many calls that costs.

    Nothing is read from the systems and nothing is written: it counts what Tidegate knows. Stock is compared with what each
    channel showed at the last `tidegate drift`, else with what it was told last. Orders and shipments of before are left
    alone by going live; with --include-since they are sent.

    Thick arrows (==) write, thin ones (--) only look. Time is what the budget takes, with nothing else to do.

    \b
    Examples:
      tidegate plan
      tidegate plan --diagram mermaid > flows.mmd
      tidegate plan --json
    """

    async def body(session: Session) -> Shown:
        connectors = known_connectors()
        at_work = await _at_work(session)
        found = await read_plan(session.conn, session.tenant_id, at_work, connectors, datetime.now(UTC))
        try:
            wanted = parse(read_file(session.project), connectors=connectors)
        except ConfigurationError as error:
            return Shown(plan=found, file_changes=(), file_error=str(error))
        return Shown(plan=found, file_changes=tuple(changes(at_work, wanted)), file_error=None)

    found = run_session(project_dir, body)
    if as_json:
        print_json(_as_json(found))
    elif diagram is not None:
        lines = draw_mermaid(found.plan) if diagram == "mermaid" else draw_text(found.plan)
        click.echo("\n".join(safe_line(line) for line in lines))
    else:
        _print(found)


async def _at_work(session: Session) -> Config:
    """Return the configuration that workers go by; the file's where there is none yet."""
    for version in await read_newest(session.conn):
        if version.tenant_id == session.tenant_id:
            return version.config
    return session.config


def _print(found: Shown) -> None:
    plan_ = found.plan
    click.echo("\n".join(safe_line(line) for line in draw_text(plan_)) or "no flows: add them to tidegate.yaml")
    print_table(
        ("flow", "from", "to", "mode", "since", "waiting", "going live now sends", "with --include-since"),
        [_flow_cells(each) for each in plan_.flows],
        empty="",
    )
    for channel in plan_.channels:
        seen = f"looked at {show_age(channel.seen_at)} ago" if channel.seen_at else "never looked at: tidegate drift"
        click.echo(
            safe_line(
                f"{channel.channel}: {channel.differ} of {channel.articles} numbers would change "
                f"({channel.raised} up, {channel.lowered} down, {channel.unknown} unknown; {seen})"
                + (f"; {channel.open} articles match nothing: tidegate matches" if channel.open else "")
            )
        )
        click.echo(safe_line(f"  told at once: {channel.significant}"))
        for one in channel.examples:
            click.echo(safe_line(f"  {one.sku}: {'?' if one.shows is None else one.shows} -> {one.told}"))
    print_table(
        ("connection", "for", "items", "calls", "of its budget", "takes"),
        [(c.connection, c.purpose, c.items, c.calls, c.charge, show_seconds(c.seconds)) for c in plan_.costs],
        empty="it would cost no calls",
    )
    for name in plan_.unconnected:
        click.echo(safe_line(f"note: {name} is not connected yet: tidegate connect {name}"))
    if found.file_error is not None:
        click.echo(safe_line(f"note: tidegate.yaml cannot be put to work: {found.file_error}"))
    elif found.file_changes:
        click.echo(f"note: tidegate.yaml differs from what is at work in {len(found.file_changes)} values:")
        for change in found.file_changes[:10]:
            click.echo(safe_line(f"  {change.path}: {change.before} -> {change.after}"))
        click.echo("  put it to work with: tidegate config apply")


def _flow_cells(each: FlowPlan) -> list[object]:
    flow = each.flow
    mode = flow.mode_now + (f" (held by {flow.held_by})" if flow.held_by else "")
    waiting = ", ".join(f"{count} {state}" for state, count in sorted(each.waiting.items()))
    return [
        flow.name,
        ", ".join(flow.sources),
        ", ".join(flow.targets),
        mode + (f"; {', '.join(flow.exceptions)}" if flow.exceptions else ""),
        flow.since.isoformat(sep=" ", timespec="minutes") if flow.since is not None else None,
        waiting or "nothing",
        f"{each.would_send} numbers" if flow.name == "stock" else "nothing of before",
        "-" if flow.name == "stock" else f"{each.would_include} {flow.name}",
    ]


def _as_json(found: Shown) -> dict[str, Any]:
    return {
        **plain(found.plan),
        "diagram": draw_text(found.plan),
        "mermaid": draw_mermaid(found.plan),
        "file_changes": plain(found.file_changes),
        "file_error": found.file_error,
    }
