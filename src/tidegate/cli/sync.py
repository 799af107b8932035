"""`tidegate sync`: looks on schedule - when they are, what they cost, and holding them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from tidegate.cli.drift import TIMEOUT_SECONDS, wait_for_run
from tidegate.cli.moments import HELD_FOR
from tidegate.cli.output import plain, print_json, print_table, safe_line, show_age, show_seconds
from tidegate.cli.session import (
    Session,
    json_option,
    known_connectors,
    newest_config,
    operator,
    project_option,
    run_session,
)
from tidegate.dispatch import looks
from tidegate.dispatch.drift import Requested, compared_connections, request_run
from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.sync_view import LookView, OrderCount, read_looks, read_order_counts, suggest

_NAMES = click.argument("names", nargs=-1, metavar="[CONNECTION]...")
_COLUMNS = (
    "connection",
    "next look",
    "every",
    "last look",
    "articles",
    "calls",
    "differ",
    "healed",
    "waiting",
    "stale at most",
    "calls a day",
)
EXIT_NOT_OVER = 75


@click.group()
def sync() -> None:
    """Compare systems on schedule, and heal what differs.

    Every connection that shows what somebody else owns, or owns it, is read about every 15 minutes and compared, through its
    budget and behind everything else. `reconcile` in tidegate.yaml says when, and what becomes of differences:
    docs/reference/reconciliation.md.

    \b
    Examples:
      tidegate sync status
      tidegate sync run shop
      tidegate sync pause shop --for 2h
      tidegate drift list
    """


@sync.command()
@project_option
@json_option
def status(project_dir: Path | None, *, as_json: bool) -> None:
    """Show when each connection is compared next, what the last look came to, and what looking costs.

    "every" is what looks adapted to: sooner where much differs, later where nothing does, and never so often that reading
    takes more than a tenth of the time. "stale at most" is how long a change over there can stay unseen by looks; "calls a
    day" is what that costs. Webhooks and feeds tell of changes much earlier: looks find what these missed.

    Channels that count their orders (Shopify, WooCommerce) are asked every 15 minutes how many were placed in the last hour; where fewer
    are known here, that hour is read, and what is missing comes in.

    \b
    Examples:
      tidegate sync status
      tidegate sync status --json
    """

    async def body(session: Session) -> tuple[tuple[LookView, ...], tuple[OrderCount, ...]]:
        counts = await read_order_counts(session.conn, session.tenant_id, datetime.now(UTC))
        return await read_looks(session.conn, session.tenant_id), counts

    found, counts = run_session(project_dir, body)
    if as_json:
        print_json({"items": [_as_json(view) for view in found], "order_counts": plain(counts)})
        return
    print_table(
        _COLUMNS,
        [_row(view) for view in found],
        empty="nothing is compared by itself yet: connect the systems (tidegate connect NAME) and let `tidegate up` run",
    )
    for view in found:
        for line in _notes(view):
            click.echo(safe_line(f"{view.connection}: {line}"))
    for count in counts:
        click.echo(safe_line(f"{count.connection}: {_count_words(count)}"))


def _count_words(count: OrderCount) -> str:
    window = f"{count.since:%Y-%m-%d %H:%M} to {count.until:%H:%M} UTC"
    words = f"of {window} it counts {count.theirs} orders, and {count.ours} were known here"
    if count.gap_since is None or count.gap_until is None:
        return words
    gap = f"{count.gap_since:%Y-%m-%d %H:%M} to {count.gap_until:%H:%M} UTC"
    return (
        f"{words}; {count.missing} orders of {gap} are not known here: the window is being read, tidegate events list"
    )


def _as_json(view: LookView) -> dict[str, Any]:
    return {
        **plain(view),
        "staleness_seconds": view.staleness_seconds,
        "calls_per_day": view.calls_per_day,
        "suggestion": suggest(view),
    }


def _row(view: LookView) -> tuple[object, ...]:
    last = view.last
    due = "when asked"
    if view.paused_at is not None:
        due = "paused"
    elif view.due_at is not None:
        left = (view.due_at - datetime.now(UTC)).total_seconds()
        due = f"in {show_seconds(left)}" if left > 0 else "now"
    return (
        view.connection,
        due,
        show_seconds(view.interval_seconds) if view.interval_seconds is not None else "-",
        f"{show_age(last.finished_at)} ago" if last is not None and last.finished_at is not None else "never",
        last.articles if last is not None else 0,
        last.calls if last is not None else 0,
        view.differences,
        last.healed if last is not None else 0,
        view.waiting,
        show_seconds(view.staleness_seconds) if view.staleness_seconds is not None else "-",
        f"{view.calls_per_day:.0f}" if view.calls_per_day is not None else "-",
    )


def _notes(view: LookView) -> list[str]:
    lines = []
    if view.under_way is not None:
        words = {
            "waiting": "a look waits for its turn",
            "reading": f"is being read, {view.under_way.articles} articles so far",
            "comparing": f"is being compared, {view.under_way.compared} of {view.under_way.articles} articles",
            "healing": "what differs is being told anew",
        }
        lines.append(words[view.under_way.state] + ("; held by the pause" if view.under_way.is_held else ""))
        if view.under_way.error is not None:
            lines.append(f"the last page could not be read and is tried again: {view.under_way.error}")
    if view.paused_at is not None:
        until = f" until {view.paused_until:%Y-%m-%d %H:%M} UTC" if view.paused_until is not None else ""
        lines.append(
            f"paused by {view.paused_by} {show_age(view.paused_at)} ago{until}; tidegate sync resume {view.connection}"
        )
    if view.last is not None and view.last.state == "failed":
        lines.append(f"the last look failed: {view.last.error or 'no reason known'}")
    if view.last is not None and view.last.missing:
        lines.append(
            f"the last look did not find {view.last.missing} bound articles; what was deleted there: tidegate matches deleted"
        )
    suggestion = suggest(view)
    if suggestion is not None:
        lines.append(suggestion)
    if view.waiting:
        lines.append(
            f"{view.waiting} differences wait for approval: tidegate drift approve --connection {view.connection}"
        )
    if view.oldest is not None:
        lines.append(
            f"the oldest difference is seen for {show_age(view.oldest)}: tidegate drift list --connection {view.connection}"
        )
    return lines


@sync.command()
@_NAMES
@click.option("--wait/--no-wait", default=True, help="Wait for its end (default), or return once it is asked for.")
@click.option(
    "--timeout",
    type=click.IntRange(1),
    default=TIMEOUT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait.",
)
@project_option
@json_option
def run(names: tuple[str, ...], project_dir: Path | None, timeout: int, *, wait: bool, as_json: bool) -> None:
    """Compare now what is due later: all connections, or those named. Heals by policy, as a look on schedule does.

    Ctrl-C ends only the waiting: the look goes on, survives a restart, and `tidegate sync status` shows how far it is.

    \b
    Examples:
      tidegate sync run
      tidegate sync run shop --no-wait
    """

    async def body(session: Session) -> tuple[Requested, bool, bool, tuple[LookView, ...]]:
        config = await newest_config(session)
        compared = compared_connections(config, known_connectors())
        _require_known(names, compared)
        wanted = names or compared
        asked = await request_run(session.conn, tenant_id=session.tenant_id, actor=operator(), names=wanted)
        is_over = await wait_for_run(session, asked.run_id, timeout) if wait else False
        found = await read_looks(session.conn, session.tenant_id)
        is_held = len(asked.stopped) == len(set(wanted))
        return asked, is_over, is_held, tuple(view for view in found if view.connection in wanted)

    asked, is_over, is_held, found = run_session(project_dir, body)
    if as_json:
        print_json(
            {
                "run_id": str(asked.run_id),
                "is_new": asked.is_new,
                "is_finished": is_over,
                "elsewhere": asked.elsewhere,
                "stopped": dict(asked.stopped),
                "items": [_as_json(view) for view in found],
            }
        )
    else:
        for view in found:
            last = view.last
            if is_over and last is not None and last.run_id == asked.run_id:
                words = f"{last.articles} articles in {last.calls} calls, {last.differences} differ, {last.healed} told anew"
                words = words if last.state == "done" else f"failed: {last.error or 'no reason known'}"
                click.echo(safe_line(f"{view.connection}: {words}"))
        for name in asked.elsewhere:
            click.echo(safe_line(f"{name}: another run is reading it already; that one answers: tidegate sync status"))
        for name, why in asked.stopped:
            click.echo(safe_line(f"{name}: not read: {why}"))
        if is_held:
            click.echo("nothing is read")
        elif not is_over:
            click.echo("the look goes on: tidegate sync status")
    if wait and not is_over:
        raise SystemExit(EXIT_NOT_OVER)


@sync.command()
@_NAMES
@click.option("--for", "length", type=HELD_FOR, help="90s, 15m, 2h, 7d. Default: until you resume it.")
@project_option
@json_option
def pause(names: tuple[str, ...], length: timedelta | None, project_dir: Path | None, *, as_json: bool) -> None:
    """Begin no more looks, and hold what is under way: of all connections, or of those named.

    A pause outlives restarts. Orders, stock and webhooks go on as ever. Repeating it changes only its end.

    \b
    Examples:
      tidegate sync pause
      tidegate sync pause shop --for 2h
    """

    async def body(session: Session) -> tuple[str, ...]:
        known = [view.connection for view in await read_looks(session.conn, session.tenant_id) if view.is_scheduled]
        _require_known(names, known)
        until = datetime.now(UTC) + length if length is not None else None
        return await looks.pause(
            session.conn, tenant_id=session.tenant_id, names=names or None, actor=operator(), until=until
        )

    found = run_session(project_dir, body)
    if as_json:
        print_json({"paused": found})
    else:
        click.echo(safe_line(f"paused: {', '.join(found)}; go on with: tidegate sync resume"))


@sync.command()
@_NAMES
@project_option
@json_option
def resume(names: tuple[str, ...], project_dir: Path | None, *, as_json: bool) -> None:
    """Let looks go on: what was held continues from its checkpoint, and what came due meanwhile is looked at once.

    \b
    Example:
      tidegate sync resume shop
    """

    async def body(session: Session) -> tuple[str, ...]:
        known = [view.connection for view in await read_looks(session.conn, session.tenant_id)]
        _require_known(names, known)
        return await looks.resume(session.conn, tenant_id=session.tenant_id, names=names or None, actor=operator())

    found = run_session(project_dir, body)
    if as_json:
        print_json({"resumed": found})
    else:
        click.echo(safe_line(f"resumed: {', '.join(found)}" if found else "nothing was paused"))


def _require_known(names: tuple[str, ...], known: Any) -> None:
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"{name!r} is not compared with anything",
                code="connection_not_compared",
                hint=f"compared are: {', '.join(known) or 'none yet'}",
            )
