"""`tidegate events`: what came in and what became of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import msgspec

from tidegate.cli.moments import MOMENT
from tidegate.cli.output import print_json, print_table, safe, safe_line, show_time
from tidegate.cli.output import show as show_cell
from tidegate.cli.session import Session, json_option, operator, project_option, run_session
from tidegate.eventlog.replay import REPLAY_EVENTS_MAX, replay, replay_range
from tidegate.kernel.ids import parse_public_id, public_id, time_of
from tidegate.monitor import events_view
from tidegate.monitor.events_view import EventFilter

STATES = ("applied", "superseded", "ignored", "needs_fetch", "waiting", "parked", "quarantined")
CONFIRMED_ABOVE = 100
"""A replay of more events asks first."""
TAIL_SECONDS = 1.0
TAIL_LIMIT = 500


@click.group()
def events() -> None:
    """Look at what came in, what became of it, and send it through once more."""


@events.command("list")
@project_option
@click.option("--connection", help="Only of this connection.")
@click.option("--outcome", type=click.Choice(STATES), help="Only with this outcome, or still on its way.")
@click.option("--topic", help="Only of this topic.")
@click.option("--since", type=MOMENT, help="Received since: 2026-11-01, 2026-11-01T12:30, or 2h.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def list_events(
    project_dir: Path | None,
    connection: str | None,
    outcome: str | None,
    topic: str | None,
    since: datetime | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """List events, newest first.

    \b
    Examples:
      tidegate events list --outcome quarantined
      tidegate events list --connection shop --since 2h --limit 20
    """

    async def body(session: Session) -> list[dict[str, Any]]:
        chosen = await _filter(session, connection, outcome=outcome, topic=topic, since=since)
        rows = await events_view.list_events(session.conn, session.tenant_id, chosen, limit)
        return [_summary(row, session.config.cell) for row in rows]

    found = run_session(project_dir, body)
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, [_row(event) for event in found], empty="no events")


@events.command()
@click.argument("event")
@project_option
@click.option("--body", "with_body", is_flag=True, help="Decrypt the body too. That you did is recorded.")
@json_option
def show(event: str, project_dir: Path | None, *, with_body: bool, as_json: bool) -> None:
    """Show one event (evt_...): where it came from, its keys, what became of it in each run."""
    event_id = _event_id(event)

    async def body(session: Session) -> dict[str, Any]:
        row, outcomes = await events_view.read_event(session.conn, session.tenant_id, event_id)
        document = _details(row, outcomes, session.config.cell)
        if with_body:
            content = await events_view.open_body(
                session.conn, session.key_ring(), session.tenant_id, event_id, actor=operator()
            )
            document["body"] = content.decode("utf-8", errors="backslashreplace")
        return document

    document = run_session(project_dir, body)
    if as_json:
        print_json(document)
        return
    outcomes = document.pop("outcomes")
    content = document.pop("body", None)
    for name, value in document.items():
        click.echo(f"{name:<14} {show_cell(value)}")
    columns = ("run", "outcome", "code", "reason", "at")
    print_table(columns, [[outcome[name] for name in columns] for outcome in outcomes], empty="not applied yet")
    if content is not None:
        click.echo(safe(content))


@events.command()
@project_option
@click.option("--connection", help="Only of this connection.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop after so many seconds. Default: Ctrl-C stops it.")
def tail(project_dir: Path | None, connection: str | None, seconds: float | None) -> None:
    """Print events as they come in, until Ctrl-C."""

    async def body(session: Session) -> None:
        chosen = await _filter(session, connection)
        newest = await events_view.list_events(session.conn, session.tenant_id, chosen, 1)
        seen: set[UUID] = {row["event_id"] for row in newest}
        after = max(seen, default=events_view.FIRST_ID)
        end = asyncio.get_running_loop().time() + seconds if seconds is not None else None
        while end is None or asyncio.get_running_loop().time() < end:
            after = await _print_newer(session, chosen, after, seen)
            await asyncio.sleep(TAIL_SECONDS)

    run_session(project_dir, body)


async def _print_newer(session: Session, chosen: EventFilter, after: UUID, seen: set[UUID]) -> UUID:
    """Print what came; an event of a slower process may come a moment after a younger one, so look back a little."""
    look_back = UUID(int=max(0, after.int - (2000 << 80)))
    wanted = msgspec.structs.replace(chosen, after=look_back)
    rows = await events_view.list_events(session.conn, session.tenant_id, wanted, TAIL_LIMIT)
    for row in reversed(rows):
        if row["event_id"] > after or (row["event_id"] not in seen and seen):
            click.echo("  ".join(str(cell) for cell in _row(_summary(row, session.config.cell))))
    seen.clear()
    seen.update(row["event_id"] for row in rows)
    return max([after, *seen])


@events.command("replay")
@click.argument("event_names", nargs=-1, metavar="[EVENT]...")
@project_option
@click.option("--connection", help="Only of this connection.")
@click.option("--since", type=MOMENT, help="Received since.")
@click.option("--until", type=MOMENT, help="Received before.")
@click.option("--outcome", type=click.Choice(["quarantined"]), help="Only events that wait for a person.")
@click.option("--dry-run", is_flag=True, help="Say how many it would be, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask, however many they are.")
def replay_events(
    event_names: tuple[str, ...],
    project_dir: Path | None,
    connection: str | None,
    since: datetime | None,
    until: datetime | None,
    outcome: str | None,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Send stored events through once more: by id, by time, or all that are quarantined.

    Harmless by design: what was applied already changes nothing, and no command is sent twice.

    \b
    Examples:
      tidegate events replay evt_c0_06c6v...
      tidegate events replay --outcome quarantined --connection shop
      tidegate events replay --since 2h --dry-run
    """
    if not event_names and since is None and outcome is None:
        raise click.UsageError("say which events: their ids, --since, or --outcome quarantined")
    if event_names and (since or until or outcome or connection):
        raise click.UsageError("give either ids, or a range")
    event_ids = [_event_id(name) for name in event_names]

    async def body(session: Session) -> None:
        chosen = await _filter(session, connection, since=since, until=until)
        chosen_ids = event_ids
        if outcome is not None:
            chosen_ids = await events_view.find_quarantined(session.conn, session.tenant_id, chosen)
        by_range = not event_names and outcome is None
        number = len(chosen_ids)
        if by_range:
            number = await events_view.count_replayable(session.conn, session.tenant_id, chosen)
        if dry_run or number == 0:
            click.echo(f"{number} events would be replayed")
            return
        if number > CONFIRMED_ABOVE and not yes:
            click.confirm(f"replay {number} events?", abort=True)
        replayed = await _replay_range(session, chosen) if by_range else await _replay_ids(session, chosen_ids)
        subject = f"{since or ''}..{until or ''}" if by_range else outcome or "ids"
        await events_view.record_replay(
            session.conn, session.tenant_id, actor=operator(), subject=subject, number=replayed
        )
        click.echo(f"{replayed} events go through once more")
        if replayed < number:
            left_out = number - replayed
            click.echo(
                f"{left_out} were left out: unknown, still on their way, or beyond {REPLAY_EVENTS_MAX} in one go"
            )

    run_session(project_dir, body)


async def _replay_ids(session: Session, event_ids: list[UUID]) -> int:
    total = 0
    for start in range(0, len(event_ids), REPLAY_EVENTS_MAX):
        total += await replay(session.conn, session.tenant_id, event_ids[start : start + REPLAY_EVENTS_MAX])
    return total


async def _replay_range(session: Session, chosen: EventFilter) -> int:
    since = chosen.since or datetime.fromtimestamp(0, UTC)
    until = chosen.until or datetime.now(UTC) + timedelta(days=1)
    return await replay_range(session.conn, session.tenant_id, since, until, connection_id=chosen.connection_id)


async def _filter(
    session: Session,
    connection: str | None,
    *,
    outcome: str | None = None,
    topic: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> EventFilter:
    connection_id = None
    if connection is not None:
        connection_id = await events_view.find_connection(session.conn, session.tenant_id, connection)
    return EventFilter(connection_id=connection_id, state=outcome, topic=topic, since=since, until=until)


_COLUMNS = ("received", "event", "connection", "source", "topic", "outcome", "why")


def _summary(row: Any, cell: str) -> dict[str, Any]:
    return {
        "event_id": public_id("evt", cell, row["event_id"]),
        "received_at": time_of(row["event_id"]),
        "connection": row["connection"],
        "source": row["source"],
        "topic": row["topic"],
        "sender_id": row["external_id"],
        "occurred_at": row["occurred_at"],
        "conflict": row["conflict"],
        "outcome": row["state"],
        "code": row["code"],
        "reason": row["reason"],
        "run": row["run"],
    }


def _row(event: dict[str, Any]) -> list[str]:
    words = event["code"] if event["code"] not in (None, event["outcome"]) else ""
    if event["reason"]:
        words = f"{words}: {event['reason']}" if words else event["reason"]
    cells = (event["event_id"], event["connection"], event["source"], event["topic"], event["outcome"], words)
    return [show_time(event["received_at"]), *(safe_line(str(cell)) for cell in cells)]


def _details(row: Any, outcomes: list[Any], cell: str) -> dict[str, Any]:
    return {
        "event_id": public_id("evt", cell, row["event_id"]),
        "received_at": time_of(row["event_id"]),
        "connection": row["connection"],
        "source": row["source"],
        "topic": row["topic"],
        "ordering_key": row["ordering_key"],
        "slot": row["slot"],
        "sender_id": row["external_id"],
        "occurred_at": row["occurred_at"],
        "conflict": row["conflict"],
        "undecodable": row["undecodable"],
        "body_sha256": row["body_sha256"],
        "headers": msgspec.json.decode(row["headers"]),
        "envelope": msgspec.json.decode(row["envelope"]),
        "outcomes": [dict(outcome) for outcome in outcomes],
    }


def _event_id(text: str) -> UUID:
    try:
        return parse_public_id(text, kind="evt")
    except ValueError as error:
        raise click.UsageError(f"{text!r} is no event id; they look like evt_c0_06c6v...") from error
