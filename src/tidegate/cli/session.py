"""What a command works with: the project folder, its configuration, and a connection to its database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import click

from tidegate.config import FILE_NAME, Config, load
from tidegate.config.parse import roles_of
from tidegate.config.snapshots import read_newest
from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.runtime.project import Project
from tidegate.sdk.connector import Connector
from tidegate.store.connections import DirectConnection
from tidegate.store.database import (
    URL_VARIABLE,
    Database,
    embedded_database,
    external_database,
    role_url_variable,
)
from tidegate.store.pool import direct_connection
from tidegate.store.roles import SERVICE_ROLES, Role
from tidegate.store.sql import query
from tidegate.vault.keys import KEY_CLASSES, KeyRing, derive_class_root

PROJECT_VARIABLE = "TIDEGATE_PROJECT"
_TENANTS = query("tenant_ids")
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """One command's way into an installation. The operator's: it may read and write everything."""

    project: Project
    config: Config
    conn: DirectConnection
    tenant_id: UUID

    def key_ring(self) -> KeyRing:
        """Return the keys of all classes. Raises ConfigurationError when the root key is absent or open to others."""
        root_key = self.project.read_root_key()
        return KeyRing({name: derive_class_root(root_key, name) for name in KEY_CLASSES})


def project_option(command: Callable[P, T]) -> Callable[P, T]:
    """Give a command the option `--project DIR` as the parameter `project_dir`."""
    return click.option(
        "--project",
        "project_dir",
        type=click.Path(file_okay=False, path_type=Path),
        envvar=PROJECT_VARIABLE,
        help=f"Project folder. Default: the nearest folder upward that has a {FILE_NAME}.",
    )(command)


def json_option(command: Callable[P, T]) -> Callable[P, T]:
    """Give a command the flag `--json` as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def find_project(given: Path | None, *, start: Path | None = None) -> Project:
    """Return the project folder: the given one, else the nearest one upward with a `tidegate.yaml`.

    Raises ConfigurationError when there is none.
    """
    if given is not None:
        if not (given / FILE_NAME).is_file():
            raise ConfigurationError(
                f"{given} has no {FILE_NAME}",
                code="project_missing",
                hint=f"make a project with: tidegate init {given}",
            )
        return Project(given.absolute())
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / FILE_NAME).is_file():
            return Project(folder)
    raise ConfigurationError(
        f"neither {here} nor a folder above it has a {FILE_NAME}",
        code="project_missing",
        hint="make a project with `tidegate init DIR`, or name one with --project DIR",
    )


def run_session(project_dir: Path | None, body: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
    """Run the async body of a command with an open session of the found project; return what it returns."""

    async def run() -> T:
        async with open_session(find_project(project_dir)) as session:
            return await body(session)

    return asyncio.run(run())


@asynccontextmanager
async def open_session(project: Project) -> AsyncIterator[Session]:
    """Connect to the project's database as the owner of the schema.

    While the file is not valid, the configuration is the one at work, and that is said. Raises ConfigurationError when there
    is neither, or the database does not run.
    """
    config, refusal = None, None
    try:
        config = load(project.config_file, roles=roles_of(_connectors_if_any()))
    except ConfigurationError as error:
        refusal = error
    database = await find_database(project)
    conn = await connect_owner(database)
    try:
        tenants = {name: tenant_id for tenant_id, name in await conn.fetch(_TENANTS)}
        if config is None:
            config = await _at_work(conn, refusal)
        if config.tenant not in tenants:
            raise ConfigurationError(
                f"tenant {config.tenant!r} has never been started here", code="tenant_missing", hint="run: tidegate up"
            )
        yield Session(project=project, config=config, conn=conn, tenant_id=tenants[config.tenant])
    finally:
        await conn.close()


async def _at_work(conn: DirectConnection, refusal: ConfigurationError | None) -> Config:
    """Return the configuration at work in place of a file that is not valid, of the only tenant. Raises `refusal` else."""
    found = await read_newest(conn)
    if len(found) != 1:
        raise refusal if refusal is not None else ConfigurationError("there is no configuration")
    click.echo(
        f"{FILE_NAME} is not valid, so this goes by version {found[0].version}, which is at work:\n{refusal}", err=True
    )
    return found[0].config


async def find_database(project: Project) -> Database:
    """Return the way into the project's database: the one of TIDEGATE_DATABASE_URL, else the embedded one.

    Raises ConfigurationError when the embedded one does not run.
    """
    url = os.environ.get(URL_VARIABLE)
    if url:
        return await external_database(url, role_urls())
    postgres = EmbeddedPostgres(project.postgres_dir, run_dir=project.run_dir)
    if not postgres.is_running():
        raise ConfigurationError(
            "the database of this project is not running", code="not_running", hint="start it with: tidegate up"
        )
    return embedded_database(postgres.dsn)


async def connect_owner(database: Database) -> DirectConnection:
    """Return a connection as the owner of the schema. Raises ConfigurationError when the schema is missing."""
    conn = await direct_connection(database.access(Role.MIGRATOR), application_name="tidegate-cli")
    if not await conn.fetchval("SELECT to_regclass('tenant') IS NOT NULL"):
        await conn.close()
        raise ConfigurationError("the database has no schema yet", code="schema_missing", hint="run: tidegate migrate")
    return conn


def role_urls() -> dict[Role, str]:
    """Return the addresses of roles that have a login of their own in an external database (environment)."""
    found = {role: os.environ.get(role_url_variable(role)) for role in SERVICE_ROLES}
    return {role: url for role, url in found.items() if url}


async def newest_config(session: Session) -> Config:
    """Return the configuration that is at work: the newest version in the database that can be used, else the file's."""
    found = {version.tenant_id: version.config for version in await read_newest(session.conn)}
    return found.get(session.tenant_id, session.config)


def known_connectors() -> Mapping[str, Connector]:
    """Return the connectors that the composition root gave to the command line."""
    give: Callable[[], Mapping[str, Connector]] = click.get_current_context().find_root().obj
    return give()


def _connectors_if_any() -> Mapping[str, Connector] | None:
    return known_connectors() if click.get_current_context(silent=True) is not None else None


def operator() -> str:
    """Return who acts, for the audit log: the account of the operating system."""
    return f"cli:{os.environ.get('SUDO_USER') or os.environ.get('USER') or os.getuid()}"
