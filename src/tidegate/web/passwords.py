"""Passwords: made at random, kept as argon2id, checked in a thread, a few at a time."""

from __future__ import annotations

import asyncio
import secrets
from functools import cache
from typing import TYPE_CHECKING

from tidegate.kernel.errors import TransientError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

PASSWORD_CHARS_MAX = 200
"""A longer one is not hashed: hashing costs its sender nothing and us a lot."""
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Letters and digits that nobody takes for another one."""
_GROUPS, _GROUP = 5, 5
_AT_ONCE = 2
"""Each check takes 64 MiB and about 50 ms of a core."""
_WAITING_MAX = 20


def make_password() -> str:
    """Return a random password of five groups, about 123 bits."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)


def hash_password(password: str) -> str:
    """Return the argon2id hash with its parameters and a fresh salt. Takes about 50 ms."""
    return _hasher().hash(password)


def matches(stored: str, password: str) -> bool:
    """Whether a password is the one behind a hash. Takes about 50 ms, whatever the answer."""
    from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415 - only who signs in needs it

    try:
        return _hasher().verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


class PasswordCheck:
    """Checks passwords without holding up anybody else."""

    def __init__(self) -> None:
        """One per process."""
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether the password is the right one; without a hash it takes as long and is not.

        Raises TransientError when too many wait to be checked.
        """
        if self._waiting >= _WAITING_MAX:
            raise TransientError("too many people sign in at the same moment", code="busy", wait_seconds=5)
        self._waiting += 1
        try:
            async with self._free:
                found = await asyncio.to_thread(matches, stored or _nobody(), password[:PASSWORD_CHARS_MAX])
        finally:
            self._waiting -= 1
        return found and stored is not None and len(password) <= PASSWORD_CHARS_MAX


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher  # noqa: PLC0415 - only who signs in needs it

    return PasswordHasher()


@cache
def _nobody() -> str:
    """Return a hash that nobody has the password of."""
    return hash_password(secrets.token_urlsafe(32))
