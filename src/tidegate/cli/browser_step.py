"""The step with a browser: print what a person opens, take what comes back, keep the tokens."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

import click
import msgspec

from tidegate.cli.output import safe_line
from tidegate.kernel.clock import Clock
from tidegate.kernel.redaction import Secret
from tidegate.sdk.egress import Network
from tidegate.store.connections import Connection
from tidegate.sync.authorise import GRANT_SECONDS, ask_person, end_asking, redeem, wait_for_redirect
from tidegate.sync.connect import ConnectOrder
from tidegate.vault.keys import KeyRing
from tidegate.vault.tokens import Acquire

REDIRECT_PATH = "/oauth/callback"
"""Of the pages: where a browser comes back to."""


def _check_redirect(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment or parts.username:
        raise click.BadParameter(
            "write an address as the platform knows it, such as https://tidegate.example.com/oauth/callback"
        )
    return value


paste_option = click.option(
    "--paste", "pastes", is_flag=True, help="Paste the address that the browser ends at, instead of waiting for it."
)
redirect_option = click.option(
    "--redirect",
    "redirect_uri",
    metavar="URL",
    callback=_check_redirect,
    help=f"Where the platform sends the browser back to; the app there must allow it. Default: {REDIRECT_PATH} of the pages.",
)


def default_redirect(web_base: str) -> str:
    """Return where the browser comes back to when nobody says otherwise: the pages, as this machine's browser sees them."""
    return web_base.replace("//0.0.0.0:", "//localhost:") + REDIRECT_PATH


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How the browser's answer comes back to us."""

    redirect_uri: str
    pastes: bool


async def ask_and_redeem(
    conn: Connection,
    acquire: Acquire,
    ring: KeyRing,
    order: ConnectOrder,
    way: Way,
    *,
    allow: Sequence[Network],
    clock: Clock,
    name: str,
) -> None:
    """Print what to open, take what comes back, and keep the tokens. Raises as `sync.authorise` does."""
    asked = await ask_person(conn, order, way.redirect_uri)
    try:
        click.echo(
            f"open this address in a browser, and allow the app there (within {GRANT_SECONDS / 60:.0f} minutes):",
            err=True,
        )
        click.echo(safe_line(f"  {asked.url}"), err=True)
        if way.pastes:
            redirected = _read_pasted()
        else:
            click.echo(f"waiting for the browser at {way.redirect_uri} ...", err=True)
            redirected = await wait_for_redirect(conn, order, asked)
        await redeem(acquire, ring, order, asked, redirected, allow=allow, clock=clock, name=name)
    finally:
        await end_asking(conn, order, asked)
    click.echo("allowed: the tokens are kept", err=True)


def _read_pasted() -> Secret:
    """Ask for the address; what is typed is not shown, because it holds the code."""
    if sys.stdin.isatty():
        return Secret(str(click.prompt("the address that the browser ended at", hide_input=True, err=True, type=str)))
    return Secret(sys.stdin.readline())
