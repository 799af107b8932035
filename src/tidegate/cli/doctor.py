"""`tidegate doctor`: what is not as it should be, and how to mend it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import click

from tidegate.cli.checks import Finding, Report, fail, ok
from tidegate.cli.checks_connections import check_connections
from tidegate.cli.checks_database import check_database, check_work
from tidegate.cli.checks_machine import check_disk, check_processes, check_root_key, check_versions
from tidegate.cli.output import print_json, safe_line
from tidegate.cli.session import (
    find_database,
    find_project,
    json_option,
    known_connectors,
    open_session,
    project_option,
)
from tidegate.config import Config, load
from tidegate.kernel.errors import TidegateError
from tidegate.runtime.project import Project
from tidegate.sdk.connector import Connector

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@project_option
@click.option("--offline", is_flag=True, help="Do not ask the connected systems.")
@json_option
def doctor(project_dir: Path | None, *, offline: bool, as_json: bool) -> None:
    """Look at everything that can be wrong, and say how to mend it. Changes nothing.

    Exits with 1 when something keeps Tidegate from working; warnings alone do not.
    """
    project = find_project(project_dir)
    connectors = known_connectors()
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            _print(finding)

    config = _check_machine(project, connectors, report)
    if config is not None:
        asyncio.run(_check_inside(project, connectors, report, live=not offline))
    failed = sum(finding.verdict == "fail" for finding in findings)
    warned = sum(finding.verdict == "warn" for finding in findings)
    if as_json:
        print_json(findings)
    else:
        click.echo(f"{failed} to mend, {warned} to look at")
    if failed:
        raise SystemExit(1)


def _check_machine(project: Project, connectors: Mapping[str, Connector], report: Report) -> Config | None:
    """Check what needs no database; return the configuration when it is valid."""
    for finding in check_versions():
        report(finding)
    report(check_root_key(project))
    report(check_disk(project))
    try:
        config = load(project.config_file, connectors=connectors)
    except TidegateError as error:
        report(fail("configuration", str(error), "mend the file; tidegate config check looks at it alone"))
        return None
    report(ok("configuration", f"valid, {len(config.connections)} connections"))
    for finding in check_processes(project, config):
        report(finding)
    return config


async def _check_inside(project: Project, connectors: Mapping[str, Connector], report: Report, *, live: bool) -> None:
    try:
        async with open_session(project) as session:
            async for finding in check_database(session, await find_database(project)):
                report(finding)
            async for finding in check_connections(session, connectors, live=live):
                report(finding)
            async for finding in check_work(session):
                report(finding)
    except TidegateError as error:
        report(fail("database", str(error), error.hint or "tidegate up"))


def _print(finding: Finding) -> None:
    click.secho(f"{finding.verdict:<5}", fg=_COLOURS[finding.verdict], nl=False)
    click.echo(f"{finding.check}: {safe_line(finding.words)}")
    if finding.fix is not None:
        click.echo(f"     fix: {finding.fix}")
