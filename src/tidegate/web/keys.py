"""API keys: `tdg_live_<id>_<secret><checksum>`, shown once; what is stored is an HMAC under a pepper that is not there.

So a copy of the database holds no usable key, and whoever can write to it cannot make one.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id, parse_public_id, public_id
from tidegate.kernel.redaction import Secret
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.web.scopes import check_scopes

KEY_CLASS = "api_key"
"""The class of keys whose root is the pepper; the web process is given it, and no other class."""
PREFIX = "tdg_live_"
SECRET_BYTES = 32
EXPIRES_DEFAULT = timedelta(days=90)
EXPIRES_MAX = timedelta(days=365)
NAME_CHARS_MAX = 80
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_SECRET_CHARS = 52
_CHECKSUM_CHARS = 6
_FORM = re.compile(
    rf"{PREFIX}([{_ALPHABET}]{{26}})_([{_ALPHABET}]{{{_SECRET_CHARS}}})([{_ALPHABET}]{{{_CHECKSUM_CHARS}}})"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]*")
_NO_HASH = bytes(32)
_ADD = query("api_key_add")
_FIND = query("api_key_find")
_LIST = query("api_key_list")
_REVOKE = query("api_key_revoke")
_USED = query("api_key_used")
_AUDIT = query("audit_add")


class Refusal(StrEnum):
    """Why a key was refused. For the log and the counter: the caller is told nothing of it."""

    ABSENT = "key_absent"
    MALFORMED = "key_malformed"
    UNKNOWN = "key_unknown"
    WRONG_SECRET = "key_wrong_secret"  # noqa: S105 - a code, not a secret
    REVOKED = "key_revoked"
    EXPIRED = "key_expired"
    ADDRESS = "key_address"


class PresentedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key in the right form. It may still be anybody's invention."""

    key_id: UUID
    secret: Secret


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: the holder of a good key."""

    tenant_id: UUID
    key_id: UUID
    name: str
    scopes: tuple[str, ...]

    @property
    def actor(self) -> str:
        """How the audit log names them."""
        return f"api:{self.name}"


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was just made. Its text is never seen again."""

    key_id: UUID
    text: Secret
    name: str
    scopes: tuple[str, ...]
    networks: tuple[str, ...]
    expires_at: datetime


def read_key(text: str) -> PresentedKey | None:
    """Return the parts of a key, None when it is not one: wrong form or a checksum that does not fit. Pure."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    if not hmac.compare_digest(_checksum(text[:-_CHECKSUM_CHARS]), match[3]):
        return None
    try:
        key_id = parse_public_id(f"key__{match[1]}", kind="key")
    except ValueError:
        return None
    return PresentedKey(key_id=key_id, secret=Secret(match[2]))


def write_key(key_id: UUID, secret: str) -> str:
    """Return the text of a key. Pure."""
    text = f"{PREFIX}{public_id('key', '', key_id).rpartition('_')[2]}_{secret}"
    return text + _checksum(text)


def hash_secret(pepper: bytes, key_id: UUID, secret: str) -> bytes:
    """Return what is stored of a secret. Pure."""
    return hmac.digest(pepper, b"tidegate/api-key/1" + key_id.bytes + secret.encode(), "sha256")


def judge_key(row: Any, presented: PresentedKey, *, pepper: bytes, peer: str, now: datetime) -> Caller | Refusal:
    """Return who calls, from the row of `api_key_find` (None when there is no such key). Pure; the time it takes is the same."""
    stored = _NO_HASH if row is None else row["secret_hash"]
    is_right = hmac.compare_digest(stored, hash_secret(pepper, presented.key_id, presented.secret.reveal()))
    if row is None:
        return Refusal.UNKNOWN
    if not is_right:
        return Refusal.WRONG_SECRET
    if row["revoked_at"] is not None:
        return Refusal.REVOKED
    if row["expires_at"] <= now:
        return Refusal.EXPIRED
    if not is_inside(peer, row["networks"]):
        return Refusal.ADDRESS
    return Caller(tenant_id=row["tenant_id"], key_id=row["key_id"], name=row["name"], scopes=tuple(row["scopes"]))


def is_inside(peer: str, networks: Sequence[str]) -> bool:
    """Whether an address is in one of the networks; no networks let everybody in. Pure."""
    if not networks:
        return True
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(network) for network in networks)


async def find_keys(conn: Connection, key_ids: Sequence[UUID]) -> dict[UUID, Any]:
    """Return rows of `api_key_find` by id, whoever's they are: run it for the whole installation."""
    return {row["key_id"]: row for row in await conn.fetch(_FIND, key_ids)}


async def note_use(conn: Connection, caller: Caller) -> None:
    """Note that a key was used, to the minute."""
    await conn.execute(_USED, caller.tenant_id, caller.key_id)


async def create_key(
    conn: Connection,
    *,
    tenant_id: UUID,
    pepper: bytes,
    name: str,
    scopes: Collection[str],
    actor: str,
    now: datetime,
    lives_for: timedelta = EXPIRES_DEFAULT,
    networks: Sequence[str] = (),
) -> NewKey:
    """Make a key and return it with its text, which exists nowhere else. One transaction.

    Raises ConfigurationError: the name is taken or not one, a scope or network does not exist, or it would live too long.
    """
    if _NAME.fullmatch(name) is None or len(name) > NAME_CHARS_MAX:
        raise ConfigurationError(
            f"{name!r} is no name for a key",
            code="key_name_invalid",
            hint=f"letters, digits, blanks and . _ @ -, at most {NAME_CHARS_MAX}",
        )
    if not timedelta(0) < lives_for <= EXPIRES_MAX:
        raise ConfigurationError(
            f"a key lives for {EXPIRES_MAX.days} days at most",
            code="key_expiry_invalid",
            hint="choose a shorter time, and make a new key before it ends; two keys may be good at once",
        )
    key_id, secret = new_id(), _random_secret()
    made = NewKey(
        key_id=key_id,
        text=Secret(write_key(key_id, secret)),
        name=name,
        scopes=check_scopes(scopes),
        networks=_check_networks(networks),
        expires_at=now + lives_for,
    )
    stored = hash_secret(pepper, key_id, secret)
    detail = {"name": name, "scopes": made.scopes, "networks": made.networks, "expires_at": made.expires_at}
    try:
        async with conn.transaction():
            await conn.execute(
                _ADD, tenant_id, key_id, name, stored, made.scopes, made.networks, actor, now, made.expires_at
            )
            await _record(conn, tenant_id, actor, "key.created", key_id, detail)
    except asyncpg.UniqueViolationError as error:
        raise ConfigurationError(
            f"there is a key called {name!r}", code="key_exists", hint=f"tidegate keys revoke {name!r}, or another name"
        ) from error
    return made


async def list_keys(conn: Connection, tenant_id: UUID) -> list[Any]:
    """Return rows of `api_key_list`, newest first; nothing of a secret is in them."""
    return list(await conn.fetch(_LIST, tenant_id))


async def revoke_key(conn: Connection, *, tenant_id: UUID, reference: str, actor: str) -> tuple[UUID, str]:
    """Revoke a key by name or id (key_...) and return both; from then on it is refused everywhere. One transaction.

    Raises ConfigurationError when no key that is still good is called so.
    """
    try:
        key_id: UUID | None = parse_public_id(reference, kind="key")
    except ValueError:
        key_id = None
    async with conn.transaction():
        row = await conn.fetchrow(_REVOKE, tenant_id, key_id, reference, actor)
        if row is None:
            raise ConfigurationError(
                f"no key that could be revoked is called {reference!r}",
                code="key_unknown",
                hint="tidegate keys list shows them",
            )
        await _record(conn, tenant_id, actor, "key.revoked", row["key_id"], {"name": row["name"]})
    return row["key_id"], row["name"]


def _check_networks(given: Sequence[str]) -> tuple[str, ...]:
    found = []
    for text in given:
        try:
            found.append(str(ipaddress.ip_network(text)))
        except ValueError as error:
            raise ConfigurationError(
                f"{text!r} is no network: {error}",
                code="network_invalid",
                hint="like 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32",
            ) from error
    return tuple(sorted(set(found)))


def _random_secret() -> str:
    value = int.from_bytes(secrets.token_bytes(SECRET_BYTES), "big")
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(255, -1, -5))


def _checksum(text: str) -> str:
    value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(25, -1, -5))


async def _record(
    conn: Connection, tenant_id: UUID, actor: str, action: str, key_id: UUID, detail: dict[str, Any]
) -> None:
    await conn.execute(_AUDIT, tenant_id, new_id(), actor, action, str(key_id), msgspec.json.encode(detail).decode())
