"""`tidegate config`: check the file, see what it would change, put it to work, and go back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tidegate.cli.config_file import (
    back_up,
    keep_in_step,
    note_step,
    read_file,
    read_step,
    replace_file,
    write_files,
)
from tidegate.cli.config_view import print_comparison, print_history, refuse_without_consent, summary_of
from tidegate.cli.maps import require_hooks
from tidegate.cli.output import print_json
from tidegate.cli.session import (
    Session,
    find_project,
    json_option,
    known_connectors,
    operator,
    project_option,
    run_session,
)
from tidegate.config import schema
from tidegate.config.compare import meanings, needs_consent
from tidegate.config.effective import effective
from tidegate.config.files import read_files
from tidegate.config.history import History, Version, read_history, read_version, version_of_text
from tidegate.config.parse import load, parse, read_filled, roles_of
from tidegate.config.render import render
from tidegate.config.steps import compare, digest_of
from tidegate.config.versions import ConfigVersion
from tidegate.kernel.errors import ConfigurationError
from tidegate.sync.going_live import put_to_work

_version = click.IntRange(min=1)


class _When(click.ParamType[datetime]):
    """A moment, which may lie ahead."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return an aware UTC datetime."""
        try:
            return value if isinstance(value, datetime) else datetime.fromisoformat(str(value)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time; write 2026-11-27 or 2026-11-27T22:30+01:00", param, ctx)


@click.group()
def config() -> None:
    """Check the configuration, see what a change would do, put it to work, go back.

    The file is the truth: `apply` makes it a version, workers take that over within seconds, and every outcome names the
    version it ran under. What is not valid never gets to work.

    \b
    A change, from the editor to the workers:
      tidegate config check          is it valid? every refusal names line and column
      tidegate config diff           what would change, and what that means
      tidegate config apply          put it to work; asks before something begins to write
      tidegate config rollback 7     go back to version 7
    """


@config.command()
@project_option
@json_option
def check(project_dir: Path | None, *, as_json: bool) -> None:
    """Check tidegate.yaml without starting or changing anything.

    Prints `file:line:column: problem; what to write instead` for each problem and exits with 78, or `valid` and 0.
    """
    project = find_project(project_dir)
    found = load(project.config_file, connectors=known_connectors())
    asyncio.run(require_hooks(found, read_files(project.folder, found)))
    document, _ = read_filled(read_file(project), roles_of(known_connectors()))
    filled = sorted(".".join(map(str, path)) for path in document.filled) if document is not None else []
    flows = [
        name
        for name in ("orders", "shipments", "payments", "stock", "events")
        if getattr(found.flows, name) is not None
    ]
    if as_json:
        print_json({"valid": True, "connections": list(found.connections), "flows": flows, "filled": filled})
        return
    click.echo(f"valid: {len(found.connections)} connections, flows: {', '.join(flows) or 'none'}")
    if filled:
        click.echo(f"filled by a preset: {', '.join(filled)} (tidegate config show)")
    if found.needs_since:
        click.echo("orders count from the moment on at which this is first put to work")


@config.command()
@project_option
@click.option("--at", "at", type=_When(), help="As it counts then: timed overrides and blackouts on or off.")
@click.option("--version", "number", type=_version, help="A stored version in place of the file.")
@click.option("--all", "show_all", is_flag=True, help="Also what nobody said and is as it always is.")
@json_option
def show(project_dir: Path | None, at: datetime | None, number: int | None, *, show_all: bool, as_json: bool) -> None:
    """Show the configuration with all that a preset fills in, each value with where it comes from.

    \b
    Examples:
      tidegate config show
      tidegate config show --at 2026-11-27T22:30     what counts on that evening
      tidegate config show --version 7
    """
    roles = roles_of(known_connectors())
    if number is None:
        text = read_file(find_project(project_dir))
        base = load(find_project(project_dir).config_file, connectors=known_connectors())
    else:
        version = run_session(project_dir, lambda session: read_version(session.conn, session.tenant_id, number))
        text, base, roles = version.document, version.config, version.roles
    counts = effective(base, at) if at is not None else None
    now = counts.config if counts is not None else base
    if as_json:
        held, profiles = (dict(counts.held), counts.profiles) if counts is not None else ({}, ())
        until = counts.next_change if counts is not None else None
        print_json({"config": now, "at": at, "profiles": profiles, "held": held, "next_change": until})
        return
    document, _ = read_filled(text, roles)
    if document is None:
        raise ConfigurationError("the document cannot be read", code="config_invalid")
    why = ", ".join((*counts.profiles, *(f"{flow} held by {by}" for flow, by in counts.held.items()))) if counts else ""
    click.echo(render(now, document, base=base, why_now=why or "now", show_defaults=show_all), nl=False)
    if counts is not None:
        click.echo(f"# at {at:%Y-%m-%d %H:%M %Z}: {why or 'no profile, nothing held back'}")
        if counts.next_change is not None:
            click.echo(f"# the next change by itself is at {counts.next_change:%Y-%m-%d %H:%M %Z}")


@config.command()
@project_option
@click.argument("versions", nargs=-1, type=_version)
@click.option("--exit-code", is_flag=True, help="Exit with 1 when something differs.")
@json_option
def diff(project_dir: Path | None, versions: tuple[int, ...], *, exit_code: bool, as_json: bool) -> None:
    """Show what differs, value by value, and what it means for what runs.

    Without a VERSION: what is at work against the file. With one: that version against the file. With two: one against
    the other.

    \b
    Examples:
      tidegate config diff
      tidegate config diff 7 9
    """
    if len(versions) > 2:
        raise click.UsageError("name two versions at most")
    connectors = known_connectors()

    async def body(session: Session) -> tuple[Version | None, Version | ConfigVersion, bool]:
        history = History(session.conn, session.tenant_id)
        if len(versions) == 2:
            return await history.read(versions[0]), await history.read(versions[1]), False
        text = read_file(session.project)
        file = parse(text, connectors=connectors)
        files = read_files(session.project.folder, file)
        made = ConfigVersion(tenant_id=session.tenant_id, version=0, config=file, document=text, files=files)
        before = await history.read(versions[0]) if versions else await history.newest()
        return before, made, before is not None and await _is_behind(session, text, before)

    before, after, is_behind = run_session(project_dir, body)
    differs = print_comparison(before, after, as_json=as_json)
    if is_behind and not as_json:
        click.echo("the version was made elsewhere and the file is behind: tidegate config pull writes it here")
    if exit_code and differs:
        raise SystemExit(1)


@config.command()
@project_option
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before something begins to write.")
@json_option
def apply(project_dir: Path | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Put the changed tidegate.yaml to work while Tidegate runs: a new version, taken over within seconds.

    Says what changes and what it means, and asks before something begins to write or an owner changes; a script says
    --yes. Going live tells channels the numbers of every counted item; it sends no order that came in before. Ports and
    numbers of processes count after `tidegate down` and `tidegate up`.

    \b
    Examples:
      tidegate config apply --dry-run
      tidegate config apply --yes
    """
    connectors = known_connectors()

    async def body(session: Session) -> ConfigVersion:
        text = read_file(session.project)
        file = parse(text, connectors=connectors)
        files = read_files(session.project.folder, file)
        parse(text, connectors=connectors, files=files)
        await require_hooks(file, files)
        newest = await History(session.conn, session.tenant_id).newest()
        made = ConfigVersion(tenant_id=session.tenant_id, version=0, config=file, document=text, files=files)
        if not as_json:
            print_comparison(newest, made)
        found = meanings(newest.config if newest is not None else None, file)
        overwrites = newest is not None and await _overwrites(session, text, newest)
        if dry_run:
            return made
        if newest is not None and overwrites:
            words = f"version {newest.version} was made elsewhere by {newest.applied_by} and would be undone"
            refuse_without_consent([words], yes=yes)
        elif needs_consent(found):
            refuse_without_consent([], yes=yes)
        version = await put_to_work(
            session.conn,
            text,
            applied_by=operator(),
            files=files,
            connectors=connectors,
            expected_version=newest.version if newest is not None else 0,
        )
        keep_in_step(session.project, version, seen=text)
        return version

    version = run_session(project_dir, body)
    if as_json:
        print_json({"version": version.version, "is_new": version.is_new, "dry_run": dry_run})
    elif dry_run:
        click.echo("nothing was changed (--dry-run)")
    elif version.is_new:
        click.echo(f"version {version.version} is taken over now")
    else:
        click.echo(f"version {version.version} is at work")


@config.command()
@project_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@json_option
def history(project_dir: Path | None, limit: int, *, as_json: bool) -> None:
    """List the versions, newest first: when, by whom, and what they changed."""

    async def body(session: Session) -> list[dict[str, Any]]:
        versions = await read_history(session.conn, session.tenant_id, limit=limit + 1)
        return [summary_of(version, older) for version, older in zip(versions, [*versions[1:], None], strict=True)][
            :limit
        ]

    rows = run_session(project_dir, body)
    if as_json:
        print_json(rows)
    else:
        print_history(rows)


@config.command()
@project_option
@click.argument("number", metavar="VERSION", type=_version)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before something begins to write.")
def rollback(project_dir: Path | None, number: int, *, dry_run: bool, yes: bool) -> None:
    """Go back to VERSION: its text becomes a new version, and the file.

    A file with changes that were never put to work is kept beside it. What was sent meanwhile stays sent.

    \b
    Example:
      tidegate config history
      tidegate config rollback 7
    """
    connectors = known_connectors()

    async def body(session: Session) -> ConfigVersion | None:
        stored = History(session.conn, session.tenant_id)
        wanted, newest = await stored.read(number), await stored.newest()
        parse(wanted.document, connectors=connectors, files=wanted.files)
        print_comparison(newest, wanted)
        if dry_run:
            return None
        if newest is not None and needs_consent(meanings(newest.config, wanted.config)):
            refuse_without_consent([], yes=yes)
        version = await put_to_work(
            session.conn,
            wanted.document,
            applied_by=operator(),
            files=wanted.files,
            connectors=connectors,
            expected_version=newest.version if newest is not None else 0,
        )
        await _write_here(session, version)
        return version

    version = run_session(project_dir, body)
    if version is None:
        click.echo("nothing was changed (--dry-run)")
    elif version.is_new:
        click.echo(f"version {version.version} is that of version {number}, and is taken over now")
    else:
        click.echo(f"version {version.version} is at work, and says the same")


@config.command()
@project_option
def pull(project_dir: Path | None) -> None:
    """Write the version that is at work into tidegate.yaml, when it was made elsewhere: by the API, a page, another machine.

    A file with changes that were never put to work is kept beside it.
    """

    async def body(session: Session) -> tuple[int, bool]:
        newest = await History(session.conn, session.tenant_id).newest()
        if newest is None:
            raise ConfigurationError("no configuration was put to work yet", code="version_missing", hint="tidegate up")
        return newest.version, await _write_here(session, newest.as_recorded())

    number, is_written = run_session(project_dir, body)
    click.echo(f"the file is version {number} now" if is_written else f"the file was version {number} already")


@config.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of tidegate.yaml, for editors.

    \b
    Example:
      tidegate config schema > tidegate.schema.json
      then, as the first line of tidegate.yaml:
      # yaml-language-server: $schema=tidegate.schema.json
    """
    print_json(schema(known_connectors()))


async def _write_here(session: Session, version: ConfigVersion) -> bool:
    """Make the folder's file and files those of a version; return whether the file changed. Keeps what was never applied."""
    text = read_file(session.project)
    step = read_step(session.project)
    is_unsaved = await version_of_text(session.conn, session.tenant_id, text) is None
    if is_unsaved and text != version.document and (step is None or step.digest != digest_of(text)):
        click.echo(
            f"the file had changes that were never put to work; they are in {back_up(session.project.config_file)}"
        )
    for name in write_files(session.project, version.files):
        click.echo(f"{name} is that of version {version.version} too")
    is_behind = text != version.document and replace_file(session.project.config_file, version.document)
    note_step(session.project, version, version.document if is_behind else text)
    return is_behind


async def _overwrites(session: Session, text: str, newest: Version) -> bool:
    """Return whether putting the file to work undoes a version that it never saw."""
    return await _verdict(session, text, newest) in ("both", "database")


async def _is_behind(session: Session, text: str, newest: Version) -> bool:
    return await _verdict(session, text, newest) == "database"


async def _verdict(session: Session, text: str, newest: Version) -> str:
    return compare(
        text,
        tenant=newest.config.tenant,
        step=read_step(session.project),
        newest=(newest.version, newest.document),
        file_version=await version_of_text(session.conn, session.tenant_id, text),
    )
