"""The `tidegate` command: finds the subcommand, and turns errors into words, a next step and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate import __version__
from tidegate.cli.failures import describe_failure
from tidegate.kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from tidegate.sdk.connector import Connector

COMMANDS = {
    "init": "init:init",
    "up": "up:up",
    "down": "up:down",
    "status": "status:status",
    "doctor": "doctor:doctor",
    "login": "login:login",
    "connect": "connect:connect",
    "authorise": "authorise:authorise",
    "config": "config:config",
    "map": "maps:map_",
    "live": "modes:live",
    "propose": "modes:propose",
    "observe": "modes:observe",
    "proposals": "proposals:proposals",
    "approve": "proposals:approve",
    "reject": "proposals:reject",
    "webhook": "webhook:webhook",
    "events": "events:events",
    "commands": "commands:commands",
    "issues": "issues:issues",
    "writes": "writes:writes",
    "keys": "keys:keys",
    "plan": "plan:plan",
    "drift": "drift:drift",
    "sync": "sync:sync",
    "matches": "matches:matches",
    "stock": "stock:stock",
    "kits": "kits:kits",
    "conservation": "conservation:conservation",
    "rehearse": "rehearse:rehearse",
    "why": "why:why",
    "owners": "owners:owners",
    "conflicts": "conflicts:conflicts",
    "lanes": "lanes:lanes",
    "alerts": "alerts:alerts",
    "gateway": "nodes:gateway",
    "worker": "nodes:worker",
    "migrate": "nodes:migrate",
    "version": "version:version",
}
"""Command -> `module:function` in this package; imported only when it is called."""
DEBUG_VARIABLE = "TIDEGATE_DEBUG"
EXIT_USAGE = 64
EXIT_INTERRUPTED = 130


class _LazyGroup(click.Group):
    """A group that imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the tutorial."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Return a command, None when there is no such one."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(f"tidegate.cli.{module}"), name)
        return command


@click.command(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command explains itself: tidegate COMMAND --help",
)
@click.version_option(__version__, prog_name="tidegate", message="%(prog)s %(version)s")
def tidegate() -> None:
    """Keep the orders and the stock of shops, ERPs and warehouses in step.

    \b
    The first ten minutes:
      tidegate init acme && cd acme      make a project
      tidegate up                        start everything on this machine
      tidegate connect erp               connect a system of tidegate.yaml
      tidegate status                    how it does
      tidegate why order 1001            everything that happened to one order
    """


def main(connectors: Callable[[], Mapping[str, Connector]], arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a check said no, else the status of sysexits(3).

    `connectors` is asked when a command needs to know them.
    """
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
    try:
        status = tidegate.main(args=arguments, prog_name="tidegate", standalone_mode=False, obj=connectors)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.UsageError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        was_interrupted = isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)
        if not was_interrupted and not (sys.stdin and sys.stdin.isatty()):
            failure = describe_failure(
                ConfigurationError(
                    "it has a question, and there is nobody to answer it",
                    code="answer_missing",
                    hint="run it in a terminal, or give the answers: tidegate connect NAME --from-json FILE --yes",
                )
            )
            click.echo(failure.text, err=True)
            sys.exit(failure.exit_status)
        click.echo("stopped", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        failure = describe_failure(error)
        click.echo(failure.text, err=True)
        sys.exit(failure.exit_status)
    sys.exit(status if isinstance(status, int) else 0)
