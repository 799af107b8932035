"""Signing in, staying signed in for a while, and proving oneself once more.

The cookie holds 256 random bits, the database their SHA-256. A session ends after 30 minutes without use and after 12
hours in any case; signing in and every proof of the password make a new one. What a page's forms carry against forged
requests is derived from the cookie, so nothing more is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.web.database import reading, writing
from tidegate.web.lockout import BY_ADDRESS, BY_NAME, Lockout
from tidegate.web.logins import NAME, record
from tidegate.web.passwords import PasswordCheck
from tidegate.web.world import World

IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=12)
STEP_UP = timedelta(minutes=10)
"""For so long after the password was typed, dangerous actions do not ask for it again."""
SEEN_EVERY = timedelta(minutes=1)
"""The use of a session is written down at most so often."""
TOKEN_BYTES = 32
_EXISTS = query("login_exists")
_HASH = query("login_hash")
_FAILURE_BEGIN = query("login_failure_begin")
_FAILURE_LOCK = query("login_failure_lock")
_FAILURE_COUNT = query("login_failure_count")
_FAILURE_CLEAR = query("login_failure_clear")
_FAILURE_FORGET = query("login_failure_forget")
_BEGIN = query("login_session_begin")
_FIND = query("login_session_find")
_ALIVE = query("login_session_alive")
_SEEN = query("login_session_seen")
_END = query("login_session_end")
_FORGET = query("login_sessions_forget")


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """A request of somebody who is signed in."""

    tenant_id: UUID
    name: str
    session_hash: bytes
    form_token: str
    """What each form of this session has to bring along."""
    started_at: datetime
    confirmed_at: datetime

    @property
    def actor(self) -> str:
        """Who acts, for the audit log."""
        return f"page:{self.name}"

    def is_fresh(self, now: datetime) -> bool:
        """Whether the password was typed lately."""
        return now - self.confirmed_at < STEP_UP


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """The password was right."""

    token: str
    """The new cookie's value."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """It was not, or nobody may try at the moment. Which of the two does not depend on whether the name exists."""

    wait_seconds: float
    """0: the name or the password is wrong. Otherwise nothing was checked, and a try is possible after so long."""


class Sessions:
    """The sessions of one tenant's pages."""

    def __init__(self, world: World, tenant_id: UUID) -> None:
        """One per process and tenant."""
        self._world = world
        self._tenant_id = tenant_id
        self._check = PasswordCheck()

    async def anybody(self) -> bool:
        """Whether there is a login at all."""
        async with reading(self._world, self._tenant_id) as conn:
            return bool(await conn.fetchval(_EXISTS, self._tenant_id))

    async def sign_in(self, name: str, password: str, *, address: str) -> SignedIn | Refused:
        """Begin a session when the password is right.

        A try is counted before the password is looked at, so many at once gain nothing; a right one clears the count.
        """
        proven = await self._prove(name, password, address)
        if isinstance(proven, Refused):
            return proven
        now = self._world.clock.now()
        token = secrets.token_urlsafe(TOKEN_BYTES)
        async with writing(self._world, self._tenant_id) as conn:
            await conn.execute(_FORGET, self._tenant_id, now - IDLE, now - ABSOLUTE)
            if await conn.fetchval(_BEGIN, self._tenant_id, hash_token(token), name, now, now, proven) is None:
                return Refused(wait_seconds=0.0)  # another password was set while this one was checked
            await record(conn, self._tenant_id, f"page:{name}", "login.signed_in", name, address=address)
        return SignedIn(token=token)

    async def confirm(self, visit: Visit, password: str, *, address: str) -> SignedIn | Refused:
        """Prove the password once more: the session goes on under a new cookie, and does not live longer for it."""
        proven = await self._prove(visit.name, password, address)
        if isinstance(proven, Refused):
            return proven
        token = secrets.token_urlsafe(TOKEN_BYTES)
        async with writing(self._world, self._tenant_id) as conn:
            if await conn.fetchval(_END, self._tenant_id, visit.session_hash) is None:
                return Refused(wait_seconds=0.0)  # signed out meanwhile
            now = self._world.clock.now()
            begun = await conn.fetchval(
                _BEGIN, self._tenant_id, hash_token(token), visit.name, now, visit.started_at, proven
            )
            if begun is None:
                return Refused(wait_seconds=0.0)
        return SignedIn(token=token)

    async def find(self, token: str) -> Visit | None:
        """Return the visit of a cookie, None when it is unknown or over. Its use is written down now and then."""
        session_hash, now = hash_token(token), self._world.clock.now()
        async with reading(self._world, self._tenant_id) as conn:
            row = await conn.fetchrow(_FIND, self._tenant_id, session_hash, now - IDLE, now - ABSOLUTE)
        if row is None:
            return None
        if now - row["seen_at"] >= SEEN_EVERY:
            async with writing(self._world, self._tenant_id) as conn:
                await conn.execute(_SEEN, self._tenant_id, session_hash, now)
        return Visit(
            tenant_id=self._tenant_id,
            name=row["name"],
            session_hash=session_hash,
            form_token=form_token(token),
            started_at=row["started_at"],
            confirmed_at=row["confirmed_at"],
        )

    async def end(self, visit: Visit) -> None:
        """Sign out. Safe to repeat."""
        async with writing(self._world, self._tenant_id) as conn:
            await conn.execute(_END, self._tenant_id, visit.session_hash)
            await record(conn, self._tenant_id, visit.actor, "login.signed_out", visit.name)

    async def alive(self, conn: Connection, session_hashes: Iterable[bytes]) -> set[bytes]:
        """Return those of the sessions that still hold. Looking is no use of them."""
        now = self._world.clock.now()
        rows = await conn.fetch(_ALIVE, self._tenant_id, list(session_hashes), now - IDLE, now - ABSOLUTE)
        return {row["session_hash"] for row in rows}

    async def _prove(self, name: str, password: str, address: str) -> Refused | str:
        """Return the hash that the password is right for, or why it is not taken."""
        subjects = subjects_of(name, address)
        async with writing(self._world, self._tenant_id) as conn:
            wait = await self._admit(conn, subjects)
        if wait > 0:
            return Refused(wait_seconds=wait)
        async with reading(self._world, self._tenant_id) as conn:
            stored: str | None = await conn.fetchval(_HASH, self._tenant_id, name) if NAME.fullmatch(name) else None
        if not await self._check.matches(stored, password) or stored is None:
            return Refused(wait_seconds=0.0)
        async with writing(self._world, self._tenant_id) as conn:
            await conn.execute(_FAILURE_CLEAR, self._tenant_id, [subject for subject, _ in subjects])
        return stored

    async def _admit(self, conn: Connection, subjects: Iterable[tuple[bytes, Lockout]]) -> float:
        """Count the try as a failure in advance; return how long it has to wait instead, then nothing is counted."""
        now = self._world.clock.now()
        await conn.execute(_FAILURE_FORGET, self._tenant_id, now - BY_ADDRESS.forget_after)
        counted: list[tuple[bytes, int]] = []
        waits = [0.0]
        for subject, lockout in sorted(subjects, key=lambda each: each[0]):
            if await conn.fetchval(_FAILURE_BEGIN, self._tenant_id, subject, now) is not None:
                continue
            row = await conn.fetchrow(_FAILURE_LOCK, self._tenant_id, subject)
            if row is None:
                continue  # cleared by a right password a moment ago
            waits.append(lockout.wait_seconds(row["failures"], row["last_at"], now))
            counted.append((subject, lockout.count(row["failures"], row["last_at"], now)))
        if max(waits) == 0:
            for subject, failures in counted:
                await conn.execute(_FAILURE_COUNT, self._tenant_id, subject, failures, now)
        return max(waits)


def subjects_of(name: str, address: str) -> list[tuple[bytes, Lockout]]:
    """Return under what a try counts. Names that nobody can have share one count."""
    known = name if NAME.fullmatch(name) else "?"
    return [(_digest(f"address\0{known}\0{address}"), BY_ADDRESS), (_digest(f"name\0{known}"), BY_NAME)]


def hash_token(token: str) -> bytes:
    """Return what the database knows of a cookie's value."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def form_token(token: str) -> str:
    """Return what forms carry under a cookie's value: whoever cannot read the cookie cannot make it."""
    return hmac.digest(token.encode("utf-8", "surrogatepass"), b"tidegate form", "sha256").hex()


def is_form_token(token: str, given: str) -> bool:
    """Whether a form carries what belongs to the cookie. Takes the same time either way."""
    return hmac.compare_digest(form_token(token), given.encode("ascii", "replace").decode())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
