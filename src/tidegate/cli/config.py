"""`tidegate config`: check the file, print its JSON Schema."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.output import print_json
from tidegate.cli.session import (
    Session,
    find_project,
    known_connectors,
    operator,
    project_option,
    run_session,
)
from tidegate.config import load, parse, schema
from tidegate.config.files import read_files
from tidegate.config.snapshots import Snapshots
from tidegate.sync.going_live import put_to_work


@click.group()
def config() -> None:
    """Check the configuration, or describe it to an editor."""


@config.command()
@project_option
def check(project_dir: Path | None) -> None:
    """Check tidegate.yaml without starting anything.

    Prints `file:line:column: problem; what to write instead` for each problem and exits with 78, or `valid` and 0.
    """
    project = find_project(project_dir)
    found = load(project.config_file, connectors=known_connectors())
    flows = [name for name in ("orders", "shipments", "stock") if getattr(found.flows, name) is not None]
    click.echo(f"valid: {len(found.connections)} connections, flows: {', '.join(flows) or 'none'}")


@config.command()
@project_option
def apply(project_dir: Path | None) -> None:
    """Put the changed tidegate.yaml to work while Tidegate runs: flows, modes, owners, allowed networks.

    Workers take it over within seconds. A channel whose stock flow becomes live is told the numbers of every item that
    was counted; orders that came in before are not sent. Ports and numbers of processes need `tidegate down` and `tidegate up`.
    """
    connectors = known_connectors()

    async def body(session: Session) -> tuple[int, bool]:
        document = session.project.config_file.read_text(encoding="utf-8")
        files = read_files(session.project.folder, parse(document, connectors=connectors))
        known = Snapshots()
        await known.read(session.conn)
        version = await put_to_work(session.conn, document, applied_by=operator(), files=files)
        return version.version, known.newest.get(version.tenant_id) != version.version

    number, is_new = run_session(project_dir, body)
    click.echo(f"version {number} is taken over now" if is_new else f"nothing changed, version {number} is at work")


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
