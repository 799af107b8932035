"""`tidegate keys`: who may use the API, and what for."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from tidegate.cli.output import print_json, print_table
from tidegate.cli.session import Session, json_option, operator, project_option, run_session
from tidegate.kernel.ids import public_id
from tidegate.vault.keys import derive_class_root
from tidegate.web.keys import KEY_CLASS, NewKey, create_key, list_keys, revoke_key
from tidegate.web.scopes import SCOPES

_COLUMNS = ("name", "key", "state", "scopes", "addresses", "expires", "last used")
_SPAN = re.compile(r"(\d{1,4})(h|d)")


class _Span(click.ParamType[timedelta]):
    """A length of time: 12h, 90d."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the length."""
        if isinstance(value, timedelta):
            return value
        match = _SPAN.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no length of time; write 90d or 12h", param, ctx)
        return timedelta(**{"hours" if match[2] == "h" else "days": int(match[1])})


@click.group()
def keys() -> None:
    """Make, list and revoke the keys of the API (docs/reference/api.md)."""


@keys.command()
@click.argument("name")
@project_option
@click.option("--scope", "scopes", multiple=True, required=True, help="What it may do; give it as often as needed.")
@click.option(
    "--expires", type=_Span(), default="90d", show_default=True, help="How long it is good: 12h, 90d; at most 365d."
)
@click.option(
    "--allow", "networks", multiple=True, metavar="NETWORK", help="Only from these addresses, in CIDR notation."
)
@json_option
def create(
    name: str,
    project_dir: Path | None,
    scopes: tuple[str, ...],
    expires: timedelta,
    networks: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Make a key called NAME and show it, once: it is stored nowhere in a readable form.

    Give it the least that its program needs. AREA:* stands for a whole area, *:read for reading everywhere;
    `tidegate keys scopes` explains them.

    \b
    Examples:
      tidegate keys create warehouse-screen --scope orders:read --scope stock:read
      tidegate keys create ops --scope '*:read' --scope commands:write --expires 30d --allow 10.0.0.0/8
    """

    async def body(session: Session) -> tuple[NewKey, str]:
        made = await create_key(
            session.conn,
            tenant_id=session.tenant_id,
            pepper=derive_class_root(session.project.read_root_key(), KEY_CLASS),
            name=name,
            scopes=scopes,
            actor=operator(),
            now=datetime.now(UTC),
            lives_for=expires,
            networks=networks,
        )
        return made, session.config.web_base

    made, address = run_session(project_dir, body)
    if as_json:
        print_json(
            {
                "name": made.name,
                "key": made.text.reveal(),
                "scopes": made.scopes,
                "networks": made.networks,
                "expires_at": made.expires_at,
            }
        )
        return
    click.echo(made.text.reveal())
    click.echo(f"this is the only time it is shown; good until {made.expires_at:%Y-%m-%d %H:%M} UTC", err=True)
    click.echo(f"use it as: curl -H 'Authorization: Bearer KEY' {address}/v1/status", err=True)


@keys.command("list")
@project_option
@json_option
def list_(project_dir: Path | None, *, as_json: bool) -> None:
    """List the keys, newest first. Nothing of their secrets is in it."""

    async def body(session: Session) -> list[dict[str, Any]]:
        now = datetime.now(UTC)
        rows = await list_keys(session.conn, session.tenant_id)
        return [
            {
                "name": row["name"],
                "key_id": public_id("key", session.config.cell, row["key_id"]),
                "state": _state(row, now),
                **{column: row[column] for column in _SHOWN},
            }
            for row in rows
        ]

    found = run_session(project_dir, body)
    if as_json:
        print_json(found)
        return
    rows = [
        [
            key["name"],
            key["key_id"],
            key["state"],
            " ".join(key["scopes"]),
            " ".join(key["networks"]) or "all",
            key["expires_at"],
            key["last_used_at"],
        ]
        for key in found
    ]
    print_table(_COLUMNS, rows, empty="there is no key; make one with: tidegate keys create NAME --scope SCOPE")


@keys.command()
@click.argument("references", nargs=-1, required=True, metavar="KEY...")
@project_option
def revoke(references: tuple[str, ...], project_dir: Path | None) -> None:
    """Revoke keys by name or id (key_...). Their next request is refused; it cannot be taken back.

    \b
    Example:
      tidegate keys revoke warehouse-screen
    """

    async def body(session: Session) -> None:
        for reference in references:
            _, name = await revoke_key(session.conn, tenant_id=session.tenant_id, reference=reference, actor=operator())
            click.echo(f"revoked {name}")

    run_session(project_dir, body)


@keys.command()
@json_option
def scopes(*, as_json: bool) -> None:
    """Explain the scopes."""
    if as_json:
        print_json(dict(SCOPES))
    else:
        print_table(("scope", "allows to"), list(SCOPES.items()), empty="")


_SHOWN = ("scopes", "networks", "created_by", "created_at", "expires_at", "revoked_at", "revoked_by", "last_used_at")


def _state(row: Any, now: datetime) -> str:
    if row["revoked_at"] is not None:
        return "revoked"
    return "expired" if row["expires_at"] <= now else "good"
