"""Begin with tokens that expire: spend the refresh token that the operator gave, and keep what came of it, first of all.

The new pair is durable before anything else is done with it, also when the rest of connecting fails: the given token is
spent, and the next run goes on with the stored one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidegate.kernel.clock import Clock
from tidegate.kernel.redaction import Secret
from tidegate.sdk.client import ask_for_token
from tidegate.sdk.egress import Network
from tidegate.sdk.http import Response
from tidegate.sdk.oauth import REFRESH_TOKEN, TokenSource
from tidegate.sync.connect import ConnectOrder
from tidegate.vault.keys import KeyRing
from tidegate.vault.tokens import Acquire, TokenKeeper, TokenVault, obtain


async def authorise(
    acquire: Acquire,
    ring: KeyRing,
    order: ConnectOrder,
    stored: Mapping[str, Secret],
    *,
    allow: Sequence[Network],
    clock: Clock,
) -> TokenSource | None:
    """Return where the tokens of a connection come from; None when it works without tokens that expire.

    A refresh token that is not the one given last is exchanged now. Raises AuthenticationError for one that the platform
    refuses, and what the request raises.
    """
    oauth = order.connector.oauth
    given = order.secrets.get(REFRESH_TOKEN)
    if oauth is None or given is None or not given.reveal():
        return None

    async def ask(form: Mapping[str, str]) -> Response:
        base_url = str(order.settings["base_url"])
        return await ask_for_token(order.connector, base_url, form, allow=allow, clock=clock)

    vault = TokenVault(ring, order.tenant_id, order.name)
    async with acquire() as conn, vault.renewing(conn):
        kept = await vault.read(conn)
        is_new = stored.get(REFRESH_TOKEN) != given or kept is None or kept.refused is not None
        is_spent = kept is not None and given.reveal() in (kept.tokens.previous, kept.tokens.refresh)
        if is_new and not (is_spent and kept is not None and kept.refused is None):
            tokens = await obtain(oauth, given.reveal(), order.settings, order.secrets, ask=ask, now=clock.now)
            await vault.store(conn, 1 if kept is None else kept.generation + 1, tokens, oauth.early)
    return TokenKeeper(acquire, vault, oauth, settings=order.settings, secrets=order.secrets, ask=ask, clock=clock)
