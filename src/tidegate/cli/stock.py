"""`tidegate stock`: an item, its ledger and its channels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from tidegate.cli.output import print_json, print_table, show_time
from tidegate.cli.session import Session, json_option, known_connectors, project_option, run_session
from tidegate.monitor.sku_story import SkuChannel
from tidegate.monitor.stock_view import ChannelView, StockView, read_stock

_LEVELS = ("location", "on_hand", "unavailable", "committed", "reserved", "safety_stock", "available")
_ENTRIES = (
    "at",
    "location",
    "kind",
    "on_hand_delta",
    "committed_delta",
    "on_hand_after",
    "committed_after",
    "cause_key",
)
_CHANNELS = ("connection", "was_told", "told_at", "should_be_told", "waits")


@click.group()
def stock() -> None:
    """Look at the stock and how it came to be."""


@stock.command()
@click.argument("sku")
@project_option
@click.option("--entries", type=click.IntRange(1, 1000), default=10, show_default=True, help="Ledger entries to show.")
@json_option
def show(sku: str, project_dir: Path | None, entries: int, *, as_json: bool) -> None:
    """Show one SKU: its level at each location, the end of its ledger, and what each channel was and should be told.

    Units that a channel shows as gone and no order explains are named, with what ends that: until then they count as sold.

    \b
    Example:
      tidegate stock show TS-RED-M
    """
    connectors = known_connectors()

    async def body(session: Session) -> StockView:
        return await read_stock(session.conn, session.tenant_id, sku, connectors, entries=entries)

    view = run_session(project_dir, body)
    if as_json:
        print_json(view)
        return
    print_table(_LEVELS, [[row[name] for name in _LEVELS] for row in view.levels], empty="nothing was ever counted")
    click.echo("")
    print_table(_ENTRIES, [[row[name] for name in _ENTRIES] for row in view.entries], empty="the ledger is empty")
    click.echo("")
    rows = [[getattr(channel, name) for name in _CHANNELS] for channel in view.channels]
    print_table(_CHANNELS, rows, empty="no channel sells it")
    print_unseen(view.channels)


def print_unseen(channels: Iterable[ChannelView | SkuChannel]) -> None:
    """Print what channels show and nobody can explain, with what ends it."""
    for channel in channels:
        if channel.unseen is not None:
            until = f" (at {show_time(channel.unseen.until)} at the earliest)"
            click.echo(f"{channel.connection}: {channel.unseen.words}{until}")
