"""`tidegate login`: who may open the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from tidegate.cli.output import print_json, print_table
from tidegate.cli.session import Session, json_option, operator, project_option, run_session
from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.project import Project
from tidegate.store.connections import Connection
from tidegate.web.logins import FIRST_NAME, add_login, check_name, list_logins, remove_login, set_password
from tidegate.web.passwords import hash_password, make_password


class FirstLogin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The login that `init` makes, as its file holds it until the first `up`."""

    name: str
    password_hash: str


@click.group()
def login() -> None:
    """Say who may open the pages. Passwords are made here, shown once, and kept as argon2id hashes."""


@login.command()
@click.argument("name")
@project_option
def add(name: str, project_dir: Path | None) -> None:
    """Make a login NAME and print its password, once. What somebody does is recorded under the name.

    \b
    Example:
      tidegate login add ada
    """
    password = make_password()
    hashed = hash_password(password)

    async def body(session: Session) -> bool:
        return await add_login(
            session.conn, tenant_id=session.tenant_id, name=check_name(name), password_hash=hashed, actor=operator()
        )

    if not run_session(project_dir, body):
        raise ConfigurationError(
            f"a login {name!r} exists already", code="login_exists", hint=f"a new password: tidegate login reset {name}"
        )
    _show(name, password)


@login.command()
@click.argument("name", default=FIRST_NAME)
@project_option
def reset(name: str, project_dir: Path | None) -> None:
    """Give a login a new password and print it, once. Its sessions end. Without NAME: the one that `init` made.

    An installation that has no login yet gets one.

    \b
    Examples:
      tidegate login reset
      tidegate login reset ada
    """
    password = make_password()
    hashed = hash_password(password)

    async def body(session: Session) -> Session:
        await set_password(session.conn, tenant_id=session.tenant_id, name=name, password_hash=hashed, actor=operator())
        return session

    session = run_session(project_dir, body)
    _show(name, password)
    click.echo(f"the pages are at {session.config.web_base}")


@login.command()
@click.argument("name")
@project_option
def remove(name: str, project_dir: Path | None) -> None:
    """Remove a login. Its sessions end at once."""

    async def body(session: Session) -> None:
        await remove_login(session.conn, tenant_id=session.tenant_id, name=name, actor=operator())

    run_session(project_dir, body)
    click.echo(f"{name} cannot sign in any more")


@login.command("list")
@project_option
@json_option
def list_(project_dir: Path | None, *, as_json: bool) -> None:
    """List the logins, and how many sessions each has."""

    async def body(session: Session) -> list[dict[str, Any]]:
        return [dict(row) for row in await list_logins(session.conn, session.tenant_id)]

    found = run_session(project_dir, body)
    if as_json:
        print_json(found)
    else:
        columns = ("name", "sessions", "last_seen_at", "changed_at")
        rows = [[row[name] for name in columns] for row in found]
        print_table(columns, rows, empty="nobody can sign in; make a login with: tidegate login reset")


def make_first_login() -> tuple[bytes, str]:
    """Return the file of the first login, and its password: it exists nowhere else."""
    password = make_password()
    return msgspec.json.encode(FirstLogin(FIRST_NAME, hash_password(password))) + b"\n", password


async def adopt_first_login(conn: Connection, project: Project, tenant_id: Any) -> str | None:
    """Take the login that `init` made into the database and remove its file; safe to repeat.

    Returns what to tell the operator when the tenant has a login of that name already, whose password counts.
    """
    path = project.first_login_file
    try:
        first = msgspec.json.decode(path.read_bytes(), type=FirstLogin)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error}", code="login_file", hint="remove it, then: tidegate login reset"
        ) from error
    made = await add_login(
        conn, tenant_id=tenant_id, name=first.name, password_hash=first.password_hash, actor="cli:init"
    )
    path.unlink(missing_ok=True)
    if made:
        return None
    return f"the login {first.name!r} was there before: its own password counts, a new one: tidegate login reset"


def _show(name: str, password: str) -> None:
    click.echo(f"login     {name}")
    click.echo(f"password  {password}   (shown once; keep it in a password manager)")
