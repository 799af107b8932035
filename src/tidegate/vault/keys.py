"""Three layers of keys: class root (a file) wraps tenant keys, a tenant key wraps data keys, data keys encrypt.

A process is given only the class roots that its role may hold, so the door can open webhook secrets and bodies but no
API credential. Wrapped keys live in `tenant_key` and `data_key`; both are made on first use, race-free.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, get_args
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tidegate.kernel.errors import ConfigurationError, InvariantError, TidegateError
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.vault.sealing import KEY_BYTES, associated_data, new_key, seal, unseal

KeyClass = Literal["intake", "credential", "alert"]
"""`intake`: webhook secrets, bodies of events, orders and calls. `credential`: API secrets. `alert`: addresses of those
who are told of alerts."""
KEY_CLASSES: tuple[KeyClass, ...] = get_args(KeyClass)

FIRST_KEY_VERSION = 1
CACHED_KEYS_MAX = 8192
"""Unwrapped data keys that a process keeps; the oldest go first."""

_TENANT_KEY_ADD = query("tenant_key_add")
_TENANT_KEYS = query("tenant_keys")
_DATA_KEY_ADD = query("data_key_add")
_DATA_KEY_OF_DAY = query("data_key_of_day")
_DATA_KEYS = query("data_keys")


def derive_class_root(root_key: bytes, key_class: str) -> bytes:
    """Return the 32-byte root of a key class, HKDF-SHA256 of the installation's root key.

    Raises ConfigurationError when the root key is shorter than 32 bytes.
    """
    if len(root_key) < KEY_BYTES:
        raise ConfigurationError(f"the root key has {len(root_key)} bytes, at least {KEY_BYTES} are needed")
    derivation = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"tidegate/class/" + key_class.encode())
    return derivation.derive(root_key)


@dataclass(frozen=True, slots=True)
class DataKey:
    """An unwrapped data key, ready to use. Never printed."""

    tenant_id: UUID
    key_id: UUID
    cipher: AESGCM = field(repr=False)
    scopes: dict[str, bytes] = field(default_factory=dict, repr=False, compare=False)
    """Purpose -> associated data up to the subject; filled as purposes are used."""

    def associate(self, purpose: str, subject: bytes) -> bytes:
        """Return the associated data of one value: tenant, key, purpose, subject."""
        scope = self.scopes.get(purpose)
        if scope is None:
            scope = associated_data(self.tenant_id.bytes, self.key_id.bytes, purpose.encode())
            self.scopes[purpose] = scope
        return scope + len(subject).to_bytes(2, "big") + subject


@dataclass(frozen=True, slots=True)
class _TenantKey:
    version: int
    cipher: AESGCM = field(repr=False)
    fingerprint_key: bytes = field(repr=False)


class KeyRing:
    """Unwraps keys of the classes that this process holds and keeps them in memory.

    One ring may serve several tasks of one event loop; its methods are safe to run at the same time.
    """

    def __init__(self, class_roots: Mapping[str, bytes]) -> None:
        """Take the 32-byte roots of the classes this role may open (see `derive_class_root`)."""
        self._roots = {name: AESGCM(root) for name, root in class_roots.items()}
        self._tenant_keys: dict[tuple[str, UUID], _TenantKey] = {}
        self._data_keys: dict[tuple[UUID, UUID], DataKey] = {}
        self._day_keys: dict[tuple[str, UUID], tuple[date, DataKey]] = {}
        self._unsettled: set[tuple[object, ...]] = set()

    async def data_key_of_day(self, connection: Connection, tenant_id: UUID, key_class: KeyClass, day: date) -> DataKey:
        """Return the tenant's data key of a UTC day, made now when it is the first use.

        One query on the first call of a day, none afterwards. Two processes that make it at the same time end with
        the same key. A key that was made inside a transaction is not remembered before it is seen outside, because
        it may be rolled back with it. Raises ConfigurationError when this process does not hold the class.
        """
        known = self._day_keys.get((key_class, tenant_id))
        if known is not None and known[0] == day:
            return known[1]
        row = await connection.fetchrow(_DATA_KEY_OF_DAY, tenant_id, key_class, day)
        if row is None:
            await self._make_data_key(connection, tenant_id, key_class, day)
            row = await connection.fetchrow(_DATA_KEY_OF_DAY, tenant_id, key_class, day)
        if row is None:
            raise InvariantError("a data key vanished after it was made")
        key = await self._unwrap(connection, tenant_id, key_class, row["key_id"], row["wrapped"])
        if self._is_settled(connection, (key_class, tenant_id, day)):
            self._day_keys[(key_class, tenant_id)] = (day, key)
        return key

    async def load(self, connection: Connection, wanted: Iterable[tuple[UUID, UUID]]) -> None:
        """Make the data keys of (tenant id, key id) pairs ready for `get`; at most one query for them.

        Raises InvariantError for a key that does not exist or does not open, ConfigurationError for one of a foreign
        class; the others are ready all the same, so one tenant's damaged key is no other tenant's trouble.
        """
        missing = {pair for pair in wanted if pair not in self._data_keys}
        if not missing:
            return
        tenant_ids, key_ids = zip(*sorted(missing), strict=True)
        failure: TidegateError | None = None
        for row in await connection.fetch(_DATA_KEYS, tenant_ids, key_ids):
            missing.discard((row["tenant_id"], row["key_id"]))
            try:
                await self._unwrap(connection, row["tenant_id"], row["key_class"], row["key_id"], row["wrapped"])
            except TidegateError as error:
                failure = error
        if failure is not None:
            raise failure
        if missing:
            raise InvariantError(f"{len(missing)} data keys do not exist", code="key_missing")

    def get(self, tenant_id: UUID, key_id: UUID) -> DataKey:
        """Return a data key that `load` or `data_key_of_day` made ready. Raises InvariantError otherwise."""
        key = self._data_keys.get((tenant_id, key_id))
        if key is None:
            raise InvariantError("a data key was used before it was loaded", code="key_missing")
        return key

    async def fingerprint(self, connection: Connection, tenant_id: UUID, key_class: KeyClass, value: str) -> str:
        """Return 8 hex digits that are equal for equal secrets of one tenant, and say nothing else about them."""
        key = await self._tenant_key(connection, tenant_id, key_class)
        return hmac.digest(key.fingerprint_key, value.encode(), "sha256").hex()[:8]

    async def _make_data_key(self, connection: Connection, tenant_id: UUID, key_class: KeyClass, day: date) -> None:
        tenant_key = await self._tenant_key(connection, tenant_id, key_class)
        key_id = new_id()
        wrapped = seal(tenant_key.cipher, new_key(), _data_key_binding(tenant_id, key_class, key_id))
        self._unsettled.add((key_class, tenant_id, day))
        await connection.execute(_DATA_KEY_ADD, tenant_id, key_class, key_id, day, tenant_key.version, wrapped)

    async def _unwrap(
        self, connection: Connection, tenant_id: UUID, key_class: KeyClass, key_id: UUID, wrapped: bytes
    ) -> DataKey:
        known = self._data_keys.get((tenant_id, key_id))
        if known is not None:
            return known
        tenant_key = await self._tenant_key(connection, tenant_id, key_class)
        plain = unseal(tenant_key.cipher, wrapped, _data_key_binding(tenant_id, key_class, key_id))
        key = DataKey(tenant_id, key_id, AESGCM(plain))
        while len(self._data_keys) >= CACHED_KEYS_MAX:
            del self._data_keys[next(iter(self._data_keys))]
        self._data_keys[(tenant_id, key_id)] = key
        return key

    async def _tenant_key(self, connection: Connection, tenant_id: UUID, key_class: KeyClass) -> _TenantKey:
        root = self._roots.get(key_class)
        if root is None:
            raise ConfigurationError(f"this process does not hold keys of class {key_class!r}", code="key_class")
        known = self._tenant_keys.get((key_class, tenant_id))
        if known is not None:
            return known
        row = await connection.fetchrow(_TENANT_KEYS, tenant_id, key_class)
        if row is None:
            binding = _tenant_key_binding(tenant_id, key_class, FIRST_KEY_VERSION)
            wrapped = seal(root, new_key(), binding)
            self._unsettled.add((key_class, tenant_id))
            await connection.execute(_TENANT_KEY_ADD, tenant_id, key_class, FIRST_KEY_VERSION, wrapped)
            row = await connection.fetchrow(_TENANT_KEYS, tenant_id, key_class)
        if row is None:
            raise InvariantError("a tenant key vanished after it was made")
        plain = unseal(root, row["wrapped"], _tenant_key_binding(tenant_id, key_class, row["key_version"]))
        fingerprint_key = hmac.digest(plain, b"tidegate/fingerprint", "sha256")
        key = _TenantKey(row["key_version"], AESGCM(plain), fingerprint_key)
        if self._is_settled(connection, (key_class, tenant_id)):
            self._tenant_keys[(key_class, tenant_id)] = key
        return key

    def _is_settled(self, connection: Connection, made: tuple[object, ...]) -> bool:
        """Whether a key that was just read cannot be rolled back any more."""
        if not connection.is_in_transaction():
            self._unsettled.discard(made)
        return made not in self._unsettled


def _tenant_key_binding(tenant_id: UUID, key_class: str, version: int) -> bytes:
    return associated_data(tenant_id.bytes, b"tenant-key", key_class.encode(), version.to_bytes(4, "big"))


def _data_key_binding(tenant_id: UUID, key_class: str, key_id: UUID) -> bytes:
    return associated_data(tenant_id.bytes, key_id.bytes, b"data-key", key_class.encode())
