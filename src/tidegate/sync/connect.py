"""Connect a system: look at it with the given secrets, store what is needed to work with it, register the webhook.

Safe to repeat: a second run binds what is new, keeps what is bound, and rotates the secrets that changed. Nothing is
written at the other side but the webhook's registration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict
from uuid import UUID

import msgspec

from tidegate.kernel.clock import Clock
from tidegate.kernel.errors import ConfigurationError, RejectedError, TidegateError
from tidegate.kernel.ids import new_id
from tidegate.kernel.redaction import Secret
from tidegate.sdk.client import HttpApi
from tidegate.sdk.connector import Connector, Inspection, Subscription
from tidegate.sdk.egress import Network
from tidegate.sdk.health import digest_of_address
from tidegate.sdk.looking import look_at
from tidegate.sdk.oauth import TokenSource
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.catalogue_store import bind_locations, bind_ours, bind_variants
from tidegate.sync.match import Matches, Places
from tidegate.sync.webhook_path import WebhookPaths, new_webhook_secret
from tidegate.vault import credentials
from tidegate.vault.keys import KeyRing
from tidegate.vault.tokens import TokenVault

_FIND = query("connect_find")
_ID_OF_NAME = query("connection_named")
_RENAMED = query("connect_renamed")
_SETTINGS = query("connect_settings")
_LEADER = query("connect_leader")
_ADD = query("connect_add")
_REVIVE = query("connect_revive")
_SET_PATH = query("connect_set_path")
_SET_WEBHOOK_STATE = query("connect_set_webhook_state")
_ANNOUNCE = query("connect_announce")
_LOCK_TENANT = query("tenant_lock")
_AUDIT = query("audit_add")


class ConnectOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What to connect, and how."""

    tenant_id: UUID
    tenant: str
    name: str
    connector: Connector
    is_channel: bool
    """True when it sells and is told stock numbers, False when it counts the goods and ships them."""
    counts: bool = False
    """It owns on_hand: what it counted of an article goes over with the article."""
    settings: Mapping[str, Any]
    """Not secret; `base_url` among them."""
    secrets: Mapping[str, Secret]
    webhook_base: str
    """Scheme, host and port in front of the webhook path."""
    stock_location: str | None = None
    """External id of the channel's location, needed when it has several."""
    makes_variants: bool | None = None
    """Whether unknown SKUs become variants; None: only when this is the first connection."""
    is_moved: bool = False
    """The operator says: it is the same system as before, though it calls itself otherwise now."""
    rotates_webhook: bool = False
    """Make a new webhook address and secret although there are working ones."""
    actor: str = "operator"


class _Part(TypedDict):
    """The part that a connection plays."""

    is_channel: bool
    counts: bool


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """The webhook of a connection. Holds secrets: show it once, never store or log it."""

    url: str
    secret: Secret
    is_new: bool
    """False: address and secret are the ones that were there."""
    is_given: bool = False
    """The operator gave the secret."""
    subscription: Subscription


class Connected(msgspec.Struct, frozen=True, kw_only=True):
    """What came of connecting."""

    connection_id: UUID
    is_new: bool
    inspection: Inspection
    matches: Matches
    places: Places
    rotated: tuple[str, ...]
    """Fields whose secret was stored anew."""


async def look(
    order: ConnectOrder,
    *,
    allow: Sequence[Network],
    clock: Clock,
    tokens: TokenSource | None = None,
    report: Callable[[int], None] | None = None,
) -> Inspection:
    """Open a session with the other side and see what is there. Reads only, at the pace of `sdk.looking`.

    `report` is told how many articles were read so far, where there are many.

    Raises AuthenticationError, RateLimitedError, TransientError or RejectedError as the other side answers, and
    ConfigurationError for an address that may not be reached.
    """
    api = open_api(order, allow=allow, clock=clock, tokens=tokens)
    try:
        inspection = await look_at(order.connector, api, clock=clock, sleep=asyncio.sleep, report=report)
    finally:
        await api.close()
    if inspection.external_account:
        return inspection
    return msgspec.structs.replace(inspection, external_account=order.name)


async def stored_secrets(conn: Connection, ring: KeyRing, tenant_id: UUID, name: str) -> dict[str, Secret]:
    """Return field -> secret of the connection of this name; empty for a new one and for what cannot be read."""
    connection_id = await conn.fetchval(_ID_OF_NAME, tenant_id, name)
    if connection_id is None:
        return {}
    try:
        return await credentials.get_all(conn, ring, tenant_id, connection_id, "credential")
    except TidegateError:
        return {}


async def stored_settings(conn: Connection, tenant_id: UUID, name: str) -> dict[str, Any]:
    """Return what the connection of this name was told that is no secret; empty for a new one."""
    settings = await conn.fetchval(_SETTINGS, tenant_id, name)
    return dict(msgspec.json.decode(settings)) if settings is not None else {}


async def earlier_name(
    conn: Connection, tenant_id: UUID, name: str, connector: str, base_url: str, names: Sequence[str]
) -> str:
    """Return the name that a connection had before it was renamed in the file, else its name.

    It is the one connection of the connector at that address whose name is not among the file's `names` any more: so what
    it was given, at that address, is not asked for again.
    """
    found = await conn.fetch(_RENAMED, tenant_id, name, connector, base_url, list(names))
    return str(found[0]["name"]) if len(found) == 1 else name


def open_api(
    order: ConnectOrder, *, allow: Sequence[Network], clock: Clock, tokens: TokenSource | None = None
) -> HttpApi:
    """Return the door to the other side; close it after use."""
    base_url = str(order.settings["base_url"])
    return HttpApi(order.connector, base_url, order.settings, order.secrets, allow=allow, clock=clock, tokens=tokens)


async def store(conn: Connection, ring: KeyRing, order: ConnectOrder, inspection: Inspection) -> Connected:
    """Store the connection, its secrets and its bindings in one transaction. Safe to repeat.

    Raises ConfigurationError when the name belongs to another account, or the channel's stock location is not clear.
    """
    async with conn.transaction():
        await conn.fetchval(_LOCK_TENANT, order.tenant)
        found = await _find(conn, order, inspection)
        leads = order.makes_variants
        if leads is None:
            leader = await conn.fetchval(_LEADER, order.tenant_id)
            leads = leader is None or (found is not None and leader == found["connection_id"])
        connection_id = found["connection_id"] if found is not None else new_id()
        known = msgspec.json.decode(found["settings"]) if found is not None else {}
        place = order.stock_location or known.get("location_external_id")
        settings = {**_webhook_settings(known), **order.settings}
        if found is None:
            row = (connection_id, order.name, order.connector.name, inspection.external_account)
            await conn.execute(_ADD, order.tenant_id, *row, _json(settings))
        places = await bind_locations(
            conn,
            order.tenant_id,
            connection_id,
            inspection.locations,
            is_channel=order.is_channel,
            chosen=place,
        )
        if places.stock_location is not None:
            settings["location_external_id"] = places.stock_location
        await conn.execute(
            _REVIVE, order.tenant_id, connection_id, order.name, _json(settings), inspection.external_account
        )
        if found is not None and found["name"] != order.name:
            await TokenVault(ring, order.tenant_id, found["name"]).rename(conn, order.name)
        rotated = await _store_secrets(conn, ring, order, connection_id)
        part: _Part = {"is_channel": order.is_channel, "counts": order.counts}
        if order.connector.articles_are_ours:
            matches = await bind_ours(conn, order.tenant_id, connection_id, **part)
        else:
            variants = inspection.variants
            matches = await bind_variants(
                conn, order.tenant_id, connection_id, variants, name=order.name, leads=leads, **part
            )
        detail = {"new": found is None, "rotated": rotated, "bound": matches.bound}
        audit = (new_id(), order.actor, "connection.connected", order.name, _json(detail))
        await conn.execute(_AUDIT, order.tenant_id, *audit)
        await conn.execute(_ANNOUNCE, str(connection_id))
    return Connected(
        connection_id=connection_id,
        is_new=found is None,
        inspection=inspection,
        matches=matches,
        places=places,
        rotated=tuple(rotated),
    )


async def set_up_webhook(
    conn: Connection,
    ring: KeyRing,
    order: ConnectOrder,
    connected: Connected,
    api: HttpApi,
    paths: WebhookPaths,
) -> Webhook | None:
    """Give the connection a webhook address and secret and register them; None for a system without webhooks.

    The address and the secret are stored before the other side hears of them, so a run that ends in between is
    mended by the next one. Address and secret stay as they are unless `order.rotates_webhook`, an API secret was
    replaced, or there are none. A secret that the operator gave (`Webhook.secret_field`) is taken as it is; the one before
    it goes on verifying beside it. Raises what the other side answers.
    """
    if order.connector.webhook is None:
        return None
    tenant_id, connection_id = order.tenant_id, connected.connection_id
    async with conn.transaction():
        await conn.fetchval(_LOCK_TENANT, order.tenant)
        found = await _find(conn, order, connected.inspection)
        settings = msgspec.json.decode(found["settings"]) if found is not None else {}
        generation = int(settings.get("webhook_generation", 1)) + (1 if order.rotates_webhook else 0)
        path = paths.path(connection_id, generation)
        secrets = await credentials.active_webhook_secrets(conn, ring, tenant_id, connection_id)
        given = order.secrets.get(order.connector.webhook.secret_field) or Secret("")
        is_given = bool(given.reveal())
        if is_given:
            is_new = given not in secrets[:1]
        else:
            is_new = not secrets or order.rotates_webhook or bool(_api_secrets(order.connector, connected.rotated))
        secret = given if is_given else new_webhook_secret() if is_new else secrets[0]
        if is_new:
            await credentials.put(conn, ring, tenant_id, connection_id, "intake", credentials.WEBHOOK_SECRET, secret)
        await conn.execute(_SET_PATH, tenant_id, connection_id, paths.digest(path))
        url = order.webhook_base + path
        digest = digest_of_address(url)
        if settings.get("webhook_digest") != digest:
            settings.pop(
                "webhook_state", None
            )  # nobody delivers there before it is registered, and nobody is to miss it
        settings = {**settings, "webhook_generation": generation, "webhook_digest": digest}
        account = connected.inspection.external_account
        await conn.execute(_REVIVE, tenant_id, connection_id, order.name, _json(settings), account)
        await conn.execute(_ANNOUNCE, str(connection_id))
    subscription = await _subscribe(order.connector, api, url, secret)
    made = subscription.signing_secret
    if made is not None and made != secret:
        async with conn.transaction():
            await conn.fetchval(_LOCK_TENANT, order.tenant)
            await credentials.put(conn, ring, tenant_id, connection_id, "intake", credentials.WEBHOOK_SECRET, made)
            await conn.execute(_ANNOUNCE, str(connection_id))
        secret, is_new = made, True
    state = "registered" if subscription.registered else "manual"
    await conn.execute(_SET_WEBHOOK_STATE, tenant_id, connection_id, state)
    return Webhook(url=url, secret=secret, is_new=is_new, is_given=is_given, subscription=subscription)


def _api_secrets(connector: Connector, names: Sequence[str]) -> set[str]:
    """Return those of the fields that let us in at the other side: not the keys that we sign with, nor its own."""
    assert connector.webhook is not None
    ours = {field.name for field in connector.fields if field.make is not None}
    return set(names) - ours - {connector.webhook.secret_field}


async def _subscribe(connector: Connector, api: HttpApi, url: str, secret: Secret) -> Subscription:
    if connector.subscribe is None:
        return Subscription(registered=False, explanation=f"{connector.title} has no way to register it from here")
    try:
        return await connector.subscribe(api, url, secret)
    except RejectedError as error:
        return Subscription(registered=False, explanation=f"{connector.title} refused it: {error}")


async def _find(conn: Connection, order: ConnectOrder, inspection: Inspection) -> Any:
    """Return the row of the connection to revive, or None when it is new."""
    rows = await conn.fetch(_FIND, order.tenant_id, order.name, order.connector.name, inspection.external_account)
    if not rows:
        return None
    same = [
        row
        for row in rows
        if (row["connector"], row["external_account"]) == (order.connector.name, inspection.external_account)
    ]
    if rows[0]["name"] == order.name and not (same and same[0]["name"] == order.name):
        if order.is_moved and not same and rows[0]["connector"] == order.connector.name:
            return rows[0]
        raise ConfigurationError(
            f"connection {order.name!r} belongs to account {rows[0]['external_account']!r} of connector "
            f"{rows[0]['connector']!r}, but the address answers as {inspection.external_account!r}",
            code="account_changed",
            hint="if the same system moved, add --moved; else give the other account a connection of its own",
        )
    return same[0]


async def _store_secrets(conn: Connection, ring: KeyRing, order: ConnectOrder, connection_id: UUID) -> list[str]:
    """Store the secrets that differ from the active ones; return their fields, sorted."""
    try:
        active = await credentials.get_all(conn, ring, order.tenant_id, connection_id, "credential")
    except TidegateError:
        active = {}  # unreadable under this key: all of them are stored anew
    changed = sorted(field for field, secret in order.secrets.items() if active.get(field) != secret)
    for field in changed:
        await credentials.put(conn, ring, order.tenant_id, connection_id, "credential", field, order.secrets[field])
    return changed if active else []


def _webhook_settings(known: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in known.items() if name.startswith("webhook_")}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
