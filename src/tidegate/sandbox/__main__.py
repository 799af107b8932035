"""Entry of the sandbox's process."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click
import uvloop

from tidegate.kernel.errors import ConfigurationError
from tidegate.sandbox.kinds import KINDS, load_kind
from tidegate.sandbox.process import run_sandbox
from tidegate.sandbox.world import read_world

PORT_MAX = 65535


@click.command(name="python -m tidegate.sandbox")
@click.option("--listen", default="127.0.0.1:0", show_default=True, help="Address of the control API; loopback only.")
@click.option("--world", "world_file", required=True, type=click.Path(path_type=Path), help="The world file, JSON.")
@click.option("--kind", "further", multiple=True, metavar="KIND=MODULE:FUNCTION", help="A further kind of platform.")
def main(listen: str, world_file: Path, further: tuple[str, ...]) -> None:
    r"""Run platforms on the loopback: real limits, signed webhooks, books, and faults on demand.

    \b
    echo '{"items": [{"sku": "A", "stock": 5}],
           "platforms": {"shop": {"kind": "shopify"}}}' > world.json
    python -m tidegate.sandbox --world world.json

    Prints one JSON line with the address of the control API and of each platform, and runs until SIGTERM or until the
    process that started it is gone. docs/reference/sandbox.md describes the world file and the control API.
    """
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    try:
        host, port = _address(listen)
        kinds = {**KINDS, **dict(load_kind(place) for place in further)}
        uvloop.run(run_sandbox(read_world(world_file), kinds, host=host, port=port))
    except ConfigurationError as error:
        click.echo(f"{error}" + (f"\n{error.hint}" if error.hint else ""), err=True)
        sys.exit(error.exit_status)


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise ConfigurationError(f"--listen takes HOST:PORT, not {listen!r}")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    main()
