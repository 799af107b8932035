"""Begin with tokens that expire: spend the refresh token or the code that was given, and keep what came of it first of all.

The code comes from a browser. The new pair is durable before anything else is done with it, also when the rest of
connecting fails: what was given is spent, and the next run goes on with the stored one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from tidegate.kernel.clock import Clock
from tidegate.kernel.errors import AuthenticationError, ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.kernel.redaction import Secret
from tidegate.sdk.client import ask_for_token
from tidegate.sdk.egress import Network
from tidegate.sdk.http import Response
from tidegate.sdk.oauth import (
    ACCESS_TOKEN,
    REFRESH_TOKEN,
    Grant,
    TokenSource,
    authorize_url,
    code_form,
    new_grant,
    read_redirect,
)
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.connect import ConnectOrder
from tidegate.vault.keys import KeyRing
from tidegate.vault.redirects import digest_of_state, open_redirect
from tidegate.vault.tokens import Acquire, Ask, TokenKeeper, TokenVault, ask_for, obtain

GRANT_SECONDS = 900.0
"""How long a person has to allow the app."""
LOOK_SECONDS = 0.5
"""How often the waiting command looks whether the browser came back."""
_AWAIT = query("redirect_await")
_READ_REDIRECT = query("redirect_read")
_END = query("redirect_end")


async def authorise(
    acquire: Acquire,
    ring: KeyRing,
    order: ConnectOrder,
    stored: Mapping[str, Secret],
    *,
    allow: Sequence[Network],
    clock: Clock,
    name: str = "",
) -> TokenSource | None:
    """Return where the tokens of a connection come from; None when it works without tokens that expire.

    `name` is the one that they are kept under, where the connection was renamed and that is not stored yet.

    A refresh token that is not the one given last is exchanged now; without one, tokens that are kept already are used,
    unless an access token that does not expire was given in their place. Raises AuthenticationError for one that the platform
    refuses, and what the request raises.
    """
    oauth = order.connector.oauth
    if oauth is None:
        return None
    given = order.secrets.get(REFRESH_TOKEN) or Secret("")
    vault = TokenVault(ring, order.tenant_id, name or order.name)
    ask = _asking(order, allow=allow, clock=clock)
    async with acquire() as conn:
        if not given.reveal():
            if _is_given_anew(ACCESS_TOKEN, order, stored):
                await vault.forget(conn)
            if await vault.read(conn) is None:
                return None
        else:
            async with vault.renewing(conn):
                kept = await vault.read(conn)
                is_new = stored.get(REFRESH_TOKEN) != given or kept is None or kept.refused is not None
                is_spent = kept is not None and given.reveal() in (kept.tokens.previous, kept.tokens.refresh)
                if is_new and not (is_spent and kept is not None and kept.refused is None):
                    tokens = await obtain(oauth, given.reveal(), order.settings, order.secrets, ask=ask, now=clock.now)
                    await vault.store(conn, 1 if kept is None else kept.generation + 1, tokens, oauth.early)
    return TokenKeeper(acquire, vault, oauth, settings=order.settings, secrets=order.secrets, ask=ask, clock=clock)


def _is_given_anew(field: str, order: ConnectOrder, stored: Mapping[str, Secret]) -> bool:
    given = order.secrets.get(field)
    return given is not None and bool(given.reveal()) and stored.get(field) != given


# --- with a browser ------------------------------------------------------------------------------------------------
class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a person that is open."""

    request_id: UUID
    grant: Grant
    url: str
    """What the person opens."""


async def ask_person(conn: Connection, order: ConnectOrder, redirect_uri: str) -> Asked:
    """Begin: the redirect may come from now on, for `GRANT_SECONDS`.

    Raises ConfigurationError where the connector has no such way, or the id of the app is not known.
    """
    oauth = order.connector.oauth
    if oauth is None or not oauth.authorize_path:
        raise ConfigurationError(
            f"connector {order.connector.name!r} cannot be authorised with a browser",
            code="no_browser_step",
            hint=f"give its credentials: tidegate connect {order.name}",
        )
    grant = new_grant(redirect_uri)
    url = authorize_url(oauth, str(order.settings["base_url"]), grant, order.settings, order.secrets)
    request_id = new_id()
    row = (order.tenant_id, request_id, order.name, digest_of_state(grant.state), GRANT_SECONDS)
    await conn.execute(_AWAIT, *row)
    return Asked(request_id=request_id, grant=grant, url=url)


async def wait_for_redirect(conn: Connection, order: ConnectOrder, asked: Asked) -> Secret:
    """Return the query that the browser came back with. Raises AuthenticationError when nobody came in time."""
    try:
        async with asyncio.timeout(GRANT_SECONDS):
            while True:
                sealed = await conn.fetchval(_READ_REDIRECT, order.tenant_id, asked.request_id)
                if sealed is not None:
                    return open_redirect(asked.grant.state, sealed)
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise AuthenticationError(
            "nobody came back from the platform in time",
            code="redirect_missing",
            hint="run it again; with --paste you give the address by hand that the browser ends at",
        ) from None


async def end_asking(conn: Connection, order: ConnectOrder, asked: Asked) -> None:
    """Take no redirect any more."""
    await conn.execute(_END, order.tenant_id, asked.request_id)


async def redeem(
    acquire: Acquire,
    ring: KeyRing,
    order: ConnectOrder,
    asked: Asked,
    redirected: Secret,
    *,
    allow: Sequence[Network],
    clock: Clock,
    name: str = "",
) -> None:
    """Turn what the platform's redirect brought into tokens, and keep them before anything else is done with them.

    Raises AuthenticationError for an address that is not the platform's answer to `asked`, or a code that it refuses.
    """
    oauth = order.connector.oauth
    assert oauth is not None
    now = clock.now().timestamp()
    code = read_redirect(oauth, redirected.reveal(), asked.grant, order.settings, order.secrets, now)
    form = code_form(oauth, code.reveal(), asked.grant, order.settings, order.secrets)
    ask = _asking(order, allow=allow, clock=clock)
    vault = TokenVault(ring, order.tenant_id, name or order.name)
    async with acquire() as conn, vault.renewing(conn):
        kept = await vault.read(conn)
        try:
            tokens = await ask_for(form, ask=ask, now=clock.now)
        except AuthenticationError as error:
            raise AuthenticationError(
                "the platform does not take the code that it gave",
                code="code_refused",
                hint="a code is good once, for minutes: run it again",
                context=error.context,
            ) from None
        await vault.store(conn, 1 if kept is None else kept.generation + 1, tokens, oauth.early)


def _asking(order: ConnectOrder, *, allow: Sequence[Network], clock: Clock) -> Ask:
    async def ask(form: Mapping[str, str]) -> Response:
        base_url = str(order.settings["base_url"])
        return await ask_for_token(order.connector, base_url, form, allow=allow, clock=clock)

    return ask
