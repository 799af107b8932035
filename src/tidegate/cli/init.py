"""`tidegate init DIR`: a new project folder."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import click

from tidegate.cli.login import make_first_login
from tidegate.config import FILE_NAME
from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.project import Project
from tidegate.web.logins import FIRST_NAME

ROOT_KEY_BYTES = 32
_IGNORED = "# Nothing of these belongs into version control: keys, data, state, logs.\n/keys/\n/data/\n/run/\n/logs/\n"


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def init(directory: Path) -> None:
    """Make a new project in DIRECTORY.

    It gets a commented tidegate.yaml, a root key that everything secret hangs on, and folders for data and logs.
    Nothing that is there already is touched.

    \b
    Example:
      tidegate init acme
    """
    password = add_first_login(make_project(directory, today=datetime.now(UTC)))
    click.echo(f"made {directory}")
    click.echo(f"  {FILE_NAME:<15} the configuration, every line explained")
    click.echo("  keys/root.key   the root key: back it up somewhere else, without it no secret can be read again")
    click.echo(f"the pages: sign in as {FIRST_NAME} with {password}")
    click.echo("  it is shown once, keep it in a password manager; another one: tidegate login reset")
    click.echo("next:")
    click.echo(f"  cd {directory}")
    click.echo(f"  edit {FILE_NAME}: name the systems to connect")
    click.echo("  tidegate up           start everything on this machine")
    click.echo("  tidegate connect NAME   once per system, in another terminal; the ERP first")


def make_project(directory: Path, *, today: datetime) -> Project:
    """Make the folder and its files; orders placed before `today` will be left alone.

    Raises ConfigurationError when one of the files exists: a project is never overwritten.
    """
    project = Project(directory.absolute())
    for path in (project.config_file, project.root_key_file, project.postgres_dir):
        if path.exists():
            raise ConfigurationError(
                f"{path} exists already, and a project is never overwritten",
                code="project_exists",
                hint="choose another folder, or work with this one: tidegate up",
            )
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("keys", "data"):
        (directory / name).mkdir(mode=0o700 if name == "keys" else 0o711, exist_ok=True)
    project.make_folders()
    _write_new(project.root_key_file, secrets.token_bytes(ROOT_KEY_BYTES), mode=0o400)
    template = (files("tidegate.cli") / "tidegate.template.yaml").read_text(encoding="utf-8")
    text = template.replace("{since}", today.strftime("%Y-%m-%d"))
    _write_new(project.config_file, text.encode(), mode=0o644)
    if not (directory / ".gitignore").exists():
        _write_new(directory / ".gitignore", _IGNORED.encode(), mode=0o644)
    return project


def add_first_login(project: Project) -> str:
    """Write the file of the first login and return its password, which is kept nowhere."""
    first_login, password = make_first_login()
    _write_new(project.first_login_file, first_login, mode=0o400)
    return password


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
