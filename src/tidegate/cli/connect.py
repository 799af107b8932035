"""`tidegate connect NAME`: give a connection of tidegate.yaml its credentials and bind its articles."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click
import msgspec

from tidegate.cli.browser_step import Way, ask_and_redeem, default_redirect, paste_option, redirect_option
from tidegate.cli.config_file import adopt_file, read_file
from tidegate.cli.matches import note_open
from tidegate.cli.output import plain, print_json, print_table, safe, safe_line
from tidegate.cli.session import (
    Session,
    json_option,
    known_connectors,
    newest_config,
    operator,
    project_option,
    run_session,
)
from tidegate.config import Config
from tidegate.config.files import read_files
from tidegate.config.parse import parse
from tidegate.config.roles import is_channel
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import ConfigurationError, TransientError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import Connector, Field, HandedOver, Inspection, Location
from tidegate.sdk.egress import check_host
from tidegate.sync import connect as connecting
from tidegate.sync.authorise import authorise
from tidegate.sync.connect import Connected, ConnectOrder, Webhook
from tidegate.sync.going_live import mark_for_telling, told_channels
from tidegate.sync.match import Matches
from tidegate.sync.webhook_path import WebhookPaths
from tidegate.vault.tokens import TokenVault

LISTED = 10
"""Articles named in each list; the rest is counted (all of them with --json)."""
_STANDARD_INPUT = "-"


@click.command()
@click.argument("name")
@project_option
@click.option("--set", "given", multiple=True, metavar="FIELD=VALUE", help="Answer a question. Repeat it.")
@click.option(
    "--from-json",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=str),
    help="Read the answers from a JSON object in a file, or from standard input with -.",
)
@click.option("--location", help="The channel's stock location, when it has several.")
@click.option("--create-missing", is_flag=True, help="Make articles of SKUs that nobody has yet.")
@click.option("--moved", is_flag=True, help="It is the same system as before, at a new address.")
@click.option("--rotate-webhook", is_flag=True, help="Make a new webhook address and secret.")
@click.option("--authorise", "authorises", is_flag=True, help="Have a person allow the app in a browser (OAuth).")
@paste_option
@redirect_option
@click.option("--yes", is_flag=True, help="Ask nothing.")
@json_option
def connect(
    name: str,
    project_dir: Path | None,
    given: tuple[str, ...],
    from_json: str | None,
    location: str | None,
    *,
    create_missing: bool,
    moved: bool,
    rotate_webhook: bool,
    authorises: bool,
    pastes: bool,
    redirect_uri: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Connect the system that tidegate.yaml calls NAME.

    Asks for what its connector needs, looks at the other side, stores the credentials encrypted, binds articles by id,
    SKU or barcode (what is not clear goes into matches.csv, see `tidegate matches`), and registers the webhook. Nothing else is written at the other side. Run it again after new articles, new
    credentials or a new public_url: what is there stays.

    A secret given with --set stays in the history of your shell; the prompt and --from-json do not leave it there.

    With --authorise it prints an address: whoever may allow the app opens it in a browser, and comes back to the pages
    of Tidegate (or, with --paste, to an address that you paste here). The tokens go into the vault and are renewed by
    themselves. `tidegate authorise NAME` does the same for a connection that is there already.

    \b
    Examples:
      tidegate connect erp
      tidegate connect shop --location 2
      tidegate connect shop --authorise
      printf '{"username": "...", "password": "..."}' | tidegate connect shop --from-json - --yes
    """
    answers = _read_answers(given, from_json)
    connectors = known_connectors()

    async def body(session: Session) -> tuple[Connected, Webhook | None, str | None, list[HandedOver]]:
        config = await _refresh_config(session, connectors)
        connector = _connector_of(config, name, connectors)
        ring = session.key_ring()
        address = _address_in_file(config, name, connector)
        known = (session.tenant_id, name, connector.name, address, tuple(config.connections))
        earlier = await connecting.earlier_name(session.conn, *known)
        stored = await connecting.stored_secrets(session.conn, ring, session.tenant_id, earlier)
        asks = not yes and from_json != _STANDARD_INPUT
        told = await connecting.stored_settings(session.conn, session.tenant_id, earlier)
        order = _order(session, config, name, connector, answers, stored=stored, told=told, asks=asks)
        order = msgspec.structs.replace(
            order,
            stock_location=location,
            makes_variants=create_missing or None,
            is_moved=moved,
            rotates_webhook=rotate_webhook,
        )
        allow = [ip_network(text) for text in config.network.allow]
        clock = SystemClock()

        @asynccontextmanager
        async def acquire() -> AsyncIterator[Any]:
            yield session.conn

        try:
            if authorises:
                way = Way(redirect_uri=redirect_uri or default_redirect(config.web_base), pastes=pastes)
                await ask_and_redeem(session.conn, acquire, ring, order, way, allow=allow, clock=clock, name=earlier)
            known_secrets = order.secrets if authorises else stored
            tokens = await authorise(acquire, ring, order, known_secrets, allow=allow, clock=clock, name=earlier)
            inspection = await connecting.look(order, allow=allow, clock=clock, tokens=tokens, report=_report_articles)
        except TransientError as error:
            raise describe_unreachable(name, str(order.settings.get("base_url", "")), error) from error
        if order.is_channel and order.stock_location is None and not yes and sys.stdin.isatty():
            order = msgspec.structs.replace(order, stock_location=_ask_location(inspection.locations))
        async with TokenVault(ring, session.tenant_id, earlier).renewing(session.conn):
            connected = await connecting.store(session.conn, ring, order, inspection)
        if earlier != name:
            tokens = await authorise(acquire, ring, order, order.secrets, allow=allow, clock=clock)
        if name in told_channels(config):
            await mark_for_telling(session.conn, session.tenant_id, [name], only_untold=True)
        api = connecting.open_api(order, allow=allow, clock=clock, tokens=tokens)
        try:
            paths = WebhookPaths(session.project.read_root_key(), config.cell)
            webhook = await connecting.set_up_webhook(session.conn, ring, order, connected, api, paths)
        finally:
            await api.close()
        return connected, webhook, await note_open(session), _handed_over(order, stored)

    connected, webhook, note, handed = run_session(project_dir, body)
    if as_json:
        print_json(_as_json(connected, webhook, handed))
    else:
        _print(name, connected, webhook, handed)
        if note is not None:
            click.echo(safe_line(note))


def _report_articles(count: int) -> None:
    """Say how far the reading is, where somebody watches."""
    if sys.stderr.isatty():
        click.echo(f"reading its articles: {count} so far", err=True)


def describe_unreachable(name: str, address: str, error: TransientError) -> TransientError:
    """Return the error that says which system did not answer, where it was looked for, and what to check. Pure."""
    words = _UNREACHABLE.get(error.code, str(error))
    hint = f"check the url of {name} in tidegate.yaml, and that the system runs; nothing was changed"
    return TransientError(f"{name} ({address}): {words}", code=error.code, hint=hint)


_UNREACHABLE = {
    "not_sent_dns": "there is no such host",
    "not_sent_tls": "its certificate is not trusted",
    "not_sent_timeout": "it does not answer",
    "not_sent_connect": "nothing listens there",
}
"""Code of a request that was not sent -> why, for people."""


def _read_answers(given: tuple[str, ...], from_json: str | None) -> dict[str, str]:
    answers: dict[str, str] = {}
    if from_json is not None:
        try:
            text = sys.stdin.read() if from_json == _STANDARD_INPUT else Path(from_json).read_text(encoding="utf-8")
            answers = {name: str(value) for name, value in msgspec.json.decode(text, type=dict[str, Any]).items()}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise click.UsageError('--from-json needs a JSON object such as {"api_key": "..."}') from error
        except OSError as error:
            raise click.UsageError(f"{from_json} cannot be read: {error.strerror}") from error
    for pair in given:
        field, sign, value = pair.partition("=")
        if not sign:
            raise click.UsageError(f"--set {pair!r}: write FIELD=VALUE")
        answers[field] = value
    return answers


async def _refresh_config(session: Session, connectors: Mapping[str, Connector]) -> Config:
    """Check the file against the connectors and put it to work, so that a new connection needs no restart."""
    document = read_file(session.project)
    files = read_files(session.project.folder, parse(document, connectors=connectors))
    await adopt_file(session.conn, session.project, document, files=files, connectors=connectors, report=click.echo)
    return await newest_config(session)


def _connector_of(config: Config, name: str, connectors: Mapping[str, Connector]) -> Connector:
    connection = config.connections.get(name)
    if connection is None:
        raise ConfigurationError(
            f"tidegate.yaml has no connection {name!r}",
            code="connection_unknown",
            hint=f"it has: {', '.join(config.connections) or 'none yet; add one under `connections`'}",
        )
    return connectors[connection.use]


def _order(
    session: Session,
    config: Config,
    name: str,
    connector: Connector,
    answers: Mapping[str, str],
    *,
    stored: Mapping[str, Secret],
    told: Mapping[str, Any],
    asks: bool,
) -> ConnectOrder:
    """Put file, answers, questions and the `stored` secrets together.

    A stored secret stands for an answer where nobody is asked, and where the secret is ours to make; so does what the
    connection was `told` before, of a field that has no value of its own. Raises ConfigurationError for an answer that is
    still missing.
    """
    unknown = sorted(set(answers) - {field.name for field in connector.fields})
    if unknown:
        known = ", ".join(field.name for field in connector.fields)
        raise click.UsageError(
            f"connector {connector.name!r} does not ask for {', '.join(unknown)}; it asks for {known}"
        )
    options: dict[str, Any] = dict(config.connections[name].options)
    settings: dict[str, Any] = {}
    secrets: dict[str, Secret] = {}
    for field in connector.fields:
        value = answers.get(field.name, options.get(field.name))
        if value is None and field.name in stored and (field.make is not None or not asks):
            value = stored[field.name].reveal()
        if value is None and not field.secret and not field.default:
            value = told.get(field.name) or None
        if value is None and asks and field.make is None:
            value = _ask(field, stored.get(field.name) if field.secret else None)
        if value is None:
            value = field.default if field.make is None else field.make({**options, **settings})
        if value is None:
            raise ConfigurationError(
                f"connector {connector.name!r} needs {field.name}: {field.question}",
                code="answer_missing",
                hint=f"give it with --set {field.name}=... or --from-json",
            )
        if field.secret:
            secrets[field.name] = Secret(str(value))
        else:
            settings[field.name] = value
    settings = {**options, **settings}
    base_url = settings.get("base_url") or settings.get("url") or _own_address(connector, settings)
    if base_url is None:
        raise ConfigurationError(
            f"connection {name!r} has no url", code="answer_missing", hint="write it in tidegate.yaml: url: https://..."
        )
    return ConnectOrder(
        tenant_id=session.tenant_id,
        tenant=config.tenant,
        name=name,
        connector=connector,
        is_channel=is_channel(config, name, connector),
        counts=config.owns.on_hand == name,
        settings={**settings, "base_url": str(base_url).rstrip("/")},
        secrets=secrets,
        webhook_base=config.webhook_base,
        actor=operator(),
    )


def _address_in_file(config: Config, name: str, connector: Connector) -> str:
    """Return where the connection's entry says that the platform answers, '' where that is open."""
    options = config.connections[name].options
    address = options.get("base_url") or options.get("url")
    try:
        address = address or _own_address(connector, options)
    except ConfigurationError:  # said again, and better, once the questions are answered
        address = None
    return str(address or "").rstrip("/")


def _own_address(connector: Connector, settings: Mapping[str, Any]) -> str | None:
    """Return where the platform answers, for an entry without `url`. Raises ConfigurationError for a host of somebody else."""
    if connector.base_url is None:
        return None
    try:
        base_url = connector.base_url.format_map(settings)
    except KeyError as error:
        raise ConfigurationError(
            f"the entry of a {connector.name} connection names no {error.args[0]}",
            code="answer_missing",
            hint=f"write it in tidegate.yaml beside `use: {connector.name}`",
        ) from error
    check_host(base_url, connector.hosts)
    return base_url


def _ask(field: Field, stored: Secret | None) -> str:
    if stored is None:
        return str(click.prompt(field.question, default=field.default, hide_input=field.secret, type=str))
    question = f"{field.question} (Enter keeps the stored one)"
    return str(click.prompt(question, default=stored.reveal(), show_default=False, hide_input=True, type=str))


def _handed_over(order: ConnectOrder, stored: Mapping[str, Secret]) -> list[HandedOver]:
    """Return what has to be pasted at the other side: what is public, and what is new."""
    if order.connector.hand_over is None:
        return []
    known = {one.value for one in order.connector.hand_over(stored)} if stored else set()
    return [one for one in order.connector.hand_over(order.secrets) if one.is_public or one.value not in known]


def _ask_location(locations: tuple[Location, ...]) -> str | None:
    if len(locations) < 2:
        return None
    click.echo("It has several stock locations:")
    for location in locations:
        click.echo(safe_line(f"  {location.external_id}  {location.name}"))
    choice = click.Choice([location.external_id for location in locations])
    return str(click.prompt("Which one shall be told stock numbers", type=choice))


def _print(name: str, connected: Connected, webhook: Webhook | None, handed: Sequence[HandedOver]) -> None:
    inspection, matches = connected.inspection, connected.matches
    click.echo(safe_line(f"{'connected' if connected.is_new else 'reconnected'} {name}: {_title(inspection)}"))
    print_table(("found", "number", ""), _summary(connected), empty="")
    for words, names in _lists(matches):
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        click.echo(safe_line(f"{words}: {', '.join(names[:LISTED])}{more}"))
    for finding in inspection.findings:
        click.echo(safe_line(f"note: {finding}"))
    if connected.rotated:
        click.echo(f"replaced: {', '.join(connected.rotated)}")
    if webhook is not None:
        _print_webhook(webhook)
    for one in handed:
        click.echo(safe_line(f"{one.label}: {one.value.reveal()}" + ("" if one.is_public else "   (shown once)")))


def _print_webhook(webhook: Webhook) -> None:
    if webhook.subscription.registered:
        click.echo("webhook: registered" + (" with a fresh secret" if webhook.is_new else ", unchanged"))
        return
    click.echo(safe(f"webhook: to be set up by you. {webhook.subscription.explanation}"))
    click.echo(f"  address  {webhook.url}")
    if webhook.is_given:
        click.echo("  secret   the one that you gave")
    elif webhook.is_new:
        click.echo(f"  secret   {webhook.secret.reveal()}   (shown once)")
    else:
        click.echo("  secret   as it was; --rotate-webhook makes a new one")


def _title(inspection: Inspection) -> str:
    return f"{inspection.account_name} ({inspection.external_account}), version {inspection.version}"


def _summary(connected: Connected) -> list[tuple[str, int, str]]:
    matches = connected.matches
    names = dict(connected.places.bindings)
    places = ", ".join(f"{external_id} = {ours}" for external_id, ours in names.items())
    return [
        ("articles", len(connected.inspection.variants), f"{matches.bound} bound"),
        ("  new", len(matches.new), "articles of ours were made"),
        ("  matched", len(matches.exact), "by the same SKU"),
        ("  matched loosely", len(matches.folded), "SKU differs in case or spaces"),
        ("  matched by barcode", len(matches.barcode), "the SKU says nothing"),
        ("  decided", len(matches.decided), "by a person"),
        ("  ignored", len(matches.ignored), "by a person"),
        ("  as before", len(matches.kept), ""),
        ("locations", len(connected.inspection.locations), places),
    ]


def _lists(matches: Matches) -> list[tuple[str, list[str]]]:
    """Return what a person should look at: words and names, empty lists left out."""
    lists = [
        ("the same SKU more than once, not bound", [one.sku for one in matches.ambiguous]),
        (
            "unknown SKUs and barcodes, not bound (tidegate matches; --create-missing makes them)",
            [one.sku for one in matches.missing],
        ),
        ("without SKU, not bound", [one.external_id for one in matches.without_sku]),
        ("ours that it does not have", list(matches.not_there)),
        ("bound, but not found there any more", list(matches.vanished)),
    ]
    return [(words, names) for words, names in lists if names]


def _as_json(connected: Connected, webhook: Webhook | None, handed: Sequence[HandedOver]) -> dict[str, Any]:
    """Return the result for programs. Address and secret are in it only when somebody has to register them."""
    inspection = connected.inspection
    document: dict[str, Any] = {
        "connection_id": str(connected.connection_id),
        "is_new": connected.is_new,
        "external_account": inspection.external_account,
        "account_name": inspection.account_name,
        "version": inspection.version,
        "findings": inspection.findings,
        "matches": plain(connected.matches),
        "locations": dict(connected.places.bindings),
        "stock_location": connected.places.stock_location,
        "rotated": connected.rotated,
    }
    if handed:
        document["hand_over"] = {one.label: one.value.reveal() for one in handed}
    if webhook is not None:
        registered = webhook.subscription.registered
        document["webhook"] = {"registered": registered, "explanation": webhook.subscription.explanation}
        if not registered:
            document["webhook"]["url"] = webhook.url
            if webhook.is_new and not webhook.is_given:
                document["webhook"]["secret"] = webhook.secret.reveal()
    return document
