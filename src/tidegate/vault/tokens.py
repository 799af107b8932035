"""Tokens that expire: one renewal at a time over all processes and nodes, and nothing is used before it is stored.

The order of steps, each durable before the next: lock, look again, note that the refresh token is about to be used, ask,
store the new pair, unlock, use it. A process that dies lets the lock go. What it may have used already is told by the
note: the next one uses the same refresh token once more, because without it nobody gets in at all; platforms that keep the
previous one usable, or give some seconds of grace, then answer. A refusal by the platform ends in `refused`: a person has
to give new tokens, and nothing is tried before.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog

from tidegate.kernel import crashpoint
from tidegate.kernel.clock import Clock
from tidegate.kernel.errors import AuthenticationError, InvariantError, TidegateError, TransientError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.http import Response
from tidegate.sdk.oauth import OAuth, Tokens, client_form, read_tokens, refresh_form, token_refused
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.vault.keys import DataKey, KeyRing
from tidegate.vault.sealing import associated_data, seal, unseal

LOCK_WAIT_SECONDS = 60.0
"""How long somebody waits for another one's renewal."""
ASK_SECONDS = 30.0
"""The whole request for tokens; shorter than the wait for the lock."""
log = structlog.get_logger("vault.tokens")

_READ = query("token_read")
_BEGIN = query("token_begin")
_UNSENT = query("token_unsent")
_STORE = query("token_store")
_REFUSE = query("token_refuse")
_LOCK = query("token_lock")
_UNLOCK = query("token_unlock")
_RENAME = query("token_rename")
_FORGET = query("token_forget")
_LIMITS = query("session_limits")
_SET_LIMITS = query("session_set_limits")

Acquire = Callable[[], AbstractAsyncContextManager[Connection]]
Ask = Callable[[Mapping[str, str]], Awaitable[Response]]
"""(form) -> the platform's answer, sent once and never repeated. Raises as `sdk.http.Api.request`."""


class StoredTokens(msgspec.Struct, frozen=True, kw_only=True):
    """The newest pair and what is known of it."""

    generation: int
    tokens: Tokens
    use_until: datetime | None
    is_due: bool
    is_in_doubt: bool
    """Somebody may have used its refresh token, and nobody stored what came of it."""
    refused: str | None


class TokenVault:
    """The stored tokens of one connection, by its name."""

    def __init__(self, ring: KeyRing, tenant_id: UUID, name: str) -> None:
        """Open and seal with the tenant's keys of class `credential`."""
        self._ring = ring
        self.ids = (tenant_id, name)

    async def read(self, conn: Connection) -> StoredTokens | None:
        """Return the newest pair, None when there is none. Raises InvariantError(code='tampered')."""
        row = await conn.fetchrow(_READ, *self.ids)
        if row is None:
            return None
        await self._ring.load(conn, [(self.ids[0], row["data_key_id"])])
        key = self._ring.get(self.ids[0], row["data_key_id"])
        plain = unseal(key.cipher, row["ciphertext"], self._binding(key, row["generation"]))
        return StoredTokens(
            generation=row["generation"],
            tokens=msgspec.json.decode(plain, type=Tokens),
            use_until=row["use_until"],
            is_due=row["is_due"],
            is_in_doubt=row["attempt_at"] is not None,
            refused=row["refused"],
        )

    async def store(self, conn: Connection, generation: int, tokens: Tokens, early: timedelta) -> bool:
        """Keep a pair durably; False when a newer one is stored already."""
        key = await self._ring.data_key_of_day(conn, self.ids[0], "credential", datetime.now(UTC).date())
        sealed = seal(key.cipher, msgspec.json.encode(tokens), self._binding(key, generation))
        times = (tokens.use_until(early), tokens.expires_at, tokens.refresh_expires_at)
        return bool(await conn.fetchval(_STORE, *self.ids, generation, key.key_id, sealed, *times))

    @asynccontextmanager
    async def renewing(self, conn: Connection) -> AsyncIterator[None]:
        """Be the only one in all processes who renews. Raises TransientError when that takes too long.

        `conn` holds the lock as long as its session lives: nothing else may be done with it in between but what belongs
        to the renewal.
        """
        number = int.from_bytes(
            hashlib.blake2b(f"oauth_token:{self.ids[0]}:{self.ids[1]}".encode(), digest_size=8).digest(),
            "big",
            signed=True,
        )
        await self._wait_for(conn, number)
        try:
            yield
        finally:
            if not conn.is_closed():
                await asyncio.shield(conn.execute(_UNLOCK, number))

    async def _wait_for(self, conn: Connection, number: int) -> None:
        """Take the lock. What bounds the role's statements is shorter than a renewal may take, and is lifted meanwhile."""
        was = await conn.fetchrow(_LIMITS)
        assert was is not None
        try:
            async with asyncio.timeout(LOCK_WAIT_SECONDS):
                await conn.execute(_SET_LIMITS, "0", "0")
                await conn.execute(_LOCK, number, timeout=LOCK_WAIT_SECONDS + 5)
        except TimeoutError:
            raise TransientError("somebody else renews the token and does not end", code="token_busy") from None
        finally:
            if not conn.is_closed():
                await asyncio.shield(conn.execute(_SET_LIMITS, was["statement"], was["lock"]))

    async def forget(self, conn: Connection) -> None:
        """Drop the pair: the connection gets in by another way from now on."""
        await conn.execute(_FORGET, *self.ids)

    async def rename(self, conn: Connection, name: str) -> None:
        """Take the pair over to another name of the same connection, inside its transaction. Nothing where there is none.

        Call it inside of `renewing`: whoever renews under the old name would spend what is taken over.
        """
        stored = await self.read(conn)
        if stored is None or name == self.ids[1]:
            return
        heir = TokenVault(self._ring, self.ids[0], name)
        key = await self._ring.data_key_of_day(conn, self.ids[0], "credential", datetime.now(UTC).date())
        sealed = seal(key.cipher, msgspec.json.encode(stored.tokens), heir._binding(key, stored.generation))
        await conn.execute(_RENAME, self.ids[0], name, self.ids[1], key.key_id, sealed)

    def _binding(self, key: DataKey, generation: int) -> bytes:
        return associated_data(
            key.tenant_id.bytes, key.key_id.bytes, b"oauth_token", self.ids[1].encode(), generation.to_bytes(8, "big")
        )


class TokenKeeper:
    """The `sdk.oauth.TokenSource` of a connection."""

    def __init__(
        self,
        acquire: Acquire,
        vault: TokenVault,
        oauth: OAuth,
        *,
        settings: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        ask: Ask,
        clock: Clock,
    ) -> None:
        """`acquire` lends a connection of its own for a renewal; `ask` sends one request for tokens, with no session."""
        self._acquire = acquire
        self._vault = vault
        self._oauth = oauth
        self._settings = settings
        self._secrets = secrets
        self._ask = ask
        self._clock = clock

    async def access(self, refused: Secret | None = None) -> tuple[Secret, datetime | None]:
        """See `sdk.oauth.TokenSource`."""
        async with self._acquire() as conn:
            stored = _usable(await self._vault.read(conn))
            if self._is_good(stored, refused):
                return Secret(stored.tokens.access), stored.use_until
            async with self._vault.renewing(conn):
                stored = _usable(await self._vault.read(conn))  # somebody else may have renewed it meanwhile
                if not self._is_good(stored, refused):
                    stored = await self._renew_or_go_on(conn, stored, refused)
        return Secret(stored.tokens.access), stored.use_until

    def _is_good(self, stored: StoredTokens, refused: Secret | None) -> bool:
        return not stored.is_due and (refused is None or stored.tokens.access != refused.reveal())

    async def _renew_or_go_on(self, conn: Connection, stored: StoredTokens, refused: Secret | None) -> StoredTokens:
        """Renew; while the platform cannot be asked, a token that is not expired yet is good enough."""
        try:
            return await self._renew(conn, stored)
        except (AuthenticationError, InvariantError):
            raise
        except TidegateError as error:
            expires_at = stored.tokens.expires_at
            is_alive = expires_at is None or expires_at > self._clock.now()
            if refused is not None or not is_alive:
                raise
            log.warning("token.renewal_failed", connection=self._vault.ids[1], code=error.code)
            return stored

    async def _renew(self, conn: Connection, stored: StoredTokens) -> StoredTokens:
        used = stored.tokens.refresh
        try:
            tokens = await self._ask_with(conn, stored.generation, used)
        except AuthenticationError:
            if not (self._oauth.previous_survives and stored.tokens.previous and used):
                await self._refuse(conn, stored.generation)
                raise
            try:  # the newest was lost on its way to us, or ended: the one before it may still be good
                tokens = await self._ask_with(conn, stored.generation, stored.tokens.previous)
            except AuthenticationError:
                await self._refuse(conn, stored.generation)
                raise
        crashpoint.reach("oauth.answered")
        generation = stored.generation + 1
        await self._vault.store(conn, generation, tokens, self._oauth.early)
        crashpoint.reach("oauth.stored")
        use_until = tokens.use_until(self._oauth.early)
        return StoredTokens(
            generation=generation, tokens=tokens, use_until=use_until, is_due=False, is_in_doubt=False, refused=None
        )

    async def _ask_with(self, conn: Connection, generation: int, refresh_token: str) -> Tokens:
        if not await conn.fetchval(_BEGIN, *self._vault.ids, generation):
            raise TransientError("the token was replaced meanwhile", code="token_busy")
        crashpoint.reach("oauth.begun")
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await obtain(
                    self._oauth, refresh_token, self._settings, self._secrets, ask=self._ask, now=self._clock.now
                )
        except TidegateError as error:
            if error.code.startswith("not_sent"):
                await conn.execute(_UNSENT, *self._vault.ids, generation)
            raise
        except TimeoutError:
            raise TransientError("the platform does not answer to a request for tokens", code="token_timeout") from None

    async def _refuse(self, conn: Connection, generation: int) -> None:
        await conn.execute(_REFUSE, *self._vault.ids, generation, str(token_refused()))


async def obtain(
    oauth: OAuth,
    refresh_token: str,
    settings: Mapping[str, Any],
    secrets: Mapping[str, Secret],
    *,
    ask: Ask,
    now: Callable[[], datetime],
) -> Tokens:
    """Return new tokens for a refresh token, or in the app's own name when it is ''. One request. Raises as `read_tokens`."""
    form = (
        refresh_form(oauth, refresh_token, settings, secrets)
        if refresh_token
        else client_form(oauth, settings, secrets)
    )
    return await ask_for(form, ask=ask, now=now, used=refresh_token)


async def ask_for(form: Mapping[str, str], *, ask: Ask, now: Callable[[], datetime], used: str = "") -> Tokens:
    """Return the tokens that one request is answered with; `used` is the refresh token in it. Raises as `read_tokens`."""
    try:
        response = await ask(form)
    except AuthenticationError as error:  # a 401 never reaches `read_tokens`
        raise token_refused(error.context) from None
    return read_tokens(response, now(), used=used)


def _usable(stored: StoredTokens | None) -> StoredTokens:
    if stored is None:
        raise AuthenticationError("the connection has no token", code="credential_missing", hint="run tidegate connect")
    if stored.refused is not None:
        raise token_refused()
    return stored
