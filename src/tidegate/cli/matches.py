"""`tidegate matches`: articles that nobody could match, out to a spreadsheet and back."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import click

from tidegate.cli.output import plain, print_json, print_table, safe_line, show_age
from tidegate.cli.session import Session, json_option, known_connectors, operator, project_option, run_session
from tidegate.kernel.errors import ConfigurationError, TidegateError
from tidegate.kernel.ids import public_id
from tidegate.sync.match_decide import Step
from tidegate.sync.match_file import (
    BYTES_MAX,
    FILE_NAME,
    format_file,
    read_decisions,
    read_rows,
    undecided_rows,
)
from tidegate.sync.matches import (
    Deleted,
    Imported,
    import_decisions,
    read_deleted,
    read_open,
    read_settled,
    unbind_article,
)
from tidegate.sync.open_matches import OpenMatch, sort_key
from tidegate.sync.tombstones import Forgotten, Relinked, forget, relink

SHOWN_MAX = 50
"""Rows that a table shows; the file and --json have all of them."""


@click.group()
def matches() -> None:
    """Resolve articles that nobody could match by id, SKU or barcode.

    `tidegate connect` binds what is clear and writes the rest to matches.csv in the project. Open the file in a
    spreadsheet, write into the column `decision`, save it as CSV, and read it back.

    \b
    decision     what happens
    bind:SKU     the article is our article with this SKU
    new          make an article of ours with the SKU of this one
    ignore       leave it alone: no orders of it go out, no number is told
    (empty)      it stays open

    \b
    Examples:
      tidegate matches list
      tidegate matches deleted
      tidegate matches relink shop 4711
      tidegate matches export
      tidegate matches import --dry-run
      tidegate matches import
    """


@matches.command(name="list")
@click.option("--connection", help="Only this connection.")
@project_option
@json_option
def list_matches(project_dir: Path | None, connection: str | None, *, as_json: bool) -> None:
    """Show the open articles, and which of ours come into question."""

    async def body(session: Session) -> tuple[OpenMatch, ...]:
        return await read_open(session.conn, session.tenant_id, connection)

    rows = sorted(run_session(project_dir, body), key=sort_key)
    if as_json:
        print_json(plain(rows))
        return
    print_table(
        ("connection", "id", "sku", "title", "barcode", "reason", "candidates"),
        [
            (row.connection, row.external_id, row.sku, row.title, row.barcode, row.reason, ", ".join(row.candidates))
            for row in rows[:SHOWN_MAX]
        ],
        empty="nothing is open",
    )
    if len(rows) > SHOWN_MAX:
        click.echo(f"and {len(rows) - SHOWN_MAX} more: tidegate matches export")


@matches.command(name="deleted")
@click.option("--connection", help="Only this connection.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=SHOWN_MAX, show_default=True, help="Rows at most.")
@project_option
@json_option
def list_deleted(project_dir: Path | None, connection: str | None, limit: int, *, as_json: bool) -> None:
    """Show articles that were deleted over there, and what took their place.

    Nothing is told there any more, and nothing counts as a difference; orders that name such an article are taken as before. An
    article that was made anew under another id, with the same SKU, is bound in its place: by itself when it is the only one with
    that SKU, else (and with `relink: approve` in `reconcile`) it waits in `tidegate matches list`, and a person says which with
    `tidegate matches relink`, or bind:SKU or ignore in matches.csv. One that is restored is bound again by itself.

    \b
    Examples:
      tidegate matches deleted
      tidegate matches deleted --connection shop --json
      tidegate why sku TS-RED-M
    """

    async def body(session: Session) -> tuple[str, tuple[Deleted, ...]]:
        return session.config.cell, await read_deleted(session.conn, session.tenant_id, connection, limit=limit)

    cell, rows = run_session(project_dir, body)
    if as_json:
        event = {row: public_id("evt", cell, row.event_id) if row.event_id is not None else None for row in rows}
        print_json({"items": [{**plain(row), "event_id": event[row]} for row in rows]})
        return
    print_table(
        ("connection", "id", "stands for", "known for", "in its place"),
        [(row.connection, row.external_id, row.sku, show_age(row.gone_at), _in_place(row)) for row in rows],
        empty="no article is known to be deleted",
    )
    if len(rows) == limit:
        click.echo(f"the newest {limit}; more with --limit")


@matches.command(name="relink")
@click.argument("connection")
@click.argument("external_id")
@click.option("--to", "successor", help="The article that takes the place. Default: the only one that waits for it.")
@project_option
@json_option
def relink_deleted(
    project_dir: Path | None, connection: str, external_id: str, successor: str | None, *, as_json: bool
) -> None:
    """Bind an open article in the place of the deleted article EXTERNAL_ID of CONNECTION.

    It is told its number, and what had waited for the binding goes out. Repeating it changes nothing.

    \b
    Examples:
      tidegate matches deleted
      tidegate matches relink shop 4711
      tidegate matches relink shop 4711 --to 4899
    """

    async def body(session: Session) -> Relinked:
        done = await relink(
            session.conn,
            tenant_id=session.tenant_id,
            config=session.config,
            connectors=known_connectors(),
            connection=connection,
            external_id=external_id,
            successor=successor,
            actor=operator(),
        )
        await note_open(session)
        return done

    done = run_session(project_dir, body)
    if as_json:
        print_json(plain(done))
    elif done.is_new:
        click.echo(safe_line(f"article {done.successor} of {connection} stands for {done.sku} now"))
        if done.commands:
            click.echo(f"{done.commands} commands that had waited go out")
    else:
        click.echo(safe_line(f"article {done.successor} of {connection} stood for {done.sku} before"))


@matches.command(name="forget")
@click.argument("connection")
@click.argument("external_id")
@project_option
@json_option
def forget_deleted(project_dir: Path | None, connection: str, external_id: str, *, as_json: bool) -> None:
    """Let the deleted article EXTERNAL_ID of CONNECTION stand for nothing of ours any more.

    For an article whose SKU is used for something else now: should it come back, it is a new one, and what is made anew with its
    SKU is not bound in its place. What took its place stays. While open orders name it by another SKU than ours it is refused.

    \b
    Examples:
      tidegate matches deleted
      tidegate matches forget shop 4711
    """

    async def body(session: Session) -> Forgotten:
        return await forget(
            session.conn,
            tenant_id=session.tenant_id,
            connection=connection,
            external_id=external_id,
            actor=operator(),
        )

    done = run_session(project_dir, body)
    if as_json:
        print_json(plain(done))
    else:
        click.echo(safe_line(f"article {external_id} of {connection} stood for {done.sku}, and is forgotten"))


def _in_place(row: Deleted) -> str:
    if row.replaced_by is not None:
        return row.replaced_by
    return f"{', '.join(row.waiting)}? tidegate matches relink" if row.waiting else "nothing"


@matches.command(name="export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@project_option
@json_option
def export_matches(project_dir: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Write the open articles to FILE (default: matches.csv in the project).

    Decisions that stand in the file and were not read in yet are kept. Cells that a spreadsheet would take for a formula
    begin with an apostrophe.
    """

    async def body(session: Session) -> tuple[Path, int]:
        return await write_open(session, file)

    path, count = run_session(project_dir, body)
    if as_json:
        print_json({"file": str(path), "open": count})
    else:
        click.echo(safe_line(f"{count} open articles in {path}"))


@matches.command(name="import")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--dry-run", is_flag=True, help="Check everything and show what would be done; change nothing.")
@project_option
@json_option
def import_matches(project_dir: Path | None, file: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Read decisions from FILE (default: matches.csv in the project) and carry them out.

    Everything is checked first: a file with one wrong cell changes nothing, and each wrong cell is named by row and column.
    Reading the same file twice changes nothing more. What waited for a binding goes on by itself: orders that were refused for
    an unknown article are sent, numbers are told where the flow is live. An article that is bound can be bound anew: its
    order lines, units and numbers go over.

    \b
    Examples:
      tidegate matches import --dry-run
      tidegate matches import ~/Downloads/matches.csv
    """

    async def body(session: Session) -> tuple[Path, Imported]:
        path = file or session.project.folder / FILE_NAME
        decisions, faults = read_decisions(read_rows(_read(path), name=path.name))
        imported = await import_decisions(
            session.conn,
            tenant_id=session.tenant_id,
            config=session.config,
            connectors=known_connectors(),
            decisions=decisions,
            faults=faults,
            actor=operator(),
            name=path.name,
            dry_run=dry_run,
        )
        if not dry_run and file is None:
            await write_open(session, None)
        return path, imported

    path, imported = run_session(project_dir, body)
    if as_json:
        print_json({"file": str(path), "dry_run": dry_run, **plain(imported)})
        return
    print_table(
        ("connection", "id", "sku", "decision", "ours"),
        [
            (step.connection, step.external_id, step.sku, _word(step), step.target)
            for step in imported.steps[:SHOWN_MAX]
        ],
        empty="nothing to do: no decision in the file is new",
    )
    if len(imported.steps) > SHOWN_MAX:
        click.echo(f"and {len(imported.steps) - SHOWN_MAX} more")
    verb = "would be carried out" if dry_run else "carried out"
    click.echo(f"{len(imported.steps)} decisions {verb}, {imported.unchanged} were before")
    if imported.lines or imported.commands:
        click.echo(f"{imported.lines} order lines went over; {imported.commands} commands that had waited go out")


@matches.command(name="unbind")
@click.argument("connection")
@click.argument("external_id")
@project_option
@json_option
def unbind(project_dir: Path | None, connection: str, external_id: str, *, as_json: bool) -> None:
    """Take the binding of an article back: it is open again, and its number is told no more.

    To correct a binding, write bind:SKU behind the article in matches.csv and import it: what belongs to it goes over then.
    """

    async def body(session: Session) -> str:
        was = await unbind_article(
            session.conn,
            tenant_id=session.tenant_id,
            config=session.config,
            connectors=known_connectors(),
            connection=connection,
            external_id=external_id,
            actor=operator(),
        )
        await write_open(session, None)
        return was

    was = run_session(project_dir, body)
    if as_json:
        print_json({"connection": connection, "external_id": external_id, "was": was})
    else:
        click.echo(safe_line(f"article {external_id} of {connection} was {was}, and is open now"))


def _word(step: Step) -> str:
    return f"{step.verb} (was bound)" if step.old is not None else step.verb


async def write_open(session: Session, file: Path | None) -> tuple[Path, int]:
    """Write the open articles of the installation to a file; return its path and their number.

    Decisions in the file that were not read in are kept; a file that cannot be read is never overwritten. Raises
    ConfigurationError then.
    """
    path = file or session.project.folder / FILE_NAME
    rows = await read_open(session.conn, session.tenant_id)
    kept: dict[tuple[str, str], tuple[str, ...]] = {}
    if path.exists():
        settled = await read_settled(session.conn, session.tenant_id)
        try:
            kept = undecided_rows(read_rows(_read(path), name=path.name), settled)
        except ConfigurationError as error:
            raise ConfigurationError(
                str(error), code=error.code, hint=f"{path} was left as it is; move it away, then run the command again"
            ) from error
    _write(path, format_file(rows, kept))
    return path, len(rows)


async def note_open(session: Session) -> str | None:
    """Write matches.csv after connecting, when there is something open; return a sentence for people, None for nothing."""
    path = session.project.folder / FILE_NAME
    rows = await read_open(session.conn, session.tenant_id)
    if not rows and not path.exists():
        return None
    try:
        path, count = await write_open(session, None)
    except TidegateError as error:
        return f"{FILE_NAME} was left as it is: {error}"
    if not count:
        return None
    return f"{count} articles are open in {path.name}: write decisions into it, then `tidegate matches import`"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}",
            code="matches_unreadable",
            hint="write it with: tidegate matches export",
        ) from error


def _write(path: Path, text: str) -> None:
    """Put a file in place whole, with a byte order mark: spreadsheets show umlauts only then."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("utf-8-sig", errors="replace"))
            Path(name).chmod(0o600)
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}", code="matches_unwritable") from error
