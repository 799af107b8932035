"""`tidegate drift`: where systems differ, field by field, and what that is worth."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_args
from uuid import UUID

import click

from tidegate.cli.output import plain, print_json, print_table, safe_line, show_age, show_progress
from tidegate.cli.session import Session, json_option, known_connectors, operator, project_option, run_session
from tidegate.dispatch.drift import Requested, compared_connections, request_run
from tidegate.dispatch.drift_decide import Cause
from tidegate.dispatch.heal import Chosen, Healed, choose, heal
from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.drift_view import (
    CAUSE_WORDS,
    HEAL_WORDS,
    DriftRow,
    DriftView,
    FieldGroup,
    RunView,
    read_drift,
    read_run,
)

POLL_SECONDS = 0.25
TIMEOUT_SECONDS = 600


_TOP = click.option("--top", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Rows to show.")
_FIELD = click.option("--field", type=click.Choice(get_args(FieldGroup)), help="Only this field.")
_CONNECTION = click.option("--connection", metavar="NAME", help="Only what was compared with this connection.")
_REFRESH = click.option(
    "--refresh/--no-refresh", default=True, help="Read anew first (default), or show the last look."
)
_TIMEOUT = click.option(
    "--timeout",
    type=click.IntRange(1),
    default=TIMEOUT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the fresh read.",
)
_SKU = click.option("--sku", "skus", multiple=True, metavar="SKU", help="Only these; `*` and `?` may stand in it.")
_ALL = click.option("--all", "everything", is_flag=True, help="Of all connections and SKUs.")
_TRIAL = click.option("--dry-run", is_flag=True, help="Only count.")
P = ParamSpec("P")
T = TypeVar("T")


def _options(*options: Callable[[Callable[P, T]], Callable[P, T]]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    def decorate(command: Callable[P, T]) -> Callable[P, T]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(invoke_without_command=True)
@_options(_TOP, _FIELD, _CONNECTION, _REFRESH, _TIMEOUT, project_option, json_option)
@click.pass_context
def drift(ctx: click.Context, /, **given: Any) -> None:
    """Show where systems differ, what the difference is worth, and for how long it is seen; and heal it.

    Without a command it is `tidegate drift list`. The other ones tell numbers anew:

    \b
    drift list       what differs
    drift approve    have told what waits for approval (`heal: {stock: approve}`, or more than one run may heal)
    drift heal       have told whatever differs, whatever the policy says

    \b
    Examples:
      tidegate drift --top 50
      tidegate drift list --field stock --connection shop
      tidegate drift approve --connection shop --dry-run
      tidegate drift heal --sku 'TS-*'
    """
    if ctx.invoked_subcommand is None:
        _list(**given)


@drift.command("list")
@_options(_TOP, _FIELD, _CONNECTION, _REFRESH, _TIMEOUT, project_option, json_option)
def list_(**given: Any) -> None:
    """Show where systems differ, what the difference is worth, and for how long it is seen.

    Reads what the systems show now, through their budgets, and compares it with what the owner of each field says
    (`owns` in tidegate.yaml). A number that is being sent, or that changed while it was read, is not called drift. What
    differs is then healed by its policy (`reconcile` in tidegate.yaml), as after a look on schedule; --no-refresh looks at
    nothing and changes nothing.

    \b
    stock    a channel's number    with what Tidegate would tell it
    on_hand  the ERP's count       with the sum of the movements that were read
    price    a channel's price     with that of `owns.price`

    Value at risk is units that differ x the price of one, in the price's currency; currencies are not converted.

    \b
    Examples:
      tidegate drift list --top 50
      tidegate drift list --field stock --connection shop
      tidegate drift list --no-refresh --json
    """
    _list(**given)


@drift.command()
@_options(_CONNECTION, _SKU, _ALL, _TRIAL, project_option, json_option)
def approve(**given: Any) -> None:
    """Have told what waits for approval: where the policy asks first, or one run found more than it may heal by itself.

    Each number is computed when it is sent, as ever; repeating it changes nothing. `tidegate drift list` shows what waits.

    \b
    Examples:
      tidegate drift approve --connection shop --dry-run
      tidegate drift approve --sku TS-RED-M
      tidegate drift approve --all
    """
    _heal(only_waiting=True, **given)


@drift.command("heal")
@_options(_CONNECTION, _SKU, _ALL, _TRIAL, project_option, json_option)
def heal_(**given: Any) -> None:
    """Have told anew whatever differs in stock, whatever the policy says: also what is only reported, or was given up.

    What waits for another thing (a proposal, a failed command, an article that is not there) is left alone.

    \b
    Examples:
      tidegate drift heal --sku TS-RED-M
      tidegate drift heal --connection shop --dry-run
    """
    _heal(only_waiting=False, **given)


def _heal(
    *,
    only_waiting: bool,
    connection: str | None,
    skus: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    project_dir: Path | None,
    as_json: bool,
) -> None:
    if not (connection or skus or everything):
        raise click.UsageError("say what is meant: --connection NAME, --sku SKU, or --all")
    chosen = Chosen(connection=connection, skus=skus or None, only_waiting=only_waiting)

    async def body(session: Session) -> Healed:
        _require_connection(session, connection)
        if dry_run:
            return Healed(chosen=len(await choose(session.conn, session.tenant_id, chosen)), told=0)
        return await _tell(session, chosen)

    done = run_session(project_dir, body)
    if as_json:
        print_json({"chosen": done.chosen, "told": done.told, "dry_run": dry_run})
    elif dry_run:
        click.echo(f"{done.chosen} numbers would be told anew")
    elif not done.chosen:
        click.echo(
            "nothing of what is meant differs and can be told anew; what differs: tidegate drift list --no-refresh"
        )
    else:
        click.echo(f"{done.told} numbers will be told anew; the next look shows what became of it")
        if done.told < done.chosen:
            click.echo(f"{done.chosen - done.told} are on their way already, or their flow observes")


async def _tell(session: Session, chosen: Chosen) -> Healed:
    """Have numbers told anew, with a line of progress on a terminal; say how far it came when it is interrupted."""
    so_far = Healed(chosen=0, told=0)

    def note(now: Healed) -> None:
        nonlocal so_far
        so_far = now
        show_progress(f"{now.told} of {now.chosen} numbers will be told anew")

    try:
        return await heal(session.conn, tenant_id=session.tenant_id, chosen=chosen, actor=operator(), on_progress=note)
    except asyncio.CancelledError:
        show_progress("")
        click.echo(
            f"{so_far.told} of {so_far.chosen or 'all'} numbers will be told anew; the same command goes on from there",
            err=True,
        )
        raise
    finally:
        show_progress("")


def _list(
    *,
    project_dir: Path | None,
    top: int,
    field: FieldGroup | None,
    connection: str | None,
    timeout: int,
    refresh: bool,
    as_json: bool,
) -> None:
    async def body(session: Session) -> tuple[Requested | None, bool, DriftView]:
        names = compared_connections(session.config, known_connectors())
        _require_connection(session, connection)
        requested, is_over = None, True
        if refresh:
            requested = await request_run(session.conn, tenant_id=session.tenant_id, actor=operator(), names=names)
            is_over = await wait_for_run(session, requested.run_id, timeout)
        view = await read_drift(session.conn, session.tenant_id, top=top, field=field, connection=connection)
        return requested, is_over, view

    requested, is_over, view = run_session(project_dir, body)
    if as_json:
        print_json(_as_json(requested, view, is_over=is_over))
    else:
        _print(requested, view, is_over=is_over)


def _require_connection(session: Session, connection: str | None) -> None:
    if connection is not None and connection not in session.config.connections:
        raise ConfigurationError(
            f"tidegate.yaml has no connection {connection!r}",
            code="connection_unknown",
            hint=f"it has: {', '.join(session.config.connections) or 'none'}",
        )


async def wait_for_run(session: Session, run_id: UUID, seconds: int) -> bool:
    """Wait for a run, with a line of progress on a terminal; return whether it ended in time."""
    deadline = time.monotonic() + seconds
    shown = ""
    try:
        while True:
            run = await read_run(session.conn, session.tenant_id, run_id)
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
        "healing": "tells anew what differs",
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
        click.echo("nobody looked yet: tidegate drift list reads and compares now")
        return
    is_read = any(read.state != "failed" for read in run.reads)
    print_table(
        (
            "sku",
            "field",
            "owner",
            "says",
            "other",
            "shows",
            "difference",
            "at risk",
            "seen for",
            "likely cause",
            "healing",
        ),
        [_cells(row) for row in view.rows],
        empty="no drift" if is_read else "nothing was read, so it is not known whether anything differs",
    )
    click.echo(_summary(view))
    for read in run.reads:
        if read.error is not None or read.state == "failed":
            click.echo(safe_line(f"note: {read.connection} was not read to its end: {read.error or 'no reason known'}"))
    for name in requested.elsewhere if requested is not None else ():
        click.echo(safe_line(f"note: {name} is being read by another run already: tidegate sync status"))
    for name, why in requested.stopped if requested is not None else ():
        click.echo(safe_line(f"note: {name} was not read: {why}"))
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
        HEAL_WORDS[row.heal],
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
