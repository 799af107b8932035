"""`tidegate lanes`: what waits for each system, what is under way, and what holds it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from tidegate.cli.output import print_json, print_table, safe_line, show_age, show_seconds, show_time
from tidegate.cli.session import Session, json_option, newest_config, project_option, run_session
from tidegate.monitor.lanes import LaneView, read_lanes

_COLUMNS = ("connection", "state", "budget left", "waiting", "in flight", "held by", "until", "saved")
CLEAR_SCREEN = "\x1b[H\x1b[2J"


@click.command()
@click.option("--watch", is_flag=True, help="Show it again every second until Ctrl-C.")
@project_option
@json_option
def lanes(project_dir: Path | None, *, watch: bool, as_json: bool) -> None:
    """Show what waits for each connection, what is under way, and which rule holds the head of the lane until when.

    A connection has one lane. Payments, orders and shipments go first; the rest shares what is left, and grows more urgent
    with age. "held by" names the rule: budget (the platform's limit), snoozed (it told us to wait), breaker (it counts as
    down), retry_budget, merging (waits for company, so that one call serves many), writes_stopped, connection, parked.
    "saved" counts calls that merging saved in 24 hours, and reads that bundling saved. "budget left" is what may be spent now.

    A connection counts as down when its calls failed 5 times in a row: then one call at a time asks whether it is back. The
    connections of one dispatch process share that for a host; another process finds out by itself. A host that stays down is
    asked about twice a minute by each process, however many connections are there.

    \b
    Examples:
      tidegate lanes
      tidegate lanes --watch
      tidegate lanes --json
      tidegate why order 1001      what one order waits for
    """
    if watch and as_json:
        raise click.UsageError("--watch is for people: leave --json away")
    while True:
        found = _read(project_dir)
        if as_json:
            print_json({"items": found})
            return
        if watch:
            click.echo(CLEAR_SCREEN, nl=False)
        _print(found)
        if not watch:
            return
        time.sleep(1.0)


def _read(project_dir: Path | None) -> list[LaneView]:
    async def body(session: Session) -> list[LaneView]:
        config = await newest_config(session)
        return await read_lanes(session.conn, session.tenant_id, datetime.now(UTC), config)

    return run_session(project_dir, body)


def _print(found: list[LaneView]) -> None:
    print_table(_COLUMNS, [_row(lane) for lane in found], empty="no connections: tidegate connect NAME")
    for lane in found:
        for each in lane.waiting:
            click.echo(
                f"{lane.connection}: {each.waiting} of {each.name} wait, the oldest for {show_seconds(each.oldest_seconds)}"
            )
        if lane.in_doubt:
            click.echo(f"{lane.connection}: {lane.in_doubt} sent without an answer are being looked after")
        if lane.parked:
            click.echo(f"{lane.connection}: {lane.parked} parked after a failed attempt")
        if lane.budget_rule:
            ours = "" if lane.share in (None, 1.0) else f", {lane.share:.0%} of the platform's are ours"
            click.echo(
                f"{lane.connection}: {lane.budget_rule}; {lane.used_last_minute or 0:.0f} used in a minute{ours}"
            )
        if lane.open_since is not None:
            click.echo(
                f"{lane.connection}: counts as down {show_age(lane.open_since)}; one call at a time asks whether it is back"
            )
        if lane.words:
            until = f" (until {show_time(lane.held_until)})" if lane.held_until is not None else ""
            click.echo(f"{lane.connection}: {safe_line(lane.words)}{until}")


def _row(lane: LaneView) -> tuple[object, ...]:
    left = "-" if lane.budget_left is None else f"{lane.budget_left:.0f} of {lane.budget_limit or 0:.0f}"
    waiting = sum(each.waiting for each in lane.waiting)
    until = show_time(lane.held_until) if lane.held_until is not None else "-"
    saved = f"{lane.calls_saved}+{lane.reads_saved}"
    return lane.connection, lane.state, left, waiting, lane.in_flight, lane.held_by or "-", until, saved
