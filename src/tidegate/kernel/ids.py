"""Ids are UUIDv7, made by the application; people see them with a kind and a cell in front.

`ord_c0_0r4kq...` reads: an order, of cell c0. The 26 letters are the UUID in Crockford's base 32.
"""

from __future__ import annotations

import hashlib
import os
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, SafeUUID

SLOTS = 1024
"""Virtual slots that work is divided into."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUE = {letter: value for value, letter in enumerate(_ALPHABET)}
_COUNT_MASK = (1 << 60) - 1
"""Where a count begins: the low 62 bits count, and the lower quarter of them leaves room to count up."""
_UNKNOWN = SafeUUID.unknown
_new, _set = UUID.__new__, object.__setattr__
_last_ms = 0
_last = 0


def new_id() -> UUID:
    """Return a UUIDv7 that is larger than every id that this process made before.

    48 bits of milliseconds, then a tail that begins at random and counts up inside a millisecond (RFC 9562, method 2).
    """
    global _last_ms, _last
    now_ms = time.time_ns() // 1_000_000
    if now_ms > _last_ms:
        _last_ms = now_ms
        tail = int.from_bytes(os.urandom(9), "big")
        _last = now_ms << 80 | 0x7 << 76 | (tail >> 60) << 64 | 0b10 << 62 | tail & _COUNT_MASK
    else:
        _last += 1 + (_last & 0xFF)
    return _uuid(_last)


def _uuid(value: int) -> UUID:
    """Return UUID(int=value) without its checks: ids are made several times per event."""
    identifier = _new(UUID)
    _set(identifier, "int", value)
    _set(identifier, "is_safe", _UNKNOWN)
    return identifier


def time_of(identifier: UUID) -> datetime:
    """Return when a UUIDv7 was made (UTC, millisecond resolution)."""
    return _EPOCH + timedelta(milliseconds=identifier.int >> 80)


def first_id_at(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 of a moment: a bound for partitions and time ranges. Before 1970 there are none."""
    return UUID(int=max(0, (moment - _EPOCH) // timedelta(milliseconds=1)) << 80)


def public_id(kind: str, cell: str, identifier: UUID) -> str:
    """Return the id as people see it: kind (three letters), cell, 26 letters of base 32."""
    value = identifier.int
    letters = [_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{kind}_{cell}_{''.join(letters)}"


def parse_public_id(text: str, *, kind: str | None = None) -> UUID:
    """Return the UUID of a public id (or of a plain UUID text).

    Raises ValueError when the text is no id or is one of another kind.
    """
    if "_" not in text:
        return UUID(text)
    found_kind, _, rest = text.partition("_")
    letters = rest.rpartition("_")[2]
    if kind is not None and found_kind != kind:
        raise ValueError(f"{text!r} is a {found_kind!r} id, a {kind!r} id was expected")
    if len(letters) != 26 or any(letter not in _VALUE for letter in letters):
        raise ValueError(f"{text!r} is not an id")
    value = 0
    for letter in letters:
        value = value << 5 | _VALUE[letter]
    if value >> 128:
        raise ValueError(f"{text!r} is not an id")
    return UUID(int=value)


def slot_of(tenant_id: UUID, key: str) -> int:
    """Return the slot (0 to 1023) of a tenant's ordering key, or of a connection id as text."""
    digest = hashlib.blake2b(key.encode(), digest_size=4, key=tenant_id.bytes).digest()
    return int.from_bytes(digest, "big") % SLOTS
