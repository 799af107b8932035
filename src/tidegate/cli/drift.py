"""`tidegate drift`: where systems differ, field by field, and what that is worth."""

from __future__ import annotations

import asyncio
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import click

from tidegate.cli.output import plain, print_json, print_table, safe_line, show_age
from tidegate.cli.session import Session, json_option, known_connectors, operator, project_option, run_session
from tidegate.dispatch.drift import Requested, compared_connections, request_run
from tidegate.dispatch.drift_decide import Cause
from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.drift_view import (
    CAUSE_WORDS,
    DriftRow,
    DriftView,
    FieldGroup,
    RunView,
    read_drift,
    read_run,
)

POLL_SECONDS = 0.25
TIMEOUT_SECONDS = 600


@click.command()
@click.option("--top", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Rows to show.")
@click.option("--field", type=click.Choice(get_args(FieldGroup)), help="Only this field.")
@click.option("--connection", help="Only what was compared with this connection.")
@click.option("--refresh/--no-refresh", default=True, help="Read anew first (default), or show the last look.")
@click.option(
    "--timeout",
    type=click.IntRange(1),
    default=TIMEOUT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the fresh read.",
)
@project_option
@json_option
def drift(
    project_dir: Path | None,
    top: int,
    field: FieldGroup | None,
    connection: str | None,
    timeout: int,
    *,
    refresh: bool,
    as_json: bool,
) -> None:
    """Show where systems differ, what the difference is worth, and for how long it is seen.

    Reads what the systems show now, through their budgets, and compares it with what the owner of each field says
    (`owns` in tidegate.yaml). Writes nothing anywhere but into Tidegate's own tables. A number that is being sent, or
    that changed while it was read, is not called drift.

    \b
    stock    a channel's number    with what Tidegate would tell it
    on_hand  the ERP's count       with the sum of the movements that were read
    price    a channel's price     with that of `owns.price`

    Value at risk is units that differ x the price of one, in the price's currency; currencies are not converted.

    \b
    Examples:
      tidegate drift --top 50
      tidegate drift --field stock --connection shop
      tidegate drift --no-refresh --json
    """

    async def body(session: Session) -> tuple[Requested | None, bool, DriftView]:
        names = compared_connections(session.config, known_connectors())
        if connection is not None and connection not in session.config.connections:
            raise ConfigurationError(
                f"tidegate.yaml has no connection {connection!r}",
                code="connection_unknown",
                hint=f"it has: {', '.join(session.config.connections) or 'none'}",
            )
        requested, is_over = None, True
        if refresh:
            requested = await request_run(session.conn, tenant_id=session.tenant_id, actor=operator(), names=names)
            is_over = await _wait(session, requested, timeout)
        view = await read_drift(session.conn, session.tenant_id, top=top, field=field, connection=connection)
        return requested, is_over, view

    requested, is_over, view = run_session(project_dir, body)
    if as_json:
        print_json(_as_json(requested, view, is_over=is_over))
    else:
        _print(requested, view, is_over=is_over)


async def _wait(session: Session, requested: Requested, seconds: int) -> bool:
    """Wait for the run, with a line of progress on a terminal; return whether it ended in time."""
    deadline = time.monotonic() + seconds
    shown = ""
    try:
        while True:
            run = await read_run(session.conn, session.tenant_id, requested.run_id)
            if run is None or run.finished_at is not None:
                return True
            if time.monotonic() > deadline:
                return False
            line = _progress(run)
            if sys.stderr.isatty() and line != shown:
                click.echo(f"\r{line:<{len(shown)}}", err=True, nl=False)
                shown = line
            await asyncio.sleep(POLL_SECONDS)
    finally:
        if shown:
            click.echo("\r" + " " * len(shown) + "\r", err=True, nl=False)


def _progress(run: RunView) -> str:
    words = {
        "waiting": "waits for its turn",
        "reading": "read {articles} articles",
        "comparing": "compared {compared} of {articles}",
        "done": "done",
        "failed": "failed",
    }
    return safe_line(
        ", ".join(
            f"{read.connection}: {words[read.state].format(articles=read.articles, compared=read.compared)}"
            for read in run.reads
        )
    )


def _print(requested: Requested | None, view: DriftView, *, is_over: bool) -> None:
    run = view.run
    if run is None:
        click.echo("nobody looked yet; run: tidegate drift")
        return
    print_table(
        ("sku", "field", "owner", "says", "other", "shows", "difference", "at risk", "seen for", "likely cause"),
        [_cells(row) for row in view.rows],
        empty="no drift",
    )
    click.echo(_summary(view))
    for read in run.reads:
        if read.error is not None or read.state == "failed":
            click.echo(safe_line(f"note: {read.connection} was not read to its end: {read.error or 'no reason known'}"))
    for name, why in requested.stopped if requested is not None else ():
        click.echo(safe_line(f"note: {name} was not read, its connection is stopped: {why}"))
    if not is_over:
        click.echo(f"note: the run goes on ({_progress(run)}); look later with: tidegate drift --no-refresh")
    elif run.finished_at is not None:
        click.echo(f"read {show_age(run.finished_at)} ago")


def _cells(row: DriftRow) -> list[object]:
    return [
        row.sku,
        row.field if row.location in (None, "main") else f"{row.field} at {row.location}",
        row.owner,
        number(row.owner_value, row.currency),
        row.other,
        number(row.other_value, row.currency),
        number(row.difference, row.currency, signed=True),
        number(row.risk, row.risk_currency),
        show_age(row.since),
        CAUSE_WORDS[Cause(row.cause)],
    ]


def number(value: Decimal | None, currency: str = "", *, signed: bool = False) -> str:
    """Return units or an amount without the zeros that nobody wrote; '-' for none."""
    if value is None:
        return "-"
    text = format(value.normalize(), "+f" if signed else "f")
    if currency:
        text = format(value, "+.2f" if signed else ".2f") if value == round(value, 2) else text
        return f"{text} {currency}"
    return text


def _summary(view: DriftView) -> str:
    risk = " + ".join(number(amount, currency) for currency, amount in sorted(view.risk_by_currency.items()))
    more = f", {len(view.rows)} shown" if view.total > len(view.rows) else ""
    flight = f"; {view.in_flight} more were being changed and are not counted" if view.in_flight else ""
    return f"{view.total} differences{more}, at risk: {risk or 'nothing that has a price'}{flight}"


def _as_json(requested: Requested | None, view: DriftView, *, is_over: bool) -> dict[str, Any]:
    rows = [{**plain(row), "difference": plain(row.difference)} for row in view.rows]
    return {
        **plain(view),
        "rows": rows,
        "risk_by_currency": plain(view.risk_by_currency),
        "is_finished": is_over,
        "stopped": [{"connection": name, "why": why} for name, why in requested.stopped] if requested else [],
    }
