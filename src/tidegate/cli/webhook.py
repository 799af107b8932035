"""`tidegate webhook`: find out why deliveries are refused, and change the keys that sign without a pause."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click
import msgspec

from tidegate.cli.output import print_json, safe_line
from tidegate.cli.session import (
    Session,
    json_option,
    known_connectors,
    newest_config,
    operator,
    project_option,
    run_session,
)
from tidegate.intake.capture import find_unreadable, verify_capture
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import ConfigurationError, RejectedError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.client import HttpApi
from tidegate.sdk.connector import HandedOver
from tidegate.sync.webhook_keys import (
    KeyOwner,
    find_owner,
    finish_rotation,
    handed_over,
    rotate_receiving,
    rotate_sending,
)
from tidegate.sync.webhook_path import WebhookPaths
from tidegate.vault import credentials


@click.group()
def webhook() -> None:
    """Find out why deliveries are refused, and change the keys that sign."""


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


@webhook.command()
@click.argument("name")
@project_option
@click.option("--sending", is_flag=True, help="The key that we sign with, not the secret of deliveries to us.")
@click.option("--finish", is_flag=True, help="Make nothing new: let only the newest keys count from now on.")
@json_option
def rotate(name: str, project_dir: Path | None, *, sending: bool, finish: bool, as_json: bool) -> None:
    """Change a key of connection NAME without a pause: the old one stays good until --finish.

    Without an option: the secret that deliveries to us are signed with. It is registered at the other side where that is
    possible, else it is shown, to be pasted there. The address stays as it is. With --sending: the key that we sign with;
    every request then has both signatures. Repeating it before --finish shows the same key again.

    \b
    Examples:
      tidegate webhook rotate threepl                   # paste the new secret at the sender
      tidegate webhook rotate threepl --sending         # give the receiver the new key
      tidegate webhook rotate threepl --finish          # when both sides use the new ones
    """
    if sending and finish:
        raise click.UsageError("--finish is for both directions; leave --sending away")

    async def body(session: Session) -> dict[str, Any]:
        owner = await find_owner(session.conn, session.tenant_id, name, known_connectors())
        ring = session.key_ring()
        if finish:
            return {"ended": await finish_rotation(session.conn, ring, owner, actor=operator())}
        if sending:
            handed, is_new = await rotate_sending(session.conn, ring, owner, actor=operator())
            shown = {"label": handed.label, "value": handed.value.reveal(), "is_public": handed.is_public}
            return {"is_new": is_new, **shown}
        secret, is_new = await rotate_receiving(session.conn, ring, owner, actor=operator())
        registered = await _register(session, owner, secret)
        return {"is_new": is_new, "registered": registered} | ({} if registered else {"secret": secret.reveal()})

    done = run_session(project_dir, body)
    if as_json:
        print_json(done)
    else:
        _print_rotation(name, done)


@webhook.command("keys")
@click.argument("name")
@project_option
@json_option
def show_keys(name: str, project_dir: Path | None, *, as_json: bool) -> None:
    """Show the public key that the receiver verifies us with; a shared secret was shown when it was made.

    \b
    Example:
      tidegate webhook keys threepl
    """

    async def body(session: Session) -> list[HandedOver]:
        owner = await find_owner(session.conn, session.tenant_id, name, known_connectors())
        return await handed_over(session.conn, session.key_ring(), owner)

    shown = run_session(project_dir, body)
    if as_json:
        print_json({one.label: one.value.reveal() for one in shown})
        return
    for one in shown:
        click.echo(safe_line(f"{one.label}: {one.value.reveal()}"))
    if not shown:
        click.echo("we sign with a shared secret: it was shown once; tidegate webhook rotate --sending makes a new one")


def _print_rotation(name: str, done: dict[str, Any]) -> None:
    ending = f"tidegate webhook rotate {name} --finish"
    if "ended" in done:
        click.echo("stopped counting: " + ", ".join(done["ended"]) if done["ended"] else "nothing older was in use")
        return
    if not done["is_new"]:
        click.echo(f"a change is under way, and nothing new was made; this belongs to it. To end it: {ending}")
    if "label" in done:
        click.echo(safe_line(f"{done['label']}: {done['value']}"))
        click.echo(f"requests have both signatures; when the receiver uses this one: {ending}")
    elif done["registered"]:
        click.echo(f"the new secret is registered; the one before it is good until: {ending}")
    else:
        click.echo(f"secret   {done['secret']}")
        click.echo(f"paste it at the sender; the one before it is good until: {ending}")


async def _register(session: Session, owner: KeyOwner, secret: Secret) -> bool:
    """Tell the other side the new secret where it can be told; False: a person has to paste it there."""
    subscribe = owner.connector.subscribe
    if subscribe is None:
        return False
    config = await newest_config(session)
    paths = WebhookPaths(session.project.read_root_key(), config.cell)
    path = paths.path(owner.connection_id, int(owner.settings.get("webhook_generation", 1)))
    ids = (session.tenant_id, owner.connection_id)
    secrets = await credentials.get_all(session.conn, session.key_ring(), *ids, "credential")
    allow = [ip_network(text) for text in config.network.allow]
    api = HttpApi(
        owner.connector, str(owner.settings["base_url"]), owner.settings, secrets, allow=allow, clock=SystemClock()
    )
    try:
        return (await subscribe(api, config.webhook_base + path, secret)).registered
    except RejectedError:
        return False
    finally:
        await api.close()
