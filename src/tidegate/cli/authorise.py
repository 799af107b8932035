"""`tidegate authorise NAME`: have a person allow our app at a platform, with a browser, and go on."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.browser_step import paste_option, redirect_option
from tidegate.cli.connect import connect
from tidegate.cli.session import json_option, project_option


@click.command()
@click.argument("name")
@project_option
@paste_option
@redirect_option
@json_option
@click.pass_context
def authorise(
    ctx: click.Context, name: str, project_dir: Path | None, *, pastes: bool, redirect_uri: str | None, as_json: bool
) -> None:
    """Have a person allow the app of the connection NAME again, and go on.

    Prints an address. Whoever may allow the app opens it in a browser; the platform sends the browser back to Tidegate,
    and the tokens go into the vault, where they are renewed by themselves. It is what mends a refused token (the alert
    token_refused): the connection goes on, and what waited is sent.

    The address that the browser comes back to must be among the app's redirect URLs at the platform. Where the pages are
    not open to that browser, --paste takes the address that it ends at, even though it shows an error there.

    \b
    Examples:
      tidegate authorise shop
      tidegate authorise shop --paste
      tidegate authorise shop --redirect https://tidegate.example.com/oauth/callback
    """
    ctx.invoke(
        connect,
        name=name,
        project_dir=project_dir,
        given=(),
        from_json=None,
        location=None,
        create_missing=False,
        moved=False,
        rotate_webhook=False,
        authorises=True,
        pastes=pastes,
        redirect_uri=redirect_uri,
        yes=True,
        as_json=as_json,
    )
