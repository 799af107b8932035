"""`tidegate config`: check the file, print its JSON Schema."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.output import print_json
from tidegate.cli.session import find_project, known_connectors, project_option
from tidegate.config import load, schema


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
