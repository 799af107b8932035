"""`tidegate doctor`: what is not as it should be, why it matters, and how to mend it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import cast

import asyncpg
import click

from tidegate.cli.checks import AREAS, Area, Finding, Repair, fail, of_area, ok, warn
from tidegate.cli.checks_connections import check_connections
from tidegate.cli.checks_database import (
    check_clock,
    check_configuration_at_work,
    check_database,
    check_partitions,
    check_told,
    check_work,
    make_partitions,
    mark_untold,
)
from tidegate.cli.checks_machine import (
    check_disk,
    check_file_limits,
    check_fsync,
    check_kernel_clock,
    check_processes,
    check_root_key,
    check_versions,
    check_zones,
)
from tidegate.cli.checks_mappings import check_mappings
from tidegate.cli.checks_remote import ask_all, open_remotes, test_deliveries
from tidegate.cli.output import print_json, safe_line
from tidegate.cli.session import (
    Session,
    find_database,
    find_project,
    json_option,
    known_connectors,
    open_session,
    project_option,
)
from tidegate.config import Config, load
from tidegate.kernel.errors import TidegateError
from tidegate.runtime.control import running_state
from tidegate.runtime.project import Project
from tidegate.sdk.connector import Connector

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_NEEDS_DATABASE: frozenset[Area] = frozenset(
    ("database", "connections", "secrets", "scopes", "webhooks", "limits", "mappings", "work")
)
_REMOTE: frozenset[Area] = frozenset(("connections", "secrets", "scopes", "webhooks", "clock", "limits"))
STATEMENT_SECONDS = 15
POLL_ONLY_RECIPE = (
    "give the door a public address: a reverse proxy (for example `reverse_proxy 127.0.0.1:7480` in a Caddyfile for your host "
    "name) or a tunnel to port 7480, then public_url: https://HOST in tidegate.yaml and tidegate connect NAME"
)


class Examination:
    """Findings and repairs as they come."""

    def __init__(self, areas: frozenset[Area]) -> None:
        """Keep what belongs to `areas`."""
        self.areas = areas
        self.findings: list[Finding] = []
        self.repairs: list[Repair] = []

    def add(self, area: Area, finding: Finding, act: Callable[[Session], Awaitable[str]] | None = None) -> None:
        """Keep a finding of an area that was asked for."""
        if area not in self.areas:
            return
        placed = of_area(area, finding)
        self.findings.append(placed)
        if act is not None and placed.repair is not None:
            self.repairs.append(Repair(finding=placed, act=act))

    async def add_all(
        self,
        area: Area,
        findings: AsyncIterator[Finding],
        act: Callable[[Session], Awaitable[str]] | None = None,
    ) -> None:
        """Keep findings of an area; they are not made when nobody asked for it.

        A question that the database does not answer in time, or refuses, is a finding and ends only its own area.
        """
        if area not in self.areas:
            return
        try:
            async for finding in findings:
                self.add(area, finding, act)
        except (asyncpg.PostgresError, TimeoutError) as error:
            words = f"the database did not say everything: {type(error).__name__}"
            self.add(area, fail(area, words, "tidegate doctor --only database", code="not_answered"))

    def count(self, verdict: str) -> int:
        """Return how many findings are of a verdict."""
        return sum(finding.verdict == verdict for finding in self.findings)


@click.command()
@project_option
@click.option("--offline", is_flag=True, help="Do not ask the connected systems, and send no delivery to ourselves.")
@click.option("--only", "only", multiple=True, type=click.Choice(AREAS), help="Only this area; repeat it for more.")
@click.option("--fix", is_flag=True, help="Mend what can be mended safely, after saying what that is.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@json_option
def doctor(
    project_dir: Path | None, *, offline: bool, only: tuple[str, ...], fix: bool, yes: bool, as_json: bool
) -> None:
    """Look at everything that can be wrong, and say why it matters and how to mend it.

    Without --fix nothing is changed but one small event per webhook: a signed delivery that goes out through the public
    address and comes back, so that every leg of that way is known to work. Connected systems are asked at the same time,
    each with a deadline. Exits with 1 when something keeps Tidegate from working; warnings alone do not.

    \b
    Examples:
      tidegate doctor
      tidegate doctor --only webhooks --only clock
      tidegate doctor --fix --yes
      tidegate doctor --json | jq '.[] | select(.verdict != "ok")'
    """
    project = find_project(project_dir)
    connectors = known_connectors()
    areas = cast("frozenset[Area]", frozenset(only or AREAS))

    def progress(words: str) -> None:
        if not as_json:
            click.echo(click.style(f"      {safe_line(words)}", dim=True), err=True)

    course = _Course(
        project, connectors, areas, live=not offline, progress=progress, show=_nothing if as_json else _print_all
    )
    examination = asyncio.run(course.run(fixes=fix, asks=not yes))
    if as_json:
        print_json(examination.findings)
    else:
        _print_all(examination)
        _print_end(examination, fixes=fix)
    if examination.count("fail"):
        raise SystemExit(1)


class _Course:
    """One run of the doctor."""

    def __init__(
        self,
        project: Project,
        connectors: Mapping[str, Connector],
        areas: frozenset[Area],
        *,
        live: bool,
        progress: Callable[[str], None],
        show: Callable[[Examination], None],
    ) -> None:
        self._project = project
        self._connectors = connectors
        self._areas = areas
        self._live = live
        self._show = show
        self._progress = progress

    async def run(self, *, fixes: bool, asks: bool) -> Examination:
        """Examine; with `fixes`, mend what can be mended and examine once more."""
        examination = await self._examine()
        if not fixes or not examination.repairs:
            return examination
        self._show(examination)
        for repair in examination.repairs:
            click.echo(f"would {repair.finding.repair}", err=True)
        if asks:
            click.confirm("Do that?", abort=True, err=True)
        async with open_session(self._project) as session:
            for repair in examination.repairs:
                try:
                    done = await repair.act(session)
                except (TidegateError, asyncpg.PostgresError) as error:
                    done = f"failed: {error}"
                click.echo(safe_line(f"{repair.finding.repair}: {done}"), err=True)
        click.echo("looking again", err=True)
        return await self._examine()

    async def _examine(self) -> Examination:
        examination = Examination(self._areas)
        config = self._check_machine(examination)
        if config is None:
            self._say_unmade(examination, "the configuration is not valid")
            return examination
        if not self._areas & (_NEEDS_DATABASE | {"configuration", "clock"}):
            return examination
        try:
            async with open_session(self._project) as session:
                await session.conn.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
                await self._check_inside(session, examination)
        except TidegateError as error:
            examination.add("database", fail("database", str(error), error.hint or "tidegate up", code=error.code))
            self._say_unmade(examination, "the database does not run")
        return examination

    def _say_unmade(self, examination: Examination, reason: str) -> None:
        missing = [area for area in AREAS if area in self._areas & _NEEDS_DATABASE and area != "database"]
        if missing:
            words = f"not looked at, because {reason}: {', '.join(missing)}"
            examination.add(missing[0], warn("unmade", words, "mend that, then run it again", code="unmade"))

    def _check_machine(self, examination: Examination) -> Config | None:
        """Check what needs no database; return the configuration when it is valid."""
        project = self._project
        if "machine" in self._areas:
            for finding in (
                *check_versions(),
                check_root_key(project),
                check_disk(project),
                check_fsync(project),
                check_zones(),
            ):
                examination.add("machine", finding)
        if "clock" in self._areas:
            examination.add("clock", check_kernel_clock())
        try:
            config = load(project.config_file, connectors=self._connectors)
        except TidegateError as error:
            words = fail("configuration", str(error), "mend the file; tidegate config check looks at it alone")
            examination.add("configuration", words)
            return None
        examination.add("configuration", ok("configuration", f"valid, {len(config.connections)} connections"))
        if "machine" in self._areas:
            for finding in (*check_processes(project, config), *check_file_limits(project)):
                examination.add("machine", finding)
        return config

    async def _check_inside(self, session: Session, examination: Examination) -> None:
        await examination.add_all("configuration", _each(check_configuration_at_work, session))
        await examination.add_all("database", check_database(session, await find_database(self._project)))
        await examination.add_all("database", _each(check_partitions, session), make_partitions)
        await examination.add_all("clock", _each(check_clock, session))
        await examination.add_all("connections", check_connections(session, self._connectors))
        self._check_public(session.config, examination)
        if self._live and self._areas & _REMOTE:
            await self._check_remote(session, examination)
        await examination.add_all("mappings", check_mappings(session))
        await examination.add_all("work", check_work(session))
        await examination.add_all("work", check_told(session), mark_untold)

    async def _check_remote(self, session: Session, examination: Examination) -> None:
        remotes, unreadable = await open_remotes(session, self._connectors)
        for finding in unreadable:
            examination.add(finding.area, finding)
        await ask_all(remotes, self._progress)
        is_reachable = session.config.public_url is not None or running_state(self._project) is not None
        if "webhooks" in self._areas and is_reachable:
            await test_deliveries(session, remotes, self._progress)
        for remote in remotes:
            acts = {id(repair.finding): repair.act for repair in remote.repairs}
            for finding in remote.findings:
                examination.add(finding.area, finding, acts.get(id(finding)))

    def _check_public(self, config: Config, examination: Examination) -> None:
        hooked = [
            name
            for name, entry in config.connections.items()
            if entry.use in self._connectors and self._connectors[entry.use].webhook is not None
        ]
        if not hooked:
            return
        if config.public_url is None:
            words = f"poll-only mode: {', '.join(hooked)} cannot deliver from outside, because there is no public_url"
            why = "changes are found by polling, seconds to minutes later; nothing is lost"
            examination.add("webhooks", warn("public address", words, POLL_ONLY_RECIPE, code="poll_only", why=why))
        elif not config.public_url.startswith("https://"):
            words = f"{config.public_url} is not https"
            fix = "put a proxy with a certificate in front, and write https:// into public_url"
            examination.add(
                "webhooks", warn("public address", words, fix, code="no_https", why="bodies can be read on the way")
            )
        else:
            examination.add("webhooks", ok("public address", config.public_url, code="public_url"))


async def _each(check: Callable[[Session], Awaitable[Finding]], session: Session) -> AsyncIterator[Finding]:
    """Yield the one finding of a check; it is not begun when nobody asks."""
    yield await check(session)


def _nothing(_examination: Examination) -> None:
    """Programs read the end of it."""


def _print_all(examination: Examination) -> None:
    """Print the findings by area, the worst of an area last: it is what stays in sight."""
    for area in AREAS:
        found = [finding for finding in examination.findings if finding.area == area]
        if found:
            click.secho(area, bold=True)
        for finding in sorted(found, key=lambda one: ("ok", "warn", "fail").index(one.verdict)):
            _print(finding)


def _print(finding: Finding) -> None:
    click.secho(f"{finding.verdict:<5}", fg=_COLOURS[finding.verdict], nl=False)
    click.echo(f"{finding.check}: {safe_line(finding.words)}")
    if finding.why is not None:
        click.echo(f"     why: {finding.why}")
    if finding.fix is not None:
        click.echo(f"     fix: {safe_line(finding.fix)}   [{finding.code}]")


def _print_end(examination: Examination, *, fixes: bool) -> None:
    click.echo(f"{examination.count('fail')} to mend, {examination.count('warn')} to look at")
    if examination.repairs and not fixes:
        click.echo(f"{len(examination.repairs)} of these can be mended with: tidegate doctor --fix")
