"""Idempotency keys: the first answer under a key is every later one, 500s included. Bounded: the oldest are forgotten.

What was refused before anything ran, and what met a running request, is not kept. Source: docs.stripe.com/api/idempotent_requests.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from tidegate.sandbox.stripe.errors import Refusal

KEYS_KEPT = 100_000
KEY_CHARACTERS_MAX = 255


class Kept(msgspec.Struct):
    """The answer under a key. `digest` is of what was asked, None where that was never read."""

    digest: bytes | None
    status: int = 0
    body: bytes = b""
    request_id: str = ""


class Keys:
    """The keys of one account."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self.running: set[str] = set()
        self.replayed = 0

    def find(self, key: str, operation: str, form: Any) -> Kept | None:
        """Return what is kept under a key. Raises Refusal for one that runs, and for one that was used for something else."""
        if not 0 < len(key) <= KEY_CHARACTERS_MAX:
            words = f"Idempotency-Key has at most {KEY_CHARACTERS_MAX} characters."
            raise Refusal(words, kind="idempotency_error", is_validation=True)
        if key in self.running:
            raise Refusal(
                "There is currently another in-progress request using this Idempotent Key.",
                status=409,
                code="idempotency_key_in_use",
                kind="idempotency_error",
                should_retry=True,
                is_validation=True,
            )
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.digest is not None and kept.digest != digest_of(operation, form):
            words = "Keys for idempotent requests can only be used with the same parameters they were first used with."
            raise Refusal(words, kind="idempotency_error", is_validation=True)
        self.replayed += 1
        return kept

    def keep(self, key: str, kept: Kept) -> None:
        """Keep the answer under a key."""
        if key not in self._kept and len(self._kept) >= KEYS_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = kept

    def spoil(self, key: str, body: bytes) -> None:
        """Keep a 500 under a key, in place of what may be there."""
        known = self._kept.get(key)
        self.keep(key, Kept(known.digest if known is not None else None, 500, body, "req_spoiled"))


def digest_of(operation: str, form: Any) -> bytes:
    """Return what tells one request from another one."""
    return hashlib.sha256(operation.encode() + msgspec.json.encode(form, order="sorted")).digest()
