"""`tidegate up` and `tidegate down`: everything on this machine, started and stopped."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click

from tidegate.cli.checks_database import require_root_key
from tidegate.cli.config_file import adopt_file, read_file
from tidegate.cli.login import adopt_first_login
from tidegate.cli.readiness import HEALTH_WORDS, POLL_SECONDS, announce_ready, wait_until_running
from tidegate.cli.session import find_project, known_connectors, project_option, role_urls
from tidegate.config import Config, load
from tidegate.config.files import read_files
from tidegate.eventlog import partitions
from tidegate.kernel.errors import ConfigurationError, TransientError
from tidegate.monitor.reservations_view import purge_reservations
from tidegate.runtime.control import last_failure, running_state, stop_supervisor
from tidegate.runtime.ports import require_free
from tidegate.runtime.project import Project
from tidegate.runtime.supervisor import Plan, Supervisor, open_supervisor_log, run_until_signalled, stop_leftovers
from tidegate.store.database import URL_VARIABLE, Database, owner_connection
from tidegate.web.answers import purge_answers

DETACH_SECONDS = 180.0
"""How long a detached start may take; the first one creates the database."""
_count = click.IntRange(0, 64)


@click.command()
@project_option
@click.option("--door", type=_count, help="Webhook doors; they share one port.")
@click.option("--apply", "apply_", type=_count, help="Processes that apply events.")
@click.option("--dispatch", type=_count, help="Processes that call other systems.")
@click.option("--web", type=_count, help="Processes for pages and API; they share one port.")
@click.option("--detach", is_flag=True, help="Return when everything is ready, and go on in the background.")
def up(
    project_dir: Path | None,
    door: int | None,
    apply_: int | None,
    dispatch: int | None,
    web: int | None,
    *,
    detach: bool,
) -> None:
    """Start everything on this machine: PostgreSQL, webhook door, workers, health page.

    Runs until Ctrl-C or `tidegate down`; what is in hand is finished first. A process that dies is started again. With
    TIDEGATE_DATABASE_URL set, that database is used in place of the bundled one.

    \b
    Examples:
      tidegate up
      tidegate up --door 2 --apply 2 --dispatch 2 --detach
    """
    project = find_project(project_dir)
    config = load(project.config_file, connectors=known_connectors())
    project.read_root_key()
    given = {"door": door, "web": web, "apply": apply_, "dispatch": dispatch}
    if detach:
        _start_detached(project, config, {name: number for name, number in given.items() if number is not None})
        return
    processes = {name: getattr(config.processes, name) for name in ("door", "web", "apply", "dispatch")}
    processes.update({name: number for name, number in given.items() if number is not None})
    run_supervisor(project, config, processes)


@click.command()
@project_option
def down(project_dir: Path | None) -> None:
    """Stop what `tidegate up` started in this project; what is in hand is finished first. Safe to repeat."""
    project = find_project(project_dir)
    try:
        stopped = stop_supervisor(project)
    except TimeoutError as error:
        raise TransientError(str(error), hint="look at it with: tidegate status") from error
    if stopped:
        click.echo("stopped")
    elif asyncio.run(stop_leftovers(project)):
        click.echo("stopped what a killed supervisor had left")
    else:
        click.echo("nothing was running")


def run_supervisor(project: Project, config: Config, processes: Mapping[str, int]) -> None:
    """Run the processes in the foreground until a signal comes."""
    document = read_file(project) if project.config_file.exists() else None
    connectors = known_connectors()
    files = read_files(project.folder, config)

    async def prepare(database: Database) -> None:
        listen = config.listen
        if processes.get("door"):
            require_free("listen.port", listen.host, listen.port)
        if processes.get("web"):
            require_free("listen.web_port", listen.web_host, listen.web_port)
        async with owner_connection(database) as conn:
            if document is not None:
                tenant_id = await adopt_file(
                    conn, project, document, files=files, connectors=connectors, report=_report
                )
                await require_root_key(conn, project, tenant_id)
                words = await adopt_first_login(conn, project, tenant_id)
                if words is not None:
                    _report(words)

    plan = Plan(
        processes=processes,
        options={
            "door": {"host": config.listen.host, "port": config.listen.port},
            "web": {"host": config.listen.web_host, "port": config.listen.web_port, "tenant": config.tenant},
        },
        cell=config.cell,
        database_url=os.environ.get(URL_VARIABLE) or None,
        role_urls=role_urls(),
        prepare=(prepare,),
        upkeep=(_keep_partitions, _forget_answers),
    )
    open_supervisor_log(project)
    supervisor = Supervisor(project, plan, report=_report)
    asyncio.run(_run(supervisor, project, config, processes))


async def _run(supervisor: Supervisor, project: Project, config: Config, processes: Mapping[str, int]) -> None:
    announcing = asyncio.create_task(announce_ready(project, config, processes, click.echo))
    try:
        await run_until_signalled(supervisor)
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)
    click.echo("stopped")


async def _keep_partitions(database: Database) -> None:
    async with owner_connection(database) as conn:
        await partitions.ensure(conn)


async def _forget_answers(database: Database) -> None:
    async with owner_connection(database) as conn:
        await purge_answers(conn)
        await purge_reservations(conn)


def _report(line: str) -> None:
    """Print what the supervisor says; that a process was started is said when it answers."""
    if line == "ok postgres" or not line.startswith("ok "):
        click.echo(line)


def _has_failed(project: Project, process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None or bool(_crash_looping(project))


def _crash_looping(project: Project) -> list[str]:
    state = running_state(project)
    children = state.children if state is not None else ()
    return [f"{child.role}-{child.index}" for child in children if child.crash_looping]


def _start_detached(project: Project, config: Config, processes: Mapping[str, int]) -> None:
    """Start `tidegate up` in a session of its own and wait until it is ready."""
    if running_state(project) is not None:
        raise ConfigurationError("Tidegate is already running here", code="running", hint="tidegate status shows it")
    project.make_folders()
    arguments = [sys.executable, "-m", "tidegate", "up", "--project", str(project.folder)]
    for name, number in processes.items():
        arguments += [f"--{name}", str(number)]
    output = project.logs_dir / "up.log"
    with output.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - our own command
            arguments, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    wanted = {
        name: processes.get(name, getattr(config.processes, name)) for name in ("door", "web", "apply", "dispatch")
    }
    deadline = time.monotonic() + DETACH_SECONDS
    if not asyncio.run(wait_until_running(project, config, wanted, deadline, lambda: _has_failed(project, process))):
        looping = _crash_looping(project)
        reasons = "".join(f"\n{name} does not stay alive{last_failure(project, name)}" for name in looping)
        stop_supervisor(project)
        last = output.read_text(errors="replace").strip()
        raise ConfigurationError(
            f"it did not become ready, and was stopped again:\n{last}{reasons}",
            code="start_failed",
            hint=f"look into {project.logs_dir}",
        )
    while time.monotonic() < deadline and HEALTH_WORDS not in output.read_text(errors="replace") and wanted["web"]:
        time.sleep(POLL_SECONDS)  # it is ready, and about to say so
    click.echo(output.read_text(errors="replace").rstrip())
    click.echo("it runs in the background; stop it with: tidegate down")
