"""`tidegate gateway`, `worker`, `migrate`: parts of an installation on other machines, against one database."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click
import msgspec

from tidegate.cli.session import find_project, known_connectors, project_option, role_urls
from tidegate.cli.up import run_supervisor
from tidegate.config import load
from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.database import URL_VARIABLE, ensure_embedded_database, ensure_external_database

_count = click.IntRange(1, 64)


@click.command()
@project_option
@click.option("--door", type=_count, default=1, show_default=True, help="Webhook doors; they share one port.")
@click.option("--host", help="Listen here instead of at listen.host.")
@click.option("--port", type=click.IntRange(1, 65535), help="Listen here instead of at listen.port.")
def gateway(project_dir: Path | None, door: int, host: str | None, port: int | None) -> None:
    """Run webhook doors and the health page on this machine, against TIDEGATE_DATABASE_URL.

    Put any number of them behind a load balancer. The project folder needs tidegate.yaml and keys/root.key.

    \b
    Example:
      TIDEGATE_DATABASE_URL=postgresql://... tidegate gateway --host 0.0.0.0
    """
    _require_database()
    project = find_project(project_dir)
    config = load(project.config_file, connectors=known_connectors())
    listen = msgspec.structs.replace(config.listen, host=host or config.listen.host, port=port or config.listen.port)
    if listen.port == listen.web_port:
        raise ConfigurationError(
            f"the door and the health page cannot both listen at port {listen.port}",
            code="port_taken",
            hint="choose another --port, or another listen.web_port in tidegate.yaml",
        )
    run_supervisor(project, msgspec.structs.replace(config, listen=listen), {"door": door, "web": 1})


@click.command()
@project_option
@click.option("--apply", "apply_", type=_count, default=1, show_default=True, help="Processes that apply events.")
@click.option("--dispatch", type=_count, default=1, show_default=True, help="Processes that call other systems.")
def worker(project_dir: Path | None, apply_: int, dispatch: int) -> None:
    """Run workers on this machine, against TIDEGATE_DATABASE_URL.

    They find each other in the database and share the work; one that dies is replaced by the others at once.

    \b
    Example:
      TIDEGATE_DATABASE_URL=postgresql://... tidegate worker --apply 2
    """
    _require_database()
    project = find_project(project_dir)
    config = load(project.config_file, connectors=known_connectors())
    run_supervisor(project, config, {"apply": apply_, "dispatch": dispatch})


@click.command()
@project_option
def migrate(project_dir: Path | None) -> None:
    """Bring roles, schema and grants of the database up to date. `up` does that by itself. Safe to repeat."""
    url = os.environ.get(URL_VARIABLE)
    if url:
        database = asyncio.run(ensure_external_database(url, role_urls()))
    else:
        project = find_project(project_dir)
        postgres = EmbeddedPostgres(project.postgres_dir, run_dir=project.run_dir)
        was_running = postgres.is_running()
        project.make_folders()
        postgres.start()
        try:
            database = asyncio.run(ensure_embedded_database(postgres.dsn, postgres.password))
        finally:
            if not was_running:
                postgres.stop()
    click.echo(f"the schema is up to date; roles are separated by: {database.separation}")


def _require_database() -> None:
    if not os.environ.get(URL_VARIABLE):
        raise ConfigurationError(
            f"{URL_VARIABLE} is not set",
            code="database_missing",
            hint="name the database that all machines share, or run everything here with: tidegate up",
        )
