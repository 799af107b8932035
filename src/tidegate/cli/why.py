"""`tidegate why`: everything that happened to one order or to one SKU, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from tidegate.cli.output import console, print_json, print_table, safe_line, show_time
from tidegate.cli.session import Session, json_option, known_connectors, newest_config, project_option, run_session
from tidegate.cli.stock import print_promise, print_unseen
from tidegate.commerce.money import Money
from tidegate.monitor.explain import explain_order
from tidegate.monitor.explain_sku import explain_sku
from tidegate.monitor.orders_view import find_order
from tidegate.monitor.sku_story import SkuStory
from tidegate.monitor.story import Step, Story

_STYLES = {"good": "green", "bad": "bold red", "doubt": "yellow", "plain": ""}


@click.group()
def why() -> None:
    """Explain what happened, and why."""


@why.command()
@click.argument("reference")
@project_option
@json_option
def order(reference: str, project_dir: Path | None, *, as_json: bool) -> None:
    """Tell everything that happened to one order, from the first delivery to the last answer.

    REFERENCE is the order's number, its id in the shop, or our id (ord_...). Times are local, with the distance to the
    first line. What is not done yet is listed with the rule that holds it and until when.

    \b
    Examples:
      tidegate why order 1001
      tidegate why order ord_c0_06c6v... --json
    """

    async def body(session: Session) -> Story:
        chosen = await find_order(session.conn, session.tenant_id, reference, cell=session.config.cell)
        now = datetime.now(UTC)
        return await explain_order(session.conn, session.tenant_id, chosen, cell=session.config.cell, now=now)

    story = run_session(project_dir, body)
    if as_json:
        print_json(story)
    else:
        _print(story)


@why.command()
@click.argument("sku")
@project_option
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Ledger entries and numbers to show."
)
@json_option
def sku(sku: str, project_dir: Path | None, limit: int, *, as_json: bool) -> None:
    """Tell how the stock of one SKU came to be, and why each channel shows what it shows.

    Ledger entries with their cause, before and after; orders and reservations that hold units; every number that a channel was told, when,
    and from how many ledger entries it was made; what holds the next number back. Whether it can be oversold, and by how many units.

    \b
    Examples:
      tidegate why sku TS-RED-M
      tidegate why sku TS-RED-M --limit 100 --json
    """
    connectors = known_connectors()

    async def body(session: Session) -> SkuStory:
        return await explain_sku(
            session.conn, session.tenant_id, sku, connectors, await newest_config(session), limit=limit
        )

    story = run_session(project_dir, body)
    if as_json:
        print_json(story)
    else:
        _print_sku(story)


def _print(story: Story) -> None:
    total = f"{Money(story.total_minor, story.currency).to_decimal()} {story.currency}"
    click.echo(f"order {safe_line(story.number)} of {story.channel}   {story.order_id}")
    click.echo(
        f"  {story.order_state}, {story.payment_state}, {story.fulfillment_state}; {total}; version {story.version}"
    )
    columns = ("sku", "ordered", "current", "shipped", "fulfilled")
    print_table(columns, [[line[name] for name in columns] for line in story.lines], empty="  no lines")
    for binding in story.bindings:
        if binding["kind"] != "order_line":
            click.echo(f"  {binding['connection']} calls the {binding['kind']} {safe_line(binding['external_id'])}")
    for told in (*story.payments, *story.refunds):
        click.echo(f"  {safe_line(told['words'])}")
    click.echo("")
    _print_timeline(story.steps)
    for wait in story.waits:
        until = f", until {show_time(wait['until'])}" if wait["until"] is not None else ""
        click.echo(
            f"waits: {wait['kind']} in {wait['connection']} is {wait['state']}: {safe_line(wait['words'])}{until}"
        )


_LEVEL_COLUMNS = ("location", "on_hand", "unavailable", "committed", "reserved", "safety_stock", "available")
_CHANNEL_COLUMNS = ("channel", "mode", "shows", "since", "should show", "made of entries", "waits")


def _print_sku(story: SkuStory) -> None:
    owner = f", counted by {story.owner}" if story.owner else ""
    click.echo(f"SKU {safe_line(story.sku)}   stock flow: {story.mode}{owner}")
    for binding in story.bindings:
        pack = f", {binding['required_qty']} units each" if binding["required_qty"] != 1 else ""
        click.echo(f"  {binding['connection']} {_called(binding)}{pack}")
    levels = [[row[name] for name in _LEVEL_COLUMNS] for row in story.levels]
    print_table(_LEVEL_COLUMNS, levels, empty="nothing was ever counted")
    click.echo("")
    channels = [
        [c.connection, c.mode, c.was_told, c.told_at, c.should_be_told, c.last.entries if c.last else None, c.waits]
        for c in story.channels
    ]
    print_table(_CHANNEL_COLUMNS, channels, empty="no channel sells it")
    print_unseen(story.channels)
    for channel in story.channels:
        if channel.urgency:
            click.echo(f"{channel.connection}: {channel.urgency}")
    click.echo("")
    print_promise(story.promise)
    for order_ in story.orders:
        click.echo(
            f"order {safe_line(order_.number)} of {order_.channel} holds {order_.units}: {order_.order_state}, "
            f"{order_.payment_state}, placed {show_time(order_.placed_at)}"
        )
    for held in story.reservations:
        name = f" ({safe_line(held.reference)})" if held.reference else ""
        what = "is held until" if held.state == "held" else "is claimed, and its order is awaited until"
        click.echo(
            f"reservation {held.reservation_id}{name} of {held.units} in {held.location} {what} {show_time(held.due_at)}"
        )
    click.echo("")
    if story.is_cut:
        click.echo("(there is more before these; ask for it with --limit)")
    _print_timeline(story.steps)


def _called(binding: Mapping[str, Any]) -> str:
    name = safe_line(binding["external_id"])
    if binding["gone_at"] is None:
        return f"calls it {name}"
    return f"called it {name}, which was deleted there (known since {show_time(binding['gone_at'])})"


def _print_timeline(steps: Sequence[Step]) -> None:
    from rich.text import Text

    if not steps:
        click.echo("nothing is known of what happened to it")
        return
    out = console()
    first = steps[0].at
    width = max(len(step.kind) for step in steps)
    for step in steps:
        line = Text(f"{show_time(step.at)}  {_distance(step.at - first):>10}  {step.kind:<{width}}  ")
        line.append(safe_line(step.words), style=_STYLES[step.tone])
        if step.about:
            line.append(f"  {step.about}", style="dim")
        out.print(line)


def _distance(distance: timedelta) -> str:
    seconds = distance.total_seconds()
    if abs(seconds) < 100:
        return f"{seconds:+.3f} s"
    return f"{seconds / 60:+.1f} min" if abs(seconds) < 7200 else f"{seconds / 3600:+.1f} h"
