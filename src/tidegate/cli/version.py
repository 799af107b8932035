"""`tidegate version`."""

from __future__ import annotations

import click

from tidegate import __version__


@click.command()
def version() -> None:
    """Print the version of Tidegate."""
    click.echo(f"tidegate {__version__}")
