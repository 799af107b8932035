"""`tidegate webhook`: find out why deliveries are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from tidegate.cli.output import safe_line
from tidegate.cli.session import known_connectors
from tidegate.intake.capture import find_unreadable, verify_capture
from tidegate.kernel.errors import ConfigurationError


@click.group()
def webhook() -> None:
    """Find out why deliveries are refused."""


@webhook.command()
@click.option("--connector", "name", required=True, help="Whose signature it should carry.")
@click.option(
    "--file",
    "file",
    required=True,
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="The captured delivery, a JSON object.",
)
def verify(name: str, file: Path) -> None:
    """Check a captured delivery as the door would: signature, time, key fields. Nothing is stored or sent.

    The file holds `headers` (name: value), `body_b64` (the body as it came, in base64), `secret`, and optionally `now`
    (Unix seconds; without it, an old capture is stale). Prints `valid` and exits with 0, or `invalid: reason` and 1. A
    genuine delivery whose body is not as expected is valid, and a note says what would become of it.

    \b
    Example:
      tidegate webhook verify --connector vendure --file capture.json
    """
    known = known_connectors()
    connector = known.get(name)
    if connector is None:
        raise ConfigurationError(
            f"there is no connector {name!r}", code="connector_unknown", hint=f"there are: {', '.join(sorted(known))}"
        )
    try:
        capture = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigurationError(f"{file} is no JSON object: {error}", code="capture_unreadable") from error
    reason = verify_capture(connector, capture)
    click.echo("valid" if reason is None else f"invalid: {safe_line(reason)}")
    if reason is not None:
        raise SystemExit(1)
    unreadable = find_unreadable(connector, capture)
    if unreadable is not None:
        click.echo(f"note: the door would store it and quarantine it: {safe_line(unreadable)}", err=True)
